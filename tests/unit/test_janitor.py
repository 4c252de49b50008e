"""The janitor: whatever becomes of a supervisor, its sockets do not outlive it; the next one's are left alone."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd_protocol.addresses import Addresses
from asrd_supervisor.ground import Ground, Taken
from support.wait import eventually

SUPERVISOR = """
import pathlib, socket, sys
from asrd_protocol.addresses import Addresses
from asrd_supervisor.ground import Ground
from asrd_supervisor.janitor import Janitor
addresses = Addresses(pathlib.Path(sys.argv[1]))
ground = Ground(addresses)
janitor = Janitor(ground, addresses)
for name in ("jobs.sock", "control.sock", "events.sock", "workers/link.sock"):
    socket.socket(socket.AF_UNIX).bind(str(addresses.directory / name))
print("serving", flush=True)
word = sys.stdin.readline()
if word == "leave\\n":
    ground.leave()
    janitor.dismiss()
elif word == "fail\\n":
    raise SystemExit(3)
"""
"""The few lines of the daemon that this is about."""

MARK = "ASRD_JANITOR_TEST"


class Supervisor:
    """A small process with a runtime directory and a janitor."""

    def __init__(self, addresses: Addresses) -> None:
        mark = uuid.uuid4().hex
        self._wanted = f"{MARK}={mark}".encode()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SUPERVISOR, str(addresses.directory)],
            env={**os.environ, MARK: mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == b"serving\n"
        (self.janitor,) = self._others()
        eventually(lambda: Path(f"/proc/{self.janitor}/cwd").readlink() == Path("/"))  # the last thing before it waits

    def _others(self) -> list[int]:
        """Every living process of ours but the supervisor."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and self._wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return [pid for pid in found if pid != self.process.pid]

    def tell(self, word: str) -> int:
        """Say a word; the exit code."""
        self.process.communicate(f"{word}\n".encode(), timeout=10)
        return self.process.returncode

    def kill(self) -> None:
        """End it as nobody can prepare for."""
        self.process.kill()
        self.process.communicate(timeout=10)

    def janitor_has_left(self) -> None:
        """Wait for it."""
        eventually(lambda: not self._others())

    def close(self) -> None:
        """End everything."""
        for pid in [*self._others(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    return Addresses(tmp_path / "run")


@pytest.fixture
def supervisor(addresses: Addresses) -> Iterator[Supervisor]:
    made = Supervisor(addresses)
    yield made
    made.close()


def _field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{name}:"))


def test_a_killed_supervisor_leaves_nothing(supervisor: Supervisor, addresses: Addresses) -> None:
    assert (addresses.directory / "jobs.sock").exists()

    supervisor.kill()
    eventually(lambda: not addresses.directory.exists())
    supervisor.janitor_has_left()


def test_one_that_ends_without_a_word_leaves_nothing_either(supervisor: Supervisor, addresses: Addresses) -> None:
    assert supervisor.tell("fail") == 3
    eventually(lambda: not addresses.directory.exists())
    supervisor.janitor_has_left()


def test_its_whole_process_group_may_be_killed(supervisor: Supervisor, addresses: Addresses) -> None:
    os.killpg(supervisor.process.pid, signal.SIGKILL)
    supervisor.process.communicate(timeout=10)

    eventually(lambda: not addresses.directory.exists())


def test_one_that_leaves_by_itself_needs_no_janitor(supervisor: Supervisor, addresses: Addresses) -> None:
    os.kill(supervisor.janitor, signal.SIGSTOP)
    assert supervisor.tell("leave") == 0
    assert not addresses.directory.exists()

    addresses.directory.mkdir()
    for name in ("jobs.sock", "asrd.lock"):
        (addresses.directory / name).write_text("of somebody who came later")
    os.kill(supervisor.janitor, signal.SIGCONT)
    supervisor.janitor_has_left()
    assert sorted(path.name for path in addresses.directory.iterdir()) == ["asrd.lock", "jobs.sock"]


def test_what_somebody_else_keeps_there_stays(supervisor: Supervisor, addresses: Addresses) -> None:
    other = addresses.directory / "somebody's"
    other.write_text("x")

    supervisor.kill()
    supervisor.janitor_has_left()
    assert list(addresses.directory.iterdir()) == [other]


def test_a_directory_that_was_there_before_stays(addresses: Addresses) -> None:
    addresses.directory.mkdir()
    supervisor = Supervisor(addresses)

    supervisor.kill()
    supervisor.janitor_has_left()
    assert list(addresses.directory.iterdir()) == []


def test_the_next_daemons_sockets_are_left_alone(supervisor: Supervisor, addresses: Addresses) -> None:
    os.kill(supervisor.janitor, signal.SIGSTOP)
    supervisor.kill()
    ground = Ground(addresses)  # the janitor holds no lock
    (addresses.directory / "jobs.sock").write_text("of the next one")

    os.kill(supervisor.janitor, signal.SIGCONT)
    supervisor.janitor_has_left()
    assert sorted(path.name for path in addresses.directory.iterdir()) == ["asrd.lock", "jobs.sock", "workers"]
    ground.leave()


def test_the_next_daemon_can_come_at_once(supervisor: Supervisor, addresses: Addresses) -> None:
    """Whether it finds the janitor at work or not."""
    with pytest.raises(Taken, match=str(supervisor.process.pid)):
        Ground(addresses)

    supervisor.kill()
    ground = Ground(addresses)
    supervisor.janitor_has_left()
    assert addresses.lock.read_text() == f"{os.getpid()}\n"
    ground.leave()
    assert not addresses.directory.exists() or not list(addresses.directory.iterdir())


def test_the_janitor_is_nobodys_child_and_holds_nobodys_pipe(supervisor: Supervisor) -> None:
    assert int(_field(supervisor.janitor, "PPid")) != supervisor.process.pid
    assert os.getsid(supervisor.janitor) != os.getsid(supervisor.process.pid)
    children = Path(f"/proc/{supervisor.process.pid}/task/{supervisor.process.pid}/children").read_text()
    assert children == "", "the one between has been waited for"

    os.kill(supervisor.janitor, signal.SIGSTOP)
    supervisor.kill()  # reads its output to the end
    os.kill(supervisor.janitor, signal.SIGCONT)


def test_the_janitor_is_small(supervisor: Supervisor) -> None:
    resident_kb = int(_field(supervisor.janitor, "VmRSS").split()[0])

    assert resident_kb < 30_000, "it was split off before anything large was imported"
