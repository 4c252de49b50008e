"""Where a long recording is cut, so that its parts can be transcribed side by side.

The parts are equally long but for this: each cut moves from its ideal place, by REACH_S at most, to the middle of the
longest silence there. The longest, since it most likely parts sentences, and the text before it helps the text after it
the least; its middle, since that is farthest from both words, and whoever says where speech ends is wrong by a tenth of
a second or two. Silence is what the voice activity detector does not take for speech: music counts as silence, and is
cut in the middle of what is in reach. It listens only where a cut may lie, which is a tenth of an hour and less.

Where speech does not pause, or no detector is installed, the cut lies in the quietest tenth of a second in reach: most
often between two words, but nobody can be sure of it, and a word may be lost or heard twice.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from asrd_worker.recording import SAMPLE_RATE, Recording, Samples

REACH_S = 15.0
"""How far from its ideal place a cut may lie at most."""

GRID_S = 0.01
"""Cuts lie on multiples of it."""

SILENCE_S = 0.3
"""A silence that is shorter is none: the detector may be wrong by half of it at either end."""

QUIET_S = 0.1
"""The length of the quietest place, where there is no silence."""

LEAD_S = 0.5
"""What the detector hears before the place in question: it starts deaf."""

_GRID = round(GRID_S * SAMPLE_RATE)

Span = tuple[int, int]
"""First sample, and the one after the last."""


class Hear(Protocol):
    """Finds the speech in samples of shape (n,)."""

    def __call__(self, samples: Samples, /) -> list[Span]: ...


def cut(
    recording: Recording, chunk_s: float, ways: int, moved: Callable[[float], None] | None = None
) -> list[tuple[float, float]]:
    """The parts of a recording, each as its start and end in seconds: they follow each other from 0 to its end.

    They are about ``chunk_s`` seconds long, at least ``chunk_s`` / 4 where the recording is, and at most ``chunk_s`` +
    2 REACH_S. Their number is a multiple of ``ways``, for so many workers to finish together; where they would get
    too short, it is less than ``ways``. ``moved`` is called after each cut with its seconds.

    Raises:
        OSError: the recording cannot be read.
    """
    spacing = recording.duration / (count := parts(recording.duration, chunk_s, ways))
    reach = min(REACH_S, chunk_s / 4, spacing / 4)
    hear = _detector() if count > 1 else None
    places = [0.0]
    for number in range(1, count):
        places.append(_place(recording, number * spacing, reach, hear))
        if moved:
            moved(places[-1])
    return list(zip(places, [*places[1:], recording.duration], strict=True))


def parts(duration: float, chunk_s: float, ways: int) -> int:
    """Into how many parts a recording of so many seconds is cut."""
    # Two cuts may move towards each other, and what is left between them is to be a quarter of a chunk.
    least_s = min(chunk_s / 2, chunk_s / 4 + 2 * REACH_S)
    wanted = ways * math.ceil(duration / chunk_s / ways)
    return min(max(1, wanted), max(1, math.floor(duration / least_s)))


def _place(recording: Recording, ideal: float, reach: float, hear: Hear | None) -> float:
    """The best place for a cut within ``reach`` seconds of the ideal one."""
    first, last = math.ceil((ideal - reach) / GRID_S), math.floor((ideal + reach) / GRID_S)
    if first >= last:
        return round(round(ideal / GRID_S) * GRID_S, 2)
    lead = min(first, round(LEAD_S / GRID_S)) * _GRID
    samples = recording.samples(first * GRID_S - lead / SAMPLE_RATE, last * GRID_S)
    middle = (ideal / GRID_S - first) * _GRID
    silences = _silences(hear(samples), lead, samples.size) if hear else []
    if silences:
        start, end = max(silences, key=lambda silence: _merit(silence, middle))
        at = (start + end) / 2
    else:
        at = _quietest(samples[lead:], middle)
    return round((first + min(round(at / _GRID), last - first)) * GRID_S, 2)


def _merit(silence: Span, middle: float) -> tuple[int, float]:
    """The longer one; of equally long ones the nearer one."""
    start, end = silence
    return end - start, -abs((start + end) / 2 - middle)


def _silences(speech: list[Span], lead: int, size: int) -> list[Span]:
    """What lies between, before and after speech, counted from ``lead`` on, and is no shorter than SILENCE_S."""
    least = SILENCE_S * SAMPLE_RATE
    starts = [lead, *(max(end, lead) for _, end in speech)]
    ends = [*(max(start, lead) for start, _ in speech), size]
    return [(start - lead, end - lead) for start, end in zip(starts, ends, strict=True) if end - start >= least]


def _quietest(samples: Samples, middle: float) -> float:
    """The middle of the QUIET_S with the least power, on the grid; of equally quiet ones the nearest to ``middle``."""
    blocks = samples[: samples.size // _GRID * _GRID].reshape(-1, _GRID)
    power = np.square(blocks, dtype=np.float64).sum(axis=1)
    width = min(round(QUIET_S / GRID_S), power.size)
    sums = np.convolve(power, np.ones(width), "valid")
    centres = (np.arange(sums.size) + width / 2) * _GRID
    return float(centres[np.lexsort((np.abs(centres - middle), np.round(sums, 9)))[0]])


def _detector() -> Hear | None:
    """The voice activity detector that faster-whisper ships, where that is installed and can run."""
    try:
        from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model

        get_vad_model()
    except (ImportError, RuntimeError):  # a RuntimeError is what it makes of a missing onnxruntime
        return None
    options = VadOptions(
        threshold=0.5,
        neg_threshold=0.35,
        min_speech_duration_ms=0,
        max_speech_duration_s=math.inf,
        min_silence_duration_ms=100,
        speech_pad_ms=0,
    )

    def hear(samples: Samples, /) -> list[Span]:
        found = get_speech_timestamps(samples, options, SAMPLE_RATE)
        return [(min(span["start"], samples.size), min(span["end"], samples.size)) for span in found]

    return hear
