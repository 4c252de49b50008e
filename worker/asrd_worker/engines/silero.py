"""Voice activity detection by silero for whisperX, with the weights that faster-whisper brings.

whisperX's own one downloads code and weights from a hub when it is loaded.
"""

from typing import Any

from faster_whisper.vad import VadOptions, get_speech_timestamps
from whisperx.diarize import Segment
from whisperx.vads.vad import Vad

from asrd_worker.pcm import SAMPLE_RATE, Samples

_MIN_SPEECH_MS = 250
_MIN_SILENCE_MS = 100
_PAD_MS = 30
"""What silero's own code does when it is asked for nothing else, as whisperX asks it."""


class Silero(Vad):  # type: ignore[misc]
    """To whisperX it looks like its own detectors."""

    def __init__(self, onset: float = 0.5) -> None:
        super().__init__(onset)

    def __call__(self, audio: dict[str, Any]) -> list[Segment]:
        """Where somebody speaks: ``audio`` has the ``waveform``, ``onset``, ``offset`` and ``chunk_size``."""
        options = VadOptions(
            threshold=audio["onset"],
            neg_threshold=audio["offset"],
            max_speech_duration_s=audio["chunk_size"],
            min_speech_duration_ms=_MIN_SPEECH_MS,
            min_silence_duration_ms=_MIN_SILENCE_MS,
            speech_pad_ms=_PAD_MS,
        )
        found = get_speech_timestamps(audio["waveform"], options, SAMPLE_RATE)
        return [Segment(part["start"] / SAMPLE_RATE, part["end"] / SAMPLE_RATE, "UNKNOWN") for part in found]

    @staticmethod
    def preprocess_audio(audio: Samples) -> Samples:
        """The samples as they are: of shape (n,)."""
        return audio

    @staticmethod
    def merge_chunks(
        segments: list[Segment], chunk_size: float, onset: float = 0.5, offset: float | None = None
    ) -> list[dict[str, Any]]:
        """Neighbours joined to stretches of at most ``chunk_size`` seconds."""
        merged: list[dict[str, Any]] = Vad.merge_chunks(segments, chunk_size, onset, offset) if segments else []
        return merged
