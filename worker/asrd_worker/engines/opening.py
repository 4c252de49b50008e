"""The part of a long recording that tells its language."""

import math

import msgspec
import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from asrd_worker.engines.whisper_options import WhisperOptions
from asrd_worker.pcm import SAMPLE_RATE, Samples
from asrd_worker.recording import Recording

REACH_S = 600
"""Where speech is looked for."""

PIECE_S = 60
"""At a time."""


def opening_of(recording: Recording, options: WhisperOptions) -> Samples:
    """What tells the language of a recording: its first half minute, of speech if that is to be found at all; nothing,
    if there is none in the first ten minutes."""
    wanted = round(30.0 * options.language_detection_segments * SAMPLE_RATE)
    if not options.vad_filter:
        return recording.samples(0.0, wanted / SAMPLE_RATE)
    speech: list[Samples] = []
    for start in range(0, min(REACH_S, math.ceil(recording.duration)), PIECE_S):
        piece = recording.samples(start, start + PIECE_S)
        found = get_speech_timestamps(piece, vad_options(options))
        speech += [piece[span["start"] : span["end"]] for span in found]
        if sum(part.size for part in speech) >= wanted:
            break
    return np.concatenate(speech)[:wanted] if speech else np.zeros(0, np.float32)


def vad_options(options: WhisperOptions) -> VadOptions:
    """As the library has them."""
    return VadOptions(**msgspec.structs.asdict(options.vad_parameters))
