"""Who sits where: replacement without a gap, one at a time, and the emptying of a pool. Events in, actions out."""

import pytest

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Duration, RecyclePolicy, RestartPolicy
from support.play import Play, greeted, pool, seat


def surge(**more: object) -> Play:
    """Two warm workers and a spare seat: the replacement is warm before the old worker goes."""
    play = Play(pool(start_first=True, **more))
    play.boot("p/0.1", "p/1.1")
    return play


def tight(**more: object) -> Play:
    """Two warm workers and no spare seat."""
    play = Play(pool(**more))
    play.boot("p/0.1", "p/1.1")
    return play


# --- start-first ------------------------------------------------------------------------------------------------------


def test_the_spare_seat_is_empty_until_it_is_needed() -> None:
    play = surge()
    assert play.first == [do.Spawn(seat("p/0.1")), do.Spawn(seat("p/1.1"))]
    assert play.states() == "idle idle vacant"


def test_the_replacement_is_warm_before_the_old_worker_goes() -> None:
    play = surge()
    assert play.tell(ev.RecycleRequested("p", 0)) == [do.Spawn(seat("p/2.1"))]
    assert play.topics("worker.recycling") == [{"seat": "p/0.1", "reason": "requested", "numbers": {"age_s": 0.0}}]
    assert play.tell(greeted("p/2.1")) == [do.SendLoad(seat("p/2.1"))]
    assert play.states() == "idle idle warming"
    play.now = 3.0
    assert play.tell(ev.WorkerWarmed(seat("p/2.1"))) == [do.SendStop(seat("p/0.1"))]
    assert play.states() == "stopping idle idle"
    assert play.exit("p/0.1") == []
    assert play.states() == "vacant idle idle"
    (told,) = play.topics("worker.recycled")
    assert (told["seat"], told["reason"], told["jobs_done"], told["age_s"]) == ("p/0.1", "requested", 0, 3.0)
    staffing = play.core.pools["p"].staffing
    assert (staffing.recycles, staffing.least_ready) == ({"requested": 1}, 2)


def test_a_busy_worker_finishes_its_step_before_it_goes() -> None:
    play = surge()
    play.submit("a")
    play.tell(ev.RecycleRequested("p", 0))
    assert play.boot("p/2.1") == [do.SendLoad(seat("p/2.1"))]
    assert play.states() == "draining idle idle"
    assert play.left(0) == 60.0  # the deadline of the step stands
    assert play.finish("p/0.1")[0] == do.SendStop(seat("p/0.1"))


def test_workers_are_replaced_one_after_the_other() -> None:
    play = surge()
    assert play.tell(ev.RecycleRequested()) == [do.Spawn(seat("p/2.1"))]
    play.boot("p/2.1")
    assert play.states() == "stopping idle idle"
    assert play.exit("p/0.1") == [do.Spawn(seat("p/0.2"))]
    play.boot("p/0.2")
    assert play.states() == "idle stopping idle"
    assert play.exit("p/1.1") == []
    assert play.states() == "idle vacant idle"
    assert play.core.pools["p"].staffing.least_ready == 2


def test_a_worker_goes_on_working_until_its_replacement_is_warm() -> None:
    play = surge(recycle=RecyclePolicy(max_jobs=2, max_age=Duration(0)))
    play.submit("a")
    assert do.Spawn(seat("p/2.1")) in play.finish("p/0.1")
    play.submit("b")
    assert play.sent(play.submit("c")) == [("c", "p/0.1")]
    play.boot("p/2.1")
    assert play.states() == "draining busy idle"
    assert play.core.pools["p"].staffing.recycles == {"max_jobs": 1}


def test_a_replacement_that_dies_is_tried_again_and_the_old_worker_stays() -> None:
    play = surge()
    play.tell(ev.RecycleRequested("p", 0))
    play.exit("p/2.1", "exit 1")
    assert play.states() == "idle idle backoff"
    assert play.ring(2) == [do.Spawn(seat("p/2.2"))]
    play.boot("p/2.2")
    assert play.states() == "stopping idle idle"


def test_a_worker_that_dies_before_its_replacement_is_warm_is_replaced_by_it() -> None:
    play = surge()
    play.tell(ev.RecycleRequested("p", 0))
    play.exit("p/0.1", "SIGKILL")
    assert play.states() == "backoff idle starting"
    assert play.ring(0) == []
    assert play.states() == "vacant idle starting"
    assert play.boot("p/2.1") == [do.SendLoad(seat("p/2.1"))]
    assert play.states() == "vacant idle idle"


def test_nobody_is_replaced_while_a_seat_is_not_settled() -> None:
    play = surge()
    play.exit("p/1.1", "SIGKILL")
    assert play.tell(ev.RecycleRequested("p", 0)) == []
    play.ring(1)
    assert play.states() == "idle starting vacant"
    play.tell(greeted("p/1.2"))
    assert play.tell(ev.WorkerWarmed(seat("p/1.2"))) == [do.Spawn(seat("p/2.1"))]


def test_a_failed_spare_seat_keeps_no_other_one_empty() -> None:
    play = Play(pool(workers=1, start_first=True, restarts=RestartPolicy(intensity=1)))
    play.boot("p/0.1")
    play.tell(ev.RecycleRequested("p"))
    play.exit("p/1.1", "exit 1")
    play.ring(1)
    play.exit("p/1.2", "exit 1")
    assert play.states() == "idle failed"
    play.exit("p/0.1", "SIGKILL")
    assert play.ring(0) == [do.Spawn(seat("p/0.2"))]
    play.boot("p/0.2")
    assert play.ring(1) == []  # its time is over, and nobody is wanted there any more
    assert play.states() == "idle vacant"


def test_an_operator_gets_no_worker_too_many_from_a_failed_seat() -> None:
    play = Play(pool(workers=1, start_first=True))
    play.boot("p/0.1")
    play.tell(ev.RecycleRequested("p"))
    play.exit("p/1.1", "exit 78", hopeless=True)
    play.exit("p/0.1", "SIGKILL")
    play.ring(0)
    play.boot("p/0.2")
    assert play.states() == "idle failed"
    assert play.tell(ev.RecycleRequested("p", 1)) == []
    assert play.states() == "idle vacant"


# --- stop-first -------------------------------------------------------------------------------------------------------


def test_without_a_spare_seat_the_old_worker_goes_first() -> None:
    play = tight()
    assert play.tell(ev.RecycleRequested("p", 0)) == [do.SendStop(seat("p/0.1"))]
    assert play.exit("p/0.1") == [do.Spawn(seat("p/0.2"))]
    assert play.states() == "starting idle"


def test_without_a_spare_seat_the_next_one_goes_when_the_last_one_is_back() -> None:
    play = tight()
    assert play.tell(ev.RecycleRequested()) == [do.SendStop(seat("p/0.1"))]
    assert play.exit("p/0.1") == [do.Spawn(seat("p/0.2"))]
    assert play.states() == "starting idle"
    assert play.boot("p/0.2") == [do.SendLoad(seat("p/0.2")), do.SendStop(seat("p/1.1"))]
    assert play.exit("p/1.1") == [do.Spawn(seat("p/1.2"))]
    play.boot("p/1.2")
    assert play.states() == "idle idle"
    assert play.core.pools["p"].staffing.least_ready == 1


def test_a_worker_that_does_not_leave_is_killed_and_its_seat_is_taken_again() -> None:
    play = tight()
    play.tell(ev.RecycleRequested("p", 0))
    assert play.left(0) == 8.0
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=False)]
    play.exit("p/0.1", "SIGKILL")
    assert play.core.pools["p"].deaths == {"stopping deadline": 1}
    assert play.ring(0) == [do.Spawn(seat("p/0.2"))]


# --- why --------------------------------------------------------------------------------------------------------------


def test_each_worker_goes_after_its_own_share_of_jobs() -> None:
    play = tight(recycle=RecyclePolicy(max_jobs=4, max_age=Duration(0)))
    play.submit("a", "b")
    play.finish("p/0.1")
    play.finish("p/1.1")
    assert play.states() == "idle idle"
    play.submit("c", "d")
    play.finish("p/0.1")
    play.finish("p/1.1")
    assert play.states() == "stopping idle"
    assert play.topics("worker.recycling")[0]["numbers"] == {"jobs_done": 2, "limit": 2}


def test_the_oldest_goes_when_its_time_has_come() -> None:
    play = Play(pool(recycle=RecyclePolicy(max_jobs=0, max_age=Duration(3600))))
    play.boot("p/1.1")
    play.now = 5.0
    play.boot("p/0.1")
    assert (play.left(1, "age"), play.left(0, "age")) == (3595.0, 3600.0)
    assert play.ring(1, "age") == [do.SendStop(seat("p/0.1"))]  # both were spawned at 0
    assert play.topics("worker.recycling")[0]["numbers"] == {"age_s": 3600.0, "limit_s": 3600.0}


def test_a_worker_that_cannot_be_trusted_goes_at_once_and_the_spare_seat_is_taken() -> None:
    play = surge()
    play.submit("a")
    orders = play.fault("p/0.1", Code.OUT_OF_MEMORY, leave=True)
    assert orders == [do.SendStop(seat("p/0.1")), do.Spawn(seat("p/2.1")), do.SendStep(seat("p/1.1"), 2, "a")]
    assert play.states() == "stopping busy starting"
    play.exit("p/0.1")
    assert play.states() == "vacant busy starting"
    assert play.core.pools["p"].staffing.recycles == {"out_of_memory": 1}


def test_a_worker_is_recycled_once_whatever_it_says_at_the_end() -> None:
    play = surge()
    play.submit("a")
    play.tell(ev.RecycleRequested("p", 0))
    play.boot("p/2.1")
    assert play.states() == "draining idle idle"
    play.fault("p/0.1", Code.OUT_OF_MEMORY, leave=True)
    assert play.core.pools["p"].staffing.recycles == {"requested": 1}
    assert len(play.topics("worker.recycled")) == 1


def test_the_lowest_number_of_ready_workers_counts_from_the_first_full_staff_on() -> None:
    play = Play(pool())
    staffing = play.core.pools["p"].staffing
    play.boot("p/0.1")
    assert staffing.least_ready is None
    play.boot("p/1.1")
    assert staffing.least_ready == 2
    play.exit("p/0.1", "SIGKILL")
    assert staffing.least_ready == 1
    play.ring(0)
    play.boot("p/0.2")
    play.tell(ev.StopRequested())
    assert staffing.least_ready == 1


# --- the emptying of a pool -------------------------------------------------------------------------------------------


def test_a_pool_is_emptied_from_every_state() -> None:
    play = Play(pool(workers=4, start_first=True))
    play.boot("p/0.1", "p/3.1")
    play.tell(greeted("p/1.1"))
    play.exit("p/3.1", "SIGKILL")
    assert play.states() == "idle warming starting backoff vacant"
    assert play.tell(ev.StopRequested()) == [
        do.SendStop(seat("p/0.1")),
        do.Kill(seat("p/1.1"), dump=False),
        do.Kill(seat("p/2.1"), dump=False),
    ]
    assert play.states() == "stopping killing killing vacant vacant"
    assert play.exit("p/0.1") + play.exit("p/1.1", "SIGKILL") == []
    assert play.exit("p/2.1", "SIGKILL") == [do.Leave(Exit.OK, "stopped")]
    assert play.core.pools["p"].deaths == {"SIGKILL": 1}  # that of p/3.1: the others were wanted


def test_a_seat_that_fails_at_the_very_end_holds_nobody_up() -> None:
    play = Play(pool(workers=1, restarts=RestartPolicy(intensity=1)))
    play.exit("p/0.1", "exit 1")
    play.ring(0)
    play.boot("p/0.2")
    play.tell(ev.StopRequested())
    assert play.ring(0) == [do.Kill(seat("p/0.2"), dump=False)]
    assert play.exit("p/0.2", "SIGKILL") == [do.Leave(Exit.OK, "stopped")]


def test_nothing_is_started_once_a_pool_is_being_emptied() -> None:
    play = tight()
    play.tell(ev.StopRequested())
    assert play.exit("p/0.1") + play.tell(ev.RecycleRequested()) == []
    assert play.exit("p/1.1", "SIGKILL") == [do.Leave(Exit.OK, "stopped")]
    timers = [play.tell(fired) for _, fired in play.due.values()]
    assert timers == [[]] * len(timers)
    assert play.tell(ev.RecycleRequested(), ev.StopRequested(), ev.StopRequested(now=True)) == []


def test_a_hurry_after_a_stop_kills_those_that_are_still_working() -> None:
    play = surge()
    play.submit("a")
    play.tell(ev.RecycleRequested("p", 0))
    play.boot("p/2.1")
    play.tell(ev.StopRequested())
    assert play.states() == "draining idle idle"
    orders = play.tell(ev.StopRequested(now=True))[1:]
    assert orders == [do.Kill(seat("p/0.1"), dump=False), do.SendStop(seat("p/1.1")), do.SendStop(seat("p/2.1"))]


@pytest.mark.parametrize("first", ["p", "q"])
def test_the_daemon_leaves_when_the_last_pool_is_empty(first: str) -> None:
    play = Play(pool("p", workers=1), pool("q", workers=1))
    play.boot("p/0.1", "q/0.1")
    play.tell(ev.StopRequested())
    last = {"p": "q", "q": "p"}[first]
    assert play.exit(f"{first}/0.1") == []
    assert play.exit(f"{last}/0.1") == [do.Leave(Exit.OK, "stopped")]
