"""Decodes media files for a test, and listens to what came out."""

import numpy as np
import pytest

from asrd_protocol.faults import Blame, Fault
from asrd_protocol.messages import MediaFile
from asrd_worker.audio import SAMPLE_RATE, AudioFault, Decoded, decode

FOUR_HOURS = 14_400.0


def decoded(body: bytes | memoryview, max_audio_s: float = FOUR_HOURS) -> Decoded:
    """What the media file gives, checked for what holds of all that is decoded."""
    result = decode(MediaFile(name="talk.bin"), body, max_audio_s)
    assert result.samples.dtype == np.float32
    assert result.samples.ndim == 1
    assert result.duration == result.samples.size / SAMPLE_RATE
    assert np.abs(result.samples).max() <= 1
    return result


def fault(body: bytes, max_audio_s: float = FOUR_HOURS) -> Fault:
    """Why the media file gives nothing."""
    with pytest.raises(AudioFault) as caught:
        decode(MediaFile(name="talk.bin"), body, max_audio_s)
    assert caught.value.fault.blame is Blame.CALLER
    assert caught.value.fault.message.startswith("'talk.bin' ")
    return caught.value.fault


def pitch(result: Decoded) -> float:
    """The strongest frequency, Hz."""
    strength = np.abs(np.fft.rfft(result.samples))
    return float(strength.argmax() / result.duration)
