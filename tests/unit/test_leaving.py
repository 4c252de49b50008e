"""The end of the daemon: polite, hurried, or because nobody will ever work. Events in, actions out."""

import pytest

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import RestartPolicy
from support.play import Play, greeted, pool, seat

NO_MODEL = Fault.of(Code.MODEL_UNAVAILABLE, "model.bin is missing")


@pytest.fixture
def play() -> Play:
    """Two warm workers, ``p/0.1`` and ``p/1.1``."""
    started = Play()
    started.boot("p/0.1", "p/1.1")
    return started


def refusal(orders: list[do.Action]) -> do.Refuse:
    (order,) = orders
    assert isinstance(order, do.Refuse)
    return order


def failure(orders: list[do.Action]) -> do.Fail:
    (order,) = [order for order in orders if isinstance(order, do.Fail)]
    return order


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_a_stop_finishes_what_there_is_and_leaves(play: Play) -> None:
    play.submit("a", "b", "c")
    assert play.tell(ev.StopRequested()) == []
    assert refusal(play.tell(ev.JobSubmitted("d", None, 1))).fault.code is Code.SHUTTING_DOWN
    assert play.sent(play.finish("p/0.1")) == [("c", "p/0.1")]
    play.finish("p/1.1")
    assert play.finish("p/0.1")[1:] == [do.SendStop(seat("p/0.1")), do.SendStop(seat("p/1.1"))]
    assert play.exit("p/0.1") == []
    assert play.exit("p/1.1") == [do.Leave(Exit.OK, "stopped")]


def test_a_stop_finishes_jobs_that_are_being_stored(play: Play) -> None:
    play.tell(ev.JobSubmitted("a", None, 1), ev.StopRequested())
    assert play.sent(play.tell(ev.JobPersisted("a"))) == [("a", "p/0.1")]


def test_a_stop_now_gives_everything_up(play: Play) -> None:
    play.submit("a", "b", "c")
    play.tell(ev.JobSubmitted("d", None, 1))
    orders = play.tell(ev.StopRequested(now=True))
    ends = [(order.job.id, order.fault.code) for order in orders if isinstance(order, do.Fail)]
    assert ends == [(job, Code.SHUTTING_DOWN) for job in "abcd"]
    assert orders[4:] == [do.Kill(seat("p/0.1"), dump=False), do.Kill(seat("p/1.1"), dump=False)]
    assert play.finish("p/0.1") == []
    assert play.tell(ev.JobPersisted("d")) == []
    assert play.exit("p/0.1", "SIGKILL") == []
    assert play.exit("p/1.1", "SIGKILL") == [do.Leave(Exit.OK, "stopped")]


@pytest.mark.parametrize("impatient", [True, False])
def test_a_drain_that_takes_too_long_is_hurried(play: Play, impatient: bool) -> None:
    play.submit("a")
    play.tell(ev.StopRequested())
    assert play.left(0, "drain", "") == 60.0
    orders = play.tell(ev.StopRequested(now=True)) if impatient else play.ring(0, "drain", "")
    assert failure(orders).fault.code is Code.SHUTTING_DOWN
    assert do.Kill(seat("p/0.1"), dump=False) in orders
    assert do.SendStop(seat("p/1.1")) in orders


def test_a_second_polite_stop_changes_nothing(play: Play) -> None:
    play.submit("a")
    play.tell(ev.StopRequested())
    play.now = 30.0
    assert play.tell(ev.StopRequested()) == []
    assert play.left(0, "drain", "") == 30.0


def test_a_daemon_whose_configuration_cannot_work_leaves_and_says_why() -> None:
    play = Play()
    play.submit("a")
    play.tell(ev.LoadFaulted(seat("p/0.1"), NO_MODEL))
    assert play.exit("p/0.1", "exit 78", hopeless=True) == []
    assert play.states() == "failed starting"
    orders = play.exit("p/1.1", "exit 78", hopeless=True)
    assert failure(orders).fault.code is Code.ENGINE_UNAVAILABLE
    leave = orders[-1]
    assert isinstance(leave, do.Leave)
    assert leave.code is Exit.CONFIG
    assert "model.bin is missing" in leave.message


def test_one_pool_that_cannot_work_takes_no_jobs_and_the_other_one_does() -> None:
    play = Play(pool("good", workers=1), pool("bad", workers=1))
    play.boot("good/0.1")
    play.tell(ev.JobSubmitted("a", "bad", 1), ev.JobPersisted("a"), ev.LoadFaulted(seat("bad/0.1"), NO_MODEL))
    fault = failure(play.exit("bad/0.1", "exit 78", hopeless=True)).fault
    assert (fault.code, fault.retry_after) == (Code.ENGINE_UNAVAILABLE, None)
    assert "model.bin is missing" in fault.message
    assert refusal(play.tell(ev.JobSubmitted("b", "bad", 1))).fault.code is Code.ENGINE_UNAVAILABLE
    assert play.sent(play.submit("c")) == [("c", "good/0.1")]


# --- seats ------------------------------------------------------------------------------------------------------------


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
    play = Play()
    play.boot("p/0.1", "p/1.1")
    play.tell(ev.StopRequested())
    assert play.exit("p/0.1") + play.tell(ev.RecycleRequested()) == []
    assert play.exit("p/1.1", "SIGKILL") == [do.Leave(Exit.OK, "stopped")]
    timers = [play.tell(fired) for _, fired in play.due.values()]
    assert timers == [[]] * len(timers)
    assert play.tell(ev.RecycleRequested(), ev.StopRequested(), ev.StopRequested(now=True)) == []


def test_a_hurry_after_a_stop_kills_those_that_are_still_working() -> None:
    play = Play(pool(start_first=True))
    play.boot("p/0.1", "p/1.1")
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
