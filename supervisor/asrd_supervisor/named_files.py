"""Files that a job names by path: which may be read for whom, and whether they are still the same.

The daemon must not read for a caller what the caller could not read (it would be a confused deputy), must not follow a
link that somebody puts there in between, and must not say more about a file than the caller could find out. So a path
is opened step by step from an allowed root, no link is followed, each directory and the file itself must grant the
caller its right, and every refusal reads the same.
"""

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.peers import Groups, Peer
from asrd_supervisor.sources import Identity, Named

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class InputFault(Exception):
    """The file cannot be used; carries the fault to answer."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class NamedFiles:
    """Opens files beneath the allowed roots."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = [PurePosixPath(os.path.realpath(root)) for root in roots]
        self._groups = Groups()

    def identify(self, path: str, peer: Peer) -> Named:
        """The file at a path, for a job of this peer. May block.

        Raises:
            InputFault: ``input_missing``, whatever the reason is.
        """
        fd = self._open(path, peer)
        try:
            return Named(path, _identity(fd))
        except OSError as error:
            raise _missing(path) from error
        finally:
            os.close(fd)

    def reopen(self, named: Named) -> int:
        """A descriptor for reading the file that a job has named. The right to it was checked when the job came.

        Raises:
            InputFault: ``input_missing`` or ``input_changed``.
        """
        fd = self._open(named.path, None)
        try:
            same = _identity(fd) == named.identity
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):  # a network file system may fail at any call
                raise _missing(named.path) from error
            raise
        if same:
            return fd
        os.close(fd)
        raise InputFault(Fault.of(Code.INPUT_CHANGED, f"{named.path} is not what it was when the job was accepted"))

    def _open(self, path: str, peer: Peer | None) -> int:
        rights = _Rights(peer, self._groups)
        root = next((root for root in self._roots if PurePosixPath(path).is_relative_to(root)), None)
        parts = PurePosixPath(path).parts
        if root is None or ".." in parts:
            raise _missing(path)
        try:
            return _walk(parts, rights)
        except (OSError, ValueError):
            raise _missing(path) from None


class _Rights:
    """What a peer may do with a file by its mode bits. None stands for the daemon itself: the kernel decides then."""

    def __init__(self, peer: Peer | None, groups: Groups) -> None:
        self._peer = None if peer is None or peer.trusted else peer
        self._groups: Collection[int] = groups.of(peer) if self._peer and peer else ()

    def check(self, fd: int, bit: int) -> None:
        """``bit`` is 4 for reading a file, 1 for going through a directory."""
        if self._peer is None:
            return
        found = os.fstat(fd)
        shift = 6 if found.st_uid == self._peer.uid else 3 if found.st_gid in self._groups else 0
        # An access list may take away what the mode bits give; what it gives, we do not give.
        if not (found.st_mode >> shift) & bit or (shift != 6 and _has_access_list(fd)):
            raise PermissionError


def _walk(parts: Sequence[str], rights: _Rights) -> int:
    """Step by step from the root; at no step a link is followed, whoever exchanges what in between."""
    fd = os.open(parts[0], _STEP | os.O_DIRECTORY)
    try:
        for part in parts[1:-1]:
            rights.check(fd, 1)
            below = os.open(part, _STEP | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        rights.check(fd, 1)
        below = os.open(parts[-1], _STEP, dir_fd=fd)
        os.close(fd)
        fd = below
        found = os.fstat(fd)
        if (
            not stat.S_ISREG(found.st_mode) or not found.st_size
        ):  # files of /proc are empty, and show more than modes say
            raise PermissionError
        rights.check(fd, 4)
        return os.open(f"/proc/self/fd/{fd}", _READ)  # only now: to open a device or a pipe can do things
    finally:
        os.close(fd)


def _has_access_list(fd: int) -> bool:
    try:
        return bool(os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access"))
    except OSError:
        return False


def _identity(fd: int) -> Identity:
    found = os.fstat(fd)
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _missing(path: str) -> InputFault:
    said = f"there is no audio file {path} that this daemon may read for you; send the audio itself instead"
    return InputFault(Fault.of(Code.INPUT_MISSING, said))
