"""Raw samples in, 16 kHz mono float32 out."""

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_protocol.faults import Blame, Code, Fault
from asrd_protocol.messages import MediaFile, Pcm
from asrd_worker import pcm
from asrd_worker.audio import AudioFault, Decoded, decode
from asrd_worker.recording import Sink
from support.media import riff, tone


def floats(samples: npt.ArrayLike, rate: int = 16_000, max_audio_s: float = 60) -> Decoded:
    return decode(Pcm(dtype="float32", rate=rate), np.asarray(samples, "<f4").tobytes(), max_audio_s)


def ints(samples: npt.ArrayLike, rate: int = 16_000, max_audio_s: float = 60) -> Decoded:
    return decode(Pcm(dtype="int16", rate=rate), np.asarray(samples, "<i2").tobytes(), max_audio_s)


def fault(audio: Pcm, body: bytes, max_audio_s: float = 60) -> Fault:
    with pytest.raises(AudioFault) as caught:
        decode(audio, body, max_audio_s)
    assert caught.value.fault.blame is Blame.CALLER
    assert caught.value.fault.message.startswith("the PCM audio ")
    return caught.value.fault


@given(st.lists(st.floats(-1, 1, width=32), min_size=1))
def test_floats_come_through_unchanged(samples: list[float]) -> None:
    result = floats(samples)
    assert result.samples.tolist() == samples
    assert result.duration == len(samples) / 16_000
    assert result.warnings == []


@given(st.lists(st.integers(-32_768, 32_767), min_size=1))
def test_integers_become_fractions_of_full_scale(samples: list[int]) -> None:
    result = ints(samples)
    assert result.samples.dtype == np.float32
    assert result.samples.tolist() == [sample / 32_768 for sample in samples]


def test_the_samples_are_no_view_of_the_body() -> None:
    body = bytearray(np.full(100, 0.5, "<f4").tobytes())
    result = decode(Pcm(), memoryview(body), 60)
    body[:] = bytes(len(body))
    assert result.samples.min() == 0.5
    assert result.samples.flags.writeable


@pytest.mark.parametrize("rate", [4_000, 8_000, 44_100, 48_000, 384_000])
def test_other_rates_are_resampled_as_a_wav_would_be(rate: int) -> None:
    samples = tone(5, rate)
    result = ints(samples, rate)
    assert result.duration == pytest.approx(5, abs=0.01)
    wav = decode(MediaFile(), riff(samples.tobytes(), rate=rate), 60)
    assert np.array_equal(result.samples, wav.samples)
    near = floats(samples.astype(np.float32) / 32_768, rate)
    assert near.samples.size == result.samples.size
    assert np.abs(near.samples - result.samples).max() < 0.001


def test_overshoot_is_clipped_with_a_warning() -> None:
    result = floats([0.5, 1.25, -3.0, 10.0, 1.0])
    assert result.samples.tolist() == [0.5, 1.0, -1.0, 1.0, 1.0]
    assert result.warnings == ["samples beyond -1..1, as large as 10, were clipped"]


@pytest.mark.parametrize("peak", [10.5, -10.5, 32_767.0, 1e30])
def test_samples_that_were_never_scaled_are_refused(peak: float) -> None:
    refused = fault(Pcm(), np.array([0, peak, 0.1], "<f4").tobytes())
    assert refused.code is Code.BAD_AUDIO
    assert "int16" in refused.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    refused = fault(Pcm(rate=48_000), np.array([0.1, value, 0.1], "<f4").tobytes())
    assert refused.code is Code.BAD_AUDIO
    assert "not finite" in refused.message


@pytest.mark.parametrize(("audio", "size"), [(Pcm(), 4_001), (Pcm(), 4_002), (Pcm(dtype="int16"), 4_001), (Pcm(), 1)])
def test_half_a_sample_is_refused(audio: Pcm, size: int) -> None:
    refused = fault(audio, bytes(size))
    assert refused.code is Code.BAD_AUDIO
    assert f"{size} bytes" in refused.message
    assert audio.dtype in refused.message


def test_nothing_is_no_audio() -> None:
    assert fault(Pcm(), b"").code is Code.NO_AUDIO
    assert fault(Pcm(rate=384_000), bytes(4)).code is Code.NO_AUDIO


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_as_long_as_allowed_is_not_too_long(rate: int) -> None:
    assert ints(np.zeros(2 * rate), rate, max_audio_s=2).duration == pytest.approx(2, abs=0.01)
    refused = fault(Pcm(dtype="int16", rate=rate), bytes(4 * rate + 2), max_audio_s=2)
    assert refused.code is Code.AUDIO_TOO_LONG
    assert "longer than 2 s" in refused.message


def test_a_recording_may_change_a_few_times_but_not_for_ever() -> None:
    def frame(rate: int) -> av.AudioFrame:
        made = av.AudioFrame.from_ndarray(tone(0.1, rate).reshape(1, -1), format="s16", layout="mono")
        made.sample_rate = rate
        return made

    sink = Sink()
    splicer = pcm.Splicer(sink)
    for _ in range(pcm.MAX_SPLICES // 2):
        splicer.add(frame(16_000))
        splicer.add(frame(48_000))
    assert splicer.seconds == pytest.approx(10)
    splicer.finish()
    assert sink.count == pytest.approx(160_000, rel=0.01)

    splicer = pcm.Splicer(Sink())
    with pytest.raises(pcm.Unusable, match="more than 100 times"):
        for _ in range(pcm.MAX_SPLICES):
            splicer.add(frame(16_000))
            splicer.add(frame(48_000))
