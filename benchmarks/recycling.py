"""What recycling costs: jobs that sleep, with a worker replaced every 20 jobs and with none replaced.

Jobs sleep, so that start-up and work do not compete for cores: what is left is how well replacements are hidden.
The life of a worker (20 jobs of 50 ms) is as long as its start-up (1 s): the hardest case that can be hidden at all.
"""

import threading
import time
from collections import Counter

import msgspec

from asrd_protocol.messages import StatsReport
from daemon import Control, Daemon
from figures import Aim, Run, Table, command_line, over_rounds, spread
from load import Caller, Flood

WORKERS = 2
CONCURRENCY = 32
MAX_JOBS = 20
SLEEP_S = 0.05
START_S = 1.0
POLL_S = 0.01
READY_STATES = ("idle", "busy")
RECYCLED, NONE = f"every {MAX_JOBS} jobs", "none"


def config(max_jobs: int) -> str:
    """A pool whose workers sleep while they load; 0 = no recycling."""
    return f"""
[pools.default]
engine = "scripted"
workers = {WORKERS}
options = {{ start_s = {START_S} }}

[pools.default.recycle]
max_jobs = {max_jobs}

[queue]
max_jobs = 1000
"""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one daemon."""

    rate: float
    """Jobs per second."""
    worst_s: float
    """The longest time from submit to answer."""
    median_s: float
    least_seen: int
    """The fewest ready workers that polling saw."""
    least_ready: int
    """The fewest that the daemon itself counted, since it was first fully staffed."""
    recycles: int
    """Workers replaced in this round."""
    deaths: int
    seats: int
    """Workers that did jobs in this round."""


Round = dict[str, Figures]


class Watch:
    """Asks for the workers every 10 ms on a thread of its own and keeps the smallest number of ready ones."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.least = WORKERS

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        control = Control(self._address)
        while not self._over.wait(POLL_S):
            states = Counter(worker.state.lower() for worker in control.workers())
            self.least = min(self.least, sum(states[state] for state in READY_STATES))
        control.close()


def measure(daemon: Daemon, caller: Caller, jobs: int) -> Figures:
    """One round through one daemon."""
    before = daemon.control.stats()
    with Watch(daemon.addresses.control) as watch:
        flood = caller.flood([b"x" * 1000] * jobs, CONCURRENCY)
    after = daemon.control.stats()
    return _figures(flood, watch.least, before, after)


def _figures(flood: Flood, least_seen: int, before: StatsReport, after: StatsReport) -> Figures:
    seconds = sorted(ended.seconds for ended in flood.ended)
    return Figures(
        rate=flood.rate,
        worst_s=seconds[-1],
        median_s=seconds[len(seconds) // 2],
        least_seen=least_seen,
        least_ready=min(after.least_ready.values(), default=-1),
        recycles=sum(after.recycles.values()) - sum(before.recycles.values()),
        deaths=sum(after.deaths.values()) - sum(before.deaths.values()),
        seats=len({ended.answer.run["seat"] for ended in flood.ended}),
    )


def settle(daemon: Daemon) -> None:
    """Wait until no replacement is under way, so that the next round has the machine."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        states = Counter(worker.state.lower() for worker in daemon.control.workers())
        if states["idle"] == states.total() - states["vacant"] == WORKERS:
            return
        time.sleep(0.1)
    raise RuntimeError("the pool did not come to rest within 30 s")


def compare(rounds: int, jobs: int) -> list[Round]:
    """Interleaved rounds through two daemons."""
    found = []
    with Daemon(config(MAX_JOBS), WORKERS) as recycling, Daemon(config(0), WORKERS) as steady:
        pairs = [(RECYCLED, recycling), (NONE, steady)]
        script = {"script": [{"do": "sleep", "s": SLEEP_S}]}
        callers = {name: Caller(daemon.addresses.jobs, script) for name, daemon in pairs}
        for number in range(rounds):
            measured: Round = {}
            for name, daemon in pairs if number % 2 == 0 else pairs[::-1]:
                settle(daemon)
                measured[name] = measure(daemon, callers[name], jobs)
            found.append(measured)
            said = ", ".join(f"{name} {figures.rate:.1f}/s" for name, figures in measured.items())
            print(f"round {number + 1} of {rounds}: {said}", flush=True)
    return found


def table(rounds: list[Round]) -> Table:
    """Both daemons, medians over the rounds."""
    jobs = f"jobs of {SLEEP_S * 1000:.0f} ms, start-up of {START_S:g} s"
    return Table(
        title=f"{WORKERS} workers, concurrency {CONCURRENCY}, {jobs}",
        columns=["recycling", "jobs/s", "of none", "worst latency s", "least ready: polled", "counted", "replaced"],
        rows=[_row(name, rounds) for name in (RECYCLED, NONE)],
        note=f"The queue of {CONCURRENCY} alone makes a latency of {CONCURRENCY * SLEEP_S / WORKERS:.2f} s.",
    )


def _row(name: str, rounds: list[Round]) -> list[str]:
    figures = [r[name] for r in rounds]
    return [
        name,
        spread(over_rounds(figures, lambda f: f.rate)),
        spread(share_of_none(rounds, name), ".3f"),
        f"{max(f.worst_s for f in figures):.2f}",
        str(min(f.least_seen for f in figures)),
        str(min(f.least_ready for f in figures)),
        spread(over_rounds(figures, lambda f: f.recycles), ".0f"),
    ]


def share_of_none(rounds: list[Round], name: str) -> tuple[float, float, float]:
    """Jobs/s as a share of those without recycling, of each round: median, smallest and largest."""
    return over_rounds(rounds, lambda r: r[name].rate / r[NONE].rate)


def aims(rounds: list[Round]) -> list[Aim]:
    """The bounds on throughput and on ready workers."""
    least = min(min(f.least_seen, f.least_ready) for r in rounds for f in r.values())
    return [
        Aim(text="jobs/s of no recycling", measured=share_of_none(rounds, RECYCLED)[0], bound=0.98),
        Aim(text="ready workers at any time", measured=least, bound=WORKERS),
    ]


def main(run: Run) -> None:
    """Measure and report; a run in which nothing was recycled says nothing and fails."""
    jobs = 240 if run.quick else 480
    rounds = compare(run.rounds, jobs)
    if any(r[RECYCLED].recycles < jobs // MAX_JOBS // 2 for r in rounds):
        counts = [r[RECYCLED].recycles for r in rounds]
        raise SystemExit(f"too few workers were recycled: {counts} in rounds of {jobs} jobs")
    settings = {"jobs": jobs, "rounds": run.rounds, "max_jobs": MAX_JOBS, "sleep_s": SLEEP_S, "start_s": START_S}
    run.finish("Recycling", settings, [table(rounds)], aims(rounds), rounds)


if __name__ == "__main__":
    main(command_line("Jobs that sleep, with and without recycling.", rounds=5, quick_rounds=2))
