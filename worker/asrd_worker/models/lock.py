"""``asrd.lock.json``: what a model's directory held when it was installed, file by file."""

import os
from pathlib import Path, PurePosixPath

import msgspec

from asrd_worker.models.catalogue import Kind, Source, Sum
from asrd_worker.models.faults import Damaged
from asrd_worker.models.places import LOCK
from asrd_worker.models.seals import Seals


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model came from and what it consists of."""

    version: int = 1
    name: str
    kind: Kind = "whisper"
    source: Source
    origin: list[str] = []
    """The repository, or the wheels as requirements."""
    revision: str = ""
    """The commit of the repository."""
    languages: str = ""
    licence: str = ""
    files: dict[str, Sum]
    """By path in the directory, with ``/``."""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files.values())


def read_lock(directory: Path) -> Lock | None:
    """The lock of a directory; None when it has none.

    Raises:
        Damaged: there is one, and it cannot be read.
    """
    path = directory / LOCK
    try:
        lock = msgspec.json.decode(path.read_bytes(), type=Lock)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{path} is damaged ({error}); remove it, or pull the model again") from None
    if lock.version != 1 or not all(_inside(name) for name in lock.files):
        raise Damaged(f"{path} is none that this version understands")
    return lock


def write_lock(directory: Path, lock: Lock) -> None:
    """Write the lock, at once or not at all.

    Raises:
        OSError: it cannot be written.
    """
    draft = directory / f".{LOCK}.{os.getpid()}"
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(lock), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(directory / LOCK)
    finally:
        draft.unlink(missing_ok=True)


def sums_of(directory: Path) -> dict[str, Sum]:
    """All files of a directory but hidden ones and the lock, read and hashed.

    Raises:
        OSError: one cannot be read.
    """
    seals = Seals(directory, None)
    found = {}
    for folder, folders, names in os.walk(directory, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith(".") and path != directory / LOCK:
                found[path.relative_to(directory).as_posix()] = seals.digest(path)
    return found


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
