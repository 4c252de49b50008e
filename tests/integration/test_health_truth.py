"""Health that cannot lie: whatever stops a worker shows, and the worker is replaced, while questions are answered."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from support.daemon import Daemon
from support.invariants import tell
from support.stage import ONE, PATIENT, UNHURRIED, Stage, staged
from support.wait import eventually
from support.ward import Pulse

LIMIT_S = 1.0
"""What a step gets at least, and from one sign of progress to the next."""

LOOK_S = 5.0
"""From one look at the host to the next. A worker is killed that was seen stopped twice."""

GRACE_S = 8.0
"""What the daemon may take in addition to the limit, and to a start."""

CONFIG = f"""
[pools.default.deadlines]
busy_floor = {LIMIT_S}
busy_factor = 1.0
stall = {LIMIT_S}
stop = "1s"
kill = "500ms"
[pools.default.restarts]
intensity = 100
period = "1s"
delay_max = "100ms"
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged(CONFIG) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    return shared.rest()


@pytest.fixture
def pulse(stage: Stage) -> Iterator[Pulse]:
    with closing(Pulse(stage.daemon)) as pulse:
        eventually(lambda: pulse.glances)
        yield pulse


def _worker(daemon: Daemon, state: str) -> dict[str, Any]:
    found = eventually(lambda: [worker for worker in daemon.workers() if worker["state"] == state], step=0.005)
    return dict(found[0])


def _load_s(stage: Stage) -> float:
    """What the last worker took to start."""
    return float(stage.tells("worker.ready")[-1]["start_s"])


def _see(stage: Stage, pulse: Pulse, seat: str, begun: float, limit: float) -> None:
    """The worker of that seat has stopped working at ``begun``: see it shown, and see it replaced."""
    daemon = stage.daemon
    flipped = eventually(lambda: pulse.flipped(begun), limit + GRACE_S, step=0.005)
    eventually(lambda: daemon.ask("stats")["workers"]["ready"] == 2 and not _sits(daemon, seat), 60, step=0.005)
    took, load = time.monotonic() - begun, _load_s(stage)
    shown = flipped.at - begun
    tell(
        f"shown after {shown:.2f} s ({flipped.status}: {flipped.reason}), replaced after {took:.2f} s, of which "
        f"{load:.2f} s start; questions {pulse.median_ms:.1f} ms, at most {pulse.worst_ms:.0f} ms"
    )
    assert shown <= limit + GRACE_S
    assert took <= limit + GRACE_S + load, daemon.log.read_text()[-4000:]
    assert pulse.median_ms < 500
    assert pulse.worst_ms < 3000


def _sits(daemon: Daemon, seat: str) -> bool:
    return seat in [worker["seat"] for worker in daemon.workers()]


HANGS: dict[str, list[dict[str, Any]]] = {
    "with the GIL": [{"do": "hang", "how": "gil"}],
    "in C without it": [{"do": "hang", "how": "c"}],
    "a loop in Python": [{"do": "hang", "how": "python"}],
    "stopped": [{"do": "hang", "how": "stopped"}],
    "deaf, with the GIL": [{"do": "deafen"}, {"do": "hang", "how": "gil"}],
}


@pytest.mark.parametrize("script", HANGS.values(), ids=HANGS.keys())
def test_a_worker_that_hangs_in_a_job_shows_and_is_replaced(
    stage: Stage, pulse: Pulse, script: list[dict[str, Any]]
) -> None:
    stage.order("job", script)
    wire = stage.daemon.wire()
    begun = time.monotonic()
    wire.send("submit", b"audio", options={"script": [ONE, {"do": "obey", "order": "job"}]}, reply="final")
    seat = _worker(stage.daemon, "busy")["seat"]
    _see(stage, pulse, seat, begun, LIMIT_S)
    end, _ = wire.end_of()
    assert (end["type"], end["run"]["attempts"]) == ("completed", 2)
    assert end["run"]["seat"] != seat


def test_an_idle_worker_that_is_stopped_shows_and_is_replaced(stage: Stage, pulse: Pulse) -> None:
    worker = _worker(stage.daemon, "idle")
    begun = time.monotonic()
    os.kill(worker["pid"], signal.SIGSTOP)
    flipped = eventually(lambda: pulse.flipped(begun), LOOK_S + 2, step=0.005)
    assert (flipped.status, "stopped by a signal" in flipped.reason) == ("degraded", True)
    _see(stage, pulse, worker["seat"], begun, 2 * LOOK_S)


def test_an_idle_worker_that_is_stopped_and_goes_on_is_left_alone(stage: Stage, pulse: Pulse) -> None:
    worker = _worker(stage.daemon, "idle")
    begun = time.monotonic()
    os.kill(worker["pid"], signal.SIGSTOP)
    eventually(lambda: pulse.flipped(begun), LOOK_S + 2, step=0.005)
    os.kill(worker["pid"], signal.SIGCONT)
    eventually(lambda: pulse.glances[-1].status == "ready", LOOK_S + 2)
    assert _sits(stage.daemon, worker["seat"]) and not stage.deaths()


@pytest.mark.parametrize(
    "said",
    [
        "CUDA failed with error an illegal memory access was encountered",
        "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED",
        "CUDA error: device-side assert triggered",
    ],
)
def test_after_an_error_that_stays_the_worker_shows_and_is_replaced(stage: Stage, pulse: Pulse, said: str) -> None:
    stage.order("job", [{"do": "fail", "message": said}])
    begun = time.monotonic()
    end, _ = stage.daemon.wire().play(ONE, {"do": "obey", "order": "job"})
    assert (end["type"], end["run"]["attempts"]) == ("completed", 2)
    (lost,) = stage.tells("job.retried", job=end["job"])
    (gone,) = stage.tells("worker.recycled", seat=lost["seat"])
    assert gone["numbers"] == {}
    _see(stage, pulse, lost["seat"], begun, LIMIT_S)


def test_proof_of_life_is_told_for_each_worker() -> None:
    """Seconds since its computation has shown anything: not since its process has."""
    with staged(UNHURRIED + PATIENT) as stage:
        daemon, wire = stage.daemon, stage.daemon.wire()
        eventually(lambda: all(_proof(daemon, worker["seat"]) > 1.5 for worker in daemon.workers()))
        wire.send("submit", b"audio", options={"script": [ONE, {"do": "sleep", "s": 3}]}, reply="final")
        seat = _worker(daemon, "busy")["seat"]
        eventually(lambda: _proof(daemon, seat) < 1.0, step=0.005)
        eventually(lambda: _proof(daemon, seat) > 1.5, step=0.005)
        end, _ = wire.end_of()
        assert end["run"]["seat"] == seat
        assert _proof(daemon, seat) < 1.0
        assert all(_proof(daemon, w["seat"]) > 1.5 for w in daemon.workers() if w["seat"] != seat)


def _proof(daemon: Daemon, seat: str) -> float:
    (age,) = (worker["proof_age_s"] for worker in daemon.workers() if worker["seat"] == seat)
    return float(age)
