"""What the daemon notices: each sentence is raised by what happens, with its numbers, and not a moment before."""

from collections.abc import Callable
from typing import Any

import pytest

from asrd_protocol import messages as msg
from asrd_protocol.faults import Code
from asrd_protocol.model import Timings, Work
from asrd_supervisor import sizing
from asrd_supervisor.config import Config, PoolConfig
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.health.history import Record
from asrd_supervisor.core.health.memory import MIB
from asrd_supervisor.core.policy import CanaryPolicy, Duration, RecyclePolicy, RetryPolicy, Size
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.report.insights import insights
from support.clinic import FRESH, Clinic, Pace, brakes, sickbay
from support.play import Play, pool, seat

ILL = Seat("p", 1, 1)
HELD = brakes(min_jobs=1_000_000)
"""Nobody is replaced for a diagnosis, so the diagnosis can be looked at."""


def quiet(**more: Any) -> PoolConfig:
    """A pool whose settings are as good as they can be."""
    usual = {"engine": "scripted", "device": "cpu", "compute_type": "int8", "workers": sizing.cores(), "threads": 1}
    return PoolConfig(**{**usual, **more})


def tell(play: Play, config: PoolConfig | None = None, topic: str | None = None) -> list[msg.Insight]:
    """What is noticed now, of one topic or all of them."""
    pools = {name: config or quiet() for name in play.core.pools}
    found = insights(play.core, Config(pools=pools), play.now).insights
    return [insight for insight in found if topic in (None, insight.topic)]


def only(play: Play, topic: str, config: PoolConfig | None = None) -> msg.Insight:
    (insight,) = tell(play, config, topic)
    return insight


def ill(factor: float, since: int = 40) -> Pace:
    return lambda seat, done, now: factor if seat == ILL and done >= since else 1.0


def work_until(clinic: Clinic, there: Callable[[], Any], most: int = 400) -> None:
    """Job by job."""
    for _ in range(most):
        if there():
            return
        clinic.work(1)
    raise AssertionError(f"not within {most} jobs")


# --- nothing ----------------------------------------------------------------------------------------------------------


def test_nothing_is_said_of_a_pool_that_has_done_nothing() -> None:
    assert tell(Play()) == []


def test_nothing_is_said_of_a_healthy_pool_at_work() -> None:
    clinic = Clinic(sickbay())
    clinic.look = lambda now: ev.HostSampled(cpu_pressure=10.0)
    clinic.work(300)
    assert tell(clinic.play) == []


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_may_be_slow_is_mentioned() -> None:
    clinic = Clinic(sickbay(), pace=ill(2.0))
    work_until(clinic, lambda: tell(clinic.play, topic="degradation"))
    insight = only(clinic.play, "degradation")
    assert (insight.severity, insight.pool, insight.advice) == ("info", "p", "")
    assert insight.said.startswith("p/1.1 may have become slower for the same work: ")
    assert 1.0 <= insight.numbers["sum"] < 2.0, "half of the threshold, and less than all of it"
    assert insight.said.endswith(f"{insight.numbers['slowdown']:.2f}× its own start.")


def test_a_worker_that_is_slow_is_compared_with_its_siblings() -> None:
    clinic = Clinic(sickbay(recycle=HELD), pace=ill(2.0))
    work_until(clinic, lambda: clinic.topics("worker.degraded"))
    insight = only(clinic.play, "degradation")
    numbers = insight.numbers
    assert insight.severity == "warning"
    assert insight.said == (
        f"p/1.1 is slower for the same work: {numbers['slowdown']:.2f}× its own start, "
        f"siblings {numbers['siblings']:.2f}×."
    )
    assert numbers["slowdown"] == pytest.approx(2.0, rel=0.15)
    assert numbers["clip"] > 1.25 * numbers["clip_of_sibling"]
    assert insight.advice == "It is replaced when it has done 1000000 jobs and is 60 s old."


def test_a_worker_that_is_gone_is_not_mentioned_any_more() -> None:
    clinic = Clinic(sickbay(), pace=ill(2.0))
    clinic.work(300)
    assert clinic.recycled == [("p/1.1", "slow")]
    assert tell(clinic.play) == []


def marked(finding: Verdict, *, workers: int = 2, **guards: Any) -> Play:
    """The first worker of a pool, three minutes old, with a finding."""
    play = Play(pool(workers=workers, recycle=brakes(**guards)))
    play.boot(*(f"p/{slot}.1" for slot in range(workers)))
    play.now += 180.0
    play.core.pools["p"].slots[0].vitals.finding = finding
    play.core.pools["p"].slots[0].jobs_done = 50
    return play


SLOW = Verdict("slow", {"slowdown": 1.62, "siblings": 1.03})


def test_what_keeps_a_slow_worker_is_said() -> None:
    play = marked(SLOW, budget=1, cooldown=Duration(30))
    guards = play.core.pools["p"].monitor.guards
    assert only(play, "degradation").advice == "It is being replaced."
    guards.note(play.now - 60.0)
    assert only(play, "degradation").advice == (
        "It stays for now: as many were replaced as recycle.guards.budget allows, 1 within 10 min."
    )
    play = marked(SLOW, budget=2, cooldown=Duration(30))
    play.core.pools["p"].monitor.guards.note(play.now - 29.0)
    assert only(play, "degradation").advice == "It is replaced when recycle.guards.cooldown is over."


def test_whose_fault_it_is_when_all_are_slow() -> None:
    age = only(marked(Verdict("lockstep", {"old_by_new": 1.6, "slowdown": 1.5})), "degradation")
    assert age.said.endswith("So are all old workers of p, and a fresh one is not: it is their age.")
    assert age.numbers["old_by_new"] == 1.6
    experiment = Verdict("experiment", {"slowdown": 1.5})
    unknown = only(marked(experiment), "degradation")
    assert unknown.said.endswith("So are all workers of p: a fresh one has to show whether it is the host.")
    alone = only(marked(experiment, workers=1), "degradation")
    assert "It has no siblings" in alone.said


def test_workers_that_are_not_ready_are_not_judged() -> None:
    play = marked(SLOW)
    play.exit("p/0.1", "SIGKILL")
    assert tell(play, topic="degradation") == []


def test_a_worker_that_talks_nonsense_is_what_is_most_urgent() -> None:
    clinic = Clinic(sickbay(recycle=brakes(budget=1), canary=CanaryPolicy(every_jobs=10)), pace=ill(2.0))
    clinic.text = "you you you"
    work_until(clinic, lambda: len(clinic.topics("worker.wrong")) >= 2)
    first, *others = tell(clinic.play)
    assert (first.topic, first.severity) == ("degradation", "critical")
    assert "it hears 'you you you' where it heard 'The quick brown fox'" in first.said
    assert first.numbers["wer"] > 0.9
    assert "recycle.guards.budget" in first.advice
    assert {other.severity for other in others} <= {"warning", "info", "critical"}


def test_a_worker_with_too_much_memory() -> None:
    policy = RecyclePolicy(max_jobs=0, max_age=Duration(0), rss_growth=Size(100 * MIB), guards=HELD.guards)
    clinic = Clinic(sickbay(recycle=policy))
    clinic.rss = lambda seat, done: FRESH + (20 * MIB * done if seat == ILL else 0)
    work_until(clinic, lambda: clinic.slots[1].vitals.memory.verdict)
    fat, leak = tell(clinic.play, topic="memory")
    assert fat.said.startswith("p/1.1 has ")
    assert fat.said.endswith(" MiB more than after its warm-up, and 20.0 MiB more with each job.")
    assert fat.numbers["grown_mib"] > 150
    assert "is replaced when it has done" in fat.advice
    assert leak.said == "Each job leaves 20.0 MiB behind in a worker of p."


def test_what_is_urgent_does_not_wait_for_the_cooldown() -> None:
    play = marked(Verdict("slow", {}), cooldown=Duration(30))
    slot = play.core.pools["p"].slots[0]
    slot.vitals.finding, slot.vitals.memory.verdict = None, Verdict("rss", {"rss_mib": 900.0, "limit_mib": 800.0})
    play.core.pools["p"].monitor.guards.note(play.now)
    insight = only(play, "memory")
    assert insight.said == "p/0.1 has 900.0 MiB of memory, more than 800.0 MiB."
    assert insight.advice == "It is being replaced."
    slot.jobs_done = 1
    assert only(play, "memory").advice == "It is being replaced."


# --- leaks ------------------------------------------------------------------------------------------------------------


def leaking(mib: float, **recycle: Any) -> Play:
    """One worker that has done thirty jobs, each of which leaves so much behind."""
    policy = RecyclePolicy(**{"max_jobs": 0, "max_age": Duration(0), **recycle})
    play = Play(pool(workers=1, recycle=policy))
    play.tell(ev.WorkerGreeted(seat("p/0.1"), 1), ev.WorkerWarmed(seat("p/0.1"), rss=FRESH))
    for number in range(30):
        play.submit(f"job-{number}")
        play.now += 1.0
        done = {"timings": Timings(transcribe=1.0), "work": Work(audio_s=3.0), "body": "text"}
        play.tell(ev.StepFinished(seat("p/0.1"), play.attempt("p/0.1"), rss=FRESH + int(mib * MIB * number), **done))
    return play


def test_a_leak_and_the_number_of_jobs_that_it_allows() -> None:
    insight = only(leaking(5.0), "memory")
    assert (insight.severity, insight.pool) == ("warning", "p")
    assert insight.said == "Each job leaves 5.0 MiB behind in a worker of p."
    assert insight.numbers == {"mib_per_job": 5.0, "max_jobs": 51, "budget_mib": 256, "reload_s": 0.0}
    assert insight.advice.startswith("recycle.max_jobs = 51 keeps a worker under 256 MiB of it;")


@pytest.mark.parametrize(("mib", "said"), [(0.04, []), (0.06, ["Each job leaves 0.06 MiB behind in a worker of p."])])
def test_a_leak_that_nobody_would_notice_is_none(mib: float, said: list[str]) -> None:
    assert [insight.said for insight in tell(leaking(mib), topic="memory")] == said


def test_nineteen_jobs_tell_nothing_of_a_leak() -> None:
    clinic = Clinic(sickbay(1))
    clinic.rss = lambda seat, done: FRESH + 5 * MIB * done
    clinic.work(19)
    assert tell(clinic.play, topic="memory") == []
    clinic.work(1)
    assert len(tell(clinic.play, topic="memory")) == 1


def test_a_limit_that_is_low_enough_is_no_reason_to_worry() -> None:
    fine = only(leaking(5.0, max_jobs=40), "memory")
    assert fine.severity == "info"
    assert fine.advice == "recycle.max_jobs = 40 keeps a worker under 256 MiB of it; 51 would, too."
    assert only(leaking(5.0, max_jobs=51), "memory").severity == "info"
    assert only(leaking(5.0, max_jobs=52), "memory").severity == "warning"


def test_auto_takes_the_leak_into_account_as_soon_as_a_worker_was_replaced() -> None:
    play = leaking(5.0, max_jobs="auto")
    before = only(play, "memory")
    assert before.severity == "info"
    assert "from the next worker on" in before.advice
    play.tell(ev.RecycleRequested("p", 0))
    play.exit("p/0.1")
    play.boot("p/0.2")
    after = only(play, "memory")
    assert after.said == "Each job leaves 5.0 MiB behind in a worker of p."
    assert after.advice == 'recycle.max_jobs = "auto" makes that 51 jobs a worker; 51 jobs leave 256 MiB.'


def test_without_a_budget_no_number_of_jobs_follows() -> None:
    insight = only(leaking(5.0, rss_growth=Size(0)), "memory")
    assert "max_jobs" not in insight.numbers
    assert insight.advice.startswith("recycle.rss_growth is 0")


# --- recycling --------------------------------------------------------------------------------------------------------


def replaced(count: int, before: float, after: float, most: int | str = 50) -> Play:
    """So many replacements after ``max_jobs``, and how fast the workers were."""
    play = Play(pool(workers=1, recycle=RecyclePolicy(max_jobs=most, max_age=Duration(0))))  # type: ignore[arg-type]
    monitor = play.core.pools["p"].monitor
    monitor.advice.note_reload(2.5)
    for number in range(count):
        record = Record(0.0, Seat("p", 0, number), Verdict("max_jobs", {}), 50, 100.0)
        record.before, record.after = before, after
        monitor.history.add(record, (Seat("p", 0, number + 1), 2.5))
    return play


def test_recycling_that_gains_nothing_is_said_to_cost() -> None:
    insight = only(replaced(5, 1.01, 1.0), "recycling")
    assert insight.severity == "info"
    assert insight.said.startswith("Replacing workers of p after 50 jobs gains nothing: their last jobs took 1.01× ")
    assert insight.advice == 'recycle.max_jobs = "auto" saves 2.5 s for each of them.'
    assert insight.numbers == {"before": 1.01, "after": 1.0, "reload_s": 2.5, "replacements": 5}


@pytest.mark.parametrize(
    "play",
    [replaced(4, 1.01, 1.0), replaced(5, 1.04, 1.0), replaced(5, 1.01, 1.0, "auto")],
    ids=["four of them", "4 % faster", "not asked for"],
)
def test_otherwise_nothing_is_said_against_it(play: Play) -> None:
    assert tell(play) == []


def test_recycling_that_holds_a_leak_down_is_worth_it() -> None:
    play = replaced(5, 1.0, 1.0)
    play.core.pools["p"].monitor.advice.note_leak(5.0 * MIB)
    assert tell(play, topic="recycling") == []
    assert len(tell(play, topic="memory")) == 1


def test_a_pool_that_is_recycled_for_nothing_notices_it() -> None:
    recycle = RecyclePolicy(max_jobs=30, max_age=Duration(0))
    clinic = Clinic(sickbay(2, recycle=recycle))
    clinic.work(400)
    insight = only(clinic.play, "recycling")
    assert insight.numbers["replacements"] >= 5
    assert insight.numbers["reload_s"] == pytest.approx(3.0, abs=0.1)


# --- the host ---------------------------------------------------------------------------------------------------------


def slow_host() -> Clinic:
    """It turned out that a fresh worker is no faster."""
    clinic = Clinic(sickbay(), pace=lambda seat, done, now: 1.8 if now >= 150.0 else 1.0)
    work_until(clinic, lambda: clinic.monitor.diagnosis.lockstep.alert, 2000)
    return clinic


def test_a_slow_host_is_told_from_slow_workers_and_forgotten_after_an_hour() -> None:
    clinic = slow_host()
    told = clinic.monitor.diagnosis.lockstep.alert["at"]
    insight = only(clinic.play, "host")
    numbers = insight.numbers
    assert insight.severity == "warning"
    assert insight.said == (
        f"All workers of p took {numbers['slowdown']:.2f}× their usual time for the same work, and it is the host: "
        f"a fresh worker is no faster (an old one takes {numbers['old_by_new']:.2f}× its time)."
    )
    assert numbers["slowdown"] == pytest.approx(1.8, rel=0.15)
    assert numbers["old_by_new"] < 1.2
    assert "replacing workers does not help" in insight.advice
    clinic.play.now = told + 3599.0
    assert only(clinic.play, "host").numbers["age_s"] == 3599
    clinic.play.now = told + 3600.0
    assert tell(clinic.play, topic="host") == []


def test_workers_that_lose_their_cores() -> None:
    clinic = Clinic(sickbay(), pace=lambda seat, done, now: 1.8 if now >= 150.0 else 1.0)
    while clinic.play.now < 150.0:
        clinic.work(10)
    clinic.share = 1 / 1.8
    work_until(clinic, lambda: tell(clinic.play, topic="host"), 600)
    insight = only(clinic.play, "host")
    assert "cpu_pressure" not in insight.numbers, "nobody has told"
    assert insight.numbers["cpu_share"] == pytest.approx(1 / 1.8, rel=0.05)
    assert insight.said.endswith(f"they got {insight.numbers['cpu_share']} cores, less than in their first jobs.")


def test_replacements_that_did_not_help() -> None:
    clinic = Clinic(sickbay(1), pace=lambda seat, done, now: 2.0 if now >= 200.0 else 1.0)
    work_until(clinic, lambda: tell(clinic.play, topic="host"), 1200)
    insight = only(clinic.play, "host")
    before, after = insight.numbers["before"], insight.numbers["after"]
    assert insight.said.startswith(
        f"Replacing slow workers of p did not help: {before:.2f}× the usual time for the same work before, "
        f"{after:.2f}× after."
    )
    assert "None" not in insight.said and "unknown" not in insight.said


def busy_host(pressure: float, **sample: Any) -> Play:
    """A host that was calm for a while."""
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.submit("long")
    for _ in range(8):
        play.now += 5.0
        play.tell(ev.HostSampled(cpu_pressure=20.0))
    play.tell(ev.HostSampled(cpu_pressure=pressure, **sample))
    return play


@pytest.mark.parametrize(
    ("sample", "by", "words"),
    [
        ({"pressure": 61.0}, "cpu", "processes wait for a core"),
        ({"pressure": 20.0, "memory_pressure": 6.0}, "memory", "processes wait for memory"),
        ({"pressure": 20.0, "throttled": frozenset({"cpu"})}, "throttled", "the GPU has lowered its clock"),
        ({"pressure": 20.0, "slept": True}, "slept", "it was suspended"),
    ],
)
def test_a_host_that_is_busy_now(sample: dict[str, Any], by: str, words: str) -> None:
    insight = only(busy_host(**sample), "host")
    assert insight.severity == "info"
    assert insight.said == (
        f"The host is busy, not the workers slow: {words}. "
        "The times of such jobs are not held against the workers of p."
    )
    assert insight.numbers["by"] == by
    assert (insight.numbers["cpu_pressure"], insight.numbers["usual_pressure"]) == (
        sample["pressure"],
        pytest.approx(20.0, abs=0.2),
    )


def test_a_host_that_is_as_busy_as_usual_is_not_mentioned() -> None:
    assert tell(busy_host(59.0, memory_pressure=5.0), topic="host") == []


def test_jobs_that_could_not_be_judged_are_told_with_the_pressure_of_the_time() -> None:
    """There is no slow-down to speak of then."""
    clinic = Clinic(sickbay(), pace=lambda seat, done, now: 3.0 if now >= 140.0 else 1.0)
    clinic.look = lambda now: ev.HostSampled(cpu_pressure=20.0 if now < 140.0 else 95.0)
    while not clinic.monitor.diagnosis.lockstep.alert:
        clinic.work(15)
    insight = only(clinic.play, "host")
    assert insight.severity == "warning"
    assert insight.said.startswith("The host is busy, not the workers slow: processes wait for a core.")
    assert "unknown" not in insight.said
    assert (insight.numbers["cpu_pressure"], insight.numbers["disturbed_by"]) == (95.0, "cpu")


# --- the queue --------------------------------------------------------------------------------------------------------


def growing(each: int, *, rounds: int = 12, workers: int = 2) -> Play:
    """Every ten seconds each worker has done its step of ten seconds, and so many more have come."""
    play = Play(pool(workers=workers))
    names = [f"p/{slot}.1" for slot in range(workers)]
    play.boot(*names)
    play.submit(*(f"first-{name}" for name in names))
    for number in range(rounds):
        play.submit(*(f"{number}-{one}" for one in range(each)))
        play.now += 10.0
        for name in names:
            if play.core.pools["p"].slots[seat(name).slot].task:
                play.finish(name)
        play.tell(ev.HostSampled())
    return play


def test_a_queue_that_grows_faster_than_it_drains() -> None:
    insight = only(growing(4), "queue")
    assert insight.severity == "warning"
    assert insight.numbers["growth_s_per_min"] == pytest.approx(120.0, rel=0.01), "two steps in ten seconds too many"
    assert insight.numbers["workers_needed"] == pytest.approx(4.0, abs=0.1)
    assert insight.numbers["waiting_s"] == pytest.approx(240.0, abs=20.0)
    assert insight.said.startswith("The queue of p grows faster than it drains, by 120 s of work a minute; ")
    assert insight.advice == "2 workers are not enough for what comes in now: it takes 4 of them."


def test_a_part_of_a_worker_takes_a_whole_one() -> None:
    play = growing(4)
    for number in range(24):
        play.core.pools["p"].tally.note_queue(5.0 * number, 2.0 * number)
    insight = only(play, "queue")
    assert insight.numbers["workers_needed"] == 2.4
    assert insight.advice.endswith("it takes 3 of them.")


def test_a_queue_that_holds_its_length_or_was_not_watched_for_long() -> None:
    assert tell(growing(2), topic="queue") == []
    assert tell(growing(4, rounds=11), topic="queue") == []


def test_a_queue_that_is_empty_again_does_not_grow() -> None:
    play = growing(4)
    for number in range(12):
        play.tell(ev.CancelRequested(f"{number}-0"), *(ev.CancelRequested(f"{number}-{one}") for one in (1, 2, 3)))
    assert play.core.pools["p"].backlog.work < 1
    assert tell(play, topic="queue") == []


def test_a_queue_that_grows_because_workers_are_missing() -> None:
    play = growing(4)
    play.exit("p/1.1", "SIGKILL")
    assert only(play, "queue").advice == "Only 1 of 2 workers are ready: asrd workers tells why."


# --- faults -----------------------------------------------------------------------------------------------------------


def at_work(play: Play) -> str:
    """The worker that has a step."""
    return next(str(slot.seat) for slot in play.core.pools["p"].slots if slot.task)


def test_steps_that_were_tried_again_are_told_by_cause() -> None:
    play = Play(pool(workers=2))
    play.boot("p/0.1", "p/1.1")
    for number in range(2):
        play.submit(f"sick-{number}")
        play.fault(at_work(play), Code.ENGINE_ERROR)
        play.finish(at_work(play))
    before = only(play, "faults")
    assert (before.severity, before.advice) == ("info", "")
    assert before.said == (
        "In p since the start: 2 steps without a result (engine_error, twice); "
        "2 steps tried again (engine_error, twice)."
    )
    play.submit("fatal")
    play.exit(at_work(play), "SIGSEGV")
    after = only(play, "faults")
    assert after.severity == "warning"
    assert after.said == (
        "In p since the start: 1 death of a worker (SIGSEGV, once); 2 steps without a result (engine_error, twice); "
        "3 steps tried again (engine_error, twice; SIGSEGV, once)."
    )
    assert after.numbers == {
        "deaths": {"SIGSEGV": 1},
        "faults": {"engine_error": 2},
        "retries": {"engine_error": 2, "SIGSEGV": 1},
    }
    assert after.advice == "The log has the last words of each worker.", "the step was tried again"
    play.exit(at_work(play), "SIGSEGV")
    assert only(play, "faults").advice.startswith("asrd quarantine list shows the jobs that workers died of; the log ")
    assert play.core.jobs.retried == 3


def test_only_the_pool_that_it_happened_in_is_named() -> None:
    play = Play(pool("p", workers=1), pool("q", workers=1))
    play.boot("p/0.1", "q/0.1")
    play.submit("a")
    play.exit("p/0.1", "breach: it said something that nobody understood")
    insight = only(play, "faults")
    assert insight.pool == "p"
    assert insight.numbers["retries"] == {"breach": 1}


def test_what_the_caller_is_to_blame_for_is_nobodys_concern() -> None:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.submit("a")
    play.fault("p/0.1", Code.BAD_AUDIO)
    assert tell(play, topic="faults") == []
    play.core.pools["p"].tally.faults["engine_error"] = 3
    insight = only(play, "faults")
    assert insight.said == "In p since the start: 3 steps without a result (engine_error, 3 times)."
    assert insight.numbers["faults"] == {"engine_error": 3}


def test_the_quarantine_is_not_named_for_deaths_without_a_job() -> None:
    play = Play(pool(workers=2))
    play.boot("p/0.1")
    for _ in range(2):
        play.exit(next(str(s.seat) for s in play.core.pools["p"].slots if s.state == "starting"), "exit 1")
        play.ring(1)
    assert only(play, "faults").advice == "The log has the last words of each worker."


def test_the_quarantine_is_named_when_one_death_is_enough() -> None:
    play = Play(pool(workers=1), retries=RetryPolicy(deaths=1))
    play.boot("p/0.1")
    play.submit("a")
    play.exit("p/0.1", "SIGKILL")
    assert "asrd quarantine list" in only(play, "faults").advice


def test_a_long_cause_is_cut_and_whole_in_the_numbers() -> None:
    play = Play(pool(workers=1))
    long = "breach: a message of 17 frames that nobody asked for"
    play.core.pools["p"].deaths.update({long: 1, "x" * 40: 1})
    insight = only(play, "faults")
    assert insight.said == (
        f"In p since the start: 2 deaths of workers (breach: a message of 17 frames that nob…, once; {'x' * 40}, once)."
    )
    assert insight.numbers["deaths"][long] == 1


def test_of_many_causes_the_three_most_frequent_are_named() -> None:
    play = Play(pool(workers=1))
    for cause, count in (("SIGKILL", 4), ("exit 3", 3), ("SIGSEGV", 2), ("stalled", 1)):
        play.core.pools["p"].deaths[cause] = count
    insight = only(play, "faults")
    assert "10 deaths of workers (SIGKILL, 4 times; exit 3, 3 times; SIGSEGV, twice; others)." in insight.said
    assert insight.numbers["deaths"]["stalled"] == 1


# --- throughput -------------------------------------------------------------------------------------------------------


def decoded(jobs: int, windows: int, attempts: int) -> Play:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    work = Work(windows=windows, attempts=attempts, beam_steps=60, sample_steps=40)
    for number in range(jobs):
        play.submit(f"job-{number}")
        name = seat("p/0.1")
        play.tell(ev.StepFinished(name, play.attempt("p/0.1"), Timings(transcribe=1.0), work, "text"))
    return play


def test_audio_that_is_decoded_again_and_again() -> None:
    insight = only(decoded(20, 3, 4), "throughput")
    assert insight.severity == "info"
    assert insight.said == (
        "25 % of the decodings in p are fallbacks at a higher temperature; they take 40 % of the decoding steps."
    )
    assert insight.numbers == {"attempts": 80, "windows": 60, "sampled": 0.4}


@pytest.mark.parametrize("play", [decoded(19, 3, 4), decoded(20, 161, 200)], ids=["19 jobs", "19.5 %"])
def test_few_fallbacks_are_not_mentioned(play: Play) -> None:
    assert tell(play) == []


def batched(jobs: int, rows: int, room: int = 8) -> Play:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    for number in range(jobs):
        play.submit(f"job-{number}")
        work = Work(windows=rows, attempts=rows, batches=1, batch_rows=rows, batch_room=room)
        play.tell(ev.StepFinished(seat("p/0.1"), play.attempt("p/0.1"), Timings(transcribe=1.0), work, "text"))
    return play


def test_batches_that_are_hardly_ever_full() -> None:
    insight = only(batched(20, 2), "throughput")
    assert insight.said == "The batches of p are 25 % full: 2.0 windows on average."
    assert insight.advice == "Its jobs are short. batch_size = 2 takes less memory and no more time."
    assert insight.numbers == {"batches": 20, "rows": 40, "room": 160}


@pytest.mark.parametrize("play", [batched(19, 2), batched(20, 4)], ids=["19 batches", "half full"])
def test_fuller_ones_are_not_mentioned(play: Play) -> None:
    assert tell(play) == []


@pytest.mark.parametrize("compute_type", ["float32", "int16", "auto"])
def test_a_precision_that_a_cpu_is_slow_at(compute_type: Any) -> None:
    insight = only(Play(), "throughput", quiet(compute_type=compute_type))
    assert insight.said == f"p computes in {compute_type}."
    assert 'compute_type = "int8"' in insight.advice
    assert insight.numbers == {"compute_type": compute_type}


def test_a_precision_that_a_gpu_is_slow_at() -> None:
    assert tell(Play(), quiet(device="cuda", compute_type="float16", threads=64)) == []
    assert 'compute_type = "float16"' in only(Play(), "throughput", quiet(device="cuda", compute_type="float32")).advice


def test_more_threads_than_cores() -> None:
    cores = sizing.cores()
    insight = only(Play(), "throughput", quiet(workers=cores + 1, threads=1))
    assert insight.said == f"{cores + 1} workers of p with 1 thread each share {cores} cores."
    assert insight.advice == f"workers = {cores} is enough: more of them only wait for each other."
    assert insight.numbers == {"threads": cores + 1, "cores": cores}
    wide = only(Play(), "throughput", quiet(workers=1, threads=cores + 1))
    assert wide.advice == f"threads = {cores} is the most that this host has cores for."
    assert tell(Play(), quiet(workers=cores, threads=1)) == []


def test_cores_without_a_worker_while_work_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "cores", lambda: 8)
    idle = quiet(workers=4, threads=1)
    insight = only(growing(4), "throughput", idle)
    assert insight.said == "Work waits in p, and 4 of 8 cores have no worker."
    assert insight.advice.startswith("workers = 8 uses them")
    assert tell(growing(2), idle, topic="throughput") == []


def computing(share: float, threads: int) -> list[msg.Insight]:
    """A worker that keeps so many cores busy."""
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    for _ in range(5):
        play.core.pools["p"].slots[0].vitals.share.note(share, 1.0)
    return tell(play, quiet(workers=1, threads=threads), topic="throughput")


def test_threads_that_do_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "cores", lambda: 4)
    (insight,) = computing(2.3, 4)
    assert insight.said == "A worker of p has 4 threads and keeps 2.3 cores busy."
    assert insight.numbers == {"threads": 4, "cores_used": 2.3}
    assert computing(2.5, 4) == []
    assert computing(0.09, 4) == [], "it does not compute, it waits"
    monkeypatch.setattr(sizing, "cores", lambda: 1)
    assert computing(0.3, 1) == []


def test_threads_that_wait_for_a_busy_host_are_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "cores", lambda: 4)
    play = busy_host(61.0)
    for _ in range(5):
        play.core.pools["p"].slots[0].vitals.share.note(0.5, 1.0)
    assert tell(play, quiet(workers=1, threads=4), topic="throughput") == []
    play.tell(ev.HostSampled(cpu_pressure=20.0))
    assert len(tell(play, quiet(workers=1, threads=4), topic="throughput")) == 1


# --- all together -----------------------------------------------------------------------------------------------------


def test_the_most_urgent_come_first_whatever_pool_they_are_of() -> None:
    play = Play(pool("p", workers=1), pool("q", workers=1))
    play.boot("p/0.1", "q/0.1")
    play.core.pools["p"].tally.faults["engine_error"] = 1
    play.core.pools["p"].slots[0].vitals.finding = SLOW
    play.core.pools["q"].slots[0].vitals.finding = Verdict("quality", {"wer": 1.0, "expected": "a", "got": ""})
    play.core.pools["q"].deaths["SIGKILL"] = 1
    order = [(insight.severity, insight.pool) for insight in tell(play)]
    assert order == [("critical", "q"), ("warning", "p"), ("warning", "q"), ("info", "p")]
