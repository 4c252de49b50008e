"""The spectrogram that CAM++ was trained on: Kaldi's ``fbank`` with 80 bins and no dither, less its mean over time.

Every frame is computed from its own 25 ms alone, so any stretch of audio can be computed by itself.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from asrd_worker.recording import SAMPLE_RATE, Samples

Features = npt.NDArray[np.float32]

BINS = 80
FRAME = SAMPLE_RATE * 25 // 1000
HOP = SAMPLE_RATE // 100
"""Samples of a frame, and from one to the next."""

_FFT = 512
_LOWEST_HZ = 20.0
_EMPHASIS = np.float32(0.97)
_FLOOR = np.finfo(np.float32).eps


def fbank(clips: Samples) -> Features:
    """Log energies of clips of one length: (clips, samples) in -1..1 to (clips, frames, 80).

    There are only whole frames; the clips must have one at least.
    """
    frames = np.lib.stride_tricks.sliding_window_view(clips, FRAME, axis=-1)[:, ::HOP]
    frames = frames - frames.mean(axis=-1, keepdims=True)
    before = np.concatenate([frames[..., :1], frames[..., :-1]], axis=-1)
    shaped = (frames - _EMPHASIS * before) * _window()
    power = np.square(np.abs(np.fft.rfft(shaped, _FFT))).astype(np.float32)
    energies: Features = np.log(np.maximum(power @ _filters(), _FLOOR))
    return energies


def centred(features: Features) -> Features:
    """Each bin less its mean over the frames of its clip: what a microphone adds is the same all the time."""
    less: Features = features - features.mean(axis=-2, keepdims=True)
    return less


@cache
def _window() -> Features:
    """Povey's: like Hann's, with a slower fall."""
    return np.power(np.hanning(FRAME), 0.85).astype(np.float32)


@cache
def _filters() -> Features:
    """Triangles of equal width on the mel scale, from 20 Hz to half the sample rate: (FFT bins, 80)."""
    edges = np.linspace(_mel(np.array(_LOWEST_HZ)), _mel(np.array(SAMPLE_RATE / 2)), BINS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    heard = _mel(np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT)[:, None]
    rising, falling = (heard - left) / (centre - left), (right - heard) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[-1] = 0.0  # Kaldi leaves out the very last bin
    return filters.astype(np.float32)


def _mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1127.0 * np.log1p(hertz / 700.0)
