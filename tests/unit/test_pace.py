"""How long the work of a pool takes, learned from what was done."""

import pytest

from asrd_supervisor.core import events as ev
from asrd_supervisor.core.pace import FIRST_BYTES_PER_S, FIRST_RATE, Pace
from support.play import Play, pool, progressed


def test_before_anything_was_done_the_figures_are_guesses() -> None:
    pace = Pace()
    assert not pace.learned
    assert pace.rate == FIRST_RATE
    assert pace.length(int(FIRST_BYTES_PER_S) * 60, None) == 60.0
    assert pace.work(1, 30.0) == 30.0 * FIRST_RATE


def test_a_known_length_is_taken_as_it_is() -> None:
    pace = Pace()
    pace.learn(5.0, 10.0, 1000, media=True)
    assert pace.length(10**9, 7.0) == 7.0
    assert pace.length(10**9, 0.0) == 0.0


def test_the_first_step_counts_wholly() -> None:
    pace = Pace()
    pace.learn(5.0, 10.0, 1000, media=True)
    assert pace.learned
    assert pace.rate == 0.5
    assert pace.length(3000, None) == 30.0
    assert pace.work(3000, None) == 15.0


def test_raw_samples_tell_nothing_of_files() -> None:
    pace = Pace()
    pace.learn(5.0, 10.0, 320_000, media=False)
    assert pace.rate == 0.5
    assert pace.length(int(FIRST_BYTES_PER_S), None) == 1.0


def test_a_long_step_counts_for_more_than_a_short_one() -> None:
    pace = Pace()
    pace.learn(100.0, 1000.0, 1, media=False)
    pace.learn(1.0, 1.0, 1, media=False)
    assert pace.rate == pytest.approx(91.0 / 901.0)


def test_the_past_fades() -> None:
    pace = Pace()
    pace.learn(10.0, 10.0, 100, media=True)
    for _ in range(60):
        pace.learn(1.0, 10.0, 1000, media=True)
    assert pace.rate == pytest.approx(0.1, rel=0.01)
    assert pace.length(1000, None) == pytest.approx(10.0, rel=0.01)


def test_silence_teaches_nothing() -> None:
    pace = Pace()
    pace.learn(5.0, 0.0, 1000, media=True)
    assert not pace.learned
    assert pace.length(int(FIRST_BYTES_PER_S), None) == 1.0


# --- what a pool makes of it ------------------------------------------------------------------------------------------


def learned(seconds: float) -> Play:
    """One worker, which took so long for 3 s of audio."""
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.submit("first")
    play.now = seconds
    play.finish("p/0.1")
    return play


def test_a_pool_learns_from_the_sending_on_and_not_from_the_disk() -> None:
    play = Play(pool(workers=1), prompt=False)
    play.boot("p/0.1")
    play.submit("a")
    play.now = 100.0
    play.stored("p/0.1")
    play.now = 103.0
    play.finish("p/0.1")
    assert play.core.pools["p"].pace.rate == 1.0


@pytest.mark.parametrize(("took", "left"), [(3.0, 6000.0), (0.3, 6000.0), (30.0, 60_000.0)])
def test_a_slow_pool_gives_its_steps_more_time_and_a_quick_one_no_less(took: float, left: float) -> None:
    play = learned(took)
    play.submit("a")
    play.tell(progressed("p/0.1", play.attempt("p/0.1"), 0.0, 600.0))
    assert play.left(0) == pytest.approx(left)


def test_a_full_queue_says_to_come_back_when_there_is_room() -> None:
    play = learned(3.0)
    play.submit("a", audio_s=1.0)
    play.submit("b", "c", audio_s=100.0)
    assert play.core.pools["p"].room_in() == 100.0, "as long as one of them takes"
    play.submit(*(f"more-{number}" for number in range(18)), audio_s=100.0)
    assert play.core.pools["p"].room_in() == 200.0, "a tenth of the queue"


def test_what_runs_counts_by_what_is_left_of_it() -> None:
    play = learned(3.0)
    play.submit("a", audio_s=100.0)
    play.tell(progressed("p/0.1", play.attempt("p/0.1"), 0.0, 100.0))
    play.tell(progressed("p/0.1", play.attempt("p/0.1"), 75.0, 100.0))
    ref = ev.StepRef("b", 0, "p", audio_s=10.0)
    assert play.core.pools["p"].eta(ref) == pytest.approx(10.0 + 25.0)
