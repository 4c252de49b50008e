"""Faults of workers, by their rows in the fault list: what befalls one of them costs no job and no other worker.

The rows that are not here are elsewhere: see README.md beside this file.
"""

import contextlib
import ctypes
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running
from support.invariants import Books, House, children, cpu_seconds, stopped, tell
from support.stage import ONE, PATIENT, QUICK, TWO, UNHURRIED, Stage, staged
from support.wait import eventually
from support.wire import Wire

TOUGH = PATIENT + "[pools.default.retries]\nattempts = 10\ndeaths = 10\n"
"""A pool that goes on trying a job whose workers are killed from outside."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged(QUICK + PATIENT) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    return shared.rest()


@pytest.fixture(scope="module")
def tough() -> Iterator[Stage]:
    """Three workers, jobs that are tried often, and no hurry."""
    with staged(UNHURRIED + TOUGH, workers=3) as stage:
        yield stage


def _kill_busy(daemon: Daemon, spared: set[str]) -> int | None:
    """Kill a worker in the midst of a job that is not spared, and spare that one from now on; the process."""
    busy = [worker for worker in daemon.workers() if worker["state"] == "busy" and worker["job"] not in spared]
    for worker in busy[:1]:
        spared.add(worker["job"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker["pid"], signal.SIGKILL)
            return int(worker["pid"])
    return None


def _on_segment(wire: Wire) -> None:
    while wire.receive()[0]["type"] != "segment":
        pass


# --- deaths -----------------------------------------------------------------------------------------------------------


def test_row_01_workers_killed_in_mid_job_cost_no_job(tough: Stage) -> None:
    daemon = tough.rest().daemon
    books, house = Books(daemon), House(daemon)
    script = [ONE, {"do": "sleep", "s": 0.03}, TWO]
    books.submit([f"row-1-{number}" for number in range(120)], [script] * 120)
    spared: set[str] = set()
    notice = []
    while len(notice) < 25 and daemon.ask("stats")["jobs"]["queued"]:
        start = time.monotonic()
        if pid := _kill_busy(daemon, spared):
            eventually(lambda pid=pid: pid not in [worker["pid"] for worker in daemon.workers()], step=0.002)
            notice.append(time.monotonic() - start)
    assert books.close() == {"completed": 120}
    assert {json.loads(end.body)["text"] for end in books.ends.values()} == {"one two"}
    assert len(notice) >= 8 and tough.deaths() == {"SIGKILL": len(notice)}
    worst, median = max(notice), statistics.median(notice)
    tell(f"{len(notice)} killed; noticed within {worst * 1000:.0f} ms, half of them within {median * 1000:.0f} ms")
    assert median < 1
    house.check()
    books.release()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"])
def test_row_02_a_deadly_signal_is_named(stage: Stage, name: str) -> None:
    answer, _ = stage.daemon.wire().play(ONE, {"do": "die", "signal": name})
    assert (answer["fault"]["code"], answer["fault"]["context"]["death"]) == ("poison", name)
    (retried,) = stage.tells("job.retried", job=answer["job"])
    assert name in json.dumps(retried)
    assert stage.deaths() == {name: 2}


def test_row_04_a_stopped_worker_that_wakes_up_late_changes_no_result(stage: Stage) -> None:
    """It is woken between the signal that asks for its stack and the one that ends it, and says that it is done."""
    daemon = stage.daemon
    books = Books(daemon)
    stage.order("job", [{"do": "deafen"}, {"do": "hang", "how": "stopped"}])
    books.submit(["late"], [[ONE, TWO, {"do": "obey", "order": "job"}, {"do": "speak", "text": " late"}]])
    pid = eventually(lambda: _stopped(daemon))
    eventually(lambda: "killing" in [worker["state"] for worker in daemon.workers()], step=0.005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    assert books.close() == {"completed": 1}
    assert not _alive(pid)
    assert books.close() == {"completed": 1}, "and it stays so"
    end = books.ends["late"]
    assert (json.loads(end.body)["text"], end.about["run"]["attempts"]) == ("one two late", 2)
    assert stage.rest().daemon.ask("stats")["deaths"]["busy deadline"] >= 1
    books.release()


def test_row_04_a_worker_that_is_stopped_for_a_while_keeps_its_job(tough: Stage) -> None:
    stage = tough.rest()
    wire = stage.daemon.wire()
    wire.send("submit", b"audio", options={"script": [ONE, {"do": "sleep", "s": 2.0}, TWO]})
    _on_segment(wire)
    (pid,) = (worker["pid"] for worker in stage.daemon.workers() if worker["state"] == "busy")
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()
    end, body = wire.end_of()
    assert (end["type"], end["run"]["attempts"], json.loads(body)["text"]) == ("completed", 1, "one two")
    assert not stage.deaths()


def _stopped(daemon: Daemon) -> int | None:
    return next((pid for pid, state in children(daemon.process.pid).items() if state == "T"), None)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # from Python 3.12 on
def test_row_08_a_worker_that_dies_and_cannot_be_reaped_costs_its_seat_alone(stage: Stage) -> None:
    """As in uninterruptible sleep: a tracer that does not wait for the dead process keeps it from its parent."""
    daemon = stage.daemon
    pid = daemon.workers()[0]["pid"]
    tracer = _trace(pid)
    control, others = Wire(daemon.directory, socket="control", timeout=3), Wire(daemon.directory, timeout=8)
    try:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: children(daemon.process.pid).get(pid) == "Z")
        for _ in range(3):
            assert control.ask("health")["type"] == "health_report"
            assert others.play(ONE)[0]["type"] == "completed"
    finally:
        control.close()
        others.close()
        os.kill(tracer, signal.SIGKILL)
        os.waitpid(tracer, 0)
    stage.rest()


def _trace(pid: int) -> int:
    """A process that traces another one and does nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    tracer = os.fork()
    if not tracer:
        os.write(writer, b"%d" % libc.ptrace(0x4206, pid, None, None))  # PTRACE_SEIZE
        signal.pause()
    said = os.read(reader, 2)
    os.close(reader)
    os.close(writer)
    if said != b"0":
        os.kill(tracer, signal.SIGKILL)
        os.waitpid(tracer, 0)
        pytest.skip("no process may trace another one here")
    return tracer


# --- starts and replacements ------------------------------------------------------------------------------------------


def test_row_11_workers_that_never_leave_are_replaced_all_the_same() -> None:
    config = """
[pools.default]
engine = "scripted"
model = ""
workers = 2
[pools.default.options]
at_exit = [{do = "hang", how = "c"}]
[pools.default.recycle]
max_jobs = 8
[pools.default.deadlines]
stop = "300ms"
kill = "100ms"
"""
    with running(config=config) as daemon:
        books, house = Books(daemon.ready()), House(daemon)
        books.submit(map(str, range(200)), [[{"do": "sleep", "s": 0.02}, ONE]] * 200)
        assert books.close() == {"completed": 200}
        assert {end.about["run"]["attempts"] for end in books.ends.values()} == {1}
        stats = eventually(lambda: (s := daemon.ask("stats"))["recycles"].get("max_jobs", 0) >= 4 and s)
        assert stats["least_ready"] == {"default": 2}, "each successor was warm before"
        eventually(lambda: [worker["state"] for worker in daemon.workers()] == ["idle"] * 2, 20)
        assert set(daemon.ask("stats")["deaths"]) <= {"stopping deadline"}
        house.check()


def test_row_12_a_crash_loop_backs_off_and_costs_no_processor_and_no_job() -> None:
    config = """
[pools.default]
engine = "scripted"
model = ""
workers = 2
[pools.default.options]
generations = 3
at_load = [{do = "fail", message = "a library is missing"}]
"""
    with running(config=config) as daemon:
        eventually(lambda: (daemon.directory / "control.sock").exists())
        begun, used = time.monotonic(), cpu_seconds(daemon.process.pid)
        books = Books(daemon)
        books.submit(["patient"], [[ONE, TWO]])
        daemon.ready()
        took = time.monotonic() - begun
        assert took > 1, "there was a pause between two starts"
        share = (cpu_seconds(daemon.process.pid) - used) / took
        tell(f"ready after {took:.1f} s, {share:.0%} of a core")
        assert share < 0.5
        assert max(worker["generation"] for worker in daemon.workers()) == 4, "no more starts than that in each seat"
        assert books.close() == {"completed": 1}
        assert books.ends["patient"].about["run"]["attempts"] == 1, "no try was spent on workers that never came up"


def test_row_13_after_workers_were_killed_for_a_while_all_are_back_by_themselves() -> None:
    restarts = '[pools.default.restarts]\nintensity = 5\nperiod = "60s"\ndelay_max = "300ms"\nrevive = "1s"\n'
    with staged(UNHURRIED + restarts, workers=3) as stage:
        daemon = stage.daemon
        books = Books(daemon)
        books.submit(map(str, range(20)), [[{"do": "sleep", "s": 0.01}, ONE]] * 20)
        over, ready = time.monotonic() + 5, []
        while time.monotonic() < over:
            for worker in daemon.workers():
                if worker["pid"] and worker["state"] in ("idle", "starting", "warming"):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker["pid"], signal.SIGKILL)
            ready.append(daemon.ask("stats")["workers"]["ready"])
        assert min(ready) == 0
        starts = sum(worker["generation"] for worker in daemon.workers())
        assert starts < 100, "it did not spin"
        begun = time.monotonic()
        daemon.ready(timeout=30)
        tell(f"{starts} starts; all ready {time.monotonic() - begun:.1f} s after the last kill")
        assert sum(books.close().values()) == 20
        assert daemon.ask("health")["status"] == "ready"


def test_row_14_a_worker_that_hits_its_limit_of_memory_is_replaced_and_the_job_is_done_elsewhere() -> None:
    with staged(QUICK + PATIENT, workers=1) as stage:
        daemon = stage.daemon
        stage.order("start", "ulimit -v 700000")
        old = daemon.workers()[0]["seat"]
        daemon.ask("recycle")
        eventually(
            lambda: stage.obeyed("start") and old not in [worker["seat"] for worker in stage.rest().daemon.workers()]
        )
        tight = daemon.workers()[0]["seat"]
        stage.order("job", [{"do": "leak", "mb": 900}])
        end, _ = daemon.wire().play({"do": "obey", "order": "job"}, ONE, job="large")
        assert (end["type"], end["run"]["attempts"]) == ("completed", 2), "it is not poison"
        (lost,) = stage.tells("job.retried", job="large")
        assert lost["seat"] == tight != end["run"]["seat"]
        assert "out_of_memory" in json.dumps(lost) or "memory" in json.dumps(lost)
        assert tight not in [worker["seat"] for worker in stage.rest().daemon.workers()]


def test_row_41_however_often_all_are_to_be_replaced_they_leave_one_at_a_time(tough: Stage) -> None:
    daemon = tough.rest().daemon
    seen, first = len(_lives(daemon)), {worker["seat"] for worker in daemon.workers()}
    books = Books(daemon)
    books.submit([f"row-41-{number}" for number in range(150)], [[{"do": "sleep", "s": 0.02}, ONE]] * 150)
    for _ in range(10):
        daemon.ask("recycle")
    for worker in daemon.workers():
        daemon.ask("recycle", seat=worker["seat"])
    least = 3
    while daemon.ask("stats")["jobs"]["completed"] < 150 and daemon.ask("stats")["jobs"]["queued"]:
        least = min(least, daemon.ask("stats")["workers"]["ready"])
    assert books.close() == {"completed": 150}
    assert {end.about["run"]["attempts"] for end in books.ends.values()} == {1}
    eventually(lambda: not first & {worker["seat"] for worker in tough.rest().daemon.workers()})
    assert least >= 2
    leaving: set[str] = set()
    for event, seat in _lives(daemon)[seen:]:
        leaving = leaving | {seat} if event == "worker.recycled" else leaving - {seat}
        assert len(leaving) <= 1, "never two at once"
    assert not tough.deaths()
    books.release()


def _lives(daemon: Daemon) -> list[tuple[str, str]]:
    """Retirements and departures, in the order of the log."""
    lines = [json.loads(line) for line in daemon.log.read_text().split("\n")[:-1] if line.startswith("{")]
    return [(line["event"], line["seat"]) for line in lines if line["event"] in ("worker.recycled", "worker.left")]


def test_nothing_is_left_of_all_this(tough: Stage) -> None:
    tough.rest()
    House(tough.daemon).check()
    stopped(tough.daemon)
