"""The runtime directory: made, locked for the life of the daemon, and left empty.

Two daemons on one path would both bind: the second takes the first's clients silently. So a lock that the kernel
drops with the process decides who may. Only its holder touches the sockets.
"""

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import stat
import time
from pathlib import Path

from asrd_protocol.addresses import Addresses

PATIENCE = 100
"""Tries, 20 ms apart, to get a lock whose holder is dead."""


def allow_connections() -> int:
    """As many open files as the host lets us have, and how many these are.

    libzmq aborts the process when it cannot accept a connection.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 20)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class GroundError(Exception):
    """One sentence on why the runtime directory cannot be used."""


class Taken(GroundError):
    """Another daemon is here."""


class Ground:
    """A runtime directory that is ours.

    Raises:
        Taken: another daemon holds it.
        GroundError: it cannot be made, is not ours, or its path is too long for a socket.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        if complaint := addresses.too_long():
            raise GroundError(complaint)
        directory = addresses.directory
        if not _is_text(directory):
            raise GroundError(f"the name of the runtime directory {str(directory)!a} is no UTF-8; choose another one")
        try:
            self._made, self._lock = _enter(addresses)
            workers = directory / "workers"
            workers.mkdir(mode=0o700, exist_ok=True)
            workers.chmod(0o700)
            sweep(addresses)
        except OSError as error:
            where = f" ({error.filename})" if error.filename and Path(error.filename) != directory else ""
            raise GroundError(f"cannot use the runtime directory {directory}: {error.strerror}{where}") from None

    @property
    def lock_fd(self) -> int:
        """The descriptor of the lock: whoever forks must close its copy."""
        return self._lock

    def leave(self) -> None:
        """Remove everything of ours; the lock goes last."""
        clear(self._addresses, remove_directory=self._made)
        os.close(self._lock)

    @property
    def made(self) -> bool:
        """Whether the directory was made by us."""
        return self._made


def sweep(addresses: Addresses) -> None:
    """Remove sockets, and audio that a daemon has left; the caller holds the lock."""
    shutil.rmtree(addresses.spool, ignore_errors=True)
    for address in (addresses.jobs, addresses.control, addresses.events, addresses.workers):
        Path(address.removeprefix("ipc://")).unlink(missing_ok=True)


def clear(addresses: Addresses, *, remove_directory: bool) -> None:
    """Remove sockets, lock and, if it is empty, the directory; the caller holds the lock."""
    with contextlib.suppress(OSError):
        sweep(addresses)
        (addresses.directory / "workers").rmdir()
    addresses.lock.unlink(missing_ok=True)
    if remove_directory:
        with contextlib.suppress(OSError):  # somebody else keeps something here
            addresses.directory.rmdir()


def _enter(addresses: Addresses) -> tuple[bool, int]:
    """Whether the directory was made by us, and the descriptor of its lock.

    The last daemon, or its janitor, may take the directory away while we come.
    """
    for _ in range(PATIENCE):
        with contextlib.suppress(FileNotFoundError):
            return _try_to_enter(addresses)
    return _try_to_enter(addresses)


def _try_to_enter(addresses: Addresses) -> tuple[bool, int]:
    made = not addresses.directory.exists()
    _make(addresses.directory)
    _check_owner(addresses.directory)
    return made, _lock(addresses.lock)


def _is_text(directory: Path) -> bool:
    """Whether ZeroMQ can be told its name."""
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_owner(directory: Path) -> None:
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise GroundError(f"the runtime directory {directory} belongs to user {found.st_uid}, not to us")
    if found.st_mode & stat.S_IWOTH:
        raise GroundError(f"everybody may write to the runtime directory {directory}; choose a private one")


def _lock(path: Path) -> int:
    """The descriptor of the locked file."""
    for _ in range(PATIENCE):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if _alive(holder):
                raise Taken(_taken(path, holder)) from None
            time.sleep(0.02)  # a killed daemon's janitor is at work
            continue
        if leads_to(path, fd):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd
        os.close(fd)
    raise Taken(_taken(path, ""))


def leads_to(path: Path, fd: int) -> bool:
    """Whether the path leads to this open file: a lock on one that was just unlinked would be a lock on nothing."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino == os.fstat(fd).st_ino
    return False


def _alive(holder: str) -> bool:
    """Whether the process runs; one that is dead and not yet waited for by its parent does not."""
    if not holder.isdecimal():
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _taken(path: Path, holder: str) -> str:
    who = f" (process {holder})" if holder else ""
    return f"another asrd daemon{who} serves {path.parent}; stop it with `asrd stop`, or use --runtime-dir"


def _make(directory: Path) -> None:
    """Make it, unless it is there. The daemon before us may remove it in between: then it was there, and is gone."""
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except FileExistsError:
        if directory.exists() and not directory.is_dir():
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory)) from None
