"""The worker's loop, with one real process on a real link: greet, load, one step after the other, leave."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asrd_protocol import VERSION, link
from asrd_protocol.exits import Exit
from asrd_protocol.messages import MediaFile
from asrd_protocol.model import Segment, Transcript, Work
from support.bare_worker import BareWorker, Said, working

ONE: dict[str, Any] = {"do": "speak", "text": " one"}
TWO: dict[str, Any] = {"do": "speak", "text": " two", "seconds": 2.5}


@pytest.fixture
def worker() -> Iterator[BareWorker]:
    """A worker that has not been spoken to."""
    with working() as worker:
        yield worker


def _done(said: list[Said]) -> tuple[link.StepDone, Transcript]:
    message, body = said[-1]
    assert isinstance(message, link.StepDone), message
    return message, msgspec.json.decode(body, type=Transcript)


def _segments(said: list[Said]) -> list[tuple[link.StepSegment, Segment]]:
    return [
        (message, msgspec.json.decode(body, type=Segment))
        for message, body in said
        if isinstance(message, link.StepSegment)
    ]


# --- the start --------------------------------------------------------------------------------------------------------


def test_it_greets_with_its_process_and_its_version(worker: BareWorker) -> None:
    """The identity, which is its seat, is checked by ``hears``."""
    assert worker.hears() == Said(link.Hello(worker.process.pid, VERSION), b"")


def test_it_is_ready_after_a_load_and_a_warm_up_that_are_timed_apart(worker: BareWorker) -> None:
    answer = worker.load(start_s=0.02, at_warm_up=[{"do": "sleep", "s": 0.3}])

    assert isinstance(answer, link.Ready)
    assert answer.load_s >= 0.02
    assert answer.warm_up_s >= 0.3
    assert answer.load_s < answer.warm_up_s, "the warm-up is no part of the load"


def test_settings_that_every_pool_has_are_no_mistake_for_an_engine_without_them(worker: BareWorker) -> None:
    answer = worker.load(model="any", device="cpu", device_index=0, compute_type="int8", threads=2, offline=True)

    assert isinstance(answer, link.Ready)


# --- a step -----------------------------------------------------------------------------------------------------------


def test_a_step_is_told_in_order(worker: BareWorker) -> None:
    said = worker.ready().run(1, script=[ONE, TWO])

    kinds = [type(message) for message, _ in said]
    assert kinds == [link.StepProgress, link.StepSegment, link.StepSegment, link.StepDone]
    assert said[0] == Said(link.StepProgress(1, 0.0, 1.0), b"")


def test_segments_are_sent_on_with_their_place_and_their_end(worker: BareWorker) -> None:
    said = worker.ready().run(1, script=[ONE, TWO, ONE])

    heard = _segments(said)
    assert [message for message, _ in heard] == [
        link.StepSegment(1, 0, 1.0),
        link.StepSegment(1, 1, 3.5),
        link.StepSegment(1, 2, 4.5),
    ]
    assert [(one.start, one.end, one.text) for _, one in heard] == [
        (0.0, 1.0, " one"),
        (1.0, 3.5, " two"),
        (3.5, 4.5, " one"),
    ]


def test_a_segment_is_sent_on_before_the_next_one_is_there(worker: BareWorker) -> None:
    worker.ready().start(1, script=[ONE, {"do": "hang"}])

    kinds = [type(worker.hears().message) for _ in range(2)]
    assert kinds == [link.StepProgress, link.StepSegment]


def test_the_end_carries_the_whole_transcript(worker: BareWorker) -> None:
    said = worker.ready().run(1, script=[ONE, TWO])

    done, transcript = _done(said)
    assert transcript.text == "one two"
    assert transcript.segments == [one for _, one in _segments(said)]
    assert (transcript.language, transcript.language_probability, done.language) == ("en", 1.0, "en")
    assert transcript.duration == 1.0
    assert transcript.warnings == []


def test_the_end_says_how_long_it_took_and_how_much_work_it_was(worker: BareWorker) -> None:
    asked = time.perf_counter()
    done, _ = _done(worker.ready().run(1, script=[ONE, {"do": "sleep", "s": 0.1}, TWO]))
    elapsed = time.perf_counter() - asked

    timings = done.timings
    assert done.work == Work(audio_s=3.5, windows=1, attempts=1, beam_steps=100, segments=2)
    assert 0.1 <= timings.transcribe <= elapsed
    assert 0 < timings.decode < elapsed
    assert 0 < timings.write < elapsed
    assert (timings.queue, timings.vad, timings.total) == (0, 0, 0)


def test_silence_is_a_transcript_without_words(worker: BareWorker) -> None:
    said = worker.ready().run(1, script=[])

    done, transcript = _done(said)
    assert len(said) == 2
    assert (transcript.text, transcript.segments, done.work.segments) == ("", [], 0)


def test_each_answer_names_its_own_attempt(worker: BareWorker) -> None:
    """No attempt follows from another: they are the supervisor's numbers."""
    worker.ready()
    for attempt in (7, 2**40, 3):
        worker.start(attempt, script=[ONE])
    for attempt in (7, 2**40, 3):
        assert len(worker.ends(attempt)) == 3


# --- the end ----------------------------------------------------------------------------------------------------------


def test_it_leaves_when_it_is_told_to(worker: BareWorker) -> None:
    worker.ready().say(link.StopWorker())

    assert worker.leaves() == (Exit.OK, [])


def test_it_finishes_its_step_before_it_leaves(worker: BareWorker) -> None:
    """And its last words get through, although they are too long to be sent at once."""
    long = "x" * 2_000_000
    worker.ready().start(1, script=[ONE, {"do": "sleep", "s": 0.05}, {"do": "speak", "text": long}])
    worker.say(link.StopWorker())

    _, transcript = _done(worker.ends(1))
    assert transcript.text == f"one{long}"
    assert worker.leaves() == (Exit.OK, [])


def test_the_engine_is_closed_before_it_leaves(worker: BareWorker) -> None:
    worker.ready(at_exit=[{"do": "die", "code": 7}]).say(link.StopWorker())

    assert worker.leaves() == (7, [])


def test_a_child_of_somebody_else_leaves_without_a_word() -> None:
    with working(parent=os.getppid()) as worker:
        assert worker.leaves() == (Exit.ORPHANED, [])


def test_it_leaves_by_itself_when_nobody_answers_its_greeting(worker: BareWorker) -> None:
    worker.hears()
    worker.vanish()

    assert worker.leaves() == (Exit.ORPHANED, [])


@pytest.mark.parametrize("script", [[ONE], [ONE, {"do": "hang", "how": "c"}], [ONE, {"do": "hang", "how": "python"}]])
def test_it_leaves_by_itself_when_the_link_vanishes(worker: BareWorker, script: list[dict[str, Any]]) -> None:
    """Idle, or in a step that never ends."""
    worker.ready().start(1, script=script)
    while not isinstance(worker.hears().message, link.StepSegment):
        pass
    assert worker.process.poll() is None
    worker.vanish()

    assert worker.leaves() == (Exit.ORPHANED, [])


# --- real speech ------------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_a_recording_goes_through_tiny_en(worker: BareWorker, speech: Path) -> None:
    clip = (speech / "ss-0880.wav").read_bytes()
    seconds = (len(clip) - 44) / 32_000  # 16 kHz, 16 bits, after the header of a WAV file
    worker.ready("faster-whisper", model="tiny.en", threads=1)
    asked = time.perf_counter()
    said = worker.run(1, audio=MediaFile(name="ss-0880.wav"), body=clip, beam_size=1, vad_filter=True)
    elapsed = time.perf_counter() - asked

    done, transcript = _done(said)
    assert isinstance(progress := said[0].message, link.StepProgress)
    assert progress.done == 0.0
    assert progress.duration == pytest.approx(seconds)
    assert "young man" in transcript.text.lower()
    assert transcript.segments == [one for _, one in _segments(said)]
    assert [message.done for message, _ in _segments(said)] == [one.end for one in transcript.segments]
    assert transcript.duration == pytest.approx(seconds, abs=0.001)
    assert transcript.duration_after_vad is not None
    timings = done.timings
    assert min(timings.decode, timings.vad, timings.transcribe) > 0
    assert timings.decode + timings.vad + timings.transcribe < elapsed, "no second is counted twice"
    assert (done.work.windows, done.work.segments) == (1, len(transcript.segments))
    assert done.work.audio_s == pytest.approx(seconds)
