"""Who is not given for ever: jobs with a deadline, and workers that show no progress. Events in, actions out."""

import pytest

from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Deadlines, Duration, RetryPolicy
from support.play import Play, pool, progressed, seat

QUICK = Deadlines(stall=Duration(20), busy_floor=Duration(500))


def failure(orders: list[do.Action]) -> do.Fail:
    (order,) = [order for order in orders if isinstance(order, do.Fail | do.Deliver)]
    assert isinstance(order, do.Fail)
    return order


@pytest.fixture
def play() -> Play:
    """One warm worker that may stand still for 20 s."""
    started = Play(pool(workers=1, deadlines=QUICK))
    started.boot("p/0.1")
    return started


# --- the deadline of a job --------------------------------------------------------------------------------------------


def test_a_job_that_waits_too_long_ends(play: Play) -> None:
    play.submit("a")
    play.submit("b", deadline=5.0)
    assert play.waits("b", "deadline") == 5.0
    failed = failure(play.wake("b", "deadline"))
    assert (failed.job.id, failed.fault.code) == ("b", Code.DEADLINE)
    assert "no worker was free" in failed.fault.message
    assert "5.0 s" in failed.fault.message
    assert play.core.jobs.ended == {"failed": 1}
    assert play.sent(play.finish("p/0.1")) == []


def test_a_job_that_runs_too_long_is_cancelled_and_says_how_far_it_came(play: Play) -> None:
    play.now = 1.0
    play.submit("a", deadline=30.0)
    play.tell(progressed("p/0.1", 1, 0.0, 60.0), progressed("p/0.1", 1, 12.5, 60.0))
    assert play.wake("a", "deadline") == [do.SendCancel(seat("p/0.1"), 1)]
    failed = failure(play.fault("p/0.1", Code.CANCELLED))
    assert failed.fault.code is Code.DEADLINE
    assert failed.fault.context == {"done_s": 12.5}
    assert "12.5 s of its audio" in failed.fault.message
    assert play.states() == "idle"


def test_a_worker_that_does_not_hear_of_the_deadline_is_killed(play: Play) -> None:
    play.submit("a", deadline=30.0)
    play.wake("a", "deadline")
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=False)]
    assert failure(play.exit("p/0.1", "SIGKILL")).fault.code is Code.DEADLINE


def test_a_result_that_is_faster_than_the_cancel_counts(play: Play) -> None:
    play.submit("a", deadline=30.0)
    play.wake("a", "deadline")
    assert isinstance(play.finish("p/0.1")[0], do.Deliver)


@pytest.mark.parametrize("first", [Code.DEADLINE, Code.CANCELLED])
def test_the_first_reason_counts(play: Play, first: Code) -> None:
    play.submit("a", deadline=30.0)
    events = [ev.AlarmRang("a", "deadline", 0), ev.CancelRequested("a")]
    orders = play.tell(*(events if first is Code.DEADLINE else reversed(events)))
    assert orders == [do.SendCancel(seat("p/0.1"), 1)]
    assert failure(play.fault("p/0.1", Code.CANCELLED)).fault.code is first


def test_a_deadline_counts_from_the_submit_and_not_from_the_disk(play: Play) -> None:
    play.tell(ev.JobSubmitted("a", None, 1, deadline=10.0))
    play.now = 4.0
    play.tell(ev.JobPersisted("a"))
    assert play.waits("a", "deadline") == 6.0
    play.tell(ev.JobSubmitted("b", None, 1, deadline=10.0))
    play.now = 40.0
    play.tell(ev.JobPersisted("b"))
    assert play.waits("b", "deadline") == 0.0


def test_a_job_that_waits_for_its_next_try_ends_too() -> None:
    play = Play(pool(workers=1), retries=RetryPolicy(delay=Duration(50)))
    play.boot("p/0.1")
    play.submit("a", deadline=5.0)
    play.fault("p/0.1", Code.ENGINE_ERROR)
    assert failure(play.wake("a", "deadline")).fault.code is Code.DEADLINE
    assert play.wake("a") == []


def test_a_job_that_has_ended_has_no_deadline(play: Play) -> None:
    play.submit("a", deadline=5.0)
    play.finish("p/0.1")
    assert play.wake("a", "deadline") == []


# --- workers that stand still -----------------------------------------------------------------------------------------


def test_a_worker_that_shows_no_progress_is_killed_and_leaves_its_stack(play: Play) -> None:
    play.submit("a")
    assert play.left(0, "stall") == 20.0
    assert play.ring(0, "stall") == [do.Kill(seat("p/0.1"), dump=True)]
    play.exit("p/0.1", "SIGABRT")
    assert play.core.pools["p"].deaths == {"stalled": 1}


def test_the_death_of_a_worker_that_stood_still_is_told_as_a_hang() -> None:
    play = Play(pool(workers=1, deadlines=QUICK), retries=RetryPolicy(attempts=1))
    play.boot("p/0.1")
    play.submit("a")
    play.tell(progressed("p/0.1", 1, 0.0, 60.0), progressed("p/0.1", 1, 7.5, 60.0))
    play.ring(0, "stall")
    failed = failure(play.exit("p/0.1", "SIGABRT"))
    assert failed.fault.code is Code.WORKER_HUNG
    assert (failed.fault.context["done_s"], failed.fault.context["duration_s"]) == (7.5, 60.0)


def test_who_goes_on_is_left_alone_and_watched_from_his_last_progress_on(play: Play) -> None:
    play.submit("a")
    play.tell(progressed("p/0.1", 1, 0.0, 60.0))
    play.now = 15.0
    play.tell(progressed("p/0.1", 1, 1.0, 60.0))
    assert play.ring(0, "stall") == []
    assert play.now == 20.0
    assert play.left(0, "stall") == 15.0
    play.now = 30.0
    play.tell(ev.SegmentDecoded(seat("p/0.1"), 1, 0, 4.0, "words"))
    assert play.ring(0, "stall") == []
    assert play.left(0, "stall") == 15.0
    assert play.ring(0, "stall") == [do.Kill(seat("p/0.1"), dump=True)]


def test_the_same_figure_again_is_no_progress(play: Play) -> None:
    play.submit("a")
    play.tell(progressed("p/0.1", 1, 3.0, 60.0))
    play.now = 15.0
    play.tell(progressed("p/0.1", 1, 3.0, 60.0), progressed("p/0.1", 1, 2.0, 60.0))
    assert play.ring(0, "stall") == [do.Kill(seat("p/0.1"), dump=True)]


def test_long_audio_may_take_a_tenth_of_its_length_before_its_first_segment(play: Play) -> None:
    play.submit("a")
    play.tell(progressed("p/0.1", 1, 0.0, 3600.0))
    assert play.ring(0, "stall") == []
    assert play.left(0, "stall") == 340.0
    play.tell(progressed("p/0.1", 1, 30.0, 3600.0))
    play.now = 200.0
    play.tell(ev.TimerFired("p", 0, "stall", 1))
    assert play.states() == "killing"  # it had begun: 180 s are too many


def test_a_slow_model_may_take_eight_times_what_a_window_needs(play: Play) -> None:
    play.submit("a")
    play.now = 9.0
    play.finish("p/0.1")  # three seconds of work for one of audio
    play.submit("b")
    assert play.left(0, "stall") == 8 * 30 * 3.0


def test_a_worker_that_is_asked_to_cancel_has_the_time_of_the_cancel(play: Play) -> None:
    play.submit("a")
    play.tell(ev.CancelRequested("a"))
    assert play.tell(play.due["p", 0, "stall"][1]) == []
    assert play.states() == "busy"


@pytest.mark.parametrize("then", ["idle", "busy with another one"])
def test_an_alarm_for_a_former_step_does_nothing(play: Play, then: str) -> None:
    play.submit("a")
    _, stale = play.due["p", 0, "stall"]
    play.finish("p/0.1")
    if then != "idle":
        play.submit("b")
    play.now = 1000.0
    assert play.tell(stale) == []
    assert play.states() == ("idle" if then == "idle" else "busy")


def test_a_worker_that_drains_is_watched_too(play: Play) -> None:
    play.submit("a")
    play.tell(ev.RecycleRequested("p", 0))
    assert play.states() == "draining"
    assert play.ring(0, "stall") == [do.Kill(seat("p/0.1"), dump=True)]


# --- a slow disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow() -> Play:
    """One warm worker and a disk that is asked."""
    started = Play(pool(workers=1, deadlines=QUICK), prompt=False)
    started.boot("p/0.1")
    return started


def test_a_worker_has_its_step_when_the_attempt_is_stored(slow: Play) -> None:
    assert slow.submit("a")[-1] == do.PersistAttempt("a", seat("p/0.1"), 1, 1, 0)
    assert slow.states() == "busy"
    assert slow.stored("p/0.1") == [do.SendStep(seat("p/0.1"), 1, "a")]
    assert slow.stored("p/0.1") == []


@pytest.mark.parametrize("times", [1, 3])
def test_nobody_is_killed_because_the_disk_is_slow(slow: Play, times: int) -> None:
    slow.submit("a")
    assert ("p", 0, "stall") not in slow.due
    for _ in range(times):
        assert slow.ring(0) == []
    assert slow.states() == "busy"
    slow.stored("p/0.1")
    assert (slow.left(0), slow.left(0, "stall")) == (500.0, 20.0)
    slow.tell(progressed("p/0.1", 1, 0.0, 100.0))
    assert slow.left(0) == 1000.0  # from the sending on


def test_a_job_that_is_cancelled_before_it_was_sent_ends_when_the_disk_has_spoken(slow: Play) -> None:
    slow.submit("a")
    assert slow.tell(ev.CancelRequested("a")) == []
    assert failure(slow.stored("p/0.1")).fault.code is Code.CANCELLED
    assert slow.states() == "idle"
    assert slow.core.pools["p"].slots[0].jobs_done == 0
    assert slow.submit("b")[-1] == do.PersistAttempt("b", seat("p/0.1"), 2, 1, 0)


def test_a_worker_that_dies_before_it_was_sent_its_step_costs_the_job_nothing(slow: Play) -> None:
    slow.submit("a")
    slow.exit("p/0.1", "SIGKILL")
    assert slow.tell(ev.AttemptPersisted(seat("p/0.1"), 1)) == []
    slow.ring(0)
    orders = slow.boot("p/0.2")
    assert orders[-1] == do.PersistAttempt("a", seat("p/0.2"), 2, 1, 0)
    assert slow.core.jobs.retried == 0


def test_what_is_stored_of_another_attempt_sends_nothing(slow: Play) -> None:
    slow.submit("a")
    assert slow.tell(ev.AttemptPersisted(seat("p/0.1"), 7), ev.AttemptPersisted(seat("p/0.9"), 1)) == []
    assert slow.states() == "busy"


def test_a_worker_that_speaks_of_a_step_that_was_not_sent_is_killed(slow: Play) -> None:
    slow.submit("a")
    assert slow.tell(progressed("p/0.1", 1, 0.0, 1.0)) == [do.Kill(seat("p/0.1"), dump=True)]
    assert slow.stored("p/0.1") == []
    assert isinstance(slow.exit("p/0.1", "SIGABRT")[0], do.PersistWait)


def test_a_worker_that_is_to_leave_gets_the_step_that_is_meant_for_it(slow: Play) -> None:
    slow.submit("a")
    slow.tell(ev.RecycleRequested("p", 0))
    assert slow.states() == "draining"
    assert slow.stored("p/0.1") == [do.SendStep(seat("p/0.1"), 1, "a")]
    assert slow.finish("p/0.1")[0] == do.SendStop(seat("p/0.1"))
