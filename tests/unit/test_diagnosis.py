"""From an alarm to what becomes of it, in a pool at work: the core as it is, with workers that get slow."""

import itertools
import math

import pytest

from asrd_supervisor.core import events as ev
from asrd_supervisor.core.health.inquiry import PATIENCE_S, RUNS, Inquiry
from asrd_supervisor.core.policy import CanaryPolicy, DriftPolicy, Duration
from asrd_supervisor.core.seats import Seat
from support.clinic import CLIP_S, Clinic, Pace, brakes, sickbay
from support.play import seat

ALARMS = (
    "worker.suspected",
    "worker.degraded",
    "worker.cleared",
    "worker.recycled",
    "pool.slow",
    "recycle.ineffective",
)
ILL = Seat("p", 1, 1)


def one_ill(seat: Seat, done: int, now: float) -> float:
    """One of them takes twice as long from its 41st job on."""
    return 2.0 if seat == ILL and done >= 40 else 1.0


def ageing(seat: Seat, done: int, now: float) -> float:
    """All of them get slower with each job, and their replacements too."""
    return 1 + 0.02 * max(0, done - 20)


def host_slows(by: float = 1.8, at: float = 150.0) -> Pace:
    return lambda seat, done, now: by if now >= at else 1.0


# --- nothing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_healthy_pool_is_left_alone(workers: int) -> None:
    clinic = Clinic(sickbay(workers))
    clinic.work(150 * workers)
    assert clinic.topics(*ALARMS) == []
    assert clinic.monitor.diagnosis.lockstep.alert == {}


def test_a_worker_that_is_slow_for_two_jobs_is_left_alone() -> None:
    clinic = Clinic(sickbay(), pace=lambda seat, done, now: 5.0 if seat == ILL and done in (40, 41) else 1.0)
    clinic.work(300)
    assert clinic.topics(*ALARMS) == []


def test_nothing_is_done_where_it_is_switched_off() -> None:
    clinic = Clinic(sickbay(drift=DriftPolicy(enabled=False)), pace=one_ill)
    clinic.work(300)
    assert clinic.topics(*ALARMS) == []


# --- one of them ------------------------------------------------------------------------------------------------------


def test_a_slow_worker_is_suspected_asked_found_and_replaced_without_a_gap() -> None:
    clinic = Clinic(sickbay(), pace=one_ill)
    clinic.work(300)
    assert clinic.topics(*ALARMS) == ["worker.suspected", "worker.degraded", "worker.recycled"]
    assert clinic.recycled == [("p/1.1", "slow")]
    (found,) = clinic.play.topics("worker.degraded")
    assert found["seat"] == "p/1.1"
    assert found["numbers"]["slowdown"] == pytest.approx(2.0, rel=0.15)
    assert found["numbers"]["siblings"] == pytest.approx(1.0, rel=0.15)
    assert found["numbers"]["clip"] > 1.25 * found["numbers"]["clip_of_sibling"]
    staffing = clinic.play.core.pools["p"].staffing
    assert staffing.least_ready == 3
    assert staffing.recycles == {"slow": 1}


def test_it_is_found_soon() -> None:
    clinic = Clinic(sickbay(), pace=one_ill)
    clinic.work(300)
    (gone,) = clinic.play.topics("worker.recycled")
    assert gone["jobs_done"] <= 40 + 12


def test_it_is_recorded_that_it_helped() -> None:
    clinic = Clinic(sickbay(), pace=one_ill)
    clinic.work(300)
    (record,) = clinic.monitor.history.records
    assert record.before == pytest.approx(2.0, rel=0.15)
    assert record.after == pytest.approx(1.0, rel=0.15)
    assert record.effective is True
    assert record.replacement == seat("p/3.1")
    assert record.reload_s == pytest.approx(3.0, abs=0.1)


def test_the_suspect_and_a_sibling_are_asked_and_nobody_else() -> None:
    clinic = Clinic(sickbay(), pace=one_ill)
    while not clinic.monitor.diagnosis.inquiry:
        clinic.work(1)
    inquiry = clinic.monitor.diagnosis.inquiry
    assert (inquiry.about, inquiry.suspect) == ("worker", ILL)
    assert inquiry.reference in (Seat("p", 0, 1), Seat("p", 2, 1))
    clinic.clips.clear()
    clinic.rest()
    assert {(one, runs) for one, runs in clinic.clips if runs == RUNS} == {(ILL, RUNS), (inquiry.reference, RUNS)}


def test_what_the_clip_does_not_confirm_is_dropped_and_the_worker_stays() -> None:
    clinic = Clinic(sickbay(), pace=one_ill)
    clinic.clip_pace = lambda seat, done, now: 1.0
    clinic.work(250)
    said = clinic.topics(*ALARMS)
    assert said[:4] == ["worker.suspected", "worker.cleared"] * 2
    cleared = [told["seat"] for told in clinic.play.topics("worker.cleared")]
    assert set(cleared) == {"p/1.1"}
    assert len(cleared) <= clinic.play.now / 30 + 1  # not job after job


def test_what_the_clip_does_not_show_again_and_again_a_fresh_worker_has_to_show() -> None:
    clinic = Clinic(sickbay(), pace=one_ill)
    clinic.clip_pace = lambda seat, done, now: 1.0
    while not clinic.topics("worker.degraded"):
        clinic.work(1)
    assert len(clinic.topics("worker.cleared")) == 2, "the third alarm is the one"
    (told,) = clinic.play.topics("worker.degraded")
    assert (told["seat"], told["numbers"]["confirmed"]) == ("p/1.1", False)


def test_a_busy_host_that_slows_the_clip_of_both_confirms_nothing() -> None:
    clinic = Clinic(sickbay(), pace=one_ill)
    clinic.clip_pace = lambda seat, done, now: 2.0 if done >= 40 else 1.0
    clinic.work(200)
    assert "worker.degraded" not in clinic.topics(*ALARMS)
    assert clinic.recycled == []


def test_without_the_clip_an_alarm_is_a_finding() -> None:
    clinic = Clinic(sickbay(canary=CanaryPolicy(enabled=False)), pace=one_ill)
    clinic.work(250)
    assert clinic.topics(*ALARMS)[:2] == ["worker.suspected", "worker.recycled"]
    assert clinic.recycled[0] == ("p/1.1", "slow")


def test_without_a_spare_seat_one_is_missing_and_never_two() -> None:
    clinic = Clinic(sickbay(start_first=False), pace=one_ill)
    clinic.work(300)
    assert clinic.recycled == [("p/1.1", "slow")]
    assert clinic.play.core.pools["p"].staffing.least_ready == 2
    (record,) = clinic.monitor.history.records
    assert record.replacement == seat("p/1.2")
    assert record.effective is True


def test_a_question_ends_with_the_worker_that_was_to_answer_it() -> None:
    clinic = Clinic(sickbay())
    clinic.work(60)
    diagnosis = clinic.monitor.diagnosis
    for victim in ("p/2.1", "p/0.1"):
        diagnosis.inquiry = Inquiry("worker", seat("p/0.1"), seat("p/2.1"), clinic.play.now)
        clinic.tell(ev.WorkerExited(seat(victim), "SIGKILL"))
        clinic.work(3)
        assert diagnosis.inquiry is None
    assert clinic.topics("worker.degraded", "worker.cleared") == []


def test_a_question_that_nobody_finds_the_time_for_is_dropped() -> None:
    clinic = Clinic(sickbay())
    clinic.work(60)
    diagnosis = clinic.monitor.diagnosis
    diagnosis.inquiry = Inquiry("worker", seat("p/0.1"), seat("p/2.1"), clinic.play.now - PATIENCE_S - 1)
    diagnosis.consider(clinic.play.now, [slot for slot in clinic.slots if slot.ready])
    assert diagnosis.inquiry is None


def test_two_that_did_not_help_and_slow_workers_are_left_alone_for_an_hour() -> None:
    """The place is slow, and not who sits there: one core that is always busy, say."""
    clinic = Clinic(
        sickbay(start_first=False, recycle=brakes(cooldown=Duration(0), min_age=Duration(0))),
        pace=lambda seat, done, now: 2.0 if seat.slot == 1 and now >= 80.0 else 1.0,
    )
    clinic.work(300)
    assert clinic.recycled[:1] == [("p/1.1", "slow")]
    diagnosis = clinic.monitor.diagnosis
    assert clinic.topics("recycle.ineffective") == ["recycle.ineffective"]
    slots = [slot for slot in clinic.slots if slot.ready]
    (record,) = clinic.monitor.history.records
    assert record.effective is False
    said = diagnosis.judged(clinic.play.now, record, slots)  # and once more
    assert [one.topic for one in said] == ["recycle.ineffective", "pool.slow"]
    assert diagnosis.lockstep.alert["cause"] == "not the worker"
    assert diagnosis.off_until == clinic.play.now + 3600.0
    slots[0].vitals.pace.sum.sum, slots[0].vitals.pace.sum.mood = 9.0, "degraded"
    assert diagnosis.consider(clinic.play.now + 3599.0, slots) == []


def test_one_that_did_not_help_makes_the_next_one_wait_longer() -> None:
    clinic = Clinic(
        sickbay(start_first=False), pace=lambda seat, done, now: 2.0 if seat.slot == 1 and now >= 80 else 1.0
    )
    clinic.work(260)
    (record,) = clinic.monitor.history.records
    assert clinic.monitor.guards.objection(record.at + 59.0, 100, 1000.0, slow=True) == "cooldown"
    assert clinic.monitor.guards.objection(record.at + 60.0, 100, 1000.0, slow=True) == ""


# --- all of them ------------------------------------------------------------------------------------------------------


def test_when_all_age_one_is_replaced_to_see_and_then_the_others() -> None:
    clinic = Clinic(sickbay(), pace=ageing)
    clinic.work(400)
    causes = [told["cause"] for told in clinic.play.topics("pool.slow")]
    assert causes[:2] == ["unknown", "workers"]
    assert clinic.recycled[:3] == [("p/0.1", "experiment"), ("p/1.1", "lockstep"), ("p/2.1", "lockstep")]
    assert clinic.play.core.pools["p"].staffing.least_ready == 3
    assert "recycle.ineffective" not in clinic.topics(*ALARMS)
    times = [record.at for record in clinic.monitor.history.records]
    assert all(later - sooner >= 30.0 for sooner, later in itertools.pairwise(times))
    assert all(record.effective for record in list(clinic.monitor.history.records)[:2])


def test_when_the_host_is_slow_one_is_replaced_to_see_and_then_nobody() -> None:
    clinic = Clinic(sickbay(), pace=host_slows())
    clinic.work(1500)
    assert clinic.recycled == [("p/0.1", "experiment")]
    assert [told["cause"] for told in clinic.play.topics("pool.slow")] == ["unknown", "host"]
    assert clinic.monitor.diagnosis.lockstep.alert["cause"] == "host"
    assert clinic.monitor.diagnosis.lockstep.alert["old_by_new"] < 1.2


def test_workers_that_lose_their_cores_are_not_replaced() -> None:
    clinic = Clinic(sickbay(), pace=host_slows())
    clinic.work(200)
    while clinic.play.now < 150.0:
        clinic.work(10)
    clinic.share = 1 / 1.8
    clinic.work(600)
    assert clinic.recycled == []
    assert {told["cause"] for told in clinic.play.topics("pool.slow")} == {"host"}
    alert = clinic.monitor.diagnosis.lockstep.alert
    assert alert["cpu_share"] == pytest.approx(1 / 1.8, rel=0.05)
    assert len(clinic.play.topics("pool.slow")) <= clinic.play.now / 600 + 1  # not again and again


def test_a_host_under_pressure_is_said_to_be_and_nobody_is_replaced() -> None:
    clinic = Clinic(sickbay(), pace=host_slows(3.0))
    clinic.look = lambda now: ev.HostSampled(cpu_pressure=20.0 if now < 140.0 else 95.0)
    clinic.work(600)
    assert clinic.recycled == []
    assert clinic.topics("worker.suspected") == []
    assert {told["cause"] for told in clinic.play.topics("pool.slow")} == {"host"}
    assert clinic.monitor.diagnosis.lockstep.alert["disturbed_by"] == "cpu"
    assert clinic.monitor.diagnosis.lockstep.alert["cpu_pressure"] == 95.0


# --- one alone --------------------------------------------------------------------------------------------------------


def test_a_pool_of_one_that_got_slow_by_age_is_replaced_and_it_helps() -> None:
    clinic = Clinic(sickbay(1), pace=lambda seat, done, now: 2.0 if done >= 100 else 1.0)
    clinic.work(300)
    assert clinic.recycled[:1] == [("p/0.1", "experiment")]
    assert "recycle.ineffective" not in clinic.topics(*ALARMS)
    assert clinic.monitor.history.records[0].effective is True


def test_a_pool_of_one_on_a_slow_host_tries_it_once_an_hour() -> None:
    clinic = Clinic(sickbay(1), pace=host_slows(2.0, at=200.0))
    clinic.work(1200)
    assert clinic.play.now < 3600.0
    assert clinic.recycled == [("p/0.1", "experiment")]
    assert clinic.topics("recycle.ineffective") == ["recycle.ineffective"]
    assert clinic.monitor.diagnosis.lockstep.alert["cause"] == "not the worker"
    last = 200.0

    def again(seat: Seat, done: int, now: float) -> float:
        return 2.0 * (2.0 if now > last + 7200.0 else 1.0)

    clinic.pace = again
    clinic.work(4500)
    times = [record.at for record in clinic.monitor.history.records]
    assert all(later - sooner >= 3600.0 for sooner, later in itertools.pairwise(times))
    assert len(times) == 2


# --- scale ------------------------------------------------------------------------------------------------------------


def test_a_slower_model_gets_the_same_diagnosis() -> None:
    usual = Clinic(sickbay(), pace=one_ill)
    slower = Clinic(sickbay(), pace=lambda seat, done, now: 4.0 * one_ill(seat, done, now))
    for clinic in (usual, slower):
        clinic.work(300)
    assert slower.recycled == usual.recycled
    assert slower.topics(*ALARMS) == usual.topics(*ALARMS)
    assert math.isclose(CLIP_S * 4, slower.slots[0].vitals.canary.first_took, rel_tol=0.2)
