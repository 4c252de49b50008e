"""What the model of a ``diarize`` pool names, and the folder that pyannote.audio can load it from.

The weights that ``asrd models pull diarize`` brings are no pipeline: pyannote.audio wants a folder with a
``config.yaml``, its segmentation and its embedding, and files of a PLDA model even where it clusters without one. Such
a folder is put together for the moment of loading only, of links, so nothing is copied and nothing gets old.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asrd_worker.engines.base import LoadError
from asrd_worker.models.check import proven
from asrd_worker.models.places import folder_name, models_dir
from asrd_worker.models.resolve import weights
from asrd_worker.speakers.embedding import NAME, embedding_model

CONFIG = "config.yaml"
SEGMENTATION = Path("segmentation") / "pytorch_model.bin"
DEFAULT = "diarize"
CLOUD = "pyannoteai:"

_CLOUD_NAME = re.compile(r"pyannote(?:ai)?/speaker-diarization-(?:(precision.*)|(.+)-cloud)", re.IGNORECASE)
"""Pipelines on the hub that are nothing but a call of pyannoteAI's service."""

_DIMENSION, _REDUCED = 192, 128
"""Of a voice's vector, and of what PLDA would make of it."""

MISLEADING = ("pyannote", "speechbrain", "nvidia")
"""With one of these anywhere in its path, pyannote.audio takes an ONNX file for something else."""

_TEMPLATE = """\
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    segmentation: $model/segmentation
    embedding: {embedding}
    embedding_exclude_overlap: true
    plda: $model/plda
    clustering: AgglomerativeClustering
params:
  clustering: {{method: centroid, min_cluster_size: 12, threshold: 0.7046}}
  segmentation: {{min_duration_off: 0.0}}
"""
"""The threshold is that of pyannote.audio's pipeline 3.1."""


class Weights(NamedTuple):
    """A folder with a segmentation and an embedding, to be put together."""

    path: Path


class Folder(NamedTuple):
    """A folder with a pipeline."""

    path: Path


class Hub(NamedTuple):
    """A pipeline on the hub, or in the cache of its client."""

    name: str


class Cloud(NamedTuple):
    """A model of pyannoteAI's service."""

    model: str


Source = Weights | Folder | Hub | Cloud


def source(model: str) -> Source:
    """What a name means: the service, a folder, what was pulled, or a pipeline on the hub.

    Raises:
        LoadError: it means nothing, or a file of it is missing or damaged.
    """
    if model.startswith(CLOUD):
        return Cloud(_named(model.removeprefix(CLOUD)))
    if Path(model).is_dir():
        return _folder(Path(model))
    if model.startswith(("/", "./", "../", "~")):
        raise LoadError(f"there is no pipeline folder {model}")
    if match := _CLOUD_NAME.fullmatch(model):
        return Cloud(match[1] or match[2])
    if model == DEFAULT or (models_dir() / folder_name(model)).is_dir():
        return _folder(weights(model))
    if model.count("/") == 1:
        return Hub(model)
    raise LoadError(
        f"there is no pipeline {model!r}; a model is {DEFAULT!r}, a folder with {CONFIG}, the name of a pipeline on "
        f"the hub such as 'pyannote/speaker-diarization-community-1', or '{CLOUD}precision-2'"
    )


def _named(model: str) -> str:
    if not model:
        raise LoadError(f"'{CLOUD}' lacks the name of a model, such as '{CLOUD}precision-2'")
    return model


def _folder(path: Path) -> Weights | Folder:
    """What is in it; it is verified where it has a lock."""
    proven(path)
    if (path / CONFIG).is_file():
        return Folder(path.absolute())
    if (path / SEGMENTATION).is_file():
        return Weights(path.absolute())
    raise LoadError(f"the folder {path} is no pipeline: it lacks {CONFIG}, and as weights {SEGMENTATION}")


@contextmanager
def assembled(path: Path) -> Iterator[Path]:
    """A pipeline of these weights, for as long as it takes to load it.

    Raises:
        LoadError: a file is missing, or there is no place for the folder.
    """
    embedding = embedding_model(path).absolute()
    try:
        folder = tempfile.TemporaryDirectory(prefix="asrd-", dir=_innocent())
    except OSError as error:
        raise LoadError(f"cannot make a folder for temporary files: {error.strerror}") from None
    with folder as made:
        try:
            _write(Path(made), path.absolute(), embedding)
        except OSError as error:
            raise LoadError(f"cannot put the pipeline together in {made}: {error.strerror}") from None
        yield Path(made)


def _write(folder: Path, weights_dir: Path, embedding: Path) -> None:
    (folder / SEGMENTATION.parent).symlink_to(weights_dir / SEGMENTATION.parent)
    (folder / NAME).symlink_to(embedding)
    (folder / CONFIG).write_text(_TEMPLATE.format(embedding=json.dumps(str(folder / NAME))))
    _write_plda(folder / "plda")


def _innocent() -> str:
    """A directory for temporary files whose path does not mislead; what is random in a name is too short to do it."""
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        if Path(place).is_dir() and not any(word in place.lower() for word in MISLEADING):
            return place
    raise LoadError(f"no directory for temporary files has a path without any of {', '.join(MISLEADING)}; set TMPDIR")


def _write_plda(folder: Path) -> None:
    """A model that changes nothing. It is read and never used: this pipeline compares vectors by their angle."""
    folder.mkdir()
    cut = np.eye(_DIMENSION, _REDUCED)
    np.savez(folder / "xvec_transform.npz", mean1=np.zeros(_DIMENSION), mean2=np.zeros(_REDUCED), lda=cut)
    np.savez(folder / "plda.npz", mu=np.zeros(_REDUCED), tr=np.eye(_REDUCED), psi=np.ones(_REDUCED))
