"""Work counted at CTranslate2's two calls, on the real model."""

import wave
from pathlib import Path

import ctranslate2
import msgspec
import numpy as np
import pytest
from faster_whisper import WhisperModel

from asrd_worker.counters import CountedModel, Counters
from asrd_worker.engines.base import options_of, settings_of
from asrd_worker.engines.faster_whisper import FasterWhisper
from asrd_worker.models import bundled_directory
from asrd_worker.pcm import Decoded, Samples

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return WhisperModel(str(bundled_directory()), device="cpu", compute_type="int8", cpu_threads=1)


@pytest.fixture(scope="module")
def features(model: WhisperModel) -> ctranslate2.StorageView:
    """Two windows of noise at once, of shape (2, mels, frames)."""
    noise = np.random.default_rng(0).normal(0, 0.01, (2, 80, 3000)).astype(np.float32)
    return ctranslate2.StorageView.from_array(noise)


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def counted(model: WhisperModel, counters: Counters) -> CountedModel:
    return CountedModel(model.model, counters)


def test_everything_but_the_two_calls_passes_through(model: WhisperModel, counted: CountedModel) -> None:
    assert counted.is_multilingual is model.model.is_multilingual is False
    assert counted.device == "cpu"
    with pytest.raises(AttributeError):
        _ = counted.no_such_thing


def test_steps_are_those_of_the_longest_hypothesis(
    counted: CountedModel, counters: Counters, features: ctranslate2.StorageView
) -> None:
    encoded = counted.encode(features)
    results = counted.generate(encoded, [[50257], [50257]], beam_size=2, num_hypotheses=2, max_length=12)
    longest = sum(max(len(tokens) for tokens in result.sequences_ids) for result in results)

    work = counters.work(audio_s=60, segments=3, kind="beam2")
    assert (work.windows, work.attempts, work.beam_steps, work.sample_steps) == (2, 2, longest, 0)
    assert (work.audio_s, work.segments, work.kind) == (60, 3, "beam2")
    assert 0 < longest <= 24
    assert counted.width == 384
    assert work.cpu_s > 0


def test_a_fallback_is_counted_apart(
    counted: CountedModel, counters: Counters, features: ctranslate2.StorageView
) -> None:
    encoded = counted.encode(features)
    for temperature in (0.2, 0.4):
        counted.generate(
            encoded, [[50257], [50257]], beam_size=1, sampling_topk=0, sampling_temperature=temperature, max_length=8
        )

    work = counters.work(60, 0)
    assert (work.attempts, work.beam_steps) == (4, 0)
    assert 0 < work.sample_steps <= 32


def test_a_new_job_begins_at_zero(counted: CountedModel, counters: Counters, features: ctranslate2.StorageView) -> None:
    counted.generate(counted.encode(features), [[50257], [50257]], max_length=4)
    counters.timing_vad(lambda: None)()
    counters.batch(2, 8)
    counters.reset()

    work = counters.work(0, 0)
    assert (work.windows, work.attempts, work.beam_steps, work.sample_steps) == (0, 0, 0, 0)
    assert (work.batches, work.batch_rows, work.batch_room) == (0, 0, 0)
    assert counters.vad_s == 0
    assert work.cpu_s < 1


def test_batches_are_counted_with_the_room_that_they_had(counters: Counters) -> None:
    counters.batch(8, 8)
    counters.batch(3, 8)

    work = counters.work(60, 0)
    assert (work.batches, work.batch_rows, work.batch_room) == (2, 11, 16)


def test_voice_activity_detection_is_timed_also_when_it_fails(counters: Counters) -> None:
    timed = counters.timing_vad(lambda size, plus=0: sum(range(size)) + plus)

    assert timed(1_000_000, plus=1) == 499_999_500_001
    first = counters.vad_s
    assert first > 0
    with pytest.raises(TypeError):
        timed("x")
    timed(1_000_000)
    assert counters.vad_s > first


# --- the engine that is counted ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> FasterWhisper:
    loaded = FasterWhisper(settings_of(FasterWhisper, {"model": "tiny.en", "threads": 1}), "default/0.1")
    loaded.load()
    loaded.warm_up()
    return loaded


@pytest.fixture(scope="module")
def clip(speech: Path) -> Samples:
    with wave.open(str(speech / "ss-0880.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm / np.float32(32_768)


def _work(engine: FasterWhisper, samples: Samples, **options: object) -> tuple[str, object, float]:
    """The text, the work and the seconds of voice activity detection."""
    decoding = engine.transcribe(
        Decoded(samples=samples, duration=samples.size / 16_000, warnings=[]), options_of(FasterWhisper, options)
    )
    text = ""
    while True:
        try:
            text += next(decoding).text
        except StopIteration as end:
            return text, end.value.work, end.value.vad_s


def test_the_work_of_a_job_is_its_own(engine: FasterWhisper, clip: Samples) -> None:
    text, first, vad_s = _work(engine, clip, temperature=0.0)
    assert "young man" in text
    assert (first.windows, first.attempts, first.sample_steps, vad_s) == (1, 1, 0, 0)
    assert first.beam_steps > 8
    assert first.segments == 1
    assert first.audio_s == pytest.approx(clip.size / 16_000)

    _, again, _ = _work(engine, clip, temperature=0.0)
    assert (again.windows, again.attempts, again.beam_steps) == (first.windows, first.attempts, first.beam_steps)


def test_work_says_what_its_steps_cost(engine: FasterWhisper, clip: Samples) -> None:
    _, work, _ = _work(engine, clip, temperature=0.0, beam_size=1, word_timestamps=True)
    assert work.kind == "beam1+words"


def test_the_clip_of_the_engine_itself_is_nobodys_work(engine: FasterWhisper, clip: Samples) -> None:
    _, before, vad_s = _work(engine, clip, temperature=0.0, vad_filter=True)
    assert vad_s > 0
    assert "amiable" in engine.canary()
    _, after, _ = _work(engine, clip, temperature=0.0, vad_filter=True)

    uncounted = {"cpu_s": 0.0}
    assert msgspec.structs.replace(after, **uncounted) == msgspec.structs.replace(before, **uncounted)


def test_longer_audio_is_more_windows_and_a_fallback_more_attempts(engine: FasterWhisper, clip: Samples) -> None:
    silence = np.zeros(16_000 * 30, np.float32)
    _, longer, _ = _work(engine, np.concatenate([clip, silence, clip]), temperature=0.0)
    assert longer.windows >= 2

    _, fallen, _ = _work(engine, clip, temperature=[0.0, 0.2], log_prob_threshold=0.0, no_speech_threshold=None)
    assert (fallen.windows, fallen.attempts) == (1, 2)
    assert fallen.sample_steps > 0


def test_the_same_windows_are_the_same_work_in_a_batch(engine: FasterWhisper, clip: Samples) -> None:
    samples = np.concatenate([np.pad(clip, (0, 16_000 * 8 - clip.size))] * 3)
    asked = {"clip_timestamps": [0, 8, 8, 16, 16, 24], "temperature": 0.0, "without_timestamps": True}
    _, apart, _ = _work(engine, samples, **asked)
    _, together, _ = _work(engine, samples, batch_size=3, **asked)

    assert (apart.windows, apart.attempts) == (together.windows, together.attempts) == (3, 3)
    assert apart.beam_steps == together.beam_steps > 24
    assert (apart.batches, apart.batch_rows, apart.batch_room) == (0, 0, 0)
    assert (together.batches, together.batch_rows, together.batch_room) == (1, 3, 3)
    assert (apart.kind, together.kind) == ("beam5", "beam5+batch3")


def test_a_voice_activity_filter_takes_time_that_is_known(engine: FasterWhisper, clip: Samples) -> None:
    assert _work(engine, clip, vad_filter=True)[2] > 0
    assert _work(engine, clip)[2] == 0
