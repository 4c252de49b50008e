"""A pool at work and under observation: jobs that keep it busy, what is told of it, how fast questions are answered."""

import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import msgspec
import zmq

from support.daemon import Daemon
from support.opened import Opened
from support.stage import ONE, Script
from support.wait import eventually
from support.wire import Answer, Wire

Event = dict[str, Any]

UNGUARDED = """
[pools.default.recycle.guards]
min_age = 0
cooldown = 0
budget = 100
"""
"""Findings are acted on at once."""

CLIP = 'canary = [{do = "sleep", s = 0.02}, {do = "speak", text = "all is well"}]\n'
"""A built-in clip that takes long enough for its time to tell something on a busy machine."""


class End(NamedTuple):
    """One job that was completed."""

    seat: str
    text: str
    attempts: int
    index: int
    """Which job of its worker it was."""


def plain(dice: random.Random) -> Script:
    """A job that takes its time."""
    return [{"do": "sleep", "s": dice.uniform(0.02, 0.06)}, {"do": "speak", "text": " a"}]


class Flow:
    """A client that keeps so many jobs under way."""

    def __init__(self, daemon: Daemon, depth: int, seed: int = 1) -> None:
        self._wire = daemon.wire()
        self._depth = depth
        self._dice = random.Random(seed)
        self._open = 0

    def run(
        self,
        most: int,
        *,
        over: Callable[[], Any] = lambda: False,
        script: Callable[[random.Random], Script] = plain,
        each: Callable[[], None] = lambda: None,
    ) -> list[End]:
        """So many jobs, or fewer when it is over; ``each`` is called after each of them."""
        ends: list[End] = []
        while len(ends) < most and not over():
            while self._open < self._depth:
                self._wire.send("submit", b"audio", options={"script": script(self._dice)}, reply="final")
                self._open += 1
            ends.append(self._next())
            each()
        return ends

    def rest(self) -> list[End]:
        """What is still under way, and nothing more."""
        return [self._next() for _ in range(self._open)]

    def _next(self) -> End:
        answer, body = self._wire.end_of()
        assert answer["type"] == "completed", answer
        self._open -= 1
        run = answer["run"]
        return End(run["seat"], json.loads(body)["text"], run["attempts"], run["job_index"])


class Rounds:
    """The events of workers and pools, and what must hold after each of them."""

    PREFIXES = ("worker.", "pool.", "recycle.", "job.")

    def __init__(self, daemon: Daemon, job: Callable[[], Any] | None = None) -> None:
        """``job`` does one; by default a script is played."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        Opened.note(self, self.close)
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        for prefix in self.PREFIXES:
            self._socket.subscribe(prefix)
        self._socket.connect(f"ipc://{daemon.directory}/events.sock")
        self._job = job or (lambda: daemon.wire().play(ONE))
        self.events: list[Event] = []
        eventually(self._heard)
        self._socket.unsubscribe("job.")
        self.ready = {worker["seat"] for worker in daemon.workers() if worker["state"] in ("idle", "busy")}
        self.leaving: set[str] = set()
        self.least_ready = len(self.ready)
        self.most_leaving = 0

    def _heard(self) -> bool:
        """The last prefix works, so those before it do."""
        self._job()
        return bool(self._socket.poll(50))

    def close(self) -> None:
        """Listen no more."""
        Opened.forget(self)
        self._context.destroy(linger=0)

    def look(self) -> None:
        """Take in what was told since the last look."""
        while self._socket.poll(0):
            event: Event = msgspec.msgpack.decode(self._socket.recv_multipart()[1])
            if not event["type"].startswith("job."):
                self.events.append(event)
                self._follow(event)

    def _follow(self, event: Event) -> None:
        match event["type"]:
            case "worker.ready":
                self.ready.add(event["seat"])
            case "worker.recycled":
                self.ready.discard(event["seat"])
                self.leaving.add(event["seat"])
            case "worker.left" | "worker.died":
                self.ready.discard(event["seat"])
                self.leaving.discard(event["seat"])
        self.least_ready = min(self.least_ready, len(self.ready))
        self.most_leaving = max(self.most_leaving, len(self.leaving))

    def told(self, topic: str, **fields: Any) -> list[Event]:
        """The events of this topic with these fields."""
        self.look()
        return [event for event in self.events if event["type"] == topic and fields.items() <= event.items()]

    def await_told(self, topic: str, count: int = 1, timeout: float = 20.0, **fields: Any) -> list[Event]:
        """The same, as soon as there are so many."""
        return eventually(lambda: len(found := self.told(topic, **fields)) >= count and found, timeout)


class Glance(NamedTuple):
    """One answer to the question how the daemon is."""

    at: float
    took: float
    """Seconds."""
    status: str
    reason: str


class Pulse:
    """Asks the control socket every few milliseconds, from a thread of its own."""

    def __init__(self, daemon: Daemon, every: float = 0.01) -> None:
        self._wire = Wire(daemon.directory, socket="control", timeout=10)
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.glances: list[Glance] = []
        self._thread.start()
        Opened.note(self, self.close)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            begun = time.monotonic()
            answer: Answer = self._wire.ask("health")
            now = time.monotonic()
            self.glances.append(Glance(now, now - begun, answer["status"], answer["reason"]))

    def close(self) -> None:
        """Ask no more."""
        Opened.forget(self)
        self._over.set()
        self._thread.join()
        self._wire.close()

    def flipped(self, since: float) -> Glance | None:
        """The first answer after that moment by which not all workers are well."""
        calm = self.glances[0][2:]
        return next((glance for glance in list(self.glances) if glance.at > since and glance[2:] != calm), None)

    @property
    def median_ms(self) -> float:
        """Half of the answers took no longer."""
        return 1000 * statistics.median(glance.took for glance in self.glances)

    @property
    def worst_ms(self) -> float:
        """All of them."""
        return 1000 * max(glance.took for glance in self.glances)


class Ward(NamedTuple):
    """A pool and who watches over it."""

    daemon: Daemon
    flow: Flow
    rounds: Rounds

    def recycles(self) -> list[dict[str, Any]]:
        """The report on the workers that were replaced, oldest first."""
        return list(reversed(self.daemon.ask("recycles")["recycles"]))

    def settled(self) -> None:
        """Wait until nobody is on the way in or out, and every word of it was heard."""
        eventually(self._calm, 30)

    def _calm(self) -> bool:
        self.rounds.look()
        states = {worker["seat"] for worker in self.daemon.workers() if worker["state"] == "idle"}
        return not self.rounds.leaving and states == self.rounds.ready == {w["seat"] for w in self.daemon.workers()}


@contextmanager
def watched(daemon: Daemon, depth: int = 6) -> Iterator[Ward]:
    """A warm pool under observation."""
    with ExitStack() as stack:
        rounds = Rounds(daemon)
        stack.callback(rounds.close)
        yield Ward(daemon, Flow(daemon, depth), rounds)
