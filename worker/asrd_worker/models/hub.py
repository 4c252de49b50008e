"""The hub as a source: what its client has in its cache, and what it downloads."""

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from asrd_worker.engines.loading import first_line
from asrd_worker.models.catalogue import Model
from asrd_worker.models.check import READ, agrees, checked, snapshot
from asrd_worker.models.faults import Damaged, PullFailed
from asrd_worker.models.seals import Seals

_METADATA = Path(".cache", "huggingface", "download")
"""Where the client notes commit and checksum of what it has downloaded into a directory."""

_KNOCK_S = 10.0
"""Seconds to wait for the hub's machine."""


class Unreachable(Exception):
    """The hub, or its client, does not give the model; one word says why."""


def fetch(
    repository: str, revision: str | None, *, offline: bool, cache: str | None = None, into: Path | None = None
) -> Path:
    """The directory with a revision of a repository: in the client's cache, or ``into`` this one.

    Raises:
        Unreachable: it is not there, or the hub cannot be asked.
    """
    from huggingface_hub import snapshot_download

    keywords = {} if into is None else {"local_dir": str(into)}
    try:
        with _few_words(bars=into is not None and sys.stderr.isatty()):
            found = snapshot_download(
                repository,
                revision=revision,
                cache_dir=cache,
                local_files_only=offline,
                allow_patterns=list(READ),
                token=os.environ.get("HF_TOKEN") or False,  # False: nor the one in a file of the client
                **keywords,
            )
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError):
            raise
        raise Unreachable(type(error).__name__) from error
    except Exception as error:  # the client raises its own and its transport's errors
        raise Unreachable(
            f"{type(error).__name__}: {first_line(error)}" if _tells(error) else type(error).__name__
        ) from error
    return Path(found)


def pull(model: Model, revision: str | None, into: Path) -> str:
    """Download a model, or take it from the client's cache where the hub cannot be reached. Returns the commit.

    Raises:
        PullFailed: neither has it, or it came altered.
    """
    wanted = revision or model.revision or None
    if wanted == model.revision and model.files and (found := _complete(model)):
        _copy(found, into)
        return found.name
    try:
        _knock()
        fetch(model.repository, wanted, offline=False, into=into)
    except Unreachable as error:
        return _last_resort(model, wanted, into, error)
    return _settle(into, wanted)


def _knock() -> None:
    """Whether the hub's machine can be reached at all: the client tries for 23 s. A proxy is left to the client.

    Raises:
        Unreachable: it cannot be.
    """
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE or getproxies():
        return
    place = urlsplit(ENDPOINT)
    try:
        port = place.port or (80 if place.scheme == "http" else 443)
        socket.create_connection((place.hostname or "", port), timeout=_KNOCK_S).close()
    except OSError as error:
        raise Unreachable("no connection") from error


def _complete(model: Model) -> Path | None:
    """The pinned revision in the client's cache, if all of its files are there."""
    try:
        found = fetch(model.repository, model.revision, offline=True)
    except Unreachable:
        return None
    return found if all((found / name).is_file() for name in model.files) else None


def _last_resort(model: Model, revision: str | None, into: Path, error: Unreachable) -> str:
    with contextlib.suppress(Unreachable, Damaged):
        found = checked(fetch(model.repository, revision, offline=True))
        shutil.rmtree(into / ".cache", ignore_errors=True)
        _copy(found, into)
        return found.name
    raise PullFailed(f"cannot download {model.repository}: {_reason(error)}") from None


def _reason(error: Unreachable) -> str:
    """What a user can do about it."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    cause = error.__cause__
    names = {kind.__name__ for kind in type(cause).__mro__}
    if "GatedRepoError" in names or "401" in str(cause):
        return "the repository asks for permission; accept its terms on the hub, and give a token in $HF_TOKEN"
    if "RepositoryNotFoundError" in names:
        return "there is no such repository, or it is private and $HF_TOKEN does not open it"
    if "RevisionNotFoundError" in names:
        return "the repository has no such revision"
    if "HFValidationError" in names:
        return "that is no name of a repository"
    if HF_HUB_OFFLINE:
        return "$HF_HUB_OFFLINE forbids it, and it is not in the hub's cache"
    return f"the hub cannot be reached, and it is not in its cache ({first_line(cause or error)})"


def _settle(into: Path, revision: str | None) -> str:
    """Check what was downloaded against the hub's own checksums, and remove the client's notes. Returns the commit."""
    commit, seals = revision or "", Seals(into, None)
    for note in sorted((into / _METADATA).glob("*.metadata")):
        commit, tag, *_ = note.read_text().split("\n")
        path = into / note.name.removesuffix(".metadata")
        if not agrees(path, tag, seals):
            raise PullFailed(f"{path.name} was altered on its way: it does not have the checksum that the hub told")
    shutil.rmtree(into / ".cache", ignore_errors=True)
    return commit


def _copy(found: Path, into: Path) -> None:
    """Copy what the client has in its cache, unless it is damaged."""
    snapshot(found, Seals(found, None))
    for path in sorted(found.iterdir()):
        if path.is_file():
            shutil.copyfile(path, into / path.name)


@contextlib.contextmanager
def _few_words(*, bars: bool) -> Iterator[None]:
    """The client reports each of its tries as a warning, and draws bars for files, which is of use on a terminal."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    quiet, level = are_progress_bars_disabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    if not bars:
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if not quiet:
            enable_progress_bars()


def _tells(error: Exception) -> bool:
    """Whether the sentence of the exception is worth more than its name."""
    return type(error).__name__ == "HFValidationError"
