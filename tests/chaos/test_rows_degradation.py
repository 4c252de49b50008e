"""Workers that get worse, by their rows in the fault list: found by measuring, told apart, replaced or left alone.

The pools are scripted, the processes are real. What a script sleeps is the work that it counts, so a worker that takes
longer than the script says is one that is slower for the same work.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.daemon import running
from support.invariants import tell
from support.stage import ONE, PATIENT, QUICK, UNHURRIED, Script, staged
from support.ward import CLIP, UNGUARDED, Ward, plain, watched

WORKERS = 3

MIB = 1 << 20


@contextmanager
def _ward(options: str = "", recycle: str = "max_jobs = 0", more: str = "", workers: int = WORKERS) -> Iterator[Ward]:
    """A pool of scripted workers that is watched, and whose findings are acted on at once."""
    config = (
        f'[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = {workers}\n'
        f"[pools.default.options]\n{CLIP}{options}\n[pools.default.recycle]\n{recycle}\n{UNGUARDED}{more}"
    )
    with running(config=config) as daemon, watched(daemon.ready(), depth=2 * workers) as ward:
        yield ward


def _one_at_a_time(ward: Ward, least: int = WORKERS) -> None:
    assert ward.rounds.most_leaving <= 1, "never two at once"
    assert ward.rounds.least_ready >= least, [(e["type"], e["seat"]) for e in ward.rounds.events]


# --- row 16: leaks ----------------------------------------------------------------------------------------------------


def _fattest(ward: Ward, seen: list[int]) -> None:
    seen.extend(worker["rss_bytes"] or 0 for worker in ward.daemon.workers())


LEAK = 20
"""MiB that a worker keeps of each job."""

FAT = f"leak_mb_per_job = {LEAK}\nonly_slots = [0]\ngenerations = 1"

LIMIT = 200
"""MiB."""


@pytest.mark.parametrize(("order", "least"), [("stop-first", WORKERS - 1), ("start-first", WORKERS)])
def test_row_16_a_worker_above_its_limit_gets_no_other_job_and_is_replaced(order: str, least: int) -> None:
    with _ward(FAT, f'max_jobs = 0\nmax_rss = "{LIMIT}MiB"\norder = "{order}"') as ward:
        record, most = _leak(ward)
        assert record["reason"] == "rss"
        assert record["numbers"]["limit_mib"] == LIMIT < record["numbers"]["rss_mib"] <= LIMIT + LEAK
        assert most <= LIMIT + LEAK + 5
        _one_at_a_time(ward, least)


def test_row_16_a_worker_that_grows_with_each_job_is_replaced_long_before_its_limit() -> None:
    with _ward(FAT, 'max_jobs = 0\nmax_rss = "4GiB"\nrss_growth = "100MiB"') as ward:
        record, _ = _leak(ward)
        assert record["reason"] == "leak"
        assert record["numbers"]["mib_per_job"] == pytest.approx(LEAK, rel=0.1)
        assert record["jobs_done"] <= 45, "five jobs to grow so much, and twenty to be sure"
        _one_at_a_time(ward)


def _leak(ward: Ward) -> tuple[dict[str, Any], float]:
    """Jobs, until the one worker that leaks was replaced; the record of it, and the most that it ever had, in MiB."""
    seen: list[int] = []
    ends = ward.flow.run(200, over=lambda: ward.rounds.told("worker.left"), each=lambda: _fattest(ward, seen))
    ends += ward.flow.rest()
    ward.settled()
    (record,) = ward.recycles()
    most = max(seen) / MIB
    tell(f"{record['said']}; at most {most:.0f} MiB after {record['jobs_done']} jobs")
    assert record["seat"] == "default/0.1"
    assert {end.attempts for end in ends} == {1}
    assert ward.daemon.ask("stats")["deaths"] == {}, "nobody was killed"
    return record, most


# --- row 17: errors of the device -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("CUDA failed with error out of memory", "out_of_memory"),
        ("CUDA failed with error an illegal memory access was encountered", "engine_error"),
        ("cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED", "engine_error"),
        ("CUDA error: device-side assert triggered", "engine_error"),
    ],
)
def test_row_17_after_an_error_of_the_device_the_worker_leaves_and_the_job_is_done_elsewhere(
    said: str, code: str
) -> None:
    with staged(QUICK + PATIENT) as stage:
        stage.order("job", [{"do": "fail", "message": said}])
        end, _ = stage.daemon.wire().play(ONE, {"do": "obey", "order": "job"}, job="unlucky")
        assert (end["type"], end["run"]["attempts"]) == ("completed", 2)
        (lost,) = stage.tells("job.retried", job="unlucky")
        assert lost["seat"] != end["run"]["seat"]
        (gone,) = stage.tells("worker.recycled", seat=lost["seat"])
        assert gone["reason"] == code
        stage.rest()
        assert lost["seat"] not in [worker["seat"] for worker in stage.daemon.workers()]
        assert stage.daemon.ask("health")["status"] == "ready"
        assert not stage.deaths() and stage.daemon.ask("stats")["recycles"] == {code: 1}


# --- row 41: all at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "least"), [("start-first", WORKERS), ("stop-first", WORKERS - 1)])
def test_row_41_workers_that_are_all_due_after_each_job_leave_one_at_a_time(order: str, least: int) -> None:
    with _ward(recycle=f'max_jobs = 1\norder = "{order}"') as ward:
        ends = ward.flow.run(1000, over=lambda: len(ward.rounds.told("worker.left")) >= 20)
        assert {end.attempts for end in ends + ward.flow.rest()} == {1}
        assert len(ward.rounds.told("worker.recycled", reason="max_jobs")) >= 20
        tell(f"{len(ward.rounds.events)} events, {len(ends)} jobs")
        _one_at_a_time(ward, least)
        assert ward.daemon.ask("stats")["least_ready"] == {"default": least}


def test_row_41_workers_that_are_all_found_slow_leave_one_at_a_time() -> None:
    with _ward() as ward:
        _slow_down(ward)
        ends = ward.flow.run(1500, over=lambda: len(ward.rounds.told("worker.left")) >= WORKERS)
        assert {end.attempts for end in ends + ward.flow.rest()} == {1}
        ward.settled()
        tell(f"all replaced after {len(ends)} jobs")
        assert [record["reason"] for record in ward.recycles()] == ["experiment", *["lockstep"] * (WORKERS - 1)]
        _one_at_a_time(ward)


def _slow_down(ward: Ward, factor: float = 2.0) -> None:
    """All workers of the pool, when it is known how fast they were."""

    def ordered(dice: random.Random) -> Script:
        return [{"do": "slow", "factor": factor}, *plain(dice)]

    ward.flow.run(25 * WORKERS)
    ward.flow.rest()
    assert not ward.rounds.told("worker.recycling")
    seats = Counter(end.seat for end in ward.flow.run(2 * WORKERS, script=ordered) + ward.flow.rest())
    assert len(seats) == WORKERS, "everybody has had one"


# --- row 43: slower, and whose fault it is ----------------------------------------------------------------------------


def test_row_43_one_worker_that_gets_slower_is_replaced_and_the_others_are_not() -> None:
    options = "slow_after = 25\nslow_factor = 2.0\nonly_slots = [1]\ngenerations = 1"
    with _ward(options) as ward:
        ends = ward.flow.run(600, over=lambda: ward.rounds.told("worker.left"))
        ends += ward.flow.run(20 * WORKERS) + ward.flow.rest()
        ward.settled()
        (record,) = ward.recycles()
        tell(record["said"])
        assert (record["seat"], record["reason"]) == ("default/1.1", "slow")
        (found,) = ward.rounds.told("worker.degraded")
        assert found["seat"] == record["seat"]
        assert record["jobs_done"] <= 25 + 20, "it was 24 jobs at its best"
        assert record["effective"] and record["before"] > 1.5 and record["after"] < 1.3
        assert {worker["condition"] for worker in ward.daemon.workers()} <= {"ok", "unknown"}
        assert {end.attempts for end in ends} == {1}
        _one_at_a_time(ward)


def test_row_43_when_all_workers_creep_one_is_tried_and_then_all_are_replaced() -> None:
    with _ward("slow_per_job = 0.02") as ward:
        ends = ward.flow.run(1500, over=lambda: len(ward.rounds.told("worker.recycled")) >= WORKERS)
        ward.flow.rest()
        ward.settled()
        records = ward.recycles()
        tell(f"{len(ends)} jobs; " + "; ".join(record["said"] for record in records))
        assert [record["reason"] for record in records[:WORKERS]] == ["experiment", *["lockstep"] * (WORKERS - 1)]
        assert {record["seat"] for record in records[:WORKERS]} == {f"default/{slot}.1" for slot in range(WORKERS)}
        assert [event["cause"] for event in ward.rounds.told("pool.slow")[:2]] == ["unknown", "workers"]
        _one_at_a_time(ward)


def test_row_43_when_the_host_is_slow_one_worker_is_tried_and_no_other_is_replaced() -> None:
    """Fresh workers are as slow as the others."""
    with (
        staged(UNHURRIED + PATIENT + "[pools.default.recycle]\nmax_jobs = 0\n" + UNGUARDED, workers=WORKERS) as stage,
        watched(stage.daemon) as ward,
    ):
        stage.order("load", [{"do": "slow", "factor": 2.0}])
        _slow_down(ward)
        ends = ward.flow.run(1500, over=lambda: ward.rounds.told("pool.slow", cause="host"))
        ends += ward.flow.run(40 * WORKERS) + ward.flow.rest()
        ward.settled()
        tell(f"{len(ends)} jobs; " + "; ".join(record["said"] for record in ward.recycles()))
        assert [record["reason"] for record in ward.recycles()] == ["experiment"]
        (alert,) = [one for one in ward.daemon.ask("insights")["insights"] if one["topic"] == "host"]
        assert alert["severity"] == "warning" and "it is the host" in alert["said"]
        assert "does not help" in alert["advice"]
        _one_at_a_time(ward)


# --- row 44: nonsense -------------------------------------------------------------------------------------------------


def test_row_44_a_worker_that_falls_silent_is_replaced_by_the_next_clip() -> None:
    options = "mute_after = 50\nonly_slots = [0]\ngenerations = 1"
    with _ward(options, more="[pools.default.canary]\nevery_jobs = 10\n") as ward:
        ends = ward.flow.run(1000, over=lambda: ward.rounds.told("worker.left"))
        ends += ward.flow.run(40) + ward.flow.rest()
        ward.settled()
        (record,) = ward.recycles()
        tell(record["said"])
        assert (record["seat"], record["reason"]) == ("default/0.1", "quality")
        assert ward.rounds.told("worker.wrong", seat="default/0.1")
        empty = [end for end in ends if not end.text]
        assert {end.seat for end in empty} == {"default/0.1"}
        assert [end.index for end in empty] == list(range(50, 50 + len(empty)))
        assert 1 <= len(empty) <= 10, "the clip is transcribed every ten jobs"
        assert {end.attempts for end in ends} == {1}
        assert {end.text for end in ends[-40:]} == {"a"}
        assert ward.rounds.most_leaving == 1 and ward.rounds.least_ready >= WORKERS - 1
