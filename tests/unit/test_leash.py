"""What ties a worker to its supervisor, with real processes: whatever the worker does, it never outlives its parent."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from asrd_protocol.exits import Exit
from support.wait import eventually

WORKER = """
import ctypes, os, sys, threading
import zmq
from asrd_worker import leash, tie
parent, address, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
tie.tie(parent, "asrd:default/0.17")
link = zmq.Context().socket(zmq.DEALER)
link.connect(address)
leash.watch(parent, link)
link.send(b"%d" % os.getpid())
if how == "gil":
    ctypes.PyDLL(None).sleep(3600)
elif how == "c":
    ctypes.CDLL(None).sleep(3600)
elif how == "close":
    link.recv()
    link.disable_monitor()
    link.close()
    print("closed", flush=True)
    threading.Event().wait(0.5)
    os._exit(0)
threading.Event().wait()
"""
"""As much of a worker as holds the leash, and then hangs."""

PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-P", "-c", sys.argv[1], str(__import__("os").getpid()), *sys.argv[2:]])
sys.stdin.readline()
"""

Starts = Callable[..., subprocess.Popen[str]]


class Supervisor:
    """The link's other end."""

    def __init__(self, directory: Path) -> None:
        self.address = f"ipc://{directory}/link"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.link = self._context.socket(zmq.ROUTER)
        self.link.setsockopt(zmq.RCVTIMEO, 10_000)
        self.link.bind(self.address)

    def hears(self) -> tuple[bytes, int]:
        """The identity and the process id of a worker that has started."""
        identity, pid = self.link.recv_multipart()
        return identity, int(pid)

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start() -> Iterator[Starts]:
    """Starts Python processes; they end with the test."""
    started: list[subprocess.Popen[str]] = []

    def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield _start
    for process in started:
        process.kill()
        process.communicate()


def _gone(pid: int) -> bool:
    """Whether the process has ended; somebody else's zombie has."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


@pytest.mark.parametrize("how", ["gil", "c", "idle", "stopped"])
def test_a_worker_dies_with_its_parent_whatever_it_does(start: Starts, supervisor: Supervisor, how: str) -> None:
    """Also while it holds the GIL in native code, where none of its own threads could do anything about it."""
    parent = start(PARENT, WORKER, supervisor.address, how)
    _, pid = supervisor.hears()
    if how == "stopped":
        os.kill(pid, signal.SIGSTOP)
    assert not _gone(pid)

    parent.kill()
    parent.wait(10)
    eventually(lambda: _gone(pid))


def test_a_parent_that_was_gone_before_the_worker_looked(start: Starts, supervisor: Supervisor) -> None:
    """The signal of the kernel is set too late then: only the look at the parent tells."""
    stranger = start("pass")
    stranger.wait(10)
    worker = start(WORKER, str(stranger.pid), supervisor.address, "idle")

    assert worker.wait(10) == Exit.ORPHANED


def test_a_process_that_is_not_the_parent_is_as_good_as_none(start: Starts, supervisor: Supervisor) -> None:
    worker = start(WORKER, "1", supervisor.address, "idle")

    assert worker.wait(10) == Exit.ORPHANED


def test_a_worker_whose_link_is_gone_leaves_although_its_parent_lives(start: Starts, supervisor: Supervisor) -> None:
    worker = start(WORKER, str(os.getpid()), supervisor.address, "idle")
    supervisor.hears()
    assert worker.poll() is None

    supervisor.link.close(linger=0)
    assert worker.wait(10) == Exit.ORPHANED


def test_a_worker_that_closes_the_link_by_itself_is_let_go(start: Starts, supervisor: Supervisor) -> None:
    worker = start(WORKER, str(os.getpid()), supervisor.address, "close")
    identity, _ = supervisor.hears()
    supervisor.link.send_multipart([identity, b"leave"])

    assert worker.stdout
    assert worker.stdout.readline() == "closed\n"
    assert worker.wait(10) == 0


def test_a_worker_stays_as_long_as_parent_and_link_do(start: Starts, supervisor: Supervisor) -> None:
    """Traffic and other peers are no reason to leave."""
    worker = start(WORKER, str(os.getpid()), supervisor.address, "idle")
    identity, _ = supervisor.hears()
    with zmq.Context() as context:
        for _ in range(20):
            with context.socket(zmq.DEALER) as other:
                other.connect(supervisor.address)
                other.send(b"1")
                supervisor.hears()
            supervisor.link.send_multipart([identity, b"x" * 1000])

    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.3)


def test_a_process_list_shows_the_seat(start: Starts, supervisor: Supervisor) -> None:
    start(WORKER, str(os.getpid()), supervisor.address, "idle")
    _, pid = supervisor.hears()

    assert Path(f"/proc/{pid}/comm").read_text() == "asrd:default/0.\n", "15 bytes are all that the kernel keeps"
