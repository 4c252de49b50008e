"""The part of a long recording that tells its language: its first speech, if it is looked for, else its first half
minute. Real speech after silence or noise, in a file of samples as a recording is one."""

import os
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from asrd_worker.engines.base import settings_of
from asrd_worker.engines.faster_whisper import FasterWhisper
from asrd_worker.engines.opening import opening_of
from asrd_worker.engines.whisper_options import VadParameters, WhisperOptions
from asrd_worker.recording import SAMPLE_RATE, Recording, Samples
from asrd_worker.whole import Long

Pcm = npt.NDArray[np.int16]

SPOKEN = WhisperOptions(vad_filter=True)
EXACT = WhisperOptions(vad_filter=True, vad_parameters=VadParameters(speech_pad_ms=0, min_silence_duration_ms=200))


class Counting(Recording):
    """A recording that knows how much of it was read."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.read_s = 0.0
        self.furthest_s = 0.0
        self.largest_s = 0.0

    def samples(self, start: float = 0.0, end: float | None = None) -> Samples:
        found = super().samples(start, end)
        seconds = found.size / SAMPLE_RATE
        self.read_s += seconds
        self.largest_s = max(self.largest_s, seconds)
        self.furthest_s = max(self.furthest_s, start + seconds)
        return found


Written = Callable[..., Counting]


@pytest.fixture
def written() -> Iterator[Written]:
    """Writes stretches one after the other to a file of samples that is nowhere."""
    with ExitStack() as stack:

        def write(*stretches: Pcm) -> Counting:
            fd = os.memfd_create("samples", os.MFD_CLOEXEC)
            stack.callback(os.close, fd)
            with open(fd, "wb", closefd=False) as file:
                for stretch in stretches:
                    file.write(stretch.astype("<i2").tobytes())
            return Counting(fd)

        yield write


@pytest.fixture(scope="module")
def spoken(speech: Path) -> Pcm:
    """Seven seconds of somebody who reads aloud."""
    return _clip(speech, "ss-0870")


def _clip(speech: Path, name: str) -> Pcm:
    with wave.open(str(speech / f"{name}.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def noise(seconds: float, level: float) -> Pcm:
    return (np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)) * level).astype(np.int16)


def floats(pcm: Pcm) -> Samples:
    return np.divide(pcm, np.float32(32_768), dtype=np.float32)


def seconds(samples: Samples) -> float:
    return samples.size / SAMPLE_RATE


def inside(part: Samples, whole: Samples) -> bool:
    """Whether it is one stretch of the other."""
    first = np.flatnonzero(whole[: whole.size - part.size + 1] == part[0])
    return any(np.array_equal(whole[at : at + part.size], part) for at in first)


# --- speech that begins late ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [silence(35), noise(35, 300), noise(35, 3_000)], ids=["silence", "hiss", "noise"])
def test_what_is_said_after_half_a_minute_of_something_else_is_found_and_nothing_else(
    lead: Pcm, written: Written, spoken: Pcm
) -> None:
    found = opening_of(written(lead, spoken, silence(5)), EXACT)
    assert 0.6 * spoken.size < found.size <= spoken.size
    said = floats(spoken)
    assert np.isin(found, said).all(), "samples of the speech"
    assert np.sqrt(np.mean(found**2)) > 0.9 * np.sqrt(np.mean(said**2)), "and what is loud of it"


def test_one_stretch_of_speech_comes_as_it_is(written: Written, spoken: Pcm) -> None:
    found = opening_of(written(silence(35), spoken, silence(30)), SPOKEN)
    assert seconds(found) >= 0.8 * spoken.size / SAMPLE_RATE
    assert inside(found, floats(np.concatenate([silence(1), spoken, silence(1)]))), "with a little of what is around it"


def test_speech_on_both_sides_of_a_long_pause_is_put_together(written: Written, spoken: Pcm, speech: Path) -> None:
    other = _clip(speech, "ss-0920")
    found = opening_of(written(silence(20), spoken, silence(100), other, silence(3)), SPOKEN)
    both = (spoken.size + other.size) / SAMPLE_RATE
    assert 0.8 * both < seconds(found) < both + 2.0
    head = found[: spoken.size // 2]
    tail = found[-other.size // 2 :]
    around = [floats(np.concatenate([silence(1), clip, silence(1)])) for clip in (spoken, other)]
    assert inside(head, around[0])
    assert inside(tail, around[1])


@pytest.mark.parametrize("segments", [1, 2])
def test_it_is_at_most_half_a_minute_for_each_segment_that_the_job_asks_for(
    segments: int, written: Written, spoken: Pcm
) -> None:
    options = WhisperOptions(vad_filter=True, language_detection_segments=segments)
    recording = written(silence(35), *[spoken] * 20)
    assert seconds(opening_of(recording, options)) == 30.0 * segments
    assert recording.read_s <= 60.0 * (1 + segments), "no more is read than is needed"


def test_a_recording_that_has_less_speech_than_that_gives_what_it_has(written: Written, spoken: Pcm) -> None:
    options = WhisperOptions(vad_filter=True, language_detection_segments=10)
    found = opening_of(written(silence(35), spoken), options)
    assert 0.6 * spoken.size < found.size < 1.2 * spoken.size


# --- what the job says about speech -----------------------------------------------------------------------------------


def test_the_jobs_own_parameters_count(written: Written, spoken: Pcm) -> None:
    recording = written(silence(35), spoken, silence(5))
    strict = WhisperOptions(vad_filter=True, vad_parameters=VadParameters(min_speech_duration_ms=60_000))
    assert opening_of(recording, SPOKEN).size
    assert not opening_of(recording, strict).size, "nothing of it is that long"
    wide = WhisperOptions(vad_filter=True, vad_parameters=VadParameters(speech_pad_ms=3_000))
    assert seconds(opening_of(recording, wide)) > seconds(opening_of(recording, EXACT)) + 2.0


# --- nothing is said --------------------------------------------------------------------------------------------------


def test_silence_gives_nothing_and_ten_minutes_of_it_are_enough(written: Written, spoken: Pcm) -> None:
    """Somebody who speaks after that is not waited for."""
    recording = written(silence(11 * 60), spoken)
    found = opening_of(recording, SPOKEN)
    assert found.size == 0
    assert found.dtype == np.float32
    assert recording.read_s == pytest.approx(600.0)
    assert recording.furthest_s <= 600.0
    assert recording.largest_s <= 60.0, "never much of it in memory"


def test_all_of_a_shorter_one_is_looked_at_once(written: Written, spoken: Pcm) -> None:
    recording = written(silence(125.5), spoken[: SAMPLE_RATE * 4])
    assert opening_of(recording, SPOKEN).size
    assert recording.read_s == pytest.approx(recording.duration)


# --- nobody asks for speech -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segments", [1, 3])
def test_without_the_filter_it_is_the_beginning_whatever_that_is(segments: int, written: Written, spoken: Pcm) -> None:
    options = WhisperOptions(language_detection_segments=segments)
    recording = written(silence(2), *[spoken] * 20)
    found = opening_of(recording, options)
    assert np.array_equal(found, floats(np.concatenate([silence(2), *[spoken] * 20])[: 30 * segments * SAMPLE_RATE]))
    assert recording.read_s == 30.0 * segments


def test_without_the_filter_a_short_recording_is_all_of_it(written: Written, spoken: Pcm) -> None:
    assert np.array_equal(opening_of(written(spoken), WhisperOptions()), floats(spoken))


# --- what is asked of the model ---------------------------------------------------------------------------------------


class Listener:
    """A model that takes everything for German."""

    is_multilingual = True

    def __init__(self) -> None:
        self.model = self
        self.asked: dict[str, Any] = {}

    def detect_language(self, opening: Samples, **asked: Any) -> tuple[str, float, None]:
        """As faster-whisper's."""
        self.asked = asked
        return "de", 0.75, None


@pytest.mark.parametrize(("given", "threshold"), [(0.0, 0.0), (0.3, 0.3), (None, 0.5)])
def test_a_threshold_of_nothing_is_one(given: float | None, threshold: float, written: Written, spoken: Pcm) -> None:
    """With 0 the first half minute decides, in one piece as in chunks."""
    engine = FasterWhisper(settings_of(FasterWhisper, {}), "default/0.1")
    listener = Listener()
    engine._model = cast(Any, listener)
    recording = written(spoken)
    options = WhisperOptions(language_detection_threshold=given, language_detection_segments=2)
    whole = engine.overview(Long(recording, recording.duration), options)

    assert listener.asked == {"language_detection_segments": 2, "language_detection_threshold": threshold}
    assert (whole.language, whole.language_probability) == ("de", 0.75)
