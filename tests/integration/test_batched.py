"""Batches of windows in real worker processes: the same job, with the same meaning, and what it is told."""

import json
import wave
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jiwer
import numpy as np
import pytest

from support.daemon import Daemon, running

pytestmark = pytest.mark.model

WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.SubstituteRegexes({r"\bmr\b": "mister"}), jiwer.RemovePunctuation()])
RATE = 16_000
CONFIG = """
[pools.default]
engine = "faster-whisper"
model = "tiny.en"
workers = 1

[pools.default.options]
batch_size = 2

[pools.default.deadlines]
cancel = "60s"
"""


class Heard(NamedTuple):
    """A job's transcript, how it ran, and all the answers before that."""

    transcript: dict[str, Any]
    work: dict[str, Any]
    answers: list[str]

    @property
    def text(self) -> str:
        """In words alone."""
        return said(self.transcript["text"])


def said(text: str) -> str:
    """The words alone."""
    cleaned: str = WORDS(text.replace("-", " "))
    return cleaned


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """Its pool decodes two windows at once."""
    with running(config=CONFIG) as daemon:
        yield daemon.ready()


def _samples(clip: Path) -> np.ndarray:
    with wave.open(str(clip)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.dtype("<i2"))


@pytest.fixture(scope="module")
def truth(speech: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((speech / "transcripts.json").read_text())
    return found


@pytest.fixture(scope="module")
def audio(speech: Path, truth: dict[str, str]) -> bytes:
    """All clips, three times, with two seconds of silence after each: about two minutes, 16 bits a sample."""
    silence = np.zeros(2 * RATE, np.dtype("<i2"))
    return np.concatenate([part for name in [*truth] * 3 for part in (_samples(speech / name), silence)]).tobytes()


@pytest.fixture(scope="module")
def spans(speech: Path, truth: dict[str, str]) -> list[tuple[float, float]]:
    """Where each clip starts and ends in it, in seconds."""
    found, at = [], 0.0
    for name in [*truth] * 3:
        end = at + len(_samples(speech / name)) / RATE
        found.append((at, end))
        at = end + 2
    return found


def run(daemon: Daemon, audio: bytes, **options: Any) -> Heard:
    """A job that succeeds."""
    wire = daemon.wire()
    wire.send("submit", audio, audio={"kind": "pcm", "dtype": "int16"}, options=options)
    answers = []
    while True:
        answer, body = wire.receive()
        answers.append(answer["type"])
        assert answer["type"] != "failed", answer
        if answer["type"] == "completed":
            return Heard(json.loads(body), answer["run"]["work"], answers)


@pytest.fixture(scope="module")
def apart(daemon: Daemon, audio: bytes) -> Heard:
    """One window after the other."""
    return run(daemon, audio, batch_size=0)


@pytest.fixture(scope="module")
def together(daemon: Daemon, audio: bytes) -> Heard:
    """As the pool is set."""
    return run(daemon, audio)


def test_the_text_is_the_same_but_for_a_word_at_a_cut(apart: Heard, together: Heard, truth: dict[str, str]) -> None:
    """Without timestamps of the model, that is: with them, windows at once lose a word in eight here."""
    whole = " ".join(said(text) for text in [*truth.values()] * 3)

    assert jiwer.wer(apart.text, together.text) < 0.05
    assert jiwer.wer(whole, together.text) <= jiwer.wer(whole, apart.text) + 0.03
    assert jiwer.wer(whole, together.text) < 0.15


def test_the_work_says_that_there_were_batches_and_how_full(apart: Heard, together: Heard) -> None:
    assert (apart.work["batches"], apart.work["batch_rows"], apart.work["batch_room"]) == (0, 0, 0)
    assert apart.work["kind"] == "beam5"
    work = together.work
    assert work["kind"] == "beam5+batch2+words+vad"
    assert work["batches"] == -(-work["batch_rows"] // 2) >= 2
    assert work["batch_room"] == 2 * work["batches"]
    assert work["batch_rows"] == work["windows"]
    assert together.transcript["duration_after_vad"] < together.transcript["duration"] - 10
    assert apart.transcript["duration_after_vad"] is None
    assert apart.transcript["warnings"] == together.transcript["warnings"] == []


def test_segments_are_sentences_with_their_times(together: Heard, spans: list[tuple[float, float]]) -> None:
    """Each clip is a sentence."""
    segments = together.transcript["segments"]
    assert "".join(segment["text"] for segment in segments).strip() == together.transcript["text"]
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert all(segment["words"] is None for segment in segments)
    assert len(segments) == len(spans)
    for segment, (start, end) in zip(segments, spans, strict=True):
        assert start - 0.3 < segment["start"] < segment["end"] < end + 0.3
    assert all(one["end"] <= other["start"] for one, other in pairwise(segments))


def test_they_come_while_the_job_runs(together: Heard) -> None:
    kinds = together.answers
    assert kinds.count("segment") == len(together.transcript["segments"])
    assert kinds[-1] == "completed"


def test_words_have_times(daemon: Daemon, audio: bytes, together: Heard) -> None:
    timed = run(daemon, audio, word_timestamps=True)
    assert timed.transcript["text"] == together.transcript["text"]
    for segment in timed.transcript["segments"]:
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
        assert (segment["words"][0]["start"], segment["words"][-1]["end"]) == (segment["start"], segment["end"])
        times = [time for word in segment["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times)


def test_without_timestamps_a_segment_is_a_window(daemon: Daemon, audio: bytes, together: Heard) -> None:
    plain = run(daemon, audio, without_timestamps=True, batch_size=8)
    assert plain.transcript["text"] == together.transcript["text"]
    assert len(plain.transcript["segments"]) == plain.work["windows"]
    assert plain.work["kind"] == "beam5+batch8+vad"
    assert (plain.work["batches"], plain.work["batch_room"]) == (1, 8)


def test_clips_are_the_windows_and_nothing_else_is_heard(
    daemon: Daemon, audio: bytes, spans: list[tuple[float, float]], truth: dict[str, str]
) -> None:
    clips = run(daemon, audio, clip_timestamps=[*spans[0], *spans[5]])

    assert (clips.work["windows"], clips.work["batches"], clips.work["kind"]) == (2, 1, "beam5+batch2+words")
    assert clips.transcript["duration_after_vad"] is None
    assert jiwer.wer(" ".join([said(next(iter(truth.values())))] * 2), clips.text) < 0.15
    found = [(segment["start"], segment["end"]) for segment in clips.transcript["segments"]]
    assert np.allclose(found, [spans[0], spans[5]], atol=0.3)


def test_a_window_that_looks_bad_is_tried_again_at_higher_temperatures(daemon: Daemon, audio: bytes) -> None:
    """The library keeps whatever a batch gives."""
    part = audio[: len(audio) // 3]
    tried = run(daemon, part, log_prob_threshold=-0.01, no_speech_threshold=None, temperature=[0.0, 0.2])
    kept = run(daemon, part, log_prob_threshold=-0.01, no_speech_threshold=None, temperature=0.0)

    assert tried.work["sample_steps"] > 0
    assert tried.work["attempts"] == 2 * tried.work["batch_rows"]
    assert kept.work["sample_steps"] == 0
    assert kept.work["attempts"] == kept.work["batch_rows"]
    assert {segment["temperature"] for segment in kept.transcript["segments"]} == {0.0}
    assert jiwer.wer(kept.text, tried.text) < 0.5


def test_what_is_no_speech_is_left_out_as_without_batches(daemon: Daemon) -> None:
    noise = (np.random.default_rng(1).normal(0, 2_000, 40 * RATE)).astype("<i2").tobytes()
    clips: dict[str, Any] = {"clip_timestamps": "0,20,20,40", "temperature": 0.0, "log_prob_threshold": 0.0}
    strict = run(daemon, noise, no_speech_threshold=0.0, **clips)
    assert strict.work["batch_rows"] == 2
    assert strict.transcript["segments"] == []
    assert run(daemon, noise, no_speech_threshold=None, **clips).transcript["segments"] != []


def test_silence_is_no_text_and_no_window(daemon: Daemon) -> None:
    silent = run(daemon, bytes(2 * 70 * RATE))
    assert silent.transcript["segments"] == []
    assert silent.transcript["duration_after_vad"] == 0
    assert silent.work["batches"] == 0


def test_a_pools_setting_gives_way_to_what_a_batch_cannot_do_and_a_jobs_wish_is_refused(
    daemon: Daemon, audio: bytes, apart: Heard
) -> None:
    part = audio[: len(audio) // 3]
    given = run(daemon, part, condition_on_previous_text=True)
    assert given.work["kind"] == "beam5"
    assert given.transcript["warnings"] == [
        "decoded without batches because of option condition_on_previous_text: "
        "windows that are decoded at once have no previous text"
    ]

    wire = daemon.wire()
    answer, _ = wire.run(
        part,
        audio={"kind": "pcm", "dtype": "int16"},
        options={"condition_on_previous_text": True, "batch_size": 2},
    )
    assert answer["fault"]["code"] == "bad_option"
    assert "condition_on_previous_text" in answer["fault"]["message"]
    assert "batch_size = 0" in answer["fault"]["message"]
    quiet = run(daemon, part, condition_on_previous_text=True, batch_size=1)
    assert quiet.transcript["warnings"] == []


def test_a_cancel_is_heard_between_two_batches_and_the_next_job_is_as_always(
    daemon: Daemon, audio: bytes, together: Heard
) -> None:
    wire = daemon.wire()
    wire.send(
        "submit",
        audio,
        audio={"kind": "pcm", "dtype": "int16"},
        options={"batch_size": 2, "word_timestamps": True},
    )
    job = wire.receive()[0]["job"]
    while wire.receive()[0]["type"] != "segment":
        pass
    before = daemon.workers()[0]["pid"]
    wire.send("cancel", job=job)
    answer, _ = wire.end_of()

    assert answer["fault"]["code"] == "cancelled"
    assert run(daemon, audio).transcript == together.transcript
    assert daemon.workers()[0]["pid"] == before
