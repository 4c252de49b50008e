"""A pool: who works next, how long, and what becomes of workers that die, hang or lie. Events in, actions out."""

import pytest

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Deadlines, Duration, RestartPolicy
from support.play import Play, greeted, pool, progressed, seat


@pytest.fixture
def play() -> Play:
    """Two warm workers, ``p/0.1`` and ``p/1.1``."""
    started = Play()
    started.boot("p/0.1", "p/1.1")
    return started


# --- boot -------------------------------------------------------------------------------------------------------------


def test_a_worker_is_spawned_loaded_and_warm() -> None:
    play = Play(pool(workers=1))
    assert play.first == [do.Spawn(seat("p/0.1"))]
    assert play.left(0) == 60.0
    assert play.tell(greeted("p/0.1")) == [do.SendLoad(seat("p/0.1"))]
    assert play.left(0) == 300.0
    assert play.core.pools["p"].ready == 0
    assert play.tell(ev.WorkerWarmed(seat("p/0.1"), 1.5, 0.5)) == []
    assert play.core.pools["p"].ready == 1
    assert play.topics("worker.ready") == [
        {"seat": "p/0.1", "pid": 4711, "load_s": 1.5, "warm_up_s": 0.5, "start_s": 0.0, "device": "cpu"}
    ]


def test_jobs_wait_for_the_first_warm_worker() -> None:
    play = Play(pool(workers=1))
    assert play.sent(play.submit("a", "b")) == []
    assert play.sent(play.boot("p/0.1")) == [("a", "p/0.1")]


@pytest.mark.parametrize(
    ("spoken", "why", "dump"), [([], "starting deadline", False), (["hello"], "warming deadline", True)]
)
def test_a_worker_that_hangs_while_booting_is_killed(spoken: list[str], why: str, dump: bool) -> None:
    play = Play(pool(workers=1))
    if spoken:
        play.tell(greeted("p/0.1"))
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=dump)]
    play.exit("p/0.1", "SIGKILL")
    assert play.core.pools["p"].deaths == {why: 1}
    assert play.states() == "backoff"


# --- who works next ---------------------------------------------------------------------------------------------------


def test_idle_workers_take_turns() -> None:
    play = Play(pool(workers=3))
    play.boot("p/0.1", "p/1.1", "p/2.1")
    for turn in range(7):
        assert play.sent(play.submit(f"job-{turn}")) == [(f"job-{turn}", f"p/{turn % 3}.1")]
        play.finish(f"p/{turn % 3}.1")


def test_a_busy_worker_misses_its_turn() -> None:
    play = Play(pool(workers=3))
    play.boot("p/0.1", "p/1.1", "p/2.1")
    play.submit("a", "b")
    play.finish("p/0.1")
    assert play.sent(play.submit("c", "d", "e")) == [("c", "p/2.1"), ("d", "p/0.1")]
    assert play.sent(play.finish("p/1.1")) == [("e", "p/1.1")]


def test_first_come_first_served(play: Play) -> None:
    play.submit(*"abcdef")
    order = [play.sent(play.finish(f"p/{slot}.1"))[0][0] for slot in (1, 1, 0, 1)]
    assert order == ["c", "d", "e", "f"]


# --- how long ---------------------------------------------------------------------------------------------------------


def test_a_step_gets_the_floor_until_its_length_is_known_and_then_by_its_length(play: Play) -> None:
    play.submit("a")
    assert play.left(0) == 60.0
    play.now = 10.0
    play.tell(progressed("p/0.1", 1, 0.0, 30.0))
    assert play.left(0) == 290.0  # ten times its audio, from the start of the step on
    play.now = 100.0
    play.tell(progressed("p/0.1", 1, 12.0, 30.0))
    assert play.left(0) == 200.0


def test_a_short_step_keeps_the_floor(play: Play) -> None:
    play.submit("a")
    play.now = 10.0
    play.tell(progressed("p/0.1", 1, 0.0, 6.0))
    assert play.left(0) == 50.0


def test_who_was_quick_with_silence_has_the_time_for_speech(play: Play) -> None:
    play.submit("a")
    silence = Work(audio_s=3600.0)
    play.tell(ev.StepFinished(seat("p/0.1"), 1, Timings(decode=1.0), silence, "nothing"))
    play.submit("b")
    busy = next(str(slot.seat) for slot in play.core.pools["p"].slots if slot.task)
    play.tell(progressed(busy, play.attempt(busy), 0.0, 120.0))
    assert play.left(seat(busy).slot) == 1200.0


def test_a_length_that_is_told_after_its_time_is_over_prolongs_nothing() -> None:
    play = Play(pool(deadlines=Deadlines(busy_floor=Duration(10), busy_factor=1.0)))
    play.boot("p/0.1")
    play.submit("a")
    play.now = 20.0
    play.tell(progressed("p/0.1", 1, 0.0, 15.0))
    assert play.left(0) == 0.0


def test_a_cancelled_step_gets_no_time_for_its_length(play: Play) -> None:
    play.submit("a")
    play.tell(ev.CancelRequested("a"), progressed("p/0.1", 1, 0.0, 3600.0))
    assert play.left(0) == 2.0


def test_a_worker_that_makes_no_end_is_asked_for_its_stack_and_then_killed_until_it_is_gone(play: Play) -> None:
    play.submit("a")
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=True)]
    assert play.left(0) == 2.0
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=False)]
    assert play.left(0) == 2.0
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=False)]
    assert play.sent(play.exit("p/0.1", "SIGKILL")) == [("a", "p/1.1")]
    assert play.core.pools["p"].deaths == {"busy deadline": 1}


def test_a_timer_of_a_former_state_does_nothing(play: Play) -> None:
    play.submit("a")
    _, stale = play.due["p", 0, "state"]
    play.finish("p/0.1")
    assert play.tell(stale) == []
    play.submit("b", "c")
    assert play.tell(stale) == []
    assert play.states() == "busy busy"


# --- workers that lie -------------------------------------------------------------------------------------------------


def late(name: str, attempt: int) -> list[ev.WorkerEvent]:
    """What a worker may say of an attempt."""
    one = seat(name)
    return [
        ev.StepProgressed(one, attempt, 0.0, 1.0),
        ev.SegmentDecoded(one, attempt, 0, 1.0, "words"),
        ev.StepFinished(one, attempt, Timings(), Work(), "text"),
        ev.StepFaulted(one, attempt, Fault.of(Code.ENGINE_ERROR, "no"), leave=True),
    ]


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("attempt", [0, 2])
def test_a_worker_that_speaks_of_a_step_that_it_does_not_have_is_killed(play: Play, kind: int, attempt: int) -> None:
    play.submit("a")
    assert play.tell(late("p/0.1", attempt)[kind]) == [do.Kill(seat("p/0.1"), dump=True)]
    assert play.sent(play.exit("p/0.1", "SIGABRT")) == [("a", "p/1.1")]
    assert list(play.core.pools["p"].deaths) == ["breach: it spoke of a step that it does not have"]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (greeted("p/0.1"), "breach: hello while idle"),
        (ev.WorkerWarmed(seat("p/0.1")), "breach: ready while idle"),
        (ev.WorkerBroke(seat("p/0.1"), "garbage"), "breach: garbage"),
    ],
)
def test_a_worker_that_breaks_the_rules_is_killed(play: Play, event: ev.WorkerEvent, why: str) -> None:
    assert play.tell(event) == [do.Kill(seat("p/0.1"), dump=False)]
    play.exit("p/0.1", "SIGKILL")
    assert play.core.pools["p"].deaths == {why: 1}


def test_what_a_killed_worker_still_says_is_not_heard(play: Play) -> None:
    play.submit("a")
    play.tell(ev.WorkerBroke(seat("p/0.1"), "garbage"))
    assert play.tell(greeted("p/0.1"), ev.WorkerWarmed(seat("p/0.1")), *late("p/0.1", 1)) == []
    assert play.states() == "killing idle"
    assert play.sent(play.exit("p/0.1", "SIGKILL")) == [("a", "p/1.1")]


def test_a_former_generation_is_not_heard(play: Play) -> None:
    play.exit("p/0.1", "SIGKILL")
    play.ring(0)
    play.boot("p/0.2")
    play.submit("a", "b")
    words = [greeted("p/0.1"), ev.WorkerExited(seat("p/0.1"), "SIGKILL"), ev.WorkerBroke(seat("p/0.1"), "no")]
    assert play.tell(*words, *late("p/0.1", play.attempt("p/0.2"))) == []
    assert play.states() == "busy busy"
    assert play.core.pools["p"].stale == 7
    assert play.tell(greeted("p/9.1"), greeted("other/0.1")) == []


# --- workers that die -------------------------------------------------------------------------------------------------


def test_an_idle_worker_that_dies_has_a_successor_at_once(play: Play) -> None:
    assert play.exit("p/0.1", "SIGKILL") == []
    assert play.left(0) == 0.0
    assert play.ring(0) == [do.Spawn(seat("p/0.2"))]
    assert play.topics("worker.died") == [
        {"seat": "p/0.1", "how": "SIGKILL", "fault": "SIGKILL", "job": None, "log_tail": ["last line"]}
    ]


def fail(play: Play, name: str, times: int) -> list[do.Action]:
    """The workers of a seat die at once, so many of them."""
    orders, generation = [], int(name.split(".")[1])
    for _ in range(times):
        orders += play.exit(f"p/0.{generation}", "exit 1")
        if play.states().startswith("backoff"):
            play.ring(0)
        generation += 1
    return orders


def test_a_seat_with_too_many_deaths_is_failed_and_tried_once_more_later() -> None:
    play = Play(pool(workers=1, restarts=RestartPolicy(intensity=2)))
    fail(play, "p/0.1", 3)
    assert play.states() == "failed"
    assert play.topics("worker.failed") == [{"seat": "p/0.3", "fault": "exit 1"}]
    assert play.left(0) == 60.0
    refused = play.tell(ev.JobSubmitted("a", None, 1))[0]
    assert isinstance(refused, do.Refuse)
    assert (refused.fault.code, refused.fault.retry_after) == (Code.ENGINE_UNAVAILABLE, 30.0)
    assert "exit 1" in refused.fault.message
    assert play.ring(0) == [do.Spawn(seat("p/0.4"))]
    assert play.states() == "starting"


def test_an_operator_may_try_a_failed_seat_again_and_its_deaths_are_forgiven() -> None:
    play = Play(pool(workers=1, restarts=RestartPolicy(intensity=2)))
    fail(play, "p/0.1", 3)
    assert play.tell(ev.RecycleRequested("p")) == [do.Spawn(seat("p/0.4"))]
    fail(play, "p/0.4", 2)
    assert play.states() == "starting"
    fail(play, "p/0.6", 1)
    assert play.states() == "failed"


def test_jobs_wait_for_a_seat_that_may_come_back() -> None:
    play = Play(pool(workers=1, restarts=RestartPolicy(intensity=1)))
    play.submit("a")
    assert fail(play, "p/0.1", 2) == []
    play.ring(0)
    assert play.sent(play.boot("p/0.3")) == [("a", "p/0.3")]


def test_a_seat_whose_configuration_is_wrong_is_never_tried_again_by_itself() -> None:
    play = Play()
    play.boot("p/1.1")
    play.exit("p/0.1", "exit 78", hopeless=True)
    assert play.states() == "failed idle"
    play.due.pop(("p", 0, "state"))  # that of STARTING
    assert ("p", 0, "state") not in play.due
    assert play.tell(ev.RecycleRequested("p", 0)) == [do.Spawn(seat("p/0.2"))]


def test_the_last_fault_is_the_last_one() -> None:
    play = Play(pool(workers=1))
    play.tell(greeted("p/0.1"))
    play.tell(ev.LoadFaulted(seat("p/0.1"), Fault.of(Code.MODEL_UNAVAILABLE, "model.bin is missing")))
    play.exit("p/0.1", "exit 1")
    assert play.core.pools["p"].slots[0].last_fault == "model.bin is missing"
    play.ring(0)
    play.exit("p/0.2", "SIGKILL")
    assert play.core.pools["p"].slots[0].last_fault == "SIGKILL"
    play.ring(0)
    play.boot("p/0.3")
    assert play.core.pools["p"].slots[0].last_fault == ""


# --- what operators see -----------------------------------------------------------------------------------------------


def test_the_status_says_what_is_missing() -> None:
    play = Play()
    assert play.core.status()[0] == "starting"
    play.boot("p/0.1", "p/1.1")
    assert play.core.status() == ("ready", "2 of 2 workers are ready")
    play.exit("p/0.1", "SIGKILL")
    assert play.core.status() == ("degraded", "1 of 2 workers are ready; a worker of 'p' was lost: SIGKILL")
    play.exit("p/1.1", "exit 78", hopeless=True)
    assert play.core.status()[0] == "starting"
    play.ring(0)
    play.exit("p/0.2", "exit 78", hopeless=True)
    assert play.core.status()[0] == "draining"  # on its way out: no seat can ever work


def test_while_nobody_works_it_is_not_degraded() -> None:
    """Work that is sent now would wait, or be turned away."""
    play = Play(pool(workers=1), pool("q", workers=1))
    play.exit("q/0.1", "exit 78", hopeless=True)
    assert play.core.status()[0] == "starting"
    play.boot("p/0.1")
    assert play.core.status() == ("degraded", "1 of 2 workers are ready; the pool 'q' has no worker: exit 78")
