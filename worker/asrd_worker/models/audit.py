"""Reading every file of models and comparing it with what it should be; nothing that is remembered counts here."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from asrd_worker.engines.base import LoadError
from asrd_worker.models.catalogue import Catalogue
from asrd_worker.models.check import checked, compare, locked, snapshot
from asrd_worker.models.faults import Damaged, NoSuchModel
from asrd_worker.models.inventory import Entry, entries, find
from asrd_worker.models.lock import read_lock
from asrd_worker.models.pulling import lock_in_place
from asrd_worker.models.seals import Seals
from asrd_worker.models.store import Store


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One model."""

    name: str
    path: str
    sound: bool
    said: str
    """In a sentence, naming the file that is wrong."""
    files: int = 0
    size: int = 0
    """Bytes."""


def audit(store: Store, catalogue: Catalogue, names: Sequence[str], *, lock: bool) -> list[Report]:
    """A report for each name or directory; without any, for all models that are here. ``lock`` locks directories.

    Raises:
        NoSuchModel: a name or a directory is not here.
    """
    if not names:
        return [_report(entry) for entry in entries(store, catalogue) if entry.path]
    return [_named(store, catalogue, name, lock=lock) for name in names]


def _named(store: Store, catalogue: Catalogue, name: str, *, lock: bool) -> Report:
    directory = Path(name)
    if not directory.is_dir():
        entry = find(store, catalogue, name)
        if not entry.path:
            raise NoSuchModel(f"{entry.name} is not on this machine; `asrd models pull {entry.name}` brings it")
        if not (lock and entry.state == "installed"):
            return _report(entry)
        directory = Path(entry.path)
    if lock:
        lock_in_place(directory)
    return _report(Entry(name=str(directory), state="directory", path=str(directory)))


def _report(entry: Entry) -> Report:
    try:
        files, size, said = _read(entry)
    except LoadError as error:
        return Report(name=entry.name, path=entry.path, sound=False, said=str(error))
    return Report(name=entry.name, path=entry.path, sound=True, said=said, files=files, size=size)


def _read(entry: Entry) -> tuple[int, int, str]:
    """How many files and bytes were compared, and with what.

    Raises:
        Damaged: naming the file.
    """
    directory = Path(entry.path)
    seals = Seals(directory, None)
    if entry.state == "cached":
        found = [path for path in snapshot(checked(directory), seals).iterdir() if path.is_file()]
        return len(found), sum(path.stat().st_size for path in found), "as the hub's client says"
    if entry.state == "bundled":
        compare(directory, entry.files, seals, "in the catalogue", "reinstall it")
        return len(entry.files), entry.size, "as in the catalogue"
    if lock := read_lock(directory):
        locked(directory if lock.kind != "whisper" else checked(directory), lock, seals)
        return len(lock.files), lock.bytes, "as in its lock"
    if entry.kind == "whisper":
        checked(directory)
    raise Damaged(f"{directory} has no lock to compare it with; `asrd models verify {directory} --lock` writes one")
