"""Where somebody speaks: silero's probabilities, a minute at a time, and what becomes of them."""

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from asrd_worker.recording import SAMPLE_RATE, Samples

FRAME = 512
"""Samples that one probability is about."""

BLOCK = 60 * SAMPLE_RATE // FRAME
"""Frames that are listened to at a time: memory does not grow with the audio."""

LEAD = 2 * SAMPLE_RATE // FRAME
"""Frames before a block that are heard first, because the network remembers what it has heard."""

ON, OFF = 0.4, 0.25
"""Speech begins at the one probability and ends below the other."""

MIN_SILENCE_S = 0.3
MIN_SPEECH_S = 0.2
"""What is shorter is none."""

MARGIN_S = 0.05
"""Speech is taken to begin that much earlier and to end that much later."""

Probabilities = npt.NDArray[np.float32]


class Stretch(NamedTuple):
    """From one sample up to another."""

    start: int
    end: int


def stretches(samples: Samples) -> Generator[float, None, list[Stretch]]:
    """Stretches of speech in their order, apart from each other. Yields the share of the audio that is done."""
    model = get_vad_model()
    heard = []
    frames = -(-samples.size // FRAME)
    for first in range(0, frames, BLOCK):
        lead = min(first, LEAD)
        block = samples[(first - lead) * FRAME : (first + BLOCK) * FRAME]
        whole = np.pad(block, (0, -block.size % FRAME))
        heard.append(np.asarray(model(whole), np.float32).reshape(-1)[lead:])
        yield min(1.0, (first + BLOCK) / frames)
    return speech(np.concatenate(heard), samples.size)


def speech(probabilities: Probabilities, size: int) -> list[Stretch]:
    """Stretches of speech, from a probability for each frame of audio that has ``size`` samples."""
    silence, shortest, margin = (int(s * SAMPLE_RATE) for s in (MIN_SILENCE_S, MIN_SPEECH_S, MARGIN_S))
    joined: list[Stretch] = []
    for stretch in _loud(probabilities):
        if joined and stretch.start - joined[-1].end < silence:
            joined[-1] = Stretch(joined[-1].start, stretch.end)
        else:
            joined.append(stretch)
    long = [stretch for stretch in joined if stretch.end - stretch.start >= shortest]
    return [Stretch(max(0, start - margin), min(size, end + margin)) for start, end in long]


def _loud(probabilities: Probabilities) -> Iterator[Stretch]:
    start = None
    for number, probability in enumerate(probabilities.tolist()):
        if start is None and probability >= ON:
            start = number
        elif start is not None and probability < OFF:
            yield Stretch(start * FRAME, number * FRAME)
            start = None
    if start is not None:
        yield Stretch(start * FRAME, len(probabilities) * FRAME)
