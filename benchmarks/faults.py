"""What the daemon does when workers die: how soon it is seen, and what it costs those whose jobs are good.

A worker is killed with SIGKILL: how long until ``worker.died`` is on the events socket? Who kills and who subscribes
are one process, so that one clock measures both. Then good jobs run with and without poison among them: jobs that
whoever runs them dies of.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from asrd_protocol.codec import encode
from asrd_protocol.messages import Submit
from daemon import Daemon
from durability import lag_aim
from figures import Aim, Run, Table, command_line, over_rounds, percentile, spread
from load import Answer, Caller

KILLS = 120
DEATH_MS = 50
GOOD, POISON = 1_000, 5
GOOD_S = 0.02
CONCURRENCY = 32
PATIENCE = 60.0
DEADLY = b"poison"
STAFF = 3
"""Workers beside the poison."""

MORTALS = """
[pools.default]
engine = "scripted"
workers = 2

[pools.default.restarts]
intensity = 100
period = 1
delay_max = 0
"""
"""A pool that starts the next worker at once, however many have died."""

MIXED = f"""
[pools.default]
engine = "scripted"
workers = {STAFF}
"""


class Deaths(msgspec.Struct, frozen=True):
    """Workers that were killed."""

    seen_ms: list[float]
    """From the kill to the event."""
    lag_ms: float


class Meal(msgspec.Struct, frozen=True):
    """Good jobs, with poison or without it."""

    done: int
    """Good jobs that were completed."""
    rate: float
    """Good jobs per second."""
    quarantined: int
    """Poison jobs that ended as such."""
    deaths: int
    lag_ms: float


class Poisoning(msgspec.Struct, frozen=True):
    """One round of both."""

    without: Meal
    beside: Meal


class Found(msgspec.Struct, frozen=True):
    """All of it."""

    deaths: Deaths
    poison: list[Poisoning]


class Events:
    """What happens to workers, in its order."""

    def __init__(self, address: str) -> None:
        self._socket = zmq.Socket[bytes](zmq.Context.instance(), zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, round(1000 * PATIENCE))
        self._socket.setsockopt(zmq.SUBSCRIBE, b"worker.")
        self._socket.connect(address)

    def until(self, topic: str) -> tuple[float, dict[str, Any]]:
        """When the next event of this kind came, by the monotonic clock, and its fields.

        Raises:
            zmq.Again: it did not come.
        """
        while True:
            name, fields = self._socket.recv_multipart()
            at = time.monotonic()
            if name.decode() == topic:
                return at, msgspec.msgpack.decode(fields)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Mixture(Caller):
    """Submits good jobs and, for the body ``DEADLY``, poison. Takes every end of them."""

    def __init__(self, address: str) -> None:
        super().__init__(address, {})

    def _submit(self, index: int, body: bytes) -> float:
        now = time.perf_counter()
        script: dict[str, Any] = {"do": "die"} if body == DEADLY else {"do": "sleep", "s": GOOD_S}
        header = encode(Submit(ref=str(index), options={"script": [script]}, reply="final"))
        self._socket.send_multipart([header, body])
        return now

    def _answer(self) -> tuple[Answer, bytes]:
        header, *rest = self._socket.recv_multipart()
        return self._decoder.decode(header), rest[0] if rest else b""


def kill_workers(kills: int) -> Deaths:
    """One worker at a time, the next when its successor is warm. The first is killed to see that events come."""
    with Daemon(MORTALS, 2) as daemon, contextlib.closing(Events(daemon.addresses.events)) as events:
        time.sleep(0.5)  # the subscription is on its way
        alive = [(worker.seat, worker.pid or 0) for worker in daemon.control.workers() if worker.state == "idle"]
        seen, lags = [], []
        for _ in range(kills + 1):
            seat, pid = alive.pop(0)
            start = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            at, fields = events.until("worker.died")
            if fields["seat"] != seat:
                raise RuntimeError(f"killed {seat}, and {fields['seat']} died")
            seen.append(1e3 * (at - start))
            _, fields = events.until("worker.ready")
            alive.append((fields["seat"], fields["pid"]))
            lags.append(daemon.control.stats().loop_lag_ms)  # of the last minute, and this may take longer
        return Deaths(seen[1:], max(lags))


def eat(good: int, poison: int) -> Meal:
    """Good jobs with poison evenly among them, through a daemon of their own."""
    bodies = [b"good"] * good
    for number in range(poison):
        bodies.insert((2 * number + 1) * good // (2 * poison), DEADLY)
    with Daemon(MIXED, STAFF) as daemon, Mixture(daemon.addresses.jobs) as caller:
        flood = caller.flood(bodies, CONCURRENCY)
        stats = daemon.control.stats()
    answers = [ended.answer for ended in flood.ended]
    done = sum(a.type == "completed" for a, body in zip(answers, bodies, strict=True) if body != DEADLY)
    ended = sum((a.fault or {}).get("code") == "poison" for a in answers)
    return Meal(done, done / flood.wall, ended, sum(stats.deaths.values()), stats.loop_lag_ms)


def poison_rounds(rounds: int, good: int) -> list[Poisoning]:
    """In turns; which comes first changes from round to round."""
    found = []
    for number in range(rounds):
        order = (0, POISON) if number % 2 == 0 else (POISON, 0)
        meals = {poison: eat(good, poison) for poison in order}
        found.append(Poisoning(meals[0], meals[POISON]))
        print(f"poison: round {number + 1} of {rounds} done", flush=True)
    return found


def deaths_table(deaths: Deaths) -> Table:
    """How soon a death is told."""
    seen = deaths.seen_ms
    return Table(
        title="From SIGKILL of an idle worker to `worker.died` on the events socket",
        columns=["kills", "p50 ms", "p99 ms", "max ms"],
        rows=[[str(len(seen)), *(f"{percentile(seen, share):.2f}" for share in (0.50, 0.99, 1.0))]],
    )


def poison_table(rounds: list[Poisoning], good: int) -> Table:
    """Good jobs without poison and beside it."""

    def row(name: str, pick: Callable[[Poisoning], Meal]) -> list[str]:
        meals = [pick(r) for r in rounds]
        return [
            name,
            str(min(meal.done for meal in meals)),
            spread(over_rounds(meals, lambda m: m.rate), ".0f"),
            spread(over_rounds(rounds, lambda r: pick(r).rate / r.without.rate)),
            str(min(meal.quarantined for meal in meals)),
            spread(over_rounds(meals, lambda m: m.deaths), ".0f"),
        ]

    return Table(
        title=f"{good} good jobs of {GOOD_S * 1000:.0f} ms on {STAFF} workers, {CONCURRENCY} in flight",
        columns=["poison jobs", "good ones done", "good jobs/s", "of none", "quarantined", "deaths"],
        rows=[row("none", lambda r: r.without), row(str(POISON), lambda r: r.beside)],
        note="`good ones done` and `quarantined` are the fewest of all rounds.",
    )


def aims(found: Found, good: int) -> list[Aim]:
    """The bounds on all of it."""
    meals = [meal for r in found.poison for meal in (r.without, r.beside)]
    ratio, _, _ = over_rounds(found.poison, lambda r: r.beside.rate / r.without.rate)
    text = "ms from the death of a worker to its event, the longest"
    return [
        Aim(text=text, measured=max(found.deaths.seen_ms), bound=DEATH_MS, at_most=True),
        Aim(text="good jobs done, the fewest of all rounds", measured=min(meal.done for meal in meals), bound=good),
        Aim(text="poison jobs in quarantine", measured=min(r.beside.quarantined for r in found.poison), bound=POISON),
        Aim(text="good jobs/s beside poison, of those without", measured=ratio, bound=0.6),
        lag_aim([found.deaths.lag_ms, *(meal.lag_ms for meal in meals)]),
    ]


def main(run: Run) -> None:
    """Measure and report."""
    kills, good = (20, 500) if run.quick else (KILLS, GOOD)
    deaths = kill_workers(kills)
    print(f"{kills} workers killed", flush=True)
    found = Found(deaths, poison_rounds(run.rounds, good))
    settings = {"kills": kills, "good jobs": good, "poison jobs": POISON, "rounds": run.rounds, "durability": "full"}
    run.finish("Faults", settings, [deaths_table(deaths), poison_table(found.poison, good)], aims(found, good), [found])


if __name__ == "__main__":
    main(command_line("Workers that die, by a signal or of poison.", rounds=3, quick_rounds=1))
