"""The network that hears voices, as an ONNX file: converted once from the weights, then kept.

Its place is beside the models, because it belongs to them as a cache does: hidden, named by the checksum of its
source, and free to be removed. Where that place cannot be written (models of root, workers of a service), the state
directory serves, and after it a private folder for temporary files. A worker that is killed leaves nothing behind in
any of them but what the next one uses or replaces.
"""

import fcntl
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from asrd_protocol.addresses import state_dir
from asrd_worker.engines.base import LoadError
from asrd_worker.models.places import models_dir
from asrd_worker.speakers.torch_file import read_tensors

WEIGHTS = Path("embedding") / "campplus_cn_en_common.pt"
"""In the directory of the model ``diarize``."""

NAME = "wespeaker-campplus.onnx"
"""pyannote.audio reads a file as ONNX when its path has ``wespeaker`` in it."""

_RECORD = "wespeaker-campplus.json"

_CONVERSION = 1
"""Grows when :mod:`asrd_worker.speakers.campplus` makes another graph of the same weights."""


class _Record(msgspec.Struct, frozen=True):
    """What was converted, and what came of it."""

    sha256: str
    size: int


def embedding_model(weights_dir: Path) -> Path:
    """The ONNX file made of these weights, verified: ``feats`` (batch, frames, 80) to ``embs`` (batch, 192).

    Raises:
        LoadError: the weights are missing or not those of CAM++, ``onnx`` is not installed, or there is no room.
    """
    source = weights_dir / WEIGHTS
    try:
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        places = [root / f"{sha256}-{_CONVERSION}" for root in _roots()]
        for place in places:
            if _intact(place):
                return place / NAME
        return _kept(_converted(source), places)
    except FileNotFoundError as error:
        raise LoadError(f"{error.filename} is missing; `asrd models pull diarize` brings it") from None
    except OSError as error:
        raise LoadError(f"cannot convert {source}: {error.strerror}") from None


def _roots() -> list[Path]:
    """Where converted models may be, the best place first."""
    private = Path(tempfile.gettempdir()) / f"asrd-{os.geteuid()}-derived"
    return [models_dir() / ".derived", state_dir() / "derived", private]


def _intact(place: Path) -> bool:
    """Whether the file is what was written. It is not: damaged, half replaced by another worker, or never made."""
    try:
        if place.parent.name.startswith("asrd-") and not _private(place.parent):
            return False
        record = msgspec.json.decode((place / _RECORD).read_bytes(), type=_Record)
        with (place / NAME).open("rb") as file:
            return record == _Record(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False


def _private(root: Path) -> bool:
    """In a directory for everybody, a folder counts only if nobody else can have written in it."""
    found = root.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _converted(source: Path) -> bytes:
    try:
        from asrd_worker.speakers.campplus import graph_of
    except ImportError as error:
        raise LoadError(
            f"converting {source.name} needs a package that {sys.executable} lacks ({error}); "
            "`pip install 'asrd[speakers]'`, or onnx there"
        ) from None
    return graph_of(read_tensors(source))


def _kept(graph: bytes, places: list[Path]) -> Path:
    """Write it to the first place that takes it.

    Raises:
        OSError: none does.
    """
    problem = OSError()
    for place in places:
        try:
            return _written(graph, place)
        except OSError as error:
            problem = error
            sys.stderr.write(f"asrd: no converted model is kept in {place.parent} ({error.strerror})\n")
    raise problem


def _written(graph: bytes, place: Path) -> Path:
    if place.parent.name.startswith("asrd-"):
        place.parent.mkdir(mode=0o700, exist_ok=True)
        if not _private(place.parent):
            raise PermissionError(1, "the folder is not this user's alone")
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        if not _intact(place):
            _replace(place / NAME, graph)
            record = _Record(hashlib.sha256(graph).hexdigest(), len(graph))
            _replace(place / _RECORD, msgspec.json.encode(record))
    return place / NAME


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Workers that start at once would each write it. The kernel unlocks what a killed one has locked."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(path: Path, content: bytes) -> None:
    """Nobody sees half of it. The name of the draft is always the same, so that a killed worker leaves one at most."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
