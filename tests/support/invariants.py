"""What must hold of any daemon, whatever was done to it: books of its jobs, and a count of what it holds.

I1  every accepted job ends once             Books.note, Books.close
I2  the bytes of a result never change       Books.note, Books.close
I3  no job is lost, and none is invented     Books.close
I5  no process, descriptor, file is left     House.check
I7  the memory of the daemon is bounded      House.rss, House.grown
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from support.daemon import Daemon
from support.wait import eventually
from support.wire import Answer, Wire

MIB = 1 << 20

WINDOW = 200
"""Questions that are open at the same time; more than the daemon keeps for a peer would be lost."""

LISTED = 10_000
"""The most jobs that one list can have."""


class End(NamedTuple):
    """All of an end that must never change."""

    type: str
    about: dict[str, Any]
    body: bytes


class Books:
    """What clients were told of jobs: by one daemon, or by several, one after the other, in the same place."""

    def __init__(self, daemon: Daemon) -> None:
        """Jobs that are there already are somebody else's."""
        self._daemon = daemon
        self._others = set(self._listed())
        self.accepted: set[str] = set()
        self.ends: dict[str, End] = {}

    def accept(self, *jobs: str) -> None:
        """Somebody was told that these are stored."""
        self.accepted.update(jobs)

    def note(self, answer: Answer, body: bytes) -> None:
        """Somebody was told the end of a job, which is the one that others were told."""
        assert answer["type"] in ("completed", "failed"), answer
        about = {key: value for key, value in answer.items() if key not in ("type", "ref")}
        end = End(answer["type"], about, body)
        assert self.ends.setdefault(answer["job"], end) == end, (self.ends[answer["job"]], end)

    def submit(self, jobs: Iterable[str], scripts: Iterable[Any], body: bytes = b"audio", **fields: Any) -> None:
        """Submit them all on one connection, and see each of them accepted."""
        wire, waiting = Wire(self._daemon.directory), 0
        for job, script in zip(jobs, scripts, strict=False):
            wire.send("submit", body, job=job, options={"script": script}, reply="accepted", **fields)
            waiting += 1
            if waiting == WINDOW:
                self._accepted(wire)
                waiting -= 1
        for _ in range(waiting):
            self._accepted(wire)
        wire.close()

    def _accepted(self, wire: Wire) -> None:
        answer, _ = wire.receive()
        assert answer["type"] == "accepted", answer
        self.accept(answer["job"])

    def close(self, timeout: float = 60.0, window: int = WINDOW) -> Counter[str]:
        """Wait for all that was accepted, then look at it from every side; how many jobs there are of each state.

        ``window``: questions that are open at the same time; few, where each answer is large.
        """
        for question in ("wait", "fetch", "fetch"):
            for answer, body in self._ask_all(question, timeout, window):
                self.note(answer, body)
        assert self.ends.keys() == self.accepted
        return Counter(self._states().values())

    def _ask_all(self, question: str, timeout: float, window: int = WINDOW) -> list[tuple[Answer, bytes]]:
        wire = Wire(self._daemon.directory, timeout=timeout)
        more = {"timeout": timeout} if question == "wait" else {}
        left, told, waiting = sorted(self.accepted), [], 0
        while left or waiting:
            if left and waiting < window:
                wire.send(question, job=left.pop(), **more)
                waiting += 1
            else:
                told.append(wire.receive())
                waiting -= 1
        wire.close()
        return told

    def _states(self) -> dict[str, str]:
        """The list that operators see, which has to say the same."""
        states = {job: state for job, state in self._listed().items() if job not in self._others}
        assert states.keys() == self.accepted, "none is lost and none is invented"
        for job, end in self.ends.items():
            assert (states[job] == "completed") == (end.type == "completed"), (states[job], end)
        return states

    def _listed(self) -> dict[str, str]:
        if not (self._daemon.directory / "control.sock").exists():
            return {}
        listed = self._daemon.ask("jobs", limit=LISTED)["jobs"]
        states = {job["job"]: job["state"] for job in listed}
        assert len(listed) == len(states) < LISTED
        return states

    def release(self) -> None:
        """Have all of them forgotten."""
        for answer, _ in self._ask_all("release", 60.0):
            assert answer["type"] == "released", answer
        self.accepted.clear()
        self.ends.clear()


class Holding(NamedTuple):
    """What one process holds."""

    descriptors: int
    threads: int
    rss: int
    """Bytes."""
    peak: int
    """Bytes, the most that it ever held."""


def holding(pid: int) -> Holding:
    """Of a process that runs."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    sizes = [int(status[key].split()[0]) << 10 for key in ("VmRSS", "VmHWM")]
    return Holding(len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"]), *sizes)


def children(pid: int) -> dict[int, str]:
    """The state of each child as the kernel's letter, by process id; ``Z`` is one that nobody has waited for."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found[int(entry.name)] = fields[0]
    return found


def cpu_seconds(pid: int) -> float:
    """Of the process alone, not of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class House:
    """What a daemon holds, against what it held when it was calm."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.before = holding(daemon.process.pid)

    @classmethod
    def warmed(cls, daemon: Daemon) -> "House":
        """After a first large answer, for which ZeroMQ makes threads and descriptors that stay."""
        wire, job = Wire(daemon.directory), "large-answer"
        assert wire.play({"do": "speak", "text": "x" * 100_000}, job=job)[0]["type"] == "completed"
        assert wire.ask("release", job=job)["type"] == "released"
        wire.close()
        eventually(lambda: not spooled(daemon))
        return cls(daemon)

    def rss(self) -> int:
        """Bytes of the supervisor now."""
        return holding(self._daemon.process.pid).rss

    def grown(self) -> int:
        """Bytes that the supervisor has now more than before."""
        return self.rss() - self.before.rss

    def lag(self) -> float:
        """The longest time in the last minute for which the loop stood still, in seconds."""
        return float(self._daemon.ask("stats")["loop_lag_ms"]) / 1000

    def check(self, *, kept: Iterable[str] = (), threads: int = 8) -> None:
        """Once all is calm: no descriptor more than before, no thread beyond those for files, no process without a
        seat, no audio but that of the jobs ``kept`` for a retry, and no word of a defect."""
        pid, wanted = self._daemon.process.pid, sorted(kept)
        eventually(lambda: holding(pid).descriptors <= self.before.descriptors)
        assert holding(pid).threads <= self.before.threads + threads
        eventually(lambda: set(children(pid)) == {worker["pid"] for worker in self._daemon.workers()})
        assert "Z" not in children(pid).values()
        eventually(lambda: len(self._daemon.processes()) == 2 + len(self._daemon.workers()))
        eventually(lambda: sorted(spooled(self._daemon)) == wanted)
        sound(self._daemon)


def spooled(daemon: Daemon) -> list[str]:
    """The jobs whose audio lies on the disk."""
    return [path.name.rpartition("-")[0] for path in (daemon.root / "state" / "spool").iterdir()]


def tell(figure: str) -> None:
    """A figure for whoever runs the tests with ``-s``."""
    sys.stdout.write(f"{figure}\n")


def sound(daemon: Daemon) -> None:
    """Nothing in the log says that the daemon has a defect."""
    marks = ("Traceback", "Fatal Python error", "Assertion")
    for line in daemon.log.read_text().splitlines():
        assert '"exception":' not in line and '"event":"defect' not in line and not line.startswith(marks), line


def stopped(daemon: Daemon) -> None:
    """Stop it; nothing of it is left but its state."""
    assert daemon.stop() == 0
    eventually(lambda: not daemon.leftovers(), 5)
    sound(daemon)
