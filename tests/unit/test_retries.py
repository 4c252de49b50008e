"""When a step that failed is tried again: the growth of the delays, their cap, their jitter, and who says so."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Retries
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import JobState
from asrd_supervisor.core.policy import Duration, QueuePolicy, RetryPolicy
from asrd_supervisor.core.retries import asked_for, delay_before
from support.play import Play, pool, seat


def policy(backoff: str = "exponential", delay: float = 1.0, most: float = 1000.0, jitter: float = 0.0) -> RetryPolicy:
    return RetryPolicy(backoff=backoff, delay=Duration(delay), delay_max=Duration(most), jitter=jitter)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        ("fixed", [3, 3, 3, 3, 3, 3]),
        ("linear", [3, 6, 9, 12, 15, 18]),
        ("exponential", [3, 6, 12, 24, 48, 96]),
        ("fibonacci", [3, 6, 9, 15, 24, 39]),
    ],
)
def test_delays_grow_from_the_second_attempt_on(backoff: str, delays: list[float]) -> None:
    found = [delay_before(attempt, policy(backoff, 3.0), random.Random(1)) for attempt in range(2, 8)]
    assert found == delays


def test_a_delay_has_a_cap() -> None:
    assert delay_before(9, policy("exponential", 1.0, most=20.0), random.Random(1)) == 20.0


@given(st.integers(2, 13), st.sampled_from(["fixed", "linear", "exponential", "fibonacci"]), st.randoms())
def test_jitter_adds_at_most_its_share(attempt: int, backoff: str, rng: random.Random) -> None:
    least = delay_before(attempt, policy(backoff, 2.0, most=30.0), rng)
    found = delay_before(attempt, policy(backoff, 2.0, most=30.0, jitter=0.5), rng)
    assert least <= found <= least * 1.5


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    rng = random.Random(1)
    found = {delay_before(2, policy(jitter=0.1), rng) for _ in range(100)}
    assert len(found) > 90
    assert max(found) - min(found) > 0.08


def test_no_delay_has_no_jitter() -> None:
    assert delay_before(2, policy(delay=0.0, jitter=1.0), random.Random(1)) == 0.0


def test_a_job_may_ask_for_other_figures_but_not_for_more_deaths() -> None:
    pools = RetryPolicy(attempts=3, deaths=2, delay=Duration(5))
    assert asked_for(pools, None) is pools
    assert asked_for(pools, Retries()) == pools
    found = asked_for(pools, Retries(attempts=7, backoff="linear", delay=1.5, delay_max=9.0, jitter=0.0))
    assert (found.attempts, found.backoff, found.delay, found.delay_max, found.jitter) == (7, "linear", 1.5, 9.0, 0.0)
    assert found.deaths == 2
    assert isinstance(found.delay, Duration)
    assert asked_for(pools, Retries(attempts=1)).delay == 5.0


# --- in the core ------------------------------------------------------------------------------------------------------


@pytest.fixture
def play() -> Play:
    """Two warm workers; the second try is after 2 s, the third one 4 s after the second."""
    started = Play(retries=policy("exponential", 2.0))
    started.boot("p/0.1", "p/1.1")
    return started


def test_between_two_tries_a_job_waits_and_its_worker_does_not(play: Play) -> None:
    play.submit("a", "b", "c")
    assert play.sent(play.fault("p/0.1", Code.ENGINE_ERROR)) == [("c", "p/0.1")]
    assert play.core.jobs.count(JobState.WAITING) == 1
    assert play.waits("a") == 2.0
    assert play.topics("job.retried")[0]["delay_s"] == 2.0
    assert play.kept == [do.PersistWait("a", 1, 0)]
    assert play.wake("a") == []
    assert play.core.jobs.count(JobState.WAITING) == 0
    play.submit("d")
    assert play.sent(play.finish("p/1.1")) == [("a", "p/1.1")]  # in front of d, and not on the worker that failed it


def test_the_delays_of_a_job_grow(play: Play) -> None:
    play.submit("a")
    play.fault("p/0.1", Code.ENGINE_ERROR)
    play.wake("a")
    play.exit("p/1.1", "SIGSEGV")
    assert play.waits("a") == 4.0


@pytest.mark.parametrize(
    ("asked", "waits"), [(None, 2.0), (1.0, 2.0), (30.0, 30.0), (3600.0, 1000.0), (float("nan"), 1000.0), (-5.0, 2.0)]
)
def test_a_fault_may_ask_for_a_longer_pause(play: Play, asked: float | None, waits: float) -> None:
    play.submit("a")
    fault = Fault.of(Code.ENGINE_UNAVAILABLE, "no room now", retry_after=asked)
    play.tell(ev.StepFaulted(seat("p/0.1"), 1, fault, leave=False))
    assert play.waits("a") == waits


def test_an_alarm_of_a_former_delay_does_nothing(play: Play) -> None:
    play.submit("a")
    play.fault("p/0.1", Code.ENGINE_ERROR)
    _, stale = play.alarms["a", "retry", 1]
    play.wake("a")
    assert play.tell(stale) == []
    play.fault("p/1.1", Code.ENGINE_ERROR)
    assert play.tell(stale) == []
    assert play.core.jobs.count(JobState.WAITING) == 1


@pytest.mark.parametrize("now", [False, True])
def test_a_job_that_waits_is_ended_at_once(play: Play, now: bool) -> None:
    play.submit("a")
    play.fault("p/0.1", Code.ENGINE_ERROR)
    (failed, *_) = play.tell(ev.StopRequested(now=True) if now else ev.CancelRequested("a"))
    assert isinstance(failed, do.Fail)
    assert failed.fault.code is (Code.SHUTTING_DOWN if now else Code.CANCELLED)
    assert play.wake("a") == []


def test_a_polite_stop_waits_for_a_job_that_waits(play: Play) -> None:
    play.submit("a")
    play.fault("p/0.1", Code.ENGINE_ERROR)
    assert play.tell(ev.StopRequested()) == []
    assert play.sent(play.wake("a")) == [("a", "p/1.1")]


def test_a_job_that_waits_takes_room_in_the_queue() -> None:
    play = Play(retries=policy(), queue=QueuePolicy(max_jobs=1))
    play.boot("p/0.1", "p/1.1")
    play.submit("a")
    play.fault("p/0.1", Code.ENGINE_ERROR)
    (refused,) = play.tell(ev.JobSubmitted("b", None, 1))
    assert isinstance(refused, do.Refuse)
    assert refused.fault.code is Code.OVERLOADED


def test_a_job_asks_for_its_own_figures(play: Play) -> None:
    play.submit("a", retries=Retries(attempts=2, delay=0.0))
    assert play.fault("p/0.1", Code.ENGINE_ERROR) == [do.SendStep(seat("p/1.1"), 2, "a")]
    (failed,) = play.fault("p/1.1", Code.ENGINE_ERROR)
    assert isinstance(failed, do.Fail)


def test_each_pool_has_its_own_figures() -> None:
    play = Play(pool("one", retries=RetryPolicy(attempts=1)), pool("two", retries=RetryPolicy(attempts=2)))
    play.boot("one/0.1", "two/0.1", "two/1.1")
    play.tell(ev.JobSubmitted("a", "one", 1), ev.JobPersisted("a"))
    play.tell(ev.JobSubmitted("b", "two", 1), ev.JobPersisted("b"))
    assert isinstance(play.fault("one/0.1", Code.ENGINE_ERROR)[0], do.Fail)
    assert play.sent(play.fault("two/0.1", Code.ENGINE_ERROR)) == [("b", "two/1.1")]
