"""pyannote.audio 4: who speaks when, overlaps included, by networks on a CPU or a GPU, or by pyannoteAI's service."""

import os
from typing import Annotated, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Speakers
from asrd_protocol.model import Diarization, Work
from asrd_worker import clip
from asrd_worker.engines.base import Diarizer, EngineFault, Listening, LoadError, Voices
from asrd_worker.engines.loading import first_line, load_error
from asrd_worker.engines.quiet import hushed, prepare
from asrd_worker.failures import of_gpu
from asrd_worker.recording import SAMPLE_RATE, Decoded, Samples
from asrd_worker.speakers import cloud
from asrd_worker.speakers.aside import Report, aside
from asrd_worker.speakers.found import Found, diarization
from asrd_worker.speakers.pipeline import Cloud, Folder, Hub, Weights, assembled, source

WINDOW_S = 10.0
"""Of the audio that the segmentation looks at, at a time."""

_INSTALL = "`asrd engines install diarize` makes an environment that has it"


class PyannoteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool may set; None is what the pipeline brings."""

    model: str = "diarize"
    device: str = "cpu"
    device_index: int = 0
    threads: Annotated[int, Meta(ge=0)] = 1
    offline: bool = True
    segmentation_batch_size: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Windows at once; more are for a GPU."""
    embedding_batch_size: Annotated[int, Meta(ge=1, le=1024)] | None = None
    segmentation_step: Annotated[float, Meta(ge=0.05, le=1)] | None = None
    """From one window to the next, as a share of a window."""
    threshold: Annotated[float, Meta(gt=0, le=2)] | None = None
    """How far apart voices may be and still be taken for one."""
    revision: str | None = None
    """Commit of the hub's repository."""
    download_root: str | None = None
    """Cache directory of the hub's client."""
    api_url: str = cloud.URL
    """Where pyannoteAI's service is."""


class _Listener(Protocol):
    def listen(self, samples: Samples, wanted: Speakers, report: Report) -> Found: ...


class Pyannote(Diarizer):
    """A pipeline of pyannote.audio."""

    Settings = PyannoteSettings

    def load(self) -> None:
        """Load the pipeline into memory or onto the device; for the service, ask whether the key is good."""
        found = source(self.settings.model)
        self._clip = clip.samples()
        self._service: cloud.Service | None = None
        self._listener: _Listener
        match found:
            case Cloud(model):
                self._listener = self._service = self._connected(model)
            case Weights() | Folder() | Hub():
                self._listener = self._local(found)

    def warm_up(self) -> None:
        """Listen to the built-in clip: some libraries are missed at the first inference only."""
        try:
            self.canary()
        except RuntimeError as error:
            raise _not_loaded(error, self.settings) from None

    def canary(self) -> str:
        """Who speaks in the built-in clip, to half a second. A service is paid by the second: it is asked whether it
        still takes the key, and that is all."""
        if self._service is not None:
            self._service.check()
            return "the key is good"
        found = self._listener.listen(self._clip, Speakers(), Report())
        return _said(diarization(found, self._clip.size / SAMPLE_RATE, embeddings=False))

    def diarize(self, heard: Decoded, options: Speakers) -> Listening:
        """Find the turns. Yields seconds of audio, by the share of the work that is done."""
        if said := options.contradiction():
            raise EngineFault(Fault.of(Code.BAD_OPTION, said))
        found = yield from aside(lambda report: self._listener.listen(heard.samples, options, report))
        return Voices(
            diarization=diarization(found, heard.duration, embeddings=options.embeddings),
            work=Work(
                audio_s=round(heard.duration, 3), windows=int(np.ceil(heard.duration / WINDOW_S)), kind="diarize"
            ),
        )

    def _connected(self, model: str) -> cloud.Service:
        if self.settings.offline:
            raise LoadError(f"{self.settings.model} sends audio to pyannoteAI's service; that takes offline = false")
        service = cloud.Service(model, os.environ.get(cloud.KEY, ""), self.settings.api_url)
        service.check()
        return service

    def _local(self, found: Weights | Folder | Hub) -> _Listener:
        settings = self.settings
        prepare(offline=settings.offline)
        try:
            with hushed():
                from asrd_worker.speakers import pyannote_audio as library
        except (ImportError, OSError) as error:  # a library of another CUDA is an OSError
            raise LoadError(f"the engine 'diarize' cannot be imported ({error}); {_INSTALL}") from None
        tuning = msgspec.convert(settings, library.Tuning, from_attributes=True)
        try:
            with hushed():
                device = library.pick(settings.device, settings.device_index)
                match found:
                    case Weights(path):
                        with assembled(path) as folder:
                            return library.Library(library.from_folder(folder), device, settings.threads or 1, tuning)
                    case Folder(path):
                        pipeline = library.from_folder(path)
                    case Hub(name):
                        pipeline = library.from_hub(
                            name, settings.revision, settings.download_root, offline=settings.offline
                        )
                return library.Library(pipeline, device, settings.threads or 1, tuning)
        except LoadError:
            raise
        except Exception as error:  # of torch, of pickle, of whatever a pipeline is made of
            raise _not_loaded(error, settings) from None


def _said(found: Diarization) -> str:
    """In words that small differences of rounding do not change."""
    spoken: dict[str, float] = {}
    for turn in found.turns:
        spoken[turn.speaker] = spoken.get(turn.speaker, 0.0) + turn.end - turn.start
    return ", ".join(f"{who} speaks {round(2 * seconds) / 2:g} s" for who, seconds in spoken.items()) or "nobody speaks"


def _not_loaded(error: Exception, settings: PyannoteSettings) -> Exception:
    """With what can be done about it."""
    hint = "; use device = 'cpu'" if settings.device != "cpu" and of_gpu(first_line(error)) else ""
    what = f"{settings.model} on {settings.device}"
    return load_error(error, what, settings.device, settings.device_index, hint=hint)
