"""Whoever means a daemon ill: deaths of its processes at random times, and clients that send rubbish.

Each kind of harm has a thread and random numbers of its own, so that a seed gives the same plan whatever the others do.
What was done is in the history, with no job: the checker counts it.
"""

import contextlib
import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import zmq

from support.daemon import Daemon
from support.history import History
from support.wire import Wire

SHORT_S = 0.05
LONG_S = 3.5
"""How long a worker stands still; in the end, that is longer than a job may take."""

STOP_S = 20.0
"""By then a daemon that was asked to leave has left."""


def children(pid: int) -> list[int]:
    """The processes that this one has started: its workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether the process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def serves(daemon: Daemon, timeout: float = 2.0) -> bool:
    """Whether the daemon answers."""
    wire = Wire(daemon.directory, "req", "json", socket="control", timeout=timeout)
    try:
        return bool(wire.ask("health"))
    except zmq.Again:
        return False
    finally:
        wire.close()


class Rates(msgspec.Struct, frozen=True):
    """Seconds between two blows of each kind, on average; 0 never."""

    kill_worker: float = 5.0
    stop_worker: float = 15.0
    kill_supervisor: float = 60.0
    stop_supervisor: float = 150.0
    hang_up: float = 30.0
    """SIGHUP."""
    garbage: float = 1.0


class Nemesis:
    """Strikes until it is told to stop."""

    def __init__(self, daemon: Daemon, history: History, rates: Rates, seed: int) -> None:
        self._daemon = daemon
        self._history = history
        self._rates = rates
        self._seed = seed
        self._over = threading.Event()
        self._throne = threading.Lock()
        """Held by whoever brings a daemon down and another one up."""
        self._threads: list[threading.Thread] = []
        self.complaints: list[str] = []
        """What a daemon did that nobody had asked for."""
        self.blows: Counter[str] = Counter()

    def __enter__(self) -> "Nemesis":
        deeds: Mapping[str, tuple[float, Callable[[random.Random], bool]]] = {
            "kill worker": (self._rates.kill_worker, self._kill_worker),
            "stop worker": (self._rates.stop_worker, self._stop_worker),
            "kill supervisor": (self._rates.kill_supervisor, self._kill_supervisor),
            "stop supervisor": (self._rates.stop_supervisor, self._stop_supervisor),
            "hang up": (self._rates.hang_up, self._hang_up),
            "garbage": (self._rates.garbage, self._garbage),
        }
        for name, (mean, deed) in deeds.items():
            if mean:
                thread = threading.Thread(target=self._strike, args=(name, mean, deed), name=name)
                self._threads.append(thread)
                thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._mourn()

    def _strike(self, name: str, mean: float, deed: Callable[[random.Random], bool]) -> None:
        """Poisson: the time to the next blow does not depend on the last one."""
        dice = random.Random(f"{self._seed} {name}")
        while not self._over.wait(dice.expovariate(1 / mean)):
            try:
                if deed(dice):
                    self.blows[name] += 1
            except Exception as error:
                self.complaints.append(f"{name}: {error!r}")

    def _mourn(self) -> None:
        """A daemon that nobody has killed must be there; the lock is held, or all is over."""
        if (code := self._daemon.process.poll()) is not None:
            self.complaints.append(f"the daemon left by itself with {code}")
            self._daemon.restart()

    def _worker(self, dice: random.Random) -> int | None:
        workers = children(self._daemon.process.pid)
        return dice.choice(workers) if workers else None

    # --- blows --------------------------------------------------------------------------------------------------------

    def _kill_worker(self, dice: random.Random) -> bool:
        if (pid := self._worker(dice)) is None:
            return False
        self._history.note("nemesis", "info", "kill worker")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def _stop_worker(self, dice: random.Random) -> bool:
        if (pid := self._worker(dice)) is None:
            return False
        self._history.note("nemesis", "info", "stop worker")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._over.wait(dice.choice((SHORT_S, LONG_S)))
            os.kill(pid, signal.SIGCONT)
        return True

    def _kill_supervisor(self, dice: random.Random) -> bool:
        with self._throne:
            self._mourn()
            orphans = children(self._daemon.process.pid)
            self._history.note("nemesis", "info", "kill supervisor")
            self._daemon.kill()
            self._over.wait(dice.uniform(0, 0.3))
            self._daemon.restart()
            self._over.wait(1.0)
            if left := [pid for pid in orphans if alive(pid)]:
                self.complaints.append(f"workers {left} outlive their supervisor by a second")
        return True

    def _stop_supervisor(self, dice: random.Random) -> bool:
        with self._throne:
            self._mourn()
            if not serves(self._daemon):
                return False  # it may not even have a handler for the signal
            self._history.note("nemesis", "info", "stop supervisor")
            self._daemon.process.send_signal(signal.SIGTERM)
            if code := self._daemon.process.wait(STOP_S):
                self.complaints.append(f"the daemon was asked to leave, and left with {code}")
            self._over.wait(dice.uniform(0, 0.3))
            self._daemon.restart()
        return True

    def _hang_up(self, dice: random.Random) -> bool:
        with self._throne:
            if not serves(self._daemon):
                return False
            self._daemon.process.send_signal(signal.SIGHUP)
        return True

    def _garbage(self, dice: random.Random) -> bool:
        socket_name = dice.choice(("jobs", "control"))
        if dice.random() < 0.3:
            return _raw(self._daemon.directory / f"{socket_name}.sock", dice)
        wire = Wire(self._daemon.directory, dice.choice(("dealer", "req")), socket=socket_name, timeout=0.2)
        try:
            wire.send_raw(_rubbish(dice))
            with contextlib.suppress(zmq.Again, ValueError):  # the answer to an empty frame begins with one
                wire.receive()
        finally:
            wire.close()
        return True


def _raw(path: Path, dice: random.Random) -> bool:
    """Bytes that are no ZMTP."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(0.2)
        raw.connect(str(path))
        raw.sendall(dice.randbytes(dice.choice((1, 64, 5_000))))
    return True


def _rubbish(dice: random.Random) -> list[bytes]:
    """What no client would send."""
    good = msgspec.msgpack.encode({"type": "submit", "job": "rubbish", "reply": "final"})
    return dice.choice(
        [
            [dice.randbytes(dice.randrange(1, 200))],
            [good[: dice.randrange(1, len(good))], b"audio"],
            [good],
            [b"", b"", b""],
            [good, b"audio", *[b"more"] * 50],
            [b"{" * 20_000],
            [b'{"type": "submit", "job": "../../etc/passwd"}', b"audio"],
            [b'{"type": "fetch", "job": "no-such-job"}'],
            [b'{"type": "release", "job": "no-such-job"}'],
            [b"\x81" + b"\xa1" * 1_000],
            [dice.randbytes(100_000), dice.randbytes(100_000)],
        ]
    )
