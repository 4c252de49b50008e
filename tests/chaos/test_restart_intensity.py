"""Workers that cannot live: a bounded number of starts, an honest health, and a way back."""

import os
import signal
from typing import Any

import pytest

from support.daemon import Daemon, running
from support.stage import ONE
from support.wait import eventually


def _pool(restarts: str, options: str = "", workers: int = 2, name: str = "default", more: str = "") -> str:
    return (
        f'[pools.{name}]\nengine = "scripted"\nmodel = ""\nworkers = {workers}\n{more}\n'
        f"[pools.{name}.options]\n{options}\n"
        f'[pools.{name}.restarts]\nperiod = "60s"\ndelay_max = "50ms"\n{restarts}\n'
    )


DIES = 'at_load = [{do = "die", code = 9}]'


def _up(daemon: Daemon) -> Daemon:
    eventually(lambda: (daemon.directory / "control.sock").exists())
    return daemon


def _status(daemon: Daemon, status: str) -> dict[str, Any]:
    return eventually(lambda: (health := daemon.ask("health"))["status"] == status and health, 20)


def test_a_crash_loop_ends_after_a_bounded_number_of_starts_and_the_daemon_lives_on() -> None:
    with running(config=_pool('intensity = 2\nrevive = "1h"', DIES)) as daemon:
        _up(daemon)
        health = _status(daemon, "unavailable")
        assert health["pools"] == {"default": "unavailable"} and "exit 9" in health["reason"]
        workers = daemon.workers()
        assert [(worker["state"], worker["generation"], worker["pid"]) for worker in workers] == [
            ("failed", 3, None)
        ] * 2
        assert {worker["last_fault"] for worker in workers} == {"exit 9"}
        stats = daemon.ask("stats")
        assert (stats["deaths"], stats["workers"]) == ({"exit 9": 6}, {"ready": 0, "total": 2})
        refused = daemon.wire().ask("submit", b"audio", options={"script": [ONE]})
        fault = refused["fault"]
        assert (refused["type"], fault["code"], fault["retry"]) == ("refused", "engine_unavailable", True)
        assert fault["retry_after"] > 0 and "exit 9" in fault["message"]
        assert [worker["generation"] for worker in daemon.workers()] == [3, 3], "nothing was started meanwhile"
        assert daemon.stop() == 0


def test_before_the_first_worker_is_warm_health_is_starting_and_jobs_wait() -> None:
    with running(config=_pool("", "start_s = 1.0")) as daemon:
        assert _up(daemon).ask("health")["status"] == "starting"
        assert daemon.ask("stats")["least_ready"] == {}
        wire = daemon.wire()
        wire.send("submit", b"audio", options={"script": [ONE]})
        assert wire.receive()[0]["type"] == "accepted"
        assert wire.end_of()[0]["type"] == "completed"


def test_an_accepted_job_outlives_the_failure_of_all_workers_and_is_done_after_the_revival() -> None:
    options = f"generations = 3\n{DIES}"
    with running(config=_pool('intensity = 1\nrevive = "700ms"', options)) as daemon:
        wire = _up(daemon).wire()
        wire.send("submit", b"audio", job="patient", options={"script": [ONE]})
        assert wire.receive()[0]["type"] == "accepted"
        _status(daemon, "unavailable")
        assert daemon.wire().ask("fetch", job="patient")["type"] == "pending"
        end, _ = wire.end_of("patient")
        assert (end["type"], end["run"]["attempts"]) == ("completed", 1)
        assert end["run"]["seat"].endswith(".4"), "two starts, one revival in vain, and one that went well"
        daemon.ready()
        assert daemon.ask("health")["status"] == "ready"
        assert daemon.ask("stats")["deaths"] == {"exit 9": 6}


def test_an_operator_revives_failed_seats_at_once_and_their_deaths_are_forgiven() -> None:
    with running(config=_pool('intensity = 1\nrevive = "1h"', f"generations = 3\n{DIES}")) as daemon:
        _status(_up(daemon), "unavailable")
        assert daemon.ask("recycle")["type"] == "done"
        daemon.ready()
        assert daemon.ask("health")["status"] == "ready"
        assert [worker["generation"] for worker in daemon.workers()] == [4, 4]
        assert [worker["last_fault"] for worker in daemon.workers()] == ["", ""]
        assert daemon.wire().play(ONE)[0]["type"] == "completed"


def test_a_seat_that_fails_leaves_the_pool_degraded_and_at_work() -> None:
    with running(config=_pool('intensity = 1\nrevive = "5s"')) as daemon:
        daemon.ready()
        for generation in (1, 2):
            pid = eventually(lambda g=generation: _pid(daemon, f"default/0.{g}"))
            os.kill(pid, signal.SIGKILL)
        health = _status(daemon, "degraded")
        assert "SIGKILL" in health["reason"] and "1 of 2" in health["reason"]
        ends = [daemon.wire().play(ONE)[0] for _ in range(4)]
        assert {end["run"]["seat"] for end in ends} == {"default/1.1"}
        daemon.ready()
        assert daemon.ask("health")["status"] == "ready"
        assert daemon.ask("stats")["least_ready"] == {"default": 1}


def _pid(daemon: Daemon, seat: str) -> int | None:
    return next((w["pid"] for w in daemon.workers() if w["seat"] == seat and w["state"] == "idle"), None)


@pytest.mark.parametrize(
    ("options", "more", "reason"),
    [
        (
            'at_load = [{do = "fail", code = "model_unavailable", message = "no such model here"}]',
            "",
            "no such model here",
        ),
        ('at_load = [{do = "die", code = 78}]', "", "exit 78"),
        ("", 'python = "/no/such/python"', "cannot start /no/such/python: No such file or directory"),
    ],
)
def test_what_another_start_cannot_mend_ends_the_daemon_after_one(options: str, more: str, reason: str) -> None:
    with running(config=_pool('intensity = 50\nrevive = "10ms"', options, more=more)) as daemon:
        assert daemon.process.wait(20) == 78
        log = daemon.log.read_text()
        assert log.count('"event":"worker.starting"') == 2, "one start for each seat"
        assert reason in next(line for line in log.splitlines() if '"event":"leaving"' in line)


def test_a_hopeless_pool_beside_a_good_one_is_unavailable_and_the_good_one_serves() -> None:
    bad = _pool("", 'at_load = [{do = "fail", code = "model_unavailable", message = "lost"}]', name="bad")
    with running(config='default_pool = "good"\n' + bad + _pool("", name="good")) as daemon:
        wire = _up(daemon).wire()
        health = eventually(
            lambda: (h := daemon.ask("health"))["pools"] == {"bad": "unavailable", "good": "ready"} and h
        )
        assert health["status"] == "degraded" and "lost" in health["reason"]
        fault = wire.ask("submit", b"audio", pool="bad")["fault"]
        assert (fault["code"], "lost" in fault["message"], "retry_after" in fault) == (
            "engine_unavailable",
            True,
            False,
        )
        assert wire.play(ONE)[0]["run"]["seat"].startswith("good/")
        assert daemon.stop() == 0


def test_a_job_that_waits_for_a_hopeless_pool_is_told_so() -> None:
    options = 'start_s = 1.5\nat_load = [{do = "fail", code = "model_unavailable", message = "lost"}]'
    config = 'default_pool = "good"\n' + _pool("", options, name="bad") + _pool("", name="good")
    with running(config=config + '\n[journal]\ndurability = "none"') as daemon:
        wire = _up(daemon).wire()
        wire.send("submit", b"audio", pool="bad")
        assert wire.receive()[0]["type"] == "accepted"
        end, _ = wire.end_of()
        assert (end["type"], end["fault"]["code"]) == ("failed", "engine_unavailable")
        assert "lost" in end["fault"]["message"]
