"""What is told of replaced workers: sentences that a person understands, the newest first."""

import math
import time
from typing import Any

import pytest

from asrd_protocol import messages as msg
from asrd_protocol.faults import Code
from asrd_protocol.model import Work
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.health.cost import Costs
from asrd_supervisor.core.health.drift import Kind, Track
from asrd_supervisor.core.health.history import Record
from asrd_supervisor.core.health.memory import MIB
from asrd_supervisor.core.policy import DriftPolicy, Duration, RecyclePolicy, Size
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.report.recycles import report, sentence, span, times
from support.clinic import FRESH, Clinic, brakes, sickbay
from support.play import NEVER, Play, pool, seat

KIND, SECOND = Kind("", 0), Work(windows=1)
"""A job that should take a second."""


def track(end: float) -> Track:
    """A worker that took as long as predicted at first, and so many times as long in the end."""
    one = Track(DriftPolicy(), {KIND: Costs(0.0, 1.0, 0.0, 0.0)})
    for factor in [1.0] * 8 + [end] * 5:
        one.add(math.log(factor), 0.0)
    return one


def record(reason: str, numbers: dict[str, Any] | None = None, **more: Any) -> Record:
    """What is known of a replacement: ``before``, ``siblings``, ``after``, ``jobs_done`` and ``age``."""
    jobs, age = more.get("jobs_done", 50), more.get("age", 4000.0)
    one = Record(0.0, seat("default/0.17"), Verdict(reason, numbers or {}), jobs, age)
    if "before" in more:
        one.remember(track(more["before"]), [track(more["siblings"])] if "siblings" in more else [])
    for _ in range(5 if "after" in more else 0):
        one.note(KIND, SECOND, more["after"], 0.0)
    return one


# --- sentences --------------------------------------------------------------------------------------------------------


def test_a_slow_worker_and_its_replacement() -> None:
    slow = record("slow", {"slowdown": 1.62, "siblings": 1.03}, before=1.62, siblings=1.03, after=0.99)
    assert sentence(slow) == (
        "default/0.17 retired: 1.62× slower than its own start for the same work, siblings 1.03×; replacement 0.99×"
    )


def test_as_long_as_the_replacement_has_done_nothing_nothing_is_said_of_it() -> None:
    slow = record("slow", {"slowdown": 1.62, "siblings": 1.03}, before=1.62, siblings=1.03)
    assert sentence(slow) == ("default/0.17 retired: 1.62× slower than its own start for the same work, siblings 1.03×")


def test_one_that_did_not_help() -> None:
    slow = record("slow", {"slowdown": 1.62, "siblings": 1.03}, before=1.62, siblings=1.03, after=1.6)
    assert sentence(slow).endswith("siblings 1.03×; replacement 1.60×; it did not help")


LEAK = {"baseline_mib": 300.0, "rss_mib": 700.0, "grown_mib": 400.0, "mib_per_job": 5.1}
HEARD = {"wer": 1.0, "expected": "the quick brown fox", "got": "you you you"}
REASONS = [
    ("lockstep", {"slowdown": 1.8}, "all workers are 1.80× slower than at their start, and fresh ones are not"),
    ("max_jobs", {"limit": 50}, "after its 50 jobs"),
    ("max_age", {}, "at an age of 67 min"),
    ("requested", {}, "an operator asked for it"),
    ("leak", LEAK, "400.0 MiB more than after its warm-up, and 5.1 MiB more with each job"),
    ("rss", {"rss_mib": 900.0, "limit_mib": 800.0}, "900.0 MiB of memory, more than 800.0 MiB"),
    (
        "vram",
        {"grown_mib": 612.0, "limit_mib": 500},
        "612.0 MiB more of the GPU's memory than after its warm-up, and 500 MiB are the most",
    ),
    ("quality", HEARD, "it hears 'you you you' where it heard 'the quick brown fox'"),
    ("quality", {**HEARD, "got": ""}, "it hears nothing where it heard 'the quick brown fox'"),
    ("canary", {}, "it failed to transcribe the built-in clip"),
    ("out_of_memory", {}, "after the fault out_of_memory"),
]


@pytest.mark.parametrize(("reason", "numbers", "why"), REASONS)
def test_every_reason_has_its_words(reason: str, numbers: dict[str, Any], why: str) -> None:
    assert sentence(record(reason, numbers)) == f"default/0.17 retired: {why}"


def test_an_experiment_is_made_with_all_or_with_the_only_one() -> None:
    of_all = record("experiment", {"slowdown": 1.55}, before=1.55, siblings=1.5, after=1.5)
    assert sentence(of_all) == (
        "default/0.17 retired: all workers are 1.55× slower, to see whether a fresh one is faster; "
        "replacement 1.50×; it did not help"
    )
    alone = record("experiment", {"slowdown": 1.55}, before=1.55, after=1.0)
    assert sentence(alone) == (
        "default/0.17 retired: 1.55× slower than its own start for the same work, "
        "to see whether a fresh one is faster; replacement 1.00×"
    )


@pytest.mark.parametrize("reason", ["max_jobs", "requested", "leak", "quality"])
def test_how_fast_it_was_is_said_beside_other_reasons_too(reason: str) -> None:
    said = sentence(record(reason, {**LEAK, **HEARD}, before=1.1, siblings=1.0, after=0.9))
    assert said.endswith(", 1.10× its own start for the same work; replacement 0.90×")


def test_a_worker_that_made_one_job() -> None:
    assert sentence(record("max_jobs", jobs_done=1)) == "default/0.17 retired: after its only job"


def test_long_texts_are_cut() -> None:
    said = sentence(record("quality", {"expected": "word " * 100, "got": "other " * 100}))
    assert len(said) < 200
    assert "…" in said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.6, "1 s"), (119, "119 s"), (120, "2 min"), (5400, "90 min"), (86_400, "24.0 h")]
)
def test_times_of_day(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_a_figure_that_nobody_has() -> None:
    assert times(None) == "unknown"


@pytest.mark.parametrize("ratio", [0.985141, 0.98538, 1.0049, 1.2349996])
def test_a_figure_is_said_as_it_is_reported(ratio: float) -> None:
    assert times(ratio) == times(round(ratio, 3))


# --- the report -------------------------------------------------------------------------------------------------------


def tell(play: Play, **wanted: Any) -> list[msg.RecycleReport]:
    return report(play.core, play.now, msg.Recycles(**wanted)).recycles


def busy(play: Play, name: str, jobs: int) -> None:
    """So many jobs for the only worker of a pool, three seconds each."""
    for number in range(jobs):
        job = f"{name}-{number}"
        play.tell(ev.JobSubmitted(job, seat(name).pool, 1), ev.JobPersisted(job))
        play.now += 3.0
        play.finish(name)


def two_pools() -> Play:
    """Each has one worker, for two jobs; those of the first two generations are done, the third one is there."""
    policy = RecyclePolicy(max_jobs=2, max_age=Duration(0))
    play = Play(*(pool(name, workers=1, recycle=policy) for name in ("p", "q")))
    for generation in (1, 2):
        for name in ("p", "q"):
            play.boot(f"{name}/0.{generation}")
            busy(play, f"{name}/0.{generation}", 2)
            play.exit(f"{name}/0.{generation}")
    return play


def test_nobody_was_replaced() -> None:
    assert tell(Play()) == []


def test_the_newest_of_all_pools_come_first() -> None:
    assert [one.seat for one in tell(two_pools())] == ["q/0.2", "p/0.2", "q/0.1", "p/0.1"]


def test_of_the_same_moment_the_last_one_comes_first() -> None:
    play = Play(pool(workers=2, recycle=NEVER))
    history = play.core.pools["p"].monitor.history
    for name in ("p/0.1", "p/1.1"):
        history.add(Record(1.0, seat(name), Verdict("requested", {}), 1, 1.0), None)
    assert [one.seat for one in tell(play)] == ["p/1.1", "p/0.1"]


def test_only_so_many_and_only_of_one_pool() -> None:
    play = two_pools()
    assert [one.seat for one in tell(play, limit=3)] == ["q/0.2", "p/0.2", "q/0.1"]
    assert [one.seat for one in tell(play, pool="p")] == ["p/0.2", "p/0.1"]
    assert [one.seat for one in tell(play, pool="q", limit=1)] == ["q/0.2"]
    assert tell(play, pool="nowhere") == []


def test_the_time_is_that_of_the_wall_clock() -> None:
    play = two_pools()
    play.now += 100.0
    newest, *_, oldest = tell(play)
    assert newest.at == pytest.approx(time.time() - 100.0, abs=5.0)
    assert newest.at - oldest.at == pytest.approx(18.0, abs=1.0), "twelve jobs less the first two, of 3 s"


def test_what_is_known_of_a_worker_that_has_done_its_share() -> None:
    oldest = tell(two_pools())[-1]
    assert (oldest.pool, oldest.seat, oldest.reason, oldest.jobs_done) == ("p", "p/0.1", "max_jobs", 2)
    assert oldest.numbers == {"jobs_done": 2, "limit": 2}
    assert oldest.said == "p/0.1 retired: after its 2 jobs"
    assert oldest.age_s == 6.0
    assert oldest.replacement == "p/0.2"
    assert oldest.reload_s == pytest.approx(6.0), "the other pool worked meanwhile"
    assert (oldest.before, oldest.siblings, oldest.after, oldest.effective) == (None, None, None, None)


def test_a_replacement_that_is_not_there_yet_has_no_name() -> None:
    newest = tell(two_pools())[0]
    assert (newest.replacement, newest.reload_s) == ("", None)


def test_a_worker_that_the_operator_and_one_that_its_engine_sent_away() -> None:
    play = Play(pool(workers=2))
    play.boot("p/0.1", "p/1.1")
    play.submit("bad")
    play.fault("p/0.1", Code.OUT_OF_MEMORY, leave=True)
    play.exit("p/0.1")
    play.boot("p/0.2")
    play.tell(ev.RecycleRequested("p", 1))
    assert [one.reason for one in tell(play)][-1] == "out_of_memory"
    assert tell(play)[-1].said == "p/0.1 retired: after the fault out_of_memory"


ILL = Seat("p", 1, 1)


def test_a_slow_worker_of_a_pool_at_work() -> None:
    clinic = Clinic(sickbay(), pace=lambda seat, done, now: 2.0 if seat == ILL and done >= 40 else 1.0)
    clinic.work(300)
    (one,) = tell(clinic.play)
    numbers = one.numbers
    assert one.before == pytest.approx(2.0, rel=0.15)
    assert one.siblings == pytest.approx(1.0, rel=0.1)
    assert one.after == pytest.approx(1.0, rel=0.1)
    assert one.effective is True
    assert one.replacement == "p/3.1"
    assert one.reload_s == pytest.approx(3.0, abs=0.1)
    assert one.said == (
        f"p/1.1 retired: {numbers['slowdown']:.2f}× slower than its own start for the same work, "
        f"siblings {numbers['siblings']:.2f}×; replacement {one.after:.2f}×"
    )
    assert all(figure is None or figure == round(figure, 3) for figure in (one.before, one.siblings, one.after))


def test_a_leaking_worker_of_a_pool_at_work() -> None:
    policy = RecyclePolicy(max_jobs=0, max_age=Duration(0), rss_growth=Size(200 * MIB), guards=brakes().guards)
    clinic = Clinic(sickbay(recycle=policy))
    clinic.rss = lambda seat, done: FRESH + (8 * MIB * done if seat == ILL else 0)
    clinic.work(160)
    oldest = tell(clinic.play)[-1]
    assert (oldest.seat, oldest.reason, oldest.effective) == ("p/1.1", "leak", None)
    assert oldest.numbers["mib_per_job"] == pytest.approx(8.0)
    assert oldest.numbers["grown_mib"] > 200
    assert "MiB more than after its warm-up, and 8.0 MiB more with each job" in oldest.said
