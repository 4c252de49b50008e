"""pyannote.audio's pipelines: loaded without a word to anybody, adjusted, and run over samples.

Importing this module imports torch, which takes seconds; ``quiet.prepare`` has to come first.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import onnxruntime
import torch
import yaml
from pyannote.audio import Pipeline
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.pipelines.speaker_verification import ONNXWeSpeakerPretrainedSpeakerEmbedding

from asrd_protocol.messages import Speakers
from asrd_worker.engines.base import LoadError
from asrd_worker.engines.loading import first_line
from asrd_worker.models.resolve import cached
from asrd_worker.recording import SAMPLE_RATE, Samples
from asrd_worker.speakers.aside import Report
from asrd_worker.speakers.found import Found, Spoken
from asrd_worker.speakers.pipeline import CONFIG, MISLEADING

_SHARES = {"segmentation": (0.0, 0.25), "embeddings": (0.25, 0.95)}
"""From where to where each of the long steps is, as a share of all the time that it takes on a CPU."""

_SILENT_S, _SILENT_SHARE = 60.0, 0.05
"""Clustering may take so long, and so much of the length of the audio, in seconds."""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What is set at a pipeline; None is what it brings."""

    segmentation_batch_size: int | None = None
    embedding_batch_size: int | None = None
    segmentation_step: float | None = None
    threshold: float | None = None


def from_folder(path: Path) -> SpeakerDiarization:
    """The pipeline of a folder.

    Raises:
        LoadError: it is none that tells speakers apart on this machine.
    """
    _check_config(path)
    return _checked(Pipeline.from_pretrained(str(path), token=_token()), str(path))


def from_hub(name: str, revision: str | None, cache: str | None, *, offline: bool) -> SpeakerDiarization:
    """The pipeline of a repository, with ``$HF_TOKEN``; offline from the cache of the hub's client.

    Raises:
        LoadError: it cannot be had or is damaged, or it is none that tells speakers apart on this machine.
    """
    cached(name, revision, cache)
    try:
        found = Pipeline.from_pretrained(name, revision=revision, cache_dir=cache, token=_token())
    except Exception as error:  # the client raises its own and its transport's errors
        if said := _unavailable(error, name, offline=offline):
            raise LoadError(said) from None
        raise
    return _checked(found, name)


def _token() -> str | bool:
    """Only what the environment of the worker gives; False: nor the one in a file of the client."""
    return os.environ.get("HF_TOKEN") or False


def _check_config(path: Path) -> None:
    """A folder whose pipeline is a call of pyannoteAI's service would send audio away behind the pool's back.

    Raises:
        LoadError: it is one, cannot be read, or has an embedding in a place where the library misreads it.
    """
    try:
        config = yaml.safe_load((path / CONFIG).read_text())
        name = str(config["pipeline"]["name"])
        embedding = (config["pipeline"].get("params") or {}).get("embedding")
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as error:
        raise LoadError(f"{path / CONFIG} is no configuration of a pipeline ({type(error).__name__})") from None
    if "pyannoteai" in name.lower():
        raise LoadError(f"{path} is pyannoteAI's service; set model = 'pyannoteai:precision-2' if that is meant")
    if isinstance(embedding, str) and embedding.endswith(".onnx") and _misread(embedding):
        without = ", ".join(MISLEADING)
        raise LoadError(f"pyannote.audio misreads {embedding}: its path needs 'wespeaker', and none of {without}")


def _misread(embedding: str) -> bool:
    return "wespeaker" not in embedding or any(word in embedding for word in MISLEADING)


def _checked(found: object, name: str) -> SpeakerDiarization:
    if not isinstance(found, SpeakerDiarization):
        raise LoadError(f"{name} is no pipeline that tells speakers apart, but {type(found).__name__}")
    return found


def _unavailable(error: Exception, name: str, *, offline: bool) -> str:
    """Why the hub does not give it, and what to do; empty if that is not what the error is about."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if offline and kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}:
        return (
            f"the pipeline {name!r} is not in the cache of the hub's client; let the pool have offline = false once, "
            "with HF_TOKEN in its env, or use model = 'diarize', which needs no token"
        )
    if "GatedRepoError" in kinds or "RepositoryNotFoundError" in kinds or "401" in str(error):
        given = "HF_TOKEN does not open it" if _token() else "there is no HF_TOKEN in the pool's env"
        return (
            f"the hub does not give {name!r}: {given}; accept its terms at https://hf.co/{name} and set HF_TOKEN, or "
            "use model = 'diarize', which needs no token"
        )
    if kinds & {"HfHubHTTPError", "LocalEntryNotFoundError", "ConnectError", "ConnectionError", "TimeoutException"}:
        return f"the pipeline {name!r} could not be downloaded ({first_line(error)})"
    return ""


class Library:
    """A loaded pipeline on its device."""

    def __init__(self, pipeline: SpeakerDiarization, device: str, threads: int, tuning: Tuning) -> None:
        """Adjust it and put it on the device.

        Raises:
            LoadError: a setting is out of its range.
            RuntimeError: there is no such device, or no memory on it.
        """
        torch.set_num_threads(threads)
        self._pipeline = cast(Any, pipeline)
        self._tune(tuning)
        self._pipeline.to(torch.device(device))
        self._spread(threads)

    def listen(self, samples: Samples, wanted: Speakers, report: Report) -> Found:
        """Who speaks when. Reports seconds of audio, out of the share of all steps that is done."""
        duration = samples.size / SAMPLE_RATE
        output = self._pipeline(
            {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE},
            num_speakers=wanted.num_speakers,
            min_speakers=wanted.min_speakers,
            max_speakers=wanted.max_speakers,
            hook=_Hook(report, duration),
        )
        annotation = getattr(output, "speaker_diarization", output)
        spoken = [Spoken(turn.start, turn.end, str(who)) for turn, _, who in annotation.itertracks(yield_label=True)]
        vectors = getattr(output, "speaker_embeddings", None)
        labels = [str(label) for label in annotation.labels()]
        return Found(spoken, {} if vectors is None else dict(zip(labels, vectors, strict=False)))

    def _tune(self, tuning: Tuning) -> None:
        pipeline = self._pipeline
        if tuning.segmentation_batch_size:
            pipeline.segmentation_batch_size = tuning.segmentation_batch_size
        if tuning.embedding_batch_size:
            pipeline.embedding_batch_size = tuning.embedding_batch_size
        if tuning.segmentation_step:
            inference = pipeline._segmentation
            inference.step = tuning.segmentation_step * inference.duration
        if tuning.threshold is not None:
            parameters = pipeline.parameters(instantiated=True)
            if "threshold" not in parameters.get("clustering", {}):
                raise LoadError("the pipeline clusters without a threshold: leave out the setting 'threshold'")
            parameters["clustering"]["threshold"] = tuning.threshold
            pipeline.instantiate(parameters)

    def _spread(self, threads: int) -> None:
        """The library gives an ONNX file one thread, whatever torch may use: let it have as many."""
        embedding = getattr(self._pipeline, "_embedding", None)
        if not isinstance(embedding, ONNXWeSpeakerPretrainedSpeakerEmbedding):
            return
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        here = embedding.session_.get_providers()
        embedding.session_ = onnxruntime.InferenceSession(embedding.embedding, options, providers=here)


class _Hook:
    """What pyannote.audio calls after each batch and each step."""

    def __init__(self, report: Report, duration: float) -> None:
        self._report = report
        self._duration = duration
        self._done = 0.0

    def __call__(
        self,
        step: str,
        artifact: object,
        file: Mapping[str, object] | None = None,
        total: int | None = None,
        completed: int | None = None,
    ) -> None:
        if completed is None or not total:
            # a step has ended: until the next batch it computes without a word
            self._report.silent(self._done, _SILENT_S + _SILENT_SHARE * self._duration)
            return
        first, last = _SHARES.get(step, (0.0, 0.0))
        share = first + (last - first) * min(1.0, float(completed) / total)  # numpy's numbers come, too
        self._done = max(self._done, round(share * self._duration, 3))
        self._report(self._done)


def pick(device: str, index: int) -> str:
    """torch's name of the device; ``auto`` is a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"cuda:{index}" if device == "cuda" else device
