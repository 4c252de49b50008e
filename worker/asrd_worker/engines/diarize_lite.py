"""diarize-lite: speakers told apart without torch, by silero and CAM++ in onnxruntime."""

from collections.abc import Generator
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Speakers
from asrd_protocol.model import Diarization, Turn, Work
from asrd_worker import clip
from asrd_worker.engines.base import Diarizer, EngineFault, Listening, Voices
from asrd_worker.engines.loading import load_error
from asrd_worker.models import weights
from asrd_worker.recording import SAMPLE_RATE, Decoded, Samples
from asrd_worker.speakers.clusters import Bounds
from asrd_worker.speakers.embedding import embedding_model
from asrd_worker.speakers.lite import Heard, listen
from asrd_worker.speakers.voices import Ear

KIND = "diarize-lite"

_SHARPER = 1.6
"""How much faster the built-in clip is played to give a second speaker."""


class LiteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool may set."""

    model: str = "diarize"
    """Weights that were pulled."""
    device: Literal["cpu"] = "cpu"
    threads: Annotated[int, Meta(ge=1)] = 1
    threshold: Annotated[float, Meta(ge=0, le=1)] = Bounds().threshold
    """Cosine from which two voices are one. Lower finds fewer speakers."""


class DiarizeLite(Diarizer):
    """Voice activity, one vector for each second of it, and clusters of those."""

    Settings = LiteSettings

    def load(self) -> None:
        """Load the weights; the first time they are converted, which takes a second."""
        model = embedding_model(weights(self.settings.model))
        try:
            self._ear = Ear(model, self.settings.threads)
        except Exception as error:  # onnxruntime has its own, without a common base
            raise load_error(error, str(model), self.settings.device) from None
        self._clip = _duet(clip.samples())

    def warm_up(self) -> None:
        """Tell the speakers of the built-in clip apart."""
        self.canary()

    def canary(self) -> str:
        """What is found in the built-in clip, said by its speaker and by one with a higher voice."""
        heard = _finished(listen(self._clip, self._ear, Bounds(threshold=self.settings.threshold)))
        return f"{len(heard.voices)} speakers, {len(heard.turns)} turns"

    def diarize(self, heard: Decoded, options: Speakers) -> Listening:
        """Find the turns; they do not overlap."""
        listening = listen(heard.samples, self._ear, bounds(options, self.settings.threshold))
        while True:
            try:
                share = next(listening)
            except StopIteration as end:
                return _voices(end.value, heard.duration, options.embeddings)
            yield share * heard.duration


def bounds(options: Speakers, threshold: float) -> Bounds:
    """How many speakers a job allows.

    Raises:
        EngineFault: no number of speakers is what it asks for.
    """
    if said := options.contradiction():
        raise EngineFault(Fault.of(Code.BAD_OPTION, said))
    low = options.num_speakers or options.min_speakers or 1
    high = options.num_speakers or options.max_speakers or max(low, Bounds().high)
    return Bounds(low=low, high=high, threshold=threshold)


def _voices(heard: Heard, duration: float, embeddings: bool) -> Voices:
    turns = []
    for start, end, speaker in heard.turns:
        until = min(round(end / SAMPLE_RATE, 3), duration)
        turns.append(Turn(start=round(start / SAMPLE_RATE, 3), end=until, speaker=_name(speaker)))
    vectors = {_name(number): voice.tolist() for number, voice in enumerate(heard.voices)} if embeddings else {}
    return Voices(
        diarization=Diarization(turns=turns, embeddings=vectors),
        work=Work(audio_s=round(duration, 3), windows=heard.windows, segments=len(turns), kind=KIND),
    )


def _name(speaker: int) -> str:
    return f"SPEAKER_{speaker:02}"


def _duet(voice: Samples) -> Samples:
    """The clip, and the clip again by a speaker with a shorter throat."""
    places = np.arange(0, voice.size - 1, _SHARPER)
    return np.concatenate([voice, np.interp(places, np.arange(voice.size), voice)]).astype(np.float32)


def _finished(work: Generator[float, None, Heard]) -> Heard:
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: Heard = end.value
            return found
