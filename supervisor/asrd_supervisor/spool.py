"""The audio of jobs that have not ended, in files: written once, under another name first, and read by workers only.

What blocks runs on threads of its own. A file is complete before it has its name, and on the disk before the journal
says that the job is accepted; so a file that the journal does not know is of no use to anybody.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import zmq

from asrd_supervisor.sources import Spooled

_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


class Spool:
    """One directory, which belongs to one daemon."""

    def __init__(self, directory: Path, *, sync: bool) -> None:
        """``sync``: a stored file survives the host."""
        self._directory = directory
        self._sync = sync
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if sync:
            _sync(directory.parent)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    def store(self, job: str, body: "zmq.Frame | bytes") -> Spooled:
        """Write audio. May block.

        Raises:
            OSError: nothing is left of it then.
        """
        name = f"{job}-{secrets.token_hex(4)}"  # a job that is submitted again after its release is another one
        unfinished = f"{name}.part"
        data = body.buffer if isinstance(body, zmq.Frame) else body
        try:
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=self._fd)
            try:
                _write(fd, data)
                if self._sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(unfinished, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            if self._sync:
                os.fsync(self._fd)
        except OSError:
            self._unlink(unfinished)
            self._unlink(name)
            raise
        return Spooled(name, len(data))

    def tape(self) -> int | None:
        """A new file with no name, for a worker to write samples to; None where the file system has no such files."""
        try:
            return os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        except OSError:
            return None

    def adopt(self, job: str, tape: int) -> Spooled:
        """Give such a file a name. May block.

        Raises:
            OSError: it has none then.
        """
        name = f"{job}-{secrets.token_hex(4)}.tape"
        try:
            if self._sync:
                os.fsync(tape)
            os.link(f"/proc/self/fd/{tape}", name, dst_dir_fd=self._fd, follow_symlinks=True)
            if self._sync:
                os.fsync(self._fd)
        except OSError:
            self._unlink(name)
            raise
        return Spooled(name, os.fstat(tape).st_size)

    def open(self, source: Spooled) -> int:
        """A descriptor for reading.

        Raises:
            OSError: it is gone.
        """
        return os.open(source.name, os.O_RDONLY | _OPEN, dir_fd=self._fd)

    def size_of(self, source: Spooled) -> int | None:
        """Bytes of a file as it is; None when it is gone."""
        try:
            return os.stat(source.name, dir_fd=self._fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def drop(self, source: Spooled) -> None:
        """Remove a file."""
        self._unlink(source.name)

    def sweep(self, known: Iterable[str]) -> int:
        """Remove all files that no job needs: those whose job was never accepted, or has ended. How many there were."""
        orphans = {path.name for path in self._directory.iterdir() if not path.is_dir()} - set(known)
        for name in orphans:
            self._unlink(name)
        return len(orphans)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)


def digest_of(request: bytes, body: "zmq.Frame | bytes") -> bytes:
    """SHA-256 of a submit and its audio."""
    known = hashlib.sha256(request)
    known.update(body.buffer if isinstance(body, zmq.Frame) else body)
    return known.digest()


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(fd: int, data: "bytes | memoryview") -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
