"""What a worker that tells speakers apart says of its progress, and what the core makes of it."""

import pytest
import zmq

from asrd_protocol import link
from asrd_protocol.model import Diarization
from asrd_supervisor.core import events as ev
from asrd_worker.diarizing import Diarizing
from asrd_worker.engines.base import Listening, Voices
from asrd_worker.line import Line
from support.play import Play, pool, seat

HOUR = 3600.0


def silent() -> Listening:
    """It has heard a fifth of the recording, and computes on: it lives, and has no more to tell than that."""
    for _ in range(60):
        yield 0.2 * HOUR
    return Voices(diarization=Diarization())


@pytest.fixture
def progress() -> list[link.StepProgress]:
    """All that the worker says while it listens."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as theirs, context.socket(zmq.PAIR) as ours:
        theirs.bind("inproc://line")
        ours.connect("inproc://line")
        Diarizing(None, Line(ours), HOUR)._listen(silent(), 1)
        said = []
        while theirs.poll(0):
            said.append(link.from_worker.decode(theirs.recv_multipart()[0]))
    return said


def test_a_worker_that_lives_is_not_taken_for_one_that_hangs(progress: list[link.StepProgress]) -> None:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.submit("a")
    play.tell(ev.StepProgressed(seat("p/0.1"), 1, 0.0, HOUR))
    for one in progress:
        play.now += 10.0
        play.tell(ev.StepProgressed(seat("p/0.1"), 1, one.done, one.duration))
        while play.due["p", 0, "stall"][0] <= play.now:
            assert play.ring(0, "stall") == []
    assert play.states() == "busy"


def test_what_counts_as_life_is_next_to_nothing_of_the_recording(progress: list[link.StepProgress]) -> None:
    assert [one.done for one in progress] == sorted({one.done for one in progress})
    assert progress[-1].done == pytest.approx(0.2 * HOUR, abs=0.1)
