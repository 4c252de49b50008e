"""What storing every job costs: from submit to accepted, beside the bare disk, in interleaved rounds.

Accepted means stored. So the reference is what the disk gives to whoever waits for it: appends of 4 KB, one after the
other, each followed by fdatasync, made before each of the daemons in the same file system. A job needs several such
waits: for the file of its body, for the name of that file and for the row in the journal.

The jobs that are measured wait in a pool whose one worker sleeps, so that nothing but accepting them is in the figures.
What a whole job costs, with its attempt and its end, is measured in a pool that works.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from asrd_protocol.codec import encode
from asrd_protocol.messages import Submit
from daemon import Daemon
from figures import Aim, Run, Table, command_line, over_rounds, percentile, spread
from load import Caller

WORKERS = 2
CONCURRENCY = 32
APPENDS, APPEND = 500, 4_096
WHOLE = 2_000
LAG_MS = 50.0
FULL, PROCESS, NONE = "full", "process", "none"
DURABILITIES = (FULL, PROCESS, NONE)
PATIENCE = 20.0

WORKING = f"""
[pools.work]
engine = "scripted"
workers = {WORKERS}

[pools.work.recycle]
max_jobs = 0
"""
PARKED = """
[pools.parked]
engine = "scripted"
workers = 1

[pools.parked.deadlines]
busy_floor = "2h"
stall = "2h"
"""
"""A pool whose worker is kept busy by ``park``, so that its jobs wait."""


def config(durability: str, pools: str) -> str:
    """A daemon that stores jobs like this, has room for many, and does not wait for them when it is stopped."""
    return f"""
drain_timeout = 1

[journal]
durability = "{durability}"

[queue]
max_jobs = 100_000
{pools}"""


class Load(msgspec.Struct, frozen=True):
    """How much of one body size is sent in a round: so many jobs at concurrency 1, and so many at 32."""

    name: str
    size: int
    alone: int
    together: int


LOADS = (Load("1 KB", 1_000, 500, 3_000), Load("320 KB", 320_000, 200, 800))


class Pace(msgspec.Struct, frozen=True):
    """So many in a second, each of them taking so long."""

    rate: float
    p50_ms: float
    p99_ms: float


class Figures(msgspec.Struct, frozen=True):
    """One durability, one round."""

    alone: dict[str, Pace]
    together: dict[str, Pace]
    """Submit to accepted, by body."""
    whole: float
    """No-op jobs per second at concurrency 32, from submit to completed."""
    lag_ms: float
    """The longest time that the loop of the supervisor was held up."""


class Round(msgspec.Struct, frozen=True):
    """One turn of everything: appends to the disk, and the daemon by durability."""

    disk: Pace
    asrd: dict[str, Figures]


Pick = Callable[[Figures], Pace]


class Parking(Caller):
    """Submits jobs to the pool ``parked``, where they wait; what ends them for this caller is ``accepted``."""

    def __init__(self, address: str) -> None:
        super().__init__(address, {"script": []}, "accepted")

    def __enter__(self) -> "Parking":
        return self

    def _submit(self, index: int, body: bytes) -> float:
        now = time.perf_counter()
        header = encode(Submit(ref=str(index), pool="parked", options=self._options, reply="accepted"))
        self._send(header, body)
        return now

    def _send(self, header: bytes, body: bytes) -> None:
        self._socket.send_multipart([header, body], copy=False)

    def park(self, daemon: Daemon) -> None:
        """Keep the worker of the pool busy for longer than any measurement takes."""
        options: dict[str, Any] = {"script": [{"do": "sleep", "s": 3_600}]}
        self._send(encode(Submit(ref="0", pool="parked", options=options, reply="accepted")), b"x")
        self._answer()
        deadline = time.monotonic() + PATIENCE
        while daemon.control.stats().jobs.running == 0:
            if time.monotonic() > deadline:
                raise RuntimeError("the job that keeps the worker busy did not begin")
            time.sleep(0.02)


def appended(appends: int) -> list[float]:
    """Seconds of each append that waits for the disk, made where the daemons have their directories."""
    block = os.urandom(APPEND)
    seconds = []
    with tempfile.TemporaryDirectory(prefix="asrd-bench-") as directory, (Path(directory) / "log").open("ab", 0) as log:
        for _ in range(appends):
            start = time.perf_counter()
            log.write(block)
            os.fdatasync(log.fileno())
            seconds.append(time.perf_counter() - start)
    return seconds


def measure(durability: str, share: int) -> Figures:
    """One daemon from its start to its end; ``share`` divides the number of jobs."""
    alone: dict[str, Pace] = {}
    together: dict[str, Pace] = {}
    with Daemon(config(durability, WORKING + PARKED), WORKERS + 1) as daemon:
        with Caller(daemon.addresses.jobs, {"script": []}) as caller:
            caller.flood([b"x"] * 64, CONCURRENCY)
            whole = caller.flood([bytes(1_000)] * (WHOLE // share), CONCURRENCY)
        with Parking(daemon.addresses.jobs) as parking:
            parking.park(daemon)
            for load in LOADS:
                alone[load.name] = _accepted(parking, load.size, load.alone // share, 1)
                together[load.name] = _accepted(parking, load.size, load.together // share, CONCURRENCY)
        lag_ms = daemon.control.stats().loop_lag_ms
    return Figures(alone, together, whole.rate, lag_ms)


def measure_all(rounds: int, share: int) -> list[Round]:
    """Interleaved rounds; the order of the durabilities turns by one from round to round.

    Before each of them the disk is given the time to write what the one before has left to it.
    """
    measured = []
    for number in range(rounds):
        turn = number % len(DURABILITIES)
        seconds: list[float] = []
        found: dict[str, Figures] = {}
        for name in DURABILITIES[turn:] + DURABILITIES[:turn]:
            os.sync()
            seconds += appended(APPENDS // share)
            found[name] = measure(name, share)
        measured.append(Round(_pace(seconds, sum(seconds)), found))
        print(f"round {number + 1} of {rounds} done", flush=True)
    return measured


def disk_table(rounds: list[Round]) -> Table:
    """What the disk gives to one who waits for it."""
    cells = (spread(over_rounds([r.disk for r in rounds], pick), form) for pick, form in _CELLS)
    return Table(
        title=f"The disk alone: appends of {APPEND // 1024} KB with fdatasync, one after the other",
        columns=["file system", "appends/s", "p50 ms", "p99 ms"],
        rows=[[file_system(), *cells]],
    )


def accepted_table(rounds: list[Round]) -> Table:
    """Submit to accepted: every body, concurrency and durability."""
    rows = [
        [load.name, str(concurrency), durability, *_row(rounds, durability, pick)]
        for load in LOADS
        for concurrency, pick in ((1, _alone(load.name)), (CONCURRENCY, _together(load.name)))
        for durability in DURABILITIES
    ]
    return Table(
        title="From submit to accepted, median over the rounds (smallest-largest)",
        columns=["body", "in flight", "durability", "accepted/s", "p50 ms", "p99 ms", "of the disk", "of none"],
        rows=rows,
        note="`of the disk`: accepted/s as a multiple of the appends/s of the same round; `of none`: of `none`.",
    )


def whole_table(rounds: list[Round]) -> Table:
    """Whole jobs: accepted, run and ended."""

    def row(name: str) -> list[str]:
        figures = [r.asrd[name] for r in rounds]
        ratio = over_rounds(rounds, lambda r: r.asrd[name].whole / r.asrd[NONE].whole)
        lag = over_rounds(figures, lambda f: f.lag_ms)
        return [name, spread(over_rounds(figures, lambda f: f.whole), ".0f"), spread(ratio), spread(lag, ".1f")]

    return Table(
        title=f"Whole no-op jobs of 1 KB, {CONCURRENCY} in flight, {WORKERS} workers",
        columns=["durability", "jobs/s", "of none", "loop lag ms"],
        rows=[row(name) for name in DURABILITIES],
        note="`loop lag`: the longest of each daemon, over all that was measured with it.",
    )


def lag_aim(lags: list[float]) -> Aim:
    """The bound on the loop lag. Each figure is already the longest of its measurement: the daemon tells no other."""
    return Aim(
        text="supervisor loop lag in ms, p99 over the longest ones of the measurements",
        measured=percentile(lags, 0.99),
        bound=LAG_MS,
        at_most=True,
    )


def file_system() -> str:
    """The type of the one that temporary directories are in; on ``tmpfs`` no figure of the disk means anything."""
    found, kind = "", "unknown"
    here = str(Path(tempfile.gettempdir()).resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, name, *_ = line.split()
        if len(mount) >= len(found) and (here + "/").startswith(mount.rstrip("/") + "/"):
            found, kind = mount, name
    return kind


def main(run: Run) -> None:
    """Measure and report."""
    share = 10 if run.quick else 1
    rounds = measure_all(run.rounds, share)
    settings = {
        "rounds": run.rounds,
        "appends before each daemon": APPENDS // share,
        "accepted": [f"{x.name} {x.alone // share} alone and {x.together // share} together" for x in LOADS],
        "whole jobs": WHOLE // share,
    }
    tables = [disk_table(rounds), accepted_table(rounds), whole_table(rounds)]
    lags = [figures.lag_ms for r in rounds for figures in r.asrd.values()]
    run.finish("Durability", settings, tables, [lag_aim(lags)], rounds)


def _accepted(parking: Parking, size: int, jobs: int, concurrency: int) -> Pace:
    flood = parking.flood([bytes(size)] * jobs, concurrency)
    return _pace([ended.seconds for ended in flood.ended], flood.wall)


def _pace(seconds: list[float], wall: float) -> Pace:
    return Pace(len(seconds) / wall, 1e3 * percentile(seconds, 0.50), 1e3 * percentile(seconds, 0.99))


def _alone(load: str) -> Pick:
    return lambda figures: figures.alone[load]


def _together(load: str) -> Pick:
    return lambda figures: figures.together[load]


def _row(rounds: list[Round], durability: str, pick: Pick) -> list[str]:
    paces = [pick(r.asrd[durability]) for r in rounds]
    cells = [spread(over_rounds(paces, figure), form) for figure, form in _CELLS]
    of_disk = over_rounds(rounds, lambda r: pick(r.asrd[durability]).rate / r.disk.rate)
    of_none = over_rounds(rounds, lambda r: pick(r.asrd[durability]).rate / pick(r.asrd[NONE]).rate)
    return [*cells, spread(of_disk, ".3f"), spread(of_none)]


_CELLS: tuple[tuple[Callable[[Pace], float], str], ...] = (
    (lambda p: p.rate, ".0f"),
    (lambda p: p.p50_ms, ".3f"),
    (lambda p: p.p99_ms, ".3f"),
)

if __name__ == "__main__":
    main(command_line("What it costs to store every job, beside the bare disk.", rounds=7, quick_rounds=2))
