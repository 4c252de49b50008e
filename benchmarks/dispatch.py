"""What the daemon adds to a job: no-op jobs through it and through raw ZeroMQ brokers, in interleaved rounds.

Client, job, body and number of worker processes are the same. Against the raw broker with plain sockets (``fd``) the
ratios count: it is the faster reference, and it moves messages the way the daemon does, so that what is left is the
daemon's own work.
"""

import contextlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from children import cpu_seconds
from daemon import Daemon
from figures import Aim, Run, Table, command_line, over_rounds, percentile, spread
from load import Caller
from raw_broker import RawBroker

WORKERS = 2
CONCURRENCY = 32
CONFIG = f"""
[journal]
durability = "none"

[pools.default]
engine = "scripted"
workers = {WORKERS}

[pools.default.recycle]
max_jobs = 0
"""
DAEMON, FD, ASYNCIO = "asrd", "raw, fd", "raw, zmq.asyncio"


class Load(msgspec.Struct, frozen=True):
    """How much of one body size is sent in a round."""

    name: str
    size: int
    alone: int
    """Jobs at concurrency 1."""
    together: int
    """Jobs at concurrency 32."""


LOADS = (Load("1 KB", 1_000, 2_000, 5_000), Load("320 KB", 320_000, 800, 1_600), Load("1.9 MB", 1_900_000, 300, 600))


class Figures(msgspec.Struct, frozen=True):
    """One body size, one system, one round."""

    p50_us: float
    p99_us: float
    rate: float
    """Jobs per second at concurrency 32."""
    cpu_us: float
    """CPU time of the supervisor or broker process for each job at concurrency 32."""


Round = dict[str, dict[str, Figures]]
"""System -> body size -> figures."""


class Served(Protocol):
    """A process that routes jobs."""

    @property
    def pid(self) -> int: ...


class System(msgspec.Struct, frozen=True):
    """One of the things that are compared, running."""

    name: str
    pid: int
    caller: Caller


def measure(system: System, load: Load, share: int) -> Figures:
    """One body size through one system; ``share`` divides the number of jobs."""
    body = bytes(load.size)
    system.caller.flood([body] * 64, CONCURRENCY)
    trips = system.caller.round_trips(body, load.alone // share)
    before = cpu_seconds(system.pid)
    flood = system.caller.flood([body] * (load.together // share), CONCURRENCY)
    cpu = cpu_seconds(system.pid) - before
    return Figures(
        p50_us=1e6 * percentile(trips, 0.50),
        p99_us=1e6 * percentile(trips, 0.99),
        rate=flood.rate,
        cpu_us=1e6 * cpu / len(flood.ended),
    )


def measure_all(systems: list[System], rounds: int, share: int) -> list[Round]:
    """Interleaved rounds; the order of the systems turns by one from round to round."""
    measured: list[Round] = []
    for number in range(rounds):
        turn = number % len(systems)
        found: Round = {system.name: {} for system in systems}
        for load in LOADS:
            for system in systems[turn:] + systems[:turn]:
                found[system.name][load.name] = measure(system, load, share)
        measured.append(found)
        print(f"round {number + 1} of {rounds} done", flush=True)
    return measured


def running(stack: contextlib.ExitStack) -> list[System]:
    """The daemon and both raw brokers, each with its caller."""

    def system(name: str, served: Served, address: str, expected: str) -> System:
        caller = stack.enter_context(Caller(address, {"script": []}, expected))
        return System(name, served.pid, caller)

    daemon = stack.enter_context(Daemon(CONFIG, WORKERS))
    plain = stack.enter_context(RawBroker("fd", WORKERS))
    ordinary = stack.enter_context(RawBroker("asyncio", WORKERS))
    return [
        system(DAEMON, daemon, daemon.addresses.jobs, "completed"),
        system(FD, plain, plain.address, "submit"),
        system(ASYNCIO, ordinary, ordinary.address, "submit"),
    ]


def absolute(rounds: list[Round]) -> Table:
    """Every system and body size, medians over the rounds."""
    rows = []
    for load in LOADS:
        for name in rounds[0]:
            figures = [r[name][load.name] for r in rounds]
            cells = (over_rounds(figures, pick) for pick in _PICKS)
            rows.append([load.name, name, *(spread(cell, ".0f") for cell in cells)])
    return Table(
        title="No-op jobs, median over the rounds (smallest-largest)",
        columns=["body", "system", "p50 µs", "p99 µs", "jobs/s at 32", "router CPU µs/job"],
        rows=rows,
    )


def ratios(rounds: list[Round]) -> Table:
    """The daemon over each raw broker, taken within each round."""
    rows = []
    for load in LOADS:
        for reference in (FD, ASYNCIO):
            cells = (spread(ratio(rounds, load.name, reference, pick)) for pick in _PICKS)
            rows.append([load.name, reference, *cells])
    return Table(
        title="asrd as a multiple of the raw brokers, ratio of each round, median (smallest-largest)",
        columns=["body", "reference", "p50", "p99", "jobs/s at 32", "router CPU"],
        rows=rows,
        note=f"`{FD}` counts: plain sockets, their descriptors in uvloop. `{ASYNCIO}` is what one writes first.",
    )


def ratio(
    rounds: list[Round], load: str, reference: str, pick: Callable[[Figures], float]
) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of one figure."""
    return over_rounds(rounds, lambda r: pick(r[DAEMON][load]) / max(pick(r[reference][load]), 1e-9))


def aims(rounds: list[Round]) -> list[Aim]:
    """The bounds on p50 and on jobs/s, for each body size."""
    found = []
    for load in LOADS:
        p50, rate = (ratio(rounds, load.name, FD, pick)[0] for pick in (_PICKS[0], _PICKS[2]))
        found.append(
            Aim(text=f"{load.name}: p50 as a multiple of the raw broker's", measured=p50, bound=1.5, at_most=True)
        )
        found.append(Aim(text=f"{load.name}: jobs/s as a multiple of the raw broker's", measured=rate, bound=0.6))
    return found


def main(run: Run) -> None:
    """Measure and report."""
    share = 5 if run.quick else 1
    with contextlib.ExitStack() as stack:
        rounds = measure_all(running(stack), run.rounds, share)
    jobs = [f"{load.name} {load.alone // share} alone and {load.together // share} together" for load in LOADS]
    settings = {"workers": WORKERS, "concurrency": CONCURRENCY, "rounds": run.rounds, "jobs": jobs}
    run.finish("Dispatch", settings, [absolute(rounds), ratios(rounds)], aims(rounds), rounds)


_PICKS: tuple[Callable[[Figures], float], ...] = (
    lambda f: f.p50_us,
    lambda f: f.p99_us,
    lambda f: f.rate,
    lambda f: f.cpu_us,
)

if __name__ == "__main__":
    main(command_line("No-op jobs through the daemon and through raw ZeroMQ brokers.", rounds=7, quick_rounds=3))
