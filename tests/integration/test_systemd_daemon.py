"""What a real daemon tells a real NOTIFY_SOCKET, from its start to its end."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asrd_protocol.exits import Exit
from support.daemon import Daemon
from support.wait import eventually

PATIENCE_US = 1_000_000
INTERVAL = PATIENCE_US / 2_000_000
"""Seconds between two feedings of the watchdog."""

HELD_AT_LOAD = """
[pools.default]
engine = "scripted"
model = ""
workers = 2
[pools.default.options]
generations = 1
at_load = [{do = "hang", how = "stopped"}]
"""
"""Each worker stops itself while it loads, until somebody continues it."""

Start = Callable[..., Daemon]


class Manager:
    """The end of the socket that systemd holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    @property
    def environ(self) -> dict[str, str]:
        """What systemd gives to the service."""
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(PATIENCE_US)}

    def listen(self, timeout: float = 0.0) -> list[str]:
        """All that was ever said; waits so many seconds for another message when none is there."""
        self._socket.settimeout(timeout)
        try:
            while True:
                self.said.append(self._socket.recv(65536).decode())
                self._socket.settimeout(0.0)
        except (BlockingIOError, TimeoutError):
            return self.said

    def count(self, message: str) -> int:
        """How often it was said."""
        return self.listen().count(message)

    def status(self) -> str:
        """The line that ``systemctl status`` would show."""
        return next((s.removeprefix("STATUS=") for s in reversed(self.listen()) if s.startswith("STATUS=")), "")

    def close(self) -> None:
        """Go."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens."""
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def held(daemon: Daemon) -> list[int]:
    """The processes of both workers, once both have said hello and stopped themselves; empty before."""
    pids = [worker["pid"] for worker in daemon.workers()]
    return pids if len(pids) == 2 and all(pid and stopped(pid) for pid in pids) else []


def test_ready_is_said_once_and_when_the_first_worker_is_warm(start: Start, manager: Manager) -> None:
    daemon = start(config=HELD_AT_LOAD, environ=manager.environ)
    eventually(lambda: (daemon.directory / "control.sock").exists(), 30)
    first, second = eventually(lambda: held(daemon), 30)
    before = manager.count("WATCHDOG=1")
    eventually(lambda: manager.count("WATCHDOG=1") >= before + 2)
    assert manager.status().startswith("starting: 0 of 2")
    assert "READY=1" not in manager.listen()
    os.kill(first, signal.SIGCONT)
    eventually(lambda: manager.count("READY=1"))
    eventually(lambda: "1 of 2 workers are ready" in manager.status())
    os.kill(second, signal.SIGCONT)
    eventually(lambda: "2 of 2 workers are ready" in manager.status())
    assert daemon.stop() == Exit.OK
    assert manager.count("READY=1") == 1


def test_the_watchdog_starves_when_the_daemon_stands_still_and_is_fed_again_when_it_goes_on(
    start: Start, manager: Manager
) -> None:
    daemon = start("--engine", "scripted", "--workers", "1", environ=manager.environ).ready()
    daemon.process.send_signal(signal.SIGSTOP)
    eventually(lambda: stopped(daemon.process.pid))
    said = len(manager.listen())
    assert said == len(manager.listen(4 * INTERVAL))
    daemon.process.send_signal(signal.SIGCONT)
    fed = manager.count("WATCHDOG=1")
    eventually(lambda: manager.count("WATCHDOG=1") >= fed + 3)


def test_the_watchdog_is_fed_while_the_workers_are_busy(start: Start, manager: Manager) -> None:
    daemon = start("--engine", "scripted", "--workers", "1", environ=manager.environ).ready()
    wire = daemon.wire()
    wire.send("submit", b"audio", options={"script": [{"do": "hang", "how": "gil"}]}, job="stuck")
    eventually(lambda: daemon.ask("stats")["jobs"]["running"] == 1)
    fed = manager.count("WATCHDOG=1")
    eventually(lambda: manager.count("WATCHDOG=1") >= fed + 3)
    wire.send("cancel", job="stuck")
    assert wire.end_of("stuck")[0]["fault"]["code"] == "cancelled"


def test_a_stop_is_announced(start: Start, manager: Manager) -> None:
    daemon = start("--engine", "scripted", "--workers", "1", environ=manager.environ).ready()
    assert "STOPPING=1" not in manager.listen()
    assert daemon.stop() == Exit.OK
    assert manager.count("STOPPING=1") == 1


def test_a_daemon_that_cannot_serve_never_says_ready(start: Start, manager: Manager) -> None:
    hopeless = HELD_AT_LOAD.replace('"hang", how = "stopped"', '"die", code = 78')
    daemon = start(config=hopeless, environ=manager.environ)
    assert daemon.process.wait(30) == Exit.CONFIG
    said = manager.listen()
    assert any(message.startswith("STATUS=") for message in said)
    assert "READY=1" not in said


def test_workers_cannot_speak_for_the_daemon(start: Start, manager: Manager) -> None:
    daemon = start("--engine", "scripted", "--workers", "2", environ=manager.environ).ready()
    assert names(daemon.process.pid) >= set(manager.environ)
    for worker in daemon.workers():
        assert names(worker["pid"]).isdisjoint(manager.environ)


def names(pid: int) -> set[str]:
    """The names in the environment of a process."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {entry.partition(b"=")[0].decode() for entry in entries}


def test_a_manager_that_goes_away_is_no_reason_to_stop(start: Start, manager: Manager) -> None:
    daemon = start("--engine", "scripted", "--workers", "1", environ=manager.environ).ready()
    manager.close()
    assert daemon.wire().play({"do": "speak", "text": "still here"})[0]["type"] == "completed"
    assert daemon.stop() == Exit.OK
