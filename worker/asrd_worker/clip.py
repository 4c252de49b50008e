"""The built-in clip: three seconds of speech that every worker transcribes to prove itself."""

import wave
from pathlib import Path

import numpy as np

from asrd_worker.pcm import Samples

_FILE = Path(__file__).parent / "data" / "canary.wav"
"""From LibriVox, in the public domain; 16 kHz, mono, 16 bits."""


def samples() -> Samples:
    """The clip as an engine gets audio: mono at 16 kHz, in -1..1, of shape (n,)."""
    with wave.open(str(_FILE)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.dtype("<i2"))
    return pcm.astype(np.float32) / np.float32(32_768)
