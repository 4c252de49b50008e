"""Which files have been read and hashed since the host started, so that the next worker need not do it again.

A sha256 is remembered for a path together with device, inode, size, and the times of the last change of content and of
inode in nanoseconds. Whatever writes through the file system changes the last one, and nobody can set it. What that is
worth: someone who can write here could vouch for a file that is altered, but who can alter the file can write the lock
beside it as well. It does not see what changes below the file system; so it is forgotten at each start of the host, and
``asrd models verify`` never asks it.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from asrd_worker.models.catalogue import Sum
from asrd_worker.models.places import seals_dir

_SETTLED = 2.0
"""Seconds a file must have been left alone: within the grain of the file system's clock a change could be missed."""


class _Seal(msgspec.Struct, frozen=True, array_like=True):
    """One file at one moment."""

    state: tuple[int, ...]
    sha256: str


class _Page(msgspec.Struct, frozen=True):
    """What is on the disk, for one directory."""

    boot: str
    seals: dict[str, _Seal]


class Seals:
    """The memory for one directory of a model."""

    def __init__(self, directory: Path, folder: Path | None) -> None:
        """``folder`` is where memories are kept; None remembers nothing and hashes everything."""
        self._changed = False
        self._boot = _boot()
        self._file: Path | None = None
        self._seals: dict[str, _Seal] = {}
        if folder is not None and self._boot:
            name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:32]
            self._file = folder / f"{name}.json"
            self._seals = _read(self._file, self._boot)

    @classmethod
    def of(cls, directory: Path, environ: Mapping[str, str] | None = None) -> "Seals":
        """What is remembered of this directory."""
        return cls(directory, seals_dir(environ))

    def recall(self, path: Path) -> Sum | None:
        """What the file is if it was hashed since the host started and is unchanged, else None; costs a stat.

        Raises:
            OSError: there is no such file.
        """
        seal = self._seals.get(str(path))
        if seal is None or seal.state != (state := _state(path.stat())):
            return None
        return Sum(state[2], seal.sha256)

    def digest(self, path: Path) -> Sum:
        """What the file is; it is read unless that is remembered.

        Raises:
            OSError: it cannot be read.
        """
        if known := self.recall(path):
            return known
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        changed = max(after.st_mtime, after.st_ctime)
        if _state(before) == _state(after) and changed < time.time() - _SETTLED:
            self._seals[str(path)] = _Seal(_state(after), sha256)
            self._changed = True
        return Sum(after.st_size, sha256)

    def save(self) -> None:
        """Keep what was learned; where that is not possible the next worker hashes again."""
        if self._changed and self._file is not None:
            with contextlib.suppress(OSError):
                _write(self._file, _Page(self._boot, self._seals))


def _state(stat: os.stat_result) -> tuple[int, ...]:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _boot() -> str:
    """Which start of the host this is; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _read(file: Path, boot: str) -> dict[str, _Seal]:
    """Nothing is believed that another user could have written, nor what is left of an earlier start."""
    try:
        stat = file.stat()
        page = msgspec.json.decode(file.read_bytes(), type=_Page)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    mine = stat.st_uid == os.geteuid() and not stat.st_mode & 0o022
    return page.seals if mine and page.boot == boot else {}


def _write(file: Path, page: _Page) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        draft.write_bytes(msgspec.json.encode(page))
        draft.chmod(0o600)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
