"""What became of the work of a pool, in sums; and whether its queue grows for certain."""

import random

import pytest

from asrd_protocol.faults import Code
from asrd_protocol.model import Work
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.tally import Tally
from support.play import Play, pool


def queue(*waiting: float, every: float = 5.0) -> float:
    """The growth of a queue that was looked at so often."""
    tally = Tally()
    for number, work in enumerate(waiting):
        tally.note_queue(100.0 + number * every, work)
    return tally.queue_growth


# --- work -------------------------------------------------------------------------------------------------------------


def test_before_any_work_there_are_no_shares() -> None:
    tally = Tally()
    assert (tally.steps, tally.fallbacks, tally.sampled, tally.queue_growth) == (0, 0.0, 0.0, 0.0)


def test_work_is_summed_up() -> None:
    tally = Tally()
    tally.note_work(Work(windows=3, attempts=4, beam_steps=60, sample_steps=20))
    tally.note_work(Work(windows=5, attempts=12, beam_steps=100, sample_steps=20))
    assert (tally.steps, tally.windows, tally.attempts) == (2, 8, 16)
    assert tally.fallbacks == 0.5
    assert tally.sampled == 0.2


def test_windows_that_needed_no_decoding_are_no_negative_fallbacks() -> None:
    tally = Tally()
    tally.note_work(Work(windows=4, attempts=1))
    assert tally.fallbacks == 0.0


def test_how_full_the_batches_were() -> None:
    tally = Tally()
    tally.note_work(Work(windows=5))
    assert tally.batch_efficiency is None
    tally.note_work(Work(batches=2, batch_rows=6, batch_room=16))
    tally.note_work(Work(batches=1, batch_rows=6, batch_room=8))
    assert (tally.batches, tally.batch_efficiency) == (3, 0.5)


def test_steps_without_a_result_are_counted_by_cause_and_cancelled_ones_are_none() -> None:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    for number, code in enumerate([Code.BAD_AUDIO, Code.BAD_AUDIO, Code.BAD_OPTION]):
        play.submit(f"job-{number}")
        play.fault("p/0.1", code)
    play.submit("dropped")
    play.tell(ev.CancelRequested("dropped"))
    play.fault("p/0.1", Code.CANCELLED)
    tally = play.core.pools["p"].tally
    assert tally.faults == {"bad_audio": 2, "bad_option": 1}
    assert tally.steps == 0
    play.submit("good")
    play.finish("p/0.1")
    assert tally.steps == 1


# --- the queue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "growth"), [(5.0, 0.4), (10.0, 0.2)])
def test_a_queue_grows_by_so_many_seconds_of_work_a_second(every: float, growth: float) -> None:
    assert queue(*(2.0 * number for number in range(12)), every=every) == pytest.approx(growth)


def test_eleven_looks_are_not_enough() -> None:
    assert queue(*map(float, range(11))) == 0.0
    assert queue(*map(float, range(12))) > 0


def test_a_queue_that_shrinks_or_stays_does_not_grow() -> None:
    assert queue(*(30.0 - number for number in range(24))) == 0.0
    assert queue(*[7.0] * 24) == 0.0


def test_a_queue_that_goes_up_and_down_does_not_grow() -> None:
    dice = random.Random(5)
    found = sum(queue(*(dice.uniform(0, 20) for _ in range(24))) > 0 for _ in range(500))
    assert found <= 15, "one in a hundred looks as if it did, and only in one direction"


def test_growth_shows_through_the_ups_and_downs() -> None:
    dice = random.Random(6)
    assert queue(*(3.0 * n + dice.uniform(0, 10) for n in range(24))) == pytest.approx(0.6, rel=0.2)


def test_only_the_last_two_minutes_count() -> None:
    """Of looks that are five seconds apart."""
    grown = [float(number) for number in range(24)]
    assert queue(*grown, *[23.0] * 24) == 0.0
    assert queue(*[0.0] * 24, *grown) == pytest.approx(0.2)


def test_looks_at_the_same_moment_tell_nothing() -> None:
    assert queue(*map(float, range(12)), every=0.0) == 0.0


def test_the_core_looks_at_its_queue_with_each_sample_of_the_host() -> None:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.submit("first")
    play.now += 2.0
    play.finish("p/0.1")  # a step takes two seconds, as far as anybody knows
    for number in range(12):
        play.submit(f"{number}-a", f"{number}-b")
        play.now += 5.0
        play.tell(ev.HostSampled())
    backlog = play.core.pools["p"].backlog
    assert play.core.pools["p"].tally.queue_growth == pytest.approx(backlog.work / len(backlog) * 2 / 5, rel=0.01)
