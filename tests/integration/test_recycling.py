"""Healthy workers are replaced without anybody noticing."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.daemon import Daemon
from support.stage import ONE
from support.wait import eventually
from support.wire import Wire


def _pool(recycle: str, workers: int = 2) -> str:
    return (
        f'[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = {workers}\n'
        f"[pools.default.options]\nstart_s = 0.1\n[pools.default.recycle]\n{recycle}\n"
    )


def _flood(daemon: Daemon, jobs: int, seconds: float) -> list[dict[str, Any]]:
    """So many jobs at once; the ends of them, each with the right text."""
    wire = daemon.wire()
    for number in range(jobs):
        script = [{"do": "sleep", "s": seconds}, {"do": "speak", "text": f" {number}"}]
        wire.send("submit", b"audio", options={"script": script}, reply="final", ref=str(number))
    ends = []
    for _ in range(jobs):
        end, body = wire.receive()
        assert end["type"] == "completed" and json.loads(body)["text"] == end["ref"]
        ends.append(end)
    return ends


def test_200_jobs_with_max_jobs_never_see_fewer_workers_than_wanted(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted(config=_pool("max_jobs = 10"))
    watch = Wire(daemon.directory, "dealer", socket="control")
    ends = _flood(daemon, 100, 0.02)
    for _ in range(50):
        assert watch.ask("stats")["workers"]["ready"] >= 2
    ends += _flood(daemon, 100, 0.02)
    while watch.ask("stats")["recycles"].get("max_jobs", 0) < 3:  # a start may take as long as many jobs
        ends += _flood(daemon, 20, 0.02)
    assert {end["run"]["attempts"] for end in ends} == {1}
    assert len({end["run"]["seat"] for end in ends}) >= 4, "the jobs were done by several generations"
    eventually(lambda: all(worker["jobs_done"] < 10 for worker in watch.ask("workers")["workers"]), 20)
    stats = watch.ask("stats")
    assert stats["recycles"]["max_jobs"] >= 3 and set(stats["recycles"]) == {"max_jobs"}
    assert (stats["least_ready"], stats["deaths"], stats["retries"]) == ({"default": 2}, {}, 0)
    assert (stats["jobs"]["completed"], stats["jobs"]["failed"]) == (len(ends), 0)
    watch.close()


def test_workers_that_started_together_are_not_due_together(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted(config=_pool("max_jobs = 8"))
    for _ in range(8):
        daemon.wire().play(ONE)
    eventually(lambda: daemon.ask("stats")["recycles"] == {"max_jobs": 1})
    states = {worker["seat"]: worker["jobs_done"] for worker in daemon.workers()}
    assert states["default/1.1"] == 4, "half of its share is left"


def test_max_jobs_0_replaces_nobody(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted("--max-jobs", "0", "--engine", "scripted", "--workers", "2")
    assert {end["run"]["seat"] for end in _flood(daemon, 400, 0)} == {"default/0.1", "default/1.1"}
    assert daemon.ask("stats")["recycles"] == {}


def test_max_age_replaces_workers_that_have_nothing_to_do(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted(config=_pool('max_jobs = 0\nmax_age = "1s"'))

    def replaced() -> bool:
        stats = daemon.ask("stats")
        assert stats["workers"]["ready"] >= 2
        return bool(stats["recycles"].get("max_age", 0) >= 3)

    eventually(replaced, 20)
    assert daemon.ask("stats")["least_ready"] == {"default": 2}
    assert daemon.ask("stats")["deaths"] == {}


def test_stop_first_takes_no_seat_more_and_replaces_one_at_a_time(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted(config=_pool('max_jobs = 10\norder = "stop-first"'))
    wire = daemon.wire()
    jobs = 0

    def replaced() -> bool:
        nonlocal jobs
        end, _ = wire.play({"do": "sleep", "s": 0.01}, ONE)
        assert end["run"]["attempts"] == 1
        jobs += 1
        workers = daemon.workers()
        assert len(workers) <= 2 and {worker["slot"] for worker in workers} <= {0, 1}
        assert sum(worker["state"] in ("idle", "busy") for worker in workers) >= 1
        return bool(daemon.ask("stats")["recycles"].get("max_jobs", 0) >= 4)

    eventually(replaced, 30)
    stats = daemon.ask("stats")
    assert stats["least_ready"] == {"default": 1}
    assert (stats["jobs"]["completed"], stats["deaths"]) == (jobs, {})


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_the_only_worker_can_be_replaced_under_load(scripted: Callable[..., Daemon], order: str) -> None:
    daemon = scripted(config=_pool(f'max_jobs = 10\norder = "{order}"', workers=1))
    ends = _flood(daemon, 60, 0.01)
    while daemon.ask("stats")["recycles"].get("max_jobs", 0) < 2:  # a start may take as long as many jobs
        ends += _flood(daemon, 10, 0.01)
    assert {end["run"]["attempts"] for end in ends} == {1}
    assert daemon.ask("stats")["least_ready"] == {"default": 1 if order == "start-first" else 0}
