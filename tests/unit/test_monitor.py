"""What is measured of workers, and what their pool makes of it: memory, nonsense, signals, company and limits."""

import pytest

from asrd_protocol.faults import Code
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import CanaryPolicy, Deadlines, Duration, GuardPolicy, RecyclePolicy, Size
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.supervisor import pool_status
from support.clinic import FRESH, TEXT, Clinic, brakes, sickbay
from support.play import Play, pool, seat

GIB = 1 << 30
KILLED = RecyclePolicy(max_jobs=0, max_age=Duration(0), kill_rss=Size(2 * GIB))


def sampled(*workers: str, rss: int = 0, stopped: bool = False) -> ev.HostSampled:
    """What the host says of these workers."""
    return ev.HostSampled(workers=tuple(ev.WorkerSample(seat(name), rss=rss, stopped=stopped) for name in workers))


def clipped(name: str, attempt: int, text: str = TEXT, took: float = 0.5) -> ev.CanaryFinished:
    return ev.CanaryFinished(seat(name), attempt, (took,), text)


def warm(*names: str, workers: int = 2, **more: object) -> Play:
    """Warm workers that have said the clip."""
    play = Play(pool(workers=workers, **more))  # type: ignore[arg-type]
    for name in names:
        play.tell(ev.WorkerGreeted(seat(name), 4711), ev.WorkerWarmed(seat(name), 1.0, 1.0, 0.5, TEXT, FRESH))
    return play


OFTEN = CanaryPolicy(every_jobs=1)


# --- the clip and the line --------------------------------------------------------------------------------------------


def test_the_clip_goes_before_what_waits() -> None:
    play = warm("p/0.1", workers=1, canary=OFTEN)
    play.submit("a", "b")
    assert do.SendCanary(seat("p/0.1"), 2, 1) in play.finish("p/0.1")
    assert play.sent(play.tell(clipped("p/0.1", 2))) == [("b", "p/0.1")]
    assert play.core.pools["p"].slots[0].jobs_done == 1  # the clip is no job


def test_a_clip_that_hangs_costs_the_worker_its_life_and_no_job_its_turn() -> None:
    play = warm("p/0.1", workers=1, canary=OFTEN)
    play.submit("a", "b")
    play.finish("p/0.1")
    assert play.left(0) == 60.0
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=True)]
    play.exit("p/0.1", "SIGABRT")
    assert play.core.pools["p"].deaths == {"canary deadline": 1}
    play.ring(0)
    assert play.sent(play.boot("p/0.2")) == [("b", "p/0.2")]


def test_a_slow_model_gets_the_time_for_its_clip() -> None:
    play = Play(pool(workers=1, canary=OFTEN))
    play.tell(ev.WorkerGreeted(seat("p/0.1"), 1), ev.WorkerWarmed(seat("p/0.1"), 1.0, 1.0, 25.0, TEXT))
    play.submit("a")
    play.finish("p/0.1")
    assert play.left(0) == 250.0


def test_what_a_worker_says_of_its_first_clip_buys_no_more_time_than_a_start_may_take() -> None:
    play = Play(pool(workers=1, canary=OFTEN))
    play.tell(ev.WorkerGreeted(seat("p/0.1"), 1), ev.WorkerWarmed(seat("p/0.1"), 1.0, 1.0, 1e9, TEXT))
    play.submit("a")
    play.finish("p/0.1")
    assert play.left(0) == Deadlines().warm_up


def test_an_answer_to_another_question_is_a_breach() -> None:
    for attempt in (1, 3):
        play = warm("p/0.1", workers=1, canary=OFTEN)
        play.submit("a")
        play.finish("p/0.1")
        assert play.tell(clipped("p/0.1", attempt, "nonsense")) == [do.Kill(seat("p/0.1"), dump=True)]
        assert play.core.pools["p"].slots[0].vitals.finding is None


def test_a_worker_that_answers_the_clip_instead_of_its_step_is_killed() -> None:
    play = warm("p/0.1", workers=1)
    play.submit("a")
    assert play.tell(clipped("p/0.1", play.attempt("p/0.1"))) == [do.Kill(seat("p/0.1"), dump=True)]


@pytest.mark.parametrize("leave", [False, True])
def test_a_worker_that_cannot_do_the_clip_leaves(leave: bool) -> None:
    play = warm("p/0.1", "p/1.1", canary=OFTEN)
    play.submit("a")
    play.finish("p/0.1")
    assert play.fault("p/0.1", Code.ENGINE_ERROR, leave=leave)[0] == do.SendStop(seat("p/0.1"))
    assert play.core.pools["p"].staffing.recycles == {"canary": 1}
    assert play.core.pools["p"].deaths == {}


def test_an_idle_worker_is_asked_when_the_host_is_looked_at() -> None:
    play = warm("p/0.1", workers=1, canary=CanaryPolicy())
    play.now = 599.0
    assert play.tell(ev.HostSampled()) == []
    play.now = 600.0
    assert play.tell(ev.HostSampled()) == [do.SendCanary(seat("p/0.1"), 1, 1)]
    play.tell(clipped("p/0.1", 1))
    assert play.tell(ev.HostSampled()) == []


def test_a_pool_that_is_emptied_asks_nobody() -> None:
    play = warm("p/0.1", workers=1, canary=CanaryPolicy())
    play.now = 700.0
    assert play.tell(ev.StopRequested()) == [do.SendStop(seat("p/0.1"))]


# --- nonsense ---------------------------------------------------------------------------------------------------------


def test_a_worker_that_talks_nonsense_goes_at_once_however_young_it_is() -> None:
    play = warm("p/0.1", "p/1.1", canary=OFTEN)
    play.submit("a")
    play.finish("p/0.1")
    orders = play.tell(clipped("p/0.1", 2, "Thank you for watching!"))
    assert orders[0] == do.SendStop(seat("p/0.1"))
    assert play.core.pools["p"].staffing.recycles == {"quality": 1}
    assert play.topics("worker.wrong")[0]["numbers"]["got"] == "Thank you for watching!"
    play.exit("p/0.1")
    play.boot("p/0.2")
    assert play.core.pools["p"].slots[0].vitals.finding is None
    assert play.states() == "idle idle"


def test_nonsense_does_not_wait_for_a_failed_seat() -> None:
    play = warm("p/0.1", canary=OFTEN)
    play.exit("p/1.1", "exit 78", hopeless=True)
    assert play.states() == "idle failed"
    play.submit("a")
    play.finish("p/0.1")
    assert play.tell(clipped("p/0.1", 2, ""))[0] == do.SendStop(seat("p/0.1"))


def test_when_all_talk_nonsense_they_go_one_by_one_and_not_for_ever() -> None:
    clinic = Clinic(sickbay(2, canary=CanaryPolicy(every_jobs=3), recycle=brakes(budget=2)))
    clinic.text = "nonsense"
    clinic.work(60)
    assert clinic.play.now < 600.0
    assert [reason for _, reason in clinic.recycled] == ["quality"] * 2


def test_a_second_one_that_talks_nonsense_stays_as_long_as_the_first_one_is_leaving() -> None:
    play = warm("p/0.1", "p/1.1", canary=OFTEN)
    play.submit("a", "b")
    play.finish("p/0.1")
    play.finish("p/1.1")
    play.tell(clipped("p/0.1", 3, "nonsense"))
    play.tell(clipped("p/1.1", 4, "nonsense"))
    assert play.states() == "stopping idle"
    assert play.core.pools["p"].slots[1].vitals.condition == "wrong"


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_worker_above_kill_rss_is_killed_whatever_it_does() -> None:
    play = warm("p/0.1", "p/1.1", recycle=KILLED)
    play.submit("a")
    assert play.tell(sampled("p/0.1", "p/1.1", rss=2 * GIB)) == []
    assert play.tell(sampled("p/0.1", "p/1.1", rss=2 * GIB + 1)) == [
        do.Kill(seat("p/0.1"), dump=True),
        do.Kill(seat("p/1.1"), dump=False),
    ]
    play.exit("p/1.1", "SIGKILL")
    assert play.core.pools["p"].deaths == {"more memory than kill_rss": 1}
    assert play.tell(sampled("p/1.1", rss=9 * GIB)) == []  # nobody sits there


def test_a_fat_worker_that_is_booting_may_need_that() -> None:
    play = Play(pool(workers=1, recycle=KILLED))
    assert play.tell(sampled("p/0.1", rss=3 * GIB)) == []


def crowded(*rss: int, left: float | None) -> ev.HostSampled:
    seats = (seat(name) for name in ("p/0.1", "p/1.1"))
    return ev.HostSampled(
        memory_left=left, workers=tuple(ev.WorkerSample(*one) for one in zip(seats, rss, strict=True))
    )


def test_when_the_host_has_nothing_left_the_largest_that_has_grown_goes() -> None:
    play = Play(pool(workers=2, recycle=RecyclePolicy(max_jobs=0, max_age=Duration(0))))
    for name in ("p/0.1", "p/1.1"):
        play.tell(ev.WorkerGreeted(seat(name), 1), ev.WorkerWarmed(seat(name), 1.0, 1.0, 0.3, TEXT, GIB))
    assert play.tell(crowded(GIB, 2 * GIB, left=0.06)) == []
    assert play.tell(crowded(GIB, 2 * GIB, left=None)) == []
    assert play.tell(crowded(GIB, GIB + GIB // 2, left=0.01)) == [], "a fresh one would need as much"
    assert play.tell(crowded(GIB, 2 * GIB, left=0.04)) == [do.Kill(seat("p/1.1"), dump=False)]
    play.now += 59.0
    assert play.tell(crowded(3 * GIB, 2 * GIB, left=0.04)) == [], "one death has to show what it frees"
    play.now += 1.0
    assert play.tell(crowded(3 * GIB, 2 * GIB, left=0.04)) == [do.Kill(seat("p/0.1"), dump=False)]


def heard(*texts: str) -> list[bool]:
    """Which of the workers, one after the other in one seat, is found to talk nonsense."""
    play = Play(pool(workers=1, recycle=RecyclePolicy(max_jobs=0, max_age=Duration(0))))
    found = []
    for generation, text in enumerate(texts, start=1):
        name = f"p/0.{generation}"
        play.tell(ev.WorkerGreeted(seat(name), 1), ev.WorkerWarmed(seat(name), 1.0, 1.0, 0.3, text, GIB))
        found.append(bool(play.topics("worker.recycled")[len([one for one in found if one]) :]))
        play.exit(name, "SIGKILL")
        while play.core.pools["p"].slots[0].generation == generation:
            play.ring(0)
    return found


def test_a_worker_that_hears_nonsense_from_the_start_is_told_by_the_others() -> None:
    assert heard(TEXT, TEXT, "", TEXT) == [False, False, True, False]


def test_nonsense_of_the_first_two_does_not_outlaw_the_healthy() -> None:
    assert heard("x", "x", TEXT, TEXT, TEXT, TEXT) == [False, False, True, False, False, False]


def test_a_limit_below_what_a_fresh_worker_needs_replaces_nobody() -> None:
    recycle = RecyclePolicy(max_jobs=0, max_age=Duration(0), max_rss=Size(GIB), guards=GuardPolicy(min_age=Duration(0)))
    play = Play(pool(workers=1, recycle=recycle))
    play.tell(ev.WorkerGreeted(seat("p/0.1"), 1), ev.WorkerWarmed(seat("p/0.1"), 1.0, 1.0, 0.3, TEXT, 2 * GIB))
    memory = play.core.pools["p"].slots[0].vitals.memory
    memory.note(3 * GIB, 1.0)
    assert memory.misfit and memory.verdict is None


def test_a_sample_of_a_former_generation_kills_nobody() -> None:
    play = warm("p/0.1", workers=1, recycle=KILLED)
    play.exit("p/0.1", "SIGKILL")
    play.ring(0)
    play.boot("p/0.2")
    assert (
        play.tell(sampled("p/0.1", rss=9 * GIB), sampled("p/0.1", stopped=True), sampled("p/0.1", stopped=True)) == []
    )


def test_a_leak_is_replaced_without_a_gap_and_counts_for_the_budget() -> None:
    clinic = Clinic(sickbay(2, recycle=brakes(min_age=Duration(0), cooldown=Duration(0), budget=1)))
    clinic.rss = lambda one, done: FRESH + done * (20 << 20)
    clinic.work(200)
    assert [reason for _, reason in clinic.recycled] == ["leak"]  # the other one waits for the budget
    assert clinic.play.core.pools["p"].staffing.least_ready == 2
    (told,) = clinic.play.topics("worker.recycled")
    assert told["numbers"]["mib_per_job"] == pytest.approx(20.0)
    assert clinic.monitor.advice.leak == 20 << 20


def test_memory_that_is_above_the_limit_goes_before_what_must_wait() -> None:
    recycle = RecyclePolicy(max_jobs=0, max_age=Duration(0), max_rss=Size(GIB), guards=GuardPolicy())
    play = warm("p/0.1", "p/1.1", recycle=recycle)
    slot = play.core.pools["p"].slots[0]
    slot.vitals.finding = Verdict("slow", {})
    play.submit("a")
    done = ev.StepFinished(seat("p/0.1"), 1, Timings(transcribe=1.0), Work(audio_s=3.0), "text", GIB + 1)
    assert do.SendStop(seat("p/0.1")) in play.tell(done)
    assert play.core.pools["p"].staffing.recycles == {"rss": 1}


def test_memory_above_the_limit_waits_for_nothing_but_the_budget() -> None:
    guards = GuardPolicy(budget=1)
    recycle = RecyclePolicy(max_jobs=0, max_age=Duration(0), max_rss=Size(GIB), guards=guards)
    play = warm("p/0.1", workers=1, recycle=recycle)
    for number in (1, 2):
        play.submit(f"job-{number}")
        name = f"p/0.{number}"
        done = ev.StepFinished(seat(name), number, Timings(transcribe=1.0), Work(audio_s=3.0), "text", GIB + 1)
        orders = play.tell(done)
        assert (do.SendStop(seat(name)) in orders) == (number == 1)
        if number == 1:
            play.exit(name)
            play.boot("p/0.2")
    play.now = 600.1
    assert play.tell(ev.HostSampled()) == [do.SendStop(seat("p/0.2"))]


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", [False, True])
def test_a_stopped_worker_is_told_of_and_then_killed(busy: bool) -> None:
    play = warm("p/0.1", "p/1.1")
    if busy:
        play.submit("a")
    the_pool = play.core.pools["p"]
    assert pool_status(the_pool)[0] == "ready"
    assert play.tell(sampled("p/0.1", stopped=True)) == []
    word, why = pool_status(the_pool)
    assert word == "degraded"
    assert "stopped by a signal" in why
    assert play.tell(sampled("p/0.1", stopped=True)) == [do.Kill(seat("p/0.1"), dump=busy)]
    assert pool_status(the_pool)[0] == "degraded"
    play.exit("p/0.1", "SIGKILL")
    assert the_pool.deaths == {"stopped by a signal": 1}


def test_a_worker_that_goes_on_is_left_alone() -> None:
    play = warm("p/0.1", workers=1)
    for _ in range(5):
        assert play.tell(sampled("p/0.1", stopped=True), sampled("p/0.1")) == []
        assert pool_status(play.core.pools["p"])[0] == "ready"


def test_the_job_of_a_stopped_worker_goes_to_another_one_and_is_told_as_hung() -> None:
    play = warm("p/0.1", "p/1.1")
    play.submit("a")
    play.tell(sampled("p/0.1", stopped=True), sampled("p/0.1", stopped=True))
    assert play.sent(play.exit("p/0.1", "SIGKILL")) == [("a", "p/1.1")]


# --- company and limits -----------------------------------------------------------------------------------------------


def company(device: str, together: float) -> Play:
    """A job of 10 s that has company for a part of its time, in the first job after the start."""
    play = warm("p/0.1", "p/1.1", device=device)
    play.submit("a")
    play.submit("b")
    play.now = 10.0 * together
    play.finish("p/1.1")
    play.now = 10.0
    play.finish("p/0.1")
    return play


@pytest.mark.parametrize(
    ("device", "together", "judged"),
    [("cuda:0", 0.0, 1), ("cuda:0", 0.5, 0), ("cuda:0", 1.0, 1), ("cuda:0", 0.8, 1), ("cpu", 0.5, 1)],
)
def test_on_a_gpu_a_job_whose_company_changed_is_not_judged(device: str, together: float, judged: int) -> None:
    play = company(device, together)
    assert len(play.core.pools["p"].slots[0].vitals.share._last) == judged


def test_the_first_workers_get_even_shares_of_an_advised_number_of_jobs_and_ten_at_least() -> None:
    play = Play(pool(workers=4, recycle=RecyclePolicy(max_jobs="auto", max_age=Duration(0))))
    monitor, slots = play.core.pools["p"].monitor, play.core.pools["p"].slots
    assert [monitor.limit(slot) for slot in slots] == [0] * 4
    monitor.advice.note_leak(float(4 << 20))
    assert monitor.advice.max_jobs == 64
    assert [monitor.limit(slot) for slot in slots] == [16, 32, 48, 64]
    many = Play(pool(workers=40, recycle=RecyclePolicy(max_jobs="auto", max_age=Duration(0)))).core.pools["p"]
    many.monitor.advice.note_leak(float(1 << 40))
    assert min(many.monitor.limit(slot) for slot in many.slots) == 10


def test_an_advised_number_of_jobs_is_obeyed() -> None:
    play = warm("p/0.1", workers=1, recycle=RecyclePolicy(max_jobs="auto", max_age=Duration(0)))
    play.core.pools["p"].monitor.advice.note_leak(float(100 << 20))
    for number in range(10):
        play.submit(f"job-{number}")
        orders = play.finish("p/0.1")
    assert do.SendStop(seat("p/0.1")) in orders
    assert play.core.pools["p"].staffing.recycles == {"max_jobs": 1}


# --- the brakes, through the whole pool -------------------------------------------------------------------------------


@pytest.mark.parametrize("start_first", [False, True])
def test_findings_of_all_workers_at_once_are_acted_on_one_by_one(start_first: bool) -> None:
    guards = GuardPolicy(cooldown=Duration(30), budget=2, min_jobs=0, min_age=Duration(0))
    recycle = RecyclePolicy(max_jobs=0, max_age=Duration(0), guards=guards)
    clinic = Clinic(sickbay(3, start_first=start_first, recycle=recycle))
    for slot in clinic.slots:
        slot.vitals.finding = Verdict("slow", {}) if slot.ready else None
    for _ in range(30):
        clinic.wait(10.0)
    records = list(clinic.monitor.history.records)
    assert [record.reason for record in records] == ["slow", "slow"]
    assert records[1].at - records[0].at >= 30.0
    assert clinic.play.core.pools["p"].staffing.least_ready == (3 if start_first else 2)
    for _ in range(40):
        clinic.wait(10.0)
    assert len(clinic.monitor.history.records) == 3


def test_a_worker_that_has_done_little_is_not_found_degraded() -> None:
    clinic = Clinic(sickbay(2, recycle=brakes(min_jobs=20)))
    clinic.slots[0].vitals.finding = Verdict("slow", {})
    clinic.wait(100.0)
    clinic.work(30)
    assert clinic.recycled == []
    clinic.work(20)
    assert clinic.recycled == [("p/0.1", "slow")]


def test_the_next_generation_starts_without_a_stain() -> None:
    clinic = Clinic(sickbay(2, start_first=False, recycle=brakes(min_jobs=0, min_age=Duration(0))))
    clinic.slots[0].vitals.finding = Verdict("slow", {})
    clinic.tell(ev.HostSampled())
    clinic.rest()
    assert clinic.recycled == [("p/0.1", "slow")]
    assert clinic.slots[0].seat == seat("p/0.2")
    assert clinic.slots[0].vitals.finding is None
    assert clinic.slots[0].vitals.condition == "unknown"
