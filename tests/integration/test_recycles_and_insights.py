"""A real daemon tells which workers it replaced and why, and what asks for attention, in words and in JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon
from support.stage import ONE
from support.wait import eventually
from support.ward import CLIP, UNGUARDED, Flow

NEVER = "[pools.default.recycle]\nmax_jobs = 0\n"


def _pool(workers: int, options: str, recycle: str = NEVER + UNGUARDED) -> str:
    return (
        f'[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = {workers}\n'
        f"[pools.default.options]\n{options}\n{recycle}"
    )


def _cli(daemon: Daemon, *arguments: str) -> str:
    """What the command prints."""
    command = [str(Path(sys.executable).parent / "asrd"), *arguments, "--runtime-dir", str(daemon.directory)]
    environ = {**os.environ, "COLUMNS": "400", "NO_COLOR": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _insights(daemon: Daemon, topic: str) -> list[dict[str, Any]]:
    return [insight for insight in daemon.ask("insights")["insights"] if insight["topic"] == topic]


def _slow_worker(daemon: Daemon) -> dict[str, Any]:
    """The report of the replaced one, as soon as it is known whether it helped."""
    flow = Flow(daemon, depth=6)

    def judged() -> list[dict[str, Any]]:
        told = daemon.ask("recycles")["recycles"]
        return [one for one in told if one["seat"] == "default/0.1" and one["after"] is not None]

    flow.run(800, over=judged)
    flow.rest()
    (report,) = judged()
    return report


def test_a_slow_worker_is_replaced_and_what_came_of_it_is_told(scripted: Callable[..., Daemon]) -> None:
    slow = f"slow_after = 25\nslow_factor = 2.0\nonly_slots = [0]\ngenerations = 1\n{CLIP}"
    daemon = scripted(config=_pool(3, slow))
    assert "No worker was replaced" in _cli(daemon, "recycles")
    report = _slow_worker(daemon)
    assert (report["seat"], report["reason"], report["effective"]) == ("default/0.1", "slow", True)
    assert report["numbers"]["slowdown"] > 1.5
    assert report["after"] < 0.85 * report["before"]
    said = report["said"]
    assert said == (
        f"default/0.1 retired: {report['numbers']['slowdown']:.2f}× slower than its own start for the same work, "
        f"siblings {report['numbers']['siblings']:.2f}×; replacement {report['after']:.2f}×"
    )
    heading, *lines = _cli(daemon, "recycles", "--pool", "default").splitlines()
    assert heading.split() == ["WHEN", "HELPED", "WHAT"]
    assert lines[-1].rstrip().endswith(f"yes     {said}")
    shown = json.loads(_cli(daemon, "recycles", "--json"))[-1]
    assert (shown["said"], shown["effective"], shown["replacement"]) == (said, True, "default/3.1")
    assert [insight for insight in _insights(daemon, "degradation") if "default/0.1" in insight["said"]] == []


def test_a_slow_worker_that_must_stay_is_told_of(scripted: Callable[..., Daemon]) -> None:
    slow = f"slow_after = 25\nslow_factor = 2.0\nonly_slots = [0]\ngenerations = 1\n{CLIP}"
    held = NEVER + "[pools.default.recycle.guards]\nmin_jobs = 100000\nmin_age = 0\n"
    daemon = scripted(config=_pool(3, slow, held))
    flow = Flow(daemon, depth=6)

    def found() -> list[dict[str, Any]]:
        told = _insights(daemon, "degradation")
        return [insight for insight in told if insight["said"].startswith("default/0.1 is slower for the same work: ")]

    flow.run(800, over=found)
    flow.rest()
    (insight,) = found()
    assert insight["severity"] == "warning"
    assert insight["numbers"]["slowdown"] > 1.5
    assert insight["advice"].startswith("It is replaced when it has done 100000 jobs")
    text = _cli(daemon, "insights")
    assert f"warning  {insight['said']}" in text
    assert insight["advice"] in text
    assert daemon.ask("recycles")["recycles"] == []


def test_a_leaking_worker_is_told_of_and_then_replaced(scripted: Callable[..., Daemon]) -> None:
    leak = "leak_mb_per_job = 4.0\nonly_slots = [0]\ngenerations = 1"
    daemon = scripted(
        config=_pool(1, leak, '[pools.default.recycle]\nmax_jobs = 0\nrss_growth = "120MiB"\n' + UNGUARDED)
    )
    wire = daemon.wire()
    known: list[dict[str, Any]] = []
    for _ in range(28):
        wire.play(ONE)
        known = known or _insights(daemon, "memory")
    (insight,) = known
    assert insight["numbers"]["mib_per_job"] == pytest.approx(4.0, rel=0.15)
    assert insight["numbers"]["max_jobs"] == pytest.approx(30, abs=5)
    assert insight["severity"] == "warning"
    assert f"recycle.max_jobs = {insight['numbers']['max_jobs']} " in insight["advice"]
    assert insight["said"] in _cli(daemon, "insights")
    flow = Flow(daemon, depth=2)
    flow.run(150, over=lambda: daemon.ask("recycles")["recycles"], script=lambda dice: [ONE])
    flow.rest()
    (report,) = json.loads(_cli(daemon, "recycles", "--json"))
    assert (report["seat"], report["reason"], report["effective"]) == ("default/0.1", "leak", None)
    assert report["numbers"]["mib_per_job"] == pytest.approx(4.0, rel=0.15)
    assert "MiB more with each job" in report["said"]
    assert report["said"] in _cli(daemon, "recycles")


def test_steps_that_were_tried_again_are_told_by_cause(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    assert _cli(daemon, "insights", "--json").strip().startswith("[")
    wire = daemon.wire()
    before = _insights(daemon, "faults")
    # The script of a job goes with it, so it dies again, or fails again, as often as it may be tried.
    died, _ = wire.play({"do": "segfault"})
    assert died["fault"]["code"] == "poison"
    failed, _ = wire.play({"do": "fail", "message": "no luck"})
    assert failed["fault"]["code"] == "engine_error"
    daemon.ready()
    (insight,) = eventually(lambda: _insights(daemon, "faults"))
    assert before == []
    assert insight["numbers"] == {
        "deaths": {"SIGSEGV": 2},
        "faults": {"engine_error": 3},
        "retries": {"SIGSEGV": 1, "engine_error": 2},
    }
    assert daemon.ask("stats")["retries"] == 3
    assert insight["severity"] == "warning"
    assert "3 steps tried again (engine_error, twice; SIGSEGV, once)" in insight["said"]
    text = _cli(daemon, "insights")
    assert insight["said"] in text
    assert insight["advice"] in text
    (shown,) = [one for one in json.loads(_cli(daemon, "insights", "--json")) if one["topic"] == "faults"]
    assert shown == insight
