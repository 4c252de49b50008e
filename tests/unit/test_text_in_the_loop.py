"""Post-processing in a worker: for every engine, before a segment is sent, and with its time told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asrd_protocol import link
from asrd_protocol.faults import Code
from asrd_protocol.messages import MediaFile
from asrd_protocol.model import Segment, Transcript
from support.bare_worker import BareWorker, Said, working


@pytest.fixture
def worker() -> Iterator[BareWorker]:
    """A worker that has not been spoken to."""
    with working() as worker:
        yield worker


def speak(*texts: str) -> list[dict[str, Any]]:
    """A script that says these, a second each."""
    return [{"do": "speak", "text": text} for text in texts]


def finished(said: list[Said]) -> tuple[link.StepDone, Transcript]:
    """The end of a step that went well."""
    message, body = said[-1]
    assert isinstance(message, link.StepDone), message
    return message, msgspec.json.decode(body, type=Transcript)


def segments(said: list[Said]) -> list[Segment]:
    """What was sent on the way."""
    return [msgspec.json.decode(body, type=Segment) for message, body in said if isinstance(message, link.StepSegment)]


def test_segments_are_sent_and_stored_with_their_text_done(worker: BareWorker) -> None:
    worker.ready()
    said = worker.run(
        1,
        script=speak(" Um, twenty one", " as red"),
        post=["fillers:en", "numbers:en", "terms"],
        terms={"as red": "asrd"},
    )

    done, transcript = finished(said)
    assert [one.text for one in segments(said)] == [" 21", " asrd"]
    assert transcript.segments == segments(said)
    assert transcript.text == "21 asrd"
    assert 0 < done.timings.post < 5
    assert done.timings.transcribe >= 0


def test_a_segment_that_is_left_empty_is_not_sent_but_counts_as_progress(worker: BareWorker) -> None:
    worker.ready()
    said = worker.run(1, script=speak(" one", " um", " two", ""), post=["fillers:en"])

    done, transcript = finished(said)
    indexes = [message.index for message, _ in said if isinstance(message, link.StepSegment)]
    assert [(one.id, one.text, one.start) for one in segments(said)] == [(0, " one", 0), (1, " two", 2), (2, "", 3)]
    assert indexes == [0, 1, 2]
    assert [message.done for message, _ in said if isinstance(message, link.StepProgress)] == [0.0, 2.0]
    assert transcript.segments == segments(said)
    assert done.work.segments == 4, "what the engine did is what it did"


def test_what_was_left_out_is_a_warning_of_the_transcript(worker: BareWorker) -> None:
    worker.ready()
    _, transcript = finished(worker.run(1, script=speak(" um"), post=["fillers"]))

    assert transcript.text == "um"
    assert transcript.warnings == ["post: 'fillers' was left out for a language that nobody has told"]


def test_a_wrong_step_is_refused_before_anything_is_done_and_the_worker_stays(worker: BareWorker) -> None:
    worker.ready()
    (message, _), *more = worker.run(1, script=speak(" one"), post=["fllers"])

    assert isinstance(message, link.StepFailed)
    assert (message.fault.code, message.leave, more) == (Code.BAD_OPTION, False, [])
    assert "did you mean 'fillers'?" in message.fault.message
    assert finished(worker.run(2, script=speak(" one")))[1].text == "one"


def test_nothing_of_it_stays_for_the_next_job(worker: BareWorker) -> None:
    worker.ready()
    worker.run(1, script=speak(" as red"), post=["terms"], terms={"as red": "asrd"})

    assert finished(worker.run(2, script=speak(" as red")))[1].text == "as red"


@pytest.mark.model
def test_words_of_a_real_model_stay_with_the_text(worker: BareWorker, speech: Path) -> None:
    clip = (speech / "ss-0880.wav").read_bytes()
    worker.ready("faster-whisper", model="tiny.en", threads=1)
    given: dict[str, Any] = {"beam_size": 1, "word_timestamps": True, "language": "en"}

    plain = finished(worker.run(1, audio=MediaFile(), body=clip, **given))[1]
    post = {"post": ["punctuation", "numbers", "fillers", "terms"], "terms": {"young man": "youngster"}}
    done = finished(worker.run(2, audio=MediaFile(), body=clip, **given, **post))[1]

    assert "young man" in plain.text and "youngster" in done.text
    for segment in [*plain.segments, *done.segments]:
        assert "".join(word.word for word in segment.words or []) == segment.text
    times = {(word.start, word.end) for segment in plain.segments for word in segment.words or []}
    joined = [word for segment in done.segments for word in segment.words or [] if (word.start, word.end) not in times]
    assert [word.word.strip(" .,") for word in joined] == ["youngster"]
