"""Jobs that outlive a daemon: what is kept, what comes back, and who is suspected. Events in, actions out."""

import pytest

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code
from asrd_supervisor.config import Config, PoolConfig
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import JobState
from asrd_supervisor.core.policy import Duration, RestartPolicy, RetryPolicy
from asrd_supervisor.report.insights import insights
from support.play import Play, pool, seat


def durable(workers: int = 2, **more: object) -> Play:
    """Warm workers of a daemon whose jobs outlive it."""
    play = Play(pool(workers=workers), durable=True, **more)  # type: ignore[arg-type]
    play.boot(*(f"p/{slot}.1" for slot in range(workers)))
    return play


def recovered(job: str, pool: str | None = None, deadline: float | None = None, **counts: int) -> ev.JobRecovered:
    return ev.JobRecovered(ev.JobSubmitted(job, pool, 1, deadline=deadline), **counts)


def failure(orders: list[do.Action]) -> do.Fail:
    (order,) = [order for order in orders if isinstance(order, do.Fail)]
    return order


# --- what comes back --------------------------------------------------------------------------------------------------


def test_a_recovered_job_is_not_accepted_again_and_runs() -> None:
    play = durable()
    assert play.tell(recovered("a")) == [do.SendStep(seat("p/0.1"), 1, "a")]
    delivered = play.finish("p/0.1")[0]
    assert isinstance(delivered, do.Deliver)
    assert delivered.run.attempts == 1


def test_recovered_jobs_keep_their_order() -> None:
    play = durable(workers=1)
    assert play.sent(play.tell(*(recovered(job) for job in "abc"))) == [("a", "p/0.1")]
    assert play.sent(play.finish("p/0.1")) == [("b", "p/0.1")]


def test_tries_and_deaths_go_on_where_they_were() -> None:
    play = durable(prompt=False)
    assert play.tell(recovered("a", attempts=1, deaths=1)) == [do.PersistAttempt("a", seat("p/0.1"), 1, 2, 1, 0, 2)]
    play.stored("p/0.1")
    failed = failure(play.exit("p/0.1", "SIGSEGV"))
    assert failed.fault.code is Code.POISON
    assert failed.fault.context["deaths"] == 2


@pytest.mark.parametrize(("interrupted", "tries"), [(0, 1), (1, 2), (2, 3)])
def test_an_attempt_that_ended_with_the_daemon_is_no_fault_of_the_job(interrupted: int, tries: int) -> None:
    play = durable(retries=RetryPolicy(attempts=3))
    play.tell(recovered("a", attempts=2, interrupted=interrupted))
    for left in range(tries, 0, -1):
        name = next(str(slot.seat) for slot in play.core.pools["p"].slots if slot.task)
        orders = play.fault(name, Code.ENGINE_ERROR)
        assert any(isinstance(order, do.Fail) for order in orders) == (left == 1)


@pytest.mark.parametrize(("interrupted", "poison"), [(3, False), (4, True)])
def test_a_job_that_seems_to_end_the_daemon_is_put_into_quarantine(interrupted: int, poison: bool) -> None:
    play = durable()
    orders = play.tell(recovered("a", attempts=1, interrupted=interrupted))
    assert isinstance(orders[0], do.Fail) == poison
    assert bool(play.topics("job.quarantined")) == poison
    if poison:
        assert failure(orders).fault.code is Code.POISON
        assert play.core.jobs.count(*JobState) == 0


def stranded(**more: float) -> Play:
    """A job of an earlier daemon, for a pool that this one does not have."""
    play = durable()
    assert play.tell(recovered("a", pool="former", **more)) == []  # type: ignore[arg-type]
    assert play.topics("job.stranded") == [{"job": "a", "pool": "former"}]
    return play


def test_a_job_for_a_pool_that_is_gone_waits_and_is_seen() -> None:
    play = stranded()
    assert play.core.jobs.count(JobState.QUEUED) == 1
    assert play.core.jobs.stranded() == {"former": 1}
    (insight,) = insights(play.core, Config(pools={"p": PoolConfig()}), play.now).insights
    assert (insight.severity, insight.pool) == ("critical", "former")
    assert insight.said == "A job waits for former, and no pool of that name transcribes."
    assert play.sent(play.submit("b")) == [("b", "p/0.1")]


def test_a_pool_that_tells_speakers_apart_now_is_as_good_as_gone() -> None:
    play = Play(pool(), pool("former", diarizes=True), durable=True)
    play.boot("former/0.1")
    assert play.tell(recovered("a", pool="former")) == []
    assert play.core.jobs.stranded() == {"former": 1}


def test_a_job_for_a_pool_that_is_gone_may_be_cancelled() -> None:
    play = stranded()
    failed = failure(play.tell(ev.CancelRequested("a")))
    assert (failed.fault.code, failed.job.pool) == (Code.CANCELLED, "former")
    assert not play.core.jobs.active
    assert play.core.jobs.count(*JobState) == 0


def test_a_job_for_a_pool_that_is_gone_has_its_deadline() -> None:
    play = stranded(deadline=7.0)
    assert play.waits("a", "deadline") == 7.0
    assert failure(play.wake("a", "deadline")).fault.code is Code.DEADLINE


def test_a_job_for_a_pool_that_is_gone_is_kept_for_the_next_daemon() -> None:
    play = stranded()
    play.tell(ev.StopRequested(now=True))
    assert play.kept == [do.PersistWait("a", 0, 0)]


def test_what_is_left_of_a_deadline_counts() -> None:
    play = durable(workers=1)
    play.tell(recovered("a"), recovered("b", deadline=3.0), recovered("c", deadline=0.0))
    assert (play.waits("b", "deadline"), play.waits("c", "deadline")) == (3.0, 0.0)
    assert failure(play.wake("c", "deadline")).fault.code is Code.DEADLINE


def test_a_draining_or_full_daemon_takes_its_own_jobs_back() -> None:
    play = durable()
    play.tell(ev.DrainRequested())
    assert play.sent(play.tell(recovered("a"))) == [("a", "p/0.1")]


# --- suspects ---------------------------------------------------------------------------------------------------------


def test_suspects_hold_one_worker_of_the_pool_at_a_time_and_others_pass() -> None:
    play = durable(workers=3)
    play.tell(recovered("a", attempts=1, deaths=1), recovered("b", attempts=1, deaths=1))
    assert play.states() == "busy idle idle"
    assert play.sent(play.submit("c")) == [("c", "p/1.1")]
    assert play.sent(play.finish("p/1.1")) == []
    assert play.sent(play.finish("p/0.1")) == [("b", "p/2.1")]


def test_a_suspect_of_another_pool_holds_nobody_up() -> None:
    play = Play(pool("p", workers=1), pool("q", workers=1), durable=True)
    play.boot("p/0.1", "q/0.1")
    play.tell(recovered("a", pool="p", attempts=1, deaths=1))
    assert play.sent(play.tell(recovered("b", pool="q", attempts=1, deaths=1))) == [("b", "q/0.1")]


def test_a_worker_that_dies_of_a_suspect_is_not_to_blame() -> None:
    strict = pool(workers=1, restarts=RestartPolicy(intensity=1), retries=RetryPolicy(attempts=9, deaths=9))
    play = Play(strict, durable=True)
    play.boot("p/0.1")
    play.submit("a")
    play.exit("p/0.1", "SIGSEGV")  # this one is on the seat's account: nobody could know
    for generation in range(2, 7):
        assert play.left(0) == 0.0
        play.ring(0)
        assert play.sent(play.boot(f"p/0.{generation}")) == [("a", f"p/0.{generation}")]
        play.exit(f"p/0.{generation}", "SIGSEGV")
    assert play.states() == "backoff"


def test_a_worker_that_dies_before_it_has_the_suspect_is_to_blame() -> None:
    strict = pool(workers=1, restarts=RestartPolicy(intensity=1), retries=RetryPolicy(attempts=9, deaths=9))
    play = Play(strict, prompt=False)
    play.boot("p/0.1")
    play.tell(recovered("a", attempts=1, deaths=1))
    play.exit("p/0.1", "SIGSEGV")
    play.ring(0)
    play.boot("p/0.2")
    play.exit("p/0.2", "SIGSEGV")
    assert play.states() == "failed"


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_stop_ends_what_runs_and_keeps_what_waits() -> None:
    play = durable()
    play.submit("a", "b", "c")
    assert play.tell(ev.StopRequested()) == []
    assert isinstance(play.finish("p/0.1")[0], do.Deliver)
    assert play.states() == "idle busy"
    orders = play.finish("p/1.1")
    assert orders[1:] == [do.SendStop(seat("p/0.1")), do.SendStop(seat("p/1.1"))]
    play.exit("p/0.1")
    assert play.exit("p/1.1") == [do.Leave(Exit.OK, "stopped")]
    assert play.kept == [do.PersistWait("c", 0, 0)]


def test_a_step_that_fails_during_the_stop_is_for_the_next_daemon() -> None:
    play = durable()
    play.submit("a")
    play.tell(ev.StopRequested())
    play.fault("p/0.1", Code.ENGINE_ERROR)
    assert play.kept == [do.PersistWait("a", 1, 0)]
    assert play.states() == "stopping stopping"


def test_a_job_that_waits_for_its_next_try_holds_no_stop_up() -> None:
    play = durable(retries=RetryPolicy(delay=Duration(50)))
    play.submit("a")
    play.fault("p/0.1", Code.ENGINE_ERROR)
    assert play.tell(ev.StopRequested()) == [do.SendStop(seat("p/0.1")), do.SendStop(seat("p/1.1"))]


def test_a_job_that_is_being_stored_holds_the_stop_up_and_is_accepted() -> None:
    play = durable()
    play.tell(ev.JobSubmitted("a", None, 1), ev.StopRequested())
    assert play.states() == "idle idle"
    accepted, *orders = play.tell(ev.JobPersisted("a"))
    assert accepted == do.Accept("a", 0, 0.0)
    assert orders == [do.SendStop(seat("p/0.1")), do.SendStop(seat("p/1.1"))]


def test_a_stop_now_keeps_everything_and_the_try_that_is_given_up_counts_for_nothing() -> None:
    play = durable(workers=1)
    play.tell(recovered("a", attempts=1, deaths=1))
    play.submit("b")
    orders = play.tell(ev.StopRequested(now=True))
    assert play.kept == [do.PersistWait("a", 1, 1), do.PersistWait("b", 0, 0)]
    assert orders == [do.Kill(seat("p/0.1"), dump=False)]
    assert play.core.jobs.count(*JobState) == 0
    assert play.exit("p/0.1", "SIGKILL") == [do.Leave(Exit.OK, "stopped")]
    assert play.core.jobs.ended == {}


def test_a_drain_that_takes_too_long_keeps_what_runs() -> None:
    play = durable()
    play.submit("a")
    play.tell(ev.StopRequested())
    play.ring(0, "drain", "")
    assert play.kept == [do.PersistWait("a", 0, 0)]
    assert play.states() == "killing stopping"


def test_a_death_is_stored_with_the_wait_that_follows() -> None:
    play = durable()
    play.submit("a")
    play.exit("p/0.1", "SIGSEGV")
    assert play.kept == [do.PersistWait("a", 1, 1)]


def test_a_pool_without_hope_keeps_its_queue_while_another_one_works() -> None:
    play = Play(pool("good", workers=1), pool("bad", workers=1), durable=True)
    play.boot("good/0.1")
    play.tell(ev.JobSubmitted("a", "bad", 1), ev.JobPersisted("a"))
    assert play.exit("bad/0.1", "exit 78", hopeless=True) == []
    assert play.core.jobs.count(JobState.QUEUED) == 1
    assert play.sent(play.tell(ev.RecycleRequested("bad")) + play.boot("bad/0.2")) == [("a", "bad/0.2")]


def test_a_daemon_without_hope_leaves_and_keeps_its_jobs() -> None:
    play = Play(pool(workers=1), durable=True)
    play.submit("a")
    (leave,) = play.exit("p/0.1", "exit 78", hopeless=True)
    assert isinstance(leave, do.Leave)
    assert leave.code is Exit.CONFIG
    assert play.kept == [do.PersistWait("a", 0, 0)]


def test_a_job_that_is_cancelled_during_the_stop_ends() -> None:
    play = durable(workers=1)
    play.submit("a", "b")
    play.tell(ev.StopRequested())
    assert failure(play.tell(ev.CancelRequested("b"))).fault.code is Code.CANCELLED
