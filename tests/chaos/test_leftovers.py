"""Many deaths, many clients: nothing piles up in the daemon."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running
from support.stage import ONE, Stage, staged
from support.wait import eventually
from support.wire import Wire


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    return shared.rest()


def _descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def _children(daemon: Daemon) -> list[str]:
    """The state of each child of the daemon, as the kernel's letter; ``Z`` is a zombie."""
    states = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == daemon.process.pid:
                states.append(fields[0])
    return states


def test_many_deaths_leave_no_zombie_and_no_descriptor(stage: Stage) -> None:
    daemon = stage.daemon
    before = _descriptors(daemon)
    pids: set[int] = set()
    for number in range(12):
        for worker in daemon.workers():
            pids.add(worker["pid"])
            os.kill(worker["pid"], (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)[number % 3])
            with contextlib.suppress(ProcessLookupError):  # it may be gone and reaped already
                os.kill(worker["pid"], signal.SIGKILL)
        eventually(lambda n=number: sum(stage.deaths().values()) == 2 * (n + 1))
        daemon.ready()
    assert len(pids) == 24
    assert len(_children(daemon)) == 2 and "Z" not in _children(daemon)
    assert not pids & set(daemon.processes())
    eventually(lambda: _descriptors(daemon) <= before)


def test_many_replacements_leave_no_zombie_and_no_descriptor(stage: Stage) -> None:
    daemon = stage.daemon
    before = _descriptors(daemon)
    for _ in range(5):
        old = {worker["pid"] for worker in daemon.workers()}
        daemon.ask("recycle")
        eventually(lambda old=old: not old & {worker["pid"] for worker in stage.rest().daemon.workers()})
    assert len(_children(daemon)) == 2
    eventually(lambda: _descriptors(daemon) <= before)


def test_many_clients_that_come_and_go_leave_no_descriptor(stage: Stage) -> None:
    daemon = stage.daemon
    before = _descriptors(daemon)
    for number in range(100):
        wire = Wire(daemon.directory)
        if number % 2:
            assert wire.play(ONE)[0]["type"] == "completed"
        else:
            wire.send("submit", b"audio", options={"script": [ONE]})
            wire.receive()
        wire.close()
    eventually(lambda: _descriptors(daemon) <= before)


def test_results_that_nobody_fetches_are_bounded_and_none_is_taken_away() -> None:
    config = "[results]\nmax_bytes = 5000\n"
    with staged(config) as stage:
        wire = stage.daemon.wire()
        ends = [wire.play(ONE, job=f"job-{number}")[0] for number in range(60)]
        kept = [end["job"] for end in ends if end["type"] == "completed"]
        assert 3 < len(kept) < 60
        assert {end["fault"]["code"] for end in ends if end["type"] == "refused"} == {"insufficient_storage"}
        assert {wire.ask("fetch", job=job)["type"] for job in kept} == {"completed"}
        for job in kept:
            assert wire.ask("release", job=job)["type"] == "released"
        assert wire.play(ONE)[0]["type"] == "completed"


def test_audio_of_a_daemon_without_a_journal_does_not_outlive_it() -> None:
    with running("--engine", "scripted", "--workers", "1", "--durability", "none") as daemon:
        wire = daemon.ready().wire()
        for _ in range(5):
            wire.send("submit", b"audio", options={"script": [{"do": "sleep", "s": 60}]}, reply="accepted")
            assert wire.receive()[0]["type"] == "accepted"
        assert len(list((daemon.directory / "spool").iterdir())) == 5
        daemon.kill()
        eventually(lambda: not daemon.leftovers(), 5)
