"""The models directory: a model appears in it complete and verified, or not at all.

What is being brought lies in a directory ``.staging-…`` that the process at work holds a lock on; one that nobody holds
is what a killed process has left, and the next one removes it.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from asrd_worker.held import held
from asrd_worker.models.faults import PullFailed
from asrd_worker.models.places import folder_name

_STAGING = ".staging-"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Store:
    """One models directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        """Where a model is or would be."""
        return self.root / folder_name(name)

    def names(self) -> list[str]:
        """The directories in it, as models."""
        if not self.root.is_dir():
            return []
        found = (path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return sorted(name.replace("--", "/") for name in found)

    @contextlib.contextmanager
    def staging(self, needed: int = 0) -> Iterator[Path]:
        """An empty directory on the same file system, removed afterwards whatever happens.

        Raises:
            PullFailed: there is no room for so many bytes, or the directory cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            directory = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.root))
        except OSError as error:
            raise PullFailed(f"cannot write to {self.root}: {error.strerror}") from None
        with held(directory):
            try:
                self._expect(needed)
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    def place(self, staged: Path, name: str) -> Path:
        """Give a complete model its name. One that was there goes away, in the same instant where the system can."""
        for path in (*staged.rglob("*"), staged):
            path.chmod(0o755 if path.is_dir() else 0o444)
            _flush(path)
        target = self.folder(name)
        if target.is_dir():
            _exchange(staged, target)
            _make_removable(staged)
        else:
            staged.rename(target)
        _flush(self.root)
        return target

    def remove(self, name: str) -> None:
        """Remove a model: first its name, then its files."""
        with self.staging() as directory:
            self.folder(name).rename(directory / "gone")
            _make_removable(directory / "gone")

    def _expect(self, needed: int) -> None:
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise PullFailed(f"{needed / 1e6:.0f} MB are needed in {self.root}, and {free / 1e6:.0f} MB are free")

    def _sweep(self) -> None:
        """Remove what killed processes have left."""
        for left in self.root.glob(f"{_STAGING}*"):
            with contextlib.suppress(BlockingIOError, FileNotFoundError), held(left):
                _make_removable(left)
                shutil.rmtree(left, ignore_errors=True)


def _make_removable(directory: Path) -> None:
    """Directories that may be written; files need not be."""
    for folder, _, _ in os.walk(directory):
        Path(folder).chmod(0o755)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Swap two directories. Where the file system cannot do that at once, the name is missing for an instant.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE):
        return
    if (number := ctypes.get_errno()) not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), str(old))
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)
