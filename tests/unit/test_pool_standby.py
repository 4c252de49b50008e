"""A pool that rests while nothing is to be done, and one whose engine is loaded anew. Events in, actions out."""

import pytest

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import CanaryPolicy, Duration, IdleTime, PositiveDuration, RecyclePolicy
from asrd_supervisor.core.supervisor import pool_status
from support.play import Play, greeted, pool, seat

FIRST = "first settings"
SECOND = "second settings"


def resting(ttl: float = 60.0, **more: object) -> Play:
    """Two warm workers of a pool that rests after so long."""
    play = Play(pool(idle_ttl=IdleTime(ttl), **more))
    play.boot("p/0.1", "p/1.1")
    return play


def asleep() -> Play:
    """A pool that rests, and nobody is there."""
    play = resting()
    play.ring(0, "idle")
    play.exit("p/0.1")
    play.exit("p/1.1")
    return play


def renew(load: str = FIRST) -> ev.RenewRequested:
    """An operator wants other settings."""
    return ev.RenewRequested("p", "changed", {"compute_type": load}, load)


def fail_to_load(play: Play, name: str) -> list[do.Action]:
    """The worker cannot load what it was told."""
    fault = Fault.of(Code.MODEL_UNAVAILABLE, "no such type")
    return play.tell(greeted(name), ev.LoadFaulted(seat(name), fault), ev.WorkerExited(seat(name), "exit 78", True))


def loads(orders: list[do.Action]) -> list[tuple[str, object]]:
    """Who was told to load what."""
    return [(str(order.seat), order.load) for order in orders if isinstance(order, do.SendLoad)]


def status(play: Play) -> str:
    """In one word."""
    return pool_status(play.core.pools["p"])[0]


# --- to rest ----------------------------------------------------------------------------------------------------------


def test_a_pool_that_has_nothing_to_do_for_long_sends_its_workers_home() -> None:
    play = resting()
    assert play.left(0, "idle") == 60.0
    assert play.ring(0, "idle") == [do.SendStop(seat("p/0.1")), do.SendStop(seat("p/1.1"))]
    play.exit("p/0.1")
    play.exit("p/1.1")
    assert (play.states(), status(play)) == ("vacant vacant", "standby")
    assert play.core.status() == ("ready", "0 of 2 workers are ready; 1 pool rests until there is a job")
    assert play.topics("pool.standby") == [{"pool": "p", "why": "idle", "idle_s": 60.0}]
    assert not play.core.pools["p"].deaths and not play.core.pools["p"].staffing.recycles


def test_by_default_it_never_does() -> None:
    play = Play()
    play.boot("p/0.1", "p/1.1")
    play.submit("a")
    play.finish("p/0.1")
    assert not [key for key in play.due if key[2] == "idle"]
    play.now = 1e6
    play.tell(ev.HostSampled())
    assert play.states() == "idle idle"


def test_a_step_starts_the_idle_time_anew() -> None:
    play = resting()
    play.now = 50.0
    play.submit("a")
    assert play.ring(0, "idle") == []  # at 60, in the midst of it
    play.now = 70.0
    play.finish("p/0.1")
    assert play.left(0, "idle") == 60.0
    assert play.states() == "idle idle"
    play.ring(0, "idle")
    assert (play.now, play.states()) == (130.0, "stopping stopping")


def test_one_timer_is_enough() -> None:
    play = resting()
    for number in range(5):
        play.now = 10.0 * number
        play.submit(f"job-{number}")
        play.finish(f"p/{number % 2}.1")
    assert play.due["p", 0, "idle"][0] == 60.0
    assert play.ring(0, "idle") == []
    assert (play.now, play.left(0, "idle"), play.states()) == (60.0, 40.0, "idle idle")


def test_a_stale_idle_timer_is_nobodys() -> None:
    play = resting()
    _, stale = play.due["p", 0, "idle"]
    play.now = 30.0
    play.submit("a")
    play.ring(0, "idle")
    play.finish("p/0.1")
    before = dict(play.due)
    play.tell(stale)
    assert play.due == before


def test_a_step_that_runs_keeps_it_awake() -> None:
    play = resting()
    play.submit("a")
    play.now = 1000.0
    play.tell(ev.HostSampled())
    assert play.states() == "busy idle"


def test_zero_means_when_the_queue_is_empty() -> None:
    """But not before the first job: somebody has started it for one. And a job may have another step in a moment."""
    play = Play(pool(idle_ttl=IdleTime(0)))
    play.boot("p/0.1", "p/1.1")
    play.now = 500.0
    play.tell(ev.HostSampled())
    assert play.states() == "idle idle"
    play.submit("a")
    play.finish("p/0.1")
    assert (play.states(), play.left(0, "idle")) == ("idle idle", 1.0)
    play.ring(0, "idle")
    assert play.states() == "stopping stopping"


def test_the_clip_does_not_keep_it_awake() -> None:
    play = resting(canary=CanaryPolicy(idle=PositiveDuration(30)))
    play.now = 40.0
    assert isinstance(play.tell(ev.HostSampled())[0], do.SendCanary)
    play.ring(0, "idle")
    assert (play.now, play.states()) == (60.0, "draining stopping")
    play.tell(ev.CanaryFinished(seat("p/0.1"), play.attempt("p/0.1"), (0.5,), "text"))
    assert play.states() == "stopping stopping"


def test_nobody_is_recycled_for_age_and_no_successor_comes() -> None:
    play = resting(ttl=60.0, recycle=RecyclePolicy(max_jobs=0, max_age=Duration(90)), start_first=True)
    play.ring(0, "idle")
    play.exit("p/0.1")
    play.exit("p/1.1")
    assert play.ring(0, "age") == []
    assert play.states() == "vacant vacant vacant"


def test_a_pool_with_a_failed_seat_has_other_troubles() -> None:
    play = resting()
    play.exit("p/0.1", "exit 78", hopeless=True)
    assert play.states() == "failed idle"
    play.ring(0, "idle")
    assert play.states() == "failed idle"
    assert not [key for key in play.due if key[2] == "idle"], "it would ring without end"


def test_a_worker_that_is_starting_is_ended_and_counts_as_no_death() -> None:
    play = resting()
    play.exit("p/1.1", "SIGKILL")
    play.ring(1)
    assert play.states() == "idle starting"
    assert do.Kill(seat("p/1.2"), dump=False) in play.tell(ev.RestRequested("p"))
    play.exit("p/1.2", "SIGKILL")
    assert play.states() == "stopping vacant"
    assert play.core.pools["p"].deaths == {"SIGKILL": 1}


# --- to come back -----------------------------------------------------------------------------------------------------


def test_a_step_brings_the_workers_back_and_waits_for_them() -> None:
    play = asleep()
    orders = play.submit("a")
    assert [order for order in orders if isinstance(order, do.Spawn)] == [
        do.Spawn(seat("p/0.2")),
        do.Spawn(seat("p/1.2")),
    ]
    assert status(play) == "standby"
    assert play.core.status()[0] == "ready", "jobs are taken as ever"
    assert play.sent(play.boot("p/0.2")) == [("a", "p/0.2")]
    assert status(play) == "ready"
    play.boot("p/1.2")
    play.finish("p/0.2")
    assert play.left(0, "idle") == 60.0


def test_the_wait_for_the_first_worker_is_told() -> None:
    play = Play(pool(idle_ttl=IdleTime(60.0)))
    play.now = 7.0
    play.boot("p/0.1", "p/1.1")
    play.ring(0, "idle")
    play.exit("p/0.1")
    play.exit("p/1.1")
    (accepted,) = [order for order in play.submit("a", audio_s=10.0) if isinstance(order, do.Accept)]
    assert accepted.eta == pytest.approx(7.0 + 1.0)  # the start as measured, and the work as guessed


def test_a_step_that_comes_while_they_leave_loses_nothing() -> None:
    play = resting()
    play.ring(0, "idle")
    assert play.sent(play.submit("a")) == []
    assert play.states() == "stopping stopping"
    assert play.exit("p/0.1") == [do.Spawn(seat("p/0.2"))]
    play.exit("p/1.1")
    assert play.sent(play.boot("p/0.2")) == [("a", "p/0.2")]


def test_a_worker_that_dies_on_its_way_back_is_a_worker_that_died() -> None:
    play = asleep()
    play.submit("a")
    play.exit("p/0.2", "exit 1")
    assert (play.states(), status(play)) == ("backoff starting", "starting")
    assert play.core.pools["p"].deaths == {"exit 1": 1}


def test_the_low_water_mark_is_not_that_of_sleep() -> None:
    play = asleep()
    play.submit("a")
    play.boot("p/0.2")
    assert play.core.pools["p"].staffing.least_ready == 2
    play.boot("p/1.2")
    play.exit("p/1.2", "SIGKILL")
    assert play.core.pools["p"].staffing.least_ready == 1


def test_a_pool_that_rests_does_not_hold_up_the_end() -> None:
    play = asleep()
    orders = play.tell(ev.StopRequested())
    assert [type(order) for order in orders] == [do.Leave]


def test_what_waits_for_the_next_daemon_wakes_nobody() -> None:
    play = Play(pool(idle_ttl=IdleTime(60.0)), durable=True)
    play.boot("p/0.1", "p/1.1")
    play.submit("a")
    play.tell(ev.StopRequested(), ev.RestRequested("p"))
    play.core.pools["p"].handle(play.now, ev.StepQueued(ev.StepRef("b", 0, "p")))
    play.exit("p/1.1")
    assert play.states() == "draining vacant"


# --- what operators want ----------------------------------------------------------------------------------------------


def test_unload_lets_a_step_end_and_what_waits_brings_them_back() -> None:
    play = resting()
    play.submit("a", "b", "c")
    play.tell(ev.RestRequested("p"))
    assert play.states() == "draining draining"
    assert do.SendStop(seat("p/0.1")) in play.finish("p/0.1")
    assert play.exit("p/0.1") == [do.Spawn(seat("p/0.2"))]
    assert play.sent(play.boot("p/0.2")) == [("c", "p/0.2")]


def test_a_step_that_still_runs_keeps_nobody_else() -> None:
    play = resting()
    play.submit("a")
    assert play.tell(ev.RestRequested("p")) == [do.SendStop(seat("p/1.1"))]
    play.exit("p/1.1")
    play.finish("p/0.1")
    play.exit("p/0.1")
    assert (play.states(), status(play)) == ("vacant vacant", "standby")


def test_load_starts_them_before_there_is_a_job() -> None:
    play = asleep()
    assert play.tell(ev.WakeRequested("p")) == [do.Spawn(seat("p/0.2")), do.Spawn(seat("p/1.2"))]
    play.boot("p/0.2", "p/1.2")
    assert (status(play), play.left(0, "idle")) == ("ready", 60.0)


def test_load_of_a_pool_that_is_there_starts_its_idle_time_anew() -> None:
    play = resting()
    play.now = 50.0
    play.tell(ev.WakeRequested("p"))
    play.ring(0, "idle")
    assert (play.now, play.states(), play.left(0, "idle")) == (60.0, "idle idle", 50.0)


def test_load_tries_a_failed_seat_again() -> None:
    play = Play(pool(), pool("q"))
    play.exit("p/0.1", "exit 78", hopeless=True)
    assert play.states() == "failed starting"
    assert play.tell(ev.WakeRequested("p")) == [do.Spawn(seat("p/0.2"))]


# --- to load something else -------------------------------------------------------------------------------------------


def surge(**more: object) -> Play:
    """Two warm workers and a spare seat."""
    play = Play(pool(start_first=True, **more))
    play.boot("p/0.1", "p/1.1")
    return play


def test_workers_get_other_settings_one_after_the_other() -> None:
    play = surge()
    assert play.tell(renew()) == [do.Spawn(seat("p/2.1"))]
    assert loads(play.boot("p/2.1")) == [("p/2.1", FIRST)]
    assert play.states() == "stopping idle idle"
    play.exit("p/0.1")
    assert play.topics("pool.changed") == []
    assert loads(play.boot("p/0.2")) == [("p/0.2", FIRST)]
    play.exit("p/1.1")
    assert play.states() == "idle vacant idle"
    assert play.core.pools["p"].staffing.recycles == {"changed": 2}
    assert play.core.pools["p"].staffing.least_ready == 2
    said = {"pool": "p", "reason": "changed", "settings": {"compute_type": FIRST}}
    assert (play.topics("pool.changing"), play.topics("pool.changed")) == ([said], [said])


def test_reload_reads_the_same_again() -> None:
    play = surge()
    play.tell(ev.RenewRequested("p", "reload"))
    assert loads(play.boot("p/2.1")) == [("p/2.1", None)]
    play.exit("p/0.1")
    play.boot("p/0.2")
    play.exit("p/1.1")
    assert (play.states(), play.core.pools["p"].staffing.recycles) == ("idle vacant idle", {"reload": 2})
    assert play.tell(ev.HostSampled()) == []


def test_reload_keeps_what_was_set() -> None:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.tell(renew())
    play.exit("p/0.1")
    play.boot("p/0.2")
    play.tell(ev.RenewRequested("p", "reload"))
    play.exit("p/0.2")
    assert loads(play.boot("p/0.3")) == [("p/0.3", FIRST)]
    assert play.core.pools["p"].staffing.renewal.editions.wanted.settings == {"compute_type": FIRST}


def test_what_cannot_be_loaded_is_taken_back_and_the_others_stay() -> None:
    play = surge()
    play.tell(renew())
    assert loads(fail_to_load(play, "p/2.1")) == [("p/2.1", FIRST)]
    assert play.states() == "idle idle backoff"
    assert play.left(2) == 0.0
    assert play.ring(2) == []
    assert (play.states(), status(play)) == ("idle idle vacant", "ready")
    staffing = play.core.pools["p"].staffing
    assert (staffing.renewal.editions.fault, staffing.renewal.behind, staffing.least_ready) == ("no such type", 0, 2)
    (told,) = play.topics("pool.change_failed")
    assert (told["fault"], told["settings"]) == ("no such type", {"compute_type": FIRST})
    assert play.sent(play.submit("a")) == [("a", "p/0.1")]


def test_without_a_spare_seat_the_one_that_went_comes_back_with_the_old_settings() -> None:
    play = Play()
    play.boot("p/0.1", "p/1.1")
    play.tell(renew())
    assert play.states() == "stopping idle"
    play.exit("p/0.1")
    fail_to_load(play, "p/0.2")
    assert play.states() == "backoff idle"
    assert play.ring(0) == [do.Spawn(seat("p/0.3"))]
    assert loads(play.boot("p/0.3")) == [("p/0.3", None)]
    assert (play.states(), status(play)) == ("idle idle", "ready")


def test_a_change_that_comes_before_anybody_is_warm_can_be_taken_back_too() -> None:
    play = Play(pool(workers=1))
    play.tell(greeted("p/0.1"), renew())
    play.tell(ev.WorkerWarmed(seat("p/0.1")))
    play.exit("p/0.1")
    fail_to_load(play, "p/0.2")
    assert play.ring(0) == [do.Spawn(seat("p/0.3"))]
    assert loads(play.boot("p/0.3")) == [("p/0.3", None)]


def test_a_death_before_it_is_warm_is_enough_to_take_it_back() -> None:
    play = surge()
    play.tell(renew(), greeted("p/2.1"))
    play.exit("p/2.1", "SIGKILL")
    assert play.core.pools["p"].staffing.renewal.editions.wanted.load is None
    play.ring(2)
    assert play.states() == "idle idle vacant"


def test_one_that_died_before_it_was_told_anything_is_tried_again() -> None:
    play = surge()
    play.tell(renew())
    play.exit("p/2.1", "SIGKILL")
    assert play.core.pools["p"].staffing.renewal.editions.wanted.load == FIRST
    assert play.ring(2) == [do.Spawn(seat("p/2.2"))]


def test_what_one_could_load_is_not_taken_back() -> None:
    play = surge()
    play.tell(renew())
    play.boot("p/2.1")
    play.exit("p/0.1")
    play.tell(greeted("p/0.2"))
    play.exit("p/0.2", "SIGKILL")
    assert play.core.pools["p"].staffing.renewal.editions.wanted.load == FIRST
    assert play.core.pools["p"].deaths == {"SIGKILL": 1}
    play.ring(0)
    assert loads(play.boot("p/0.3")) == [("p/0.3", FIRST)]


def test_a_second_change_goes_back_to_the_last_one_that_was_good() -> None:
    play = Play(pool(workers=1, start_first=True))
    play.boot("p/0.1")
    play.tell(renew())
    play.boot("p/1.1")
    play.exit("p/0.1")
    play.tell(renew(SECOND))
    fail_to_load(play, "p/0.2")
    assert play.core.pools["p"].staffing.renewal.editions.wanted.load == FIRST
    play.ring(0)
    assert play.states() == "vacant idle"


def test_a_change_of_mind_excuses_who_tries_the_first_one() -> None:
    play = surge()
    play.tell(renew(), greeted("p/2.1"), renew(SECOND))
    fault = Fault.of(Code.MODEL_UNAVAILABLE, "no such type")
    play.tell(ev.LoadFaulted(seat("p/2.1"), fault), ev.WorkerExited(seat("p/2.1"), "exit 78", True))
    assert play.states() == "idle idle backoff"
    assert play.ring(2) == [do.Spawn(seat("p/2.2"))]
    assert loads(play.boot("p/2.2")) == [("p/2.2", SECOND)]


def test_who_has_warmed_up_with_what_was_taken_back_is_replaced() -> None:
    play = asleep()
    play.tell(renew())
    play.submit("a")
    play.tell(greeted("p/0.2"), greeted("p/1.2"))
    play.exit("p/0.2", "SIGKILL")
    play.tell(ev.WorkerWarmed(seat("p/1.2")))
    play.finish("p/1.2")
    play.ring(0)
    assert loads(play.boot("p/0.3")) == [("p/0.3", None)]
    assert play.states() == "idle stopping"


def test_where_nothing_was_ever_good_there_is_nothing_to_go_back_to() -> None:
    play = Play(pool(), pool("q"))
    fail_to_load(play, "p/0.1")
    fail_to_load(play, "p/1.1")
    assert play.states() == "failed failed"
    assert play.tell(renew()) == [do.Spawn(seat("p/0.2")), do.Spawn(seat("p/1.2"))]
    fail_to_load(play, "p/0.2")
    assert play.states() == "failed starting"
    assert loads(play.boot("p/1.2")) == [("p/1.2", FIRST)]


def test_a_pool_that_rests_loads_it_when_it_starts() -> None:
    play = asleep()
    assert play.tell(renew()) == []
    play.submit("a")
    assert loads(play.boot("p/0.2")) == [("p/0.2", FIRST)]


def test_what_workers_heard_before_is_no_measure_for_another_model() -> None:
    play = surge()
    heard = [ev.WorkerWarmed(seat(f"p/{slot}.1"), canary_s=1.0, canary_text="the old words") for slot in (0, 1)]
    for event in heard:
        play.core.pools["p"].monitor.born(0.0, play.core.pools["p"].slots[event.seat.slot], event)
    play.tell(renew(), greeted("p/2.1"), ev.WorkerWarmed(seat("p/2.1"), canary_s=1.0, canary_text="something else"))
    assert play.core.pools["p"].slots[2].vitals.finding is None


# --- how much it is used ----------------------------------------------------------------------------------------------


def test_usage_is_counted() -> None:
    play = surge()
    usage = play.core.pools["p"].usage
    assert (usage.jobs, usage.audio_s, usage.last_at) == (0, 0.0, None)
    play.submit("a", "b")
    play.now = 5.0
    play.finish("p/0.1")
    play.fault("p/1.1", Code.BAD_AUDIO)
    assert (usage.jobs, usage.audio_s, usage.last_at) == (1, 3.0, 5.0)
