"""The spectrogram, compared with what torchaudio's ``compliance.kaldi.fbank`` has said once."""

import numpy as np
import numpy.typing as npt
import pytest

from asrd_worker.speakers.fbank import BINS, centred, fbank

KALDI = {
    (0, 0): -5.5677,
    (0, 10): -2.6922,
    (40, 5): -15.0629,
    (40, 33): -9.5911,
    (97, 79): -15.9424,
    (97, 20): -15.9424,
}
"""Log energies by frame and bin; without dither, of samples in -1..1."""


def sweep() -> npt.NDArray[np.float32]:
    """A second of a rising tone, a steady one and an offset."""
    t = np.arange(16_000) / 16_000
    rising, steady = np.sin(2 * np.pi * (200 + 900 * t) * t), np.sin(2 * np.pi * 3100 * t)
    return (0.4 * rising + 0.1 * steady + 0.05).astype(np.float32)


def test_it_is_kaldis() -> None:
    found = fbank(sweep()[None])[0]

    assert (found.shape, found.dtype) == ((98, BINS), np.float32)
    assert {place: float(found[place]) for place in KALDI} == pytest.approx(KALDI, abs=2e-3)


def test_each_clip_and_each_frame_is_for_itself() -> None:
    clip = sweep()
    both = fbank(np.stack([clip, clip[::-1]]))

    assert both[0].tolist() == fbank(clip[None])[0].tolist()
    assert both[1].tolist() != both[0].tolist()
    assert fbank(clip[None, 1600:])[0] == pytest.approx(both[0, 10:], abs=1e-3)
    assert fbank(clip[None, :400]).shape == (1, 1, BINS)
    assert fbank(clip[None, :559]).shape == (1, 1, BINS)
    assert fbank(clip[None, :560]).shape == (1, 2, BINS)


def test_silence_is_a_number() -> None:
    assert np.isfinite(fbank(np.zeros((1, 800), np.float32))).all()


def test_the_mean_of_each_clip_is_taken_off() -> None:
    features = np.random.default_rng(0).standard_normal((2, 5, BINS)).astype(np.float32)
    found = centred(features + np.arange(BINS, dtype=np.float32))

    assert found.mean(axis=1) == pytest.approx(0, abs=1e-5)
    assert found == pytest.approx(centred(features), abs=1e-4)
