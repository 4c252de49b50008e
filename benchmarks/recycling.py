"""What recycling costs: jobs that sleep, with workers replaced after 20 jobs, after 100 jobs and never.

Jobs sleep, so that start-up and work do not compete for cores: what is left is how well replacements are hidden.
With 20 jobs of 50 ms the limit comes as fast as one start-up (1 s). A pool replaces one worker at a time, so here the
workers serve beyond their limit and the spare seat is never empty: the table says how many replacements came due and
how many were made. With 100 jobs there is time for each of them.
"""

import contextlib
import threading
import time
from collections import Counter

import msgspec

from asrd_protocol.messages import StatsReport, WorkerReport
from daemon import Control, Daemon
from figures import Aim, Run, Table, command_line, over_rounds, spread
from load import Caller, Flood

WORKERS = 2
CONCURRENCY = 32
SLEEP_S = 0.05
START_S = 1.0
POLL_S = 0.01
READY_STATES = ("idle", "busy")
OFTEN, SELDOM, NONE = "after 20 jobs", "after 100 jobs", "never"
LIMITS = {OFTEN: 20, SELDOM: 100, NONE: 0}
"""``max_jobs`` of each pool."""


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
    workers: int
    """How many did jobs in this round."""
    polls: int


Round = dict[str, Figures]


class Watch:
    """Asks for the workers every 10 ms on a thread of its own and keeps the smallest number of ready ones."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._failure: Exception | None = None
        self.least = WORKERS
        self.polls = 0

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        control = Control(self._address)
        try:
            while not self._over.wait(POLL_S):
                self.least = min(self.least, ready(control.workers()))
                self.polls += 1
        except Exception as error:
            self._failure = error
        finally:
            control.close()


def ready(workers: list[WorkerReport]) -> int:
    """How many are warm and not on their way out."""
    return sum(worker.state in READY_STATES for worker in workers)


def measure(daemon: Daemon, caller: Caller, jobs: int) -> Figures:
    """One round through one daemon."""
    before = daemon.control.stats()
    with Watch(daemon.addresses.control) as watch:
        flood = caller.flood([b"x" * 1000] * jobs, CONCURRENCY)
    after = daemon.control.stats()
    return _figures(flood, watch, before, after)


def _figures(flood: Flood, watch: Watch, before: StatsReport, after: StatsReport) -> Figures:
    seconds = sorted(ended.seconds for ended in flood.ended)
    return Figures(
        rate=flood.rate,
        worst_s=seconds[-1],
        median_s=seconds[len(seconds) // 2],
        least_seen=watch.least,
        least_ready=min(after.least_ready.values(), default=-1),
        recycles=sum(after.recycles.values()) - sum(before.recycles.values()),
        deaths=sum(after.deaths.values()) - sum(before.deaths.values()),
        workers=len({ended.answer.run["seat"] for ended in flood.ended}),
        polls=watch.polls,
    )


def settle(daemon: Daemon) -> None:
    """Wait until no replacement is under way, so that the next round has the machine."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        states = Counter(worker.state for worker in daemon.control.workers())
        if states["idle"] == states.total() - states["vacant"] == WORKERS:
            return
        time.sleep(0.1)
    raise RuntimeError("the pool did not come to rest within 30 s")


def compare(rounds: int, jobs: int) -> list[Round]:
    """Interleaved rounds through three daemons; their order turns by one from round to round."""
    found = []
    script = {"script": [{"do": "sleep", "s": SLEEP_S}]}
    with contextlib.ExitStack() as stack:
        daemons = {name: stack.enter_context(Daemon(config(limit), WORKERS)) for name, limit in LIMITS.items()}
        callers = {name: stack.enter_context(Caller(d.addresses.jobs, script)) for name, d in daemons.items()}
        for number in range(rounds):
            turn = number % len(LIMITS)
            measured: Round = {}
            for name in [*LIMITS][turn:] + [*LIMITS][:turn]:
                settle(daemons[name])
                measured[name] = measure(daemons[name], callers[name], jobs)
            found.append(measured)
            said = ", ".join(f"{name} {measured[name].rate:.1f}/s" for name in LIMITS)
            print(f"round {number + 1} of {rounds}: {said}", flush=True)
    return found


def table(rounds: list[Round], jobs: int) -> Table:
    """All daemons, medians over the rounds."""
    job = f"{jobs} jobs of {SLEEP_S * 1000:.0f} ms"
    return Table(
        title=f"{WORKERS} workers, {job}, start-up {START_S:g} s, {CONCURRENCY} in flight",
        columns=["replaced", "jobs/s", "of never", "worst latency s", "least ready", "came due", "made"],
        rows=[_row(name, rounds, jobs) for name in LIMITS],
        note=f"The queue of {CONCURRENCY} alone makes a latency of {CONCURRENCY * SLEEP_S / WORKERS:.2f} s. "
        "`least ready` is the smallest number of warm workers that polling saw, and that the daemon itself counted.",
    )


def _row(name: str, rounds: list[Round], jobs: int) -> list[str]:
    figures = [r[name] for r in rounds]
    return [
        name,
        spread(over_rounds(figures, lambda f: f.rate)),
        spread(share_of_none(rounds, name), ".3f"),
        f"{max(f.worst_s for f in figures):.2f}",
        f"{min(f.least_seen for f in figures)}, {min(f.least_ready for f in figures)}",
        str(jobs // LIMITS[name] if LIMITS[name] else 0),
        spread(over_rounds(figures, lambda f: f.recycles), ".0f"),
    ]


def share_of_none(rounds: list[Round], name: str) -> tuple[float, float, float]:
    """Jobs/s as a share of those without recycling, of each round: median, smallest and largest."""
    return over_rounds(rounds, lambda r: r[name].rate / r[NONE].rate)


def aims(rounds: list[Round]) -> list[Aim]:
    """The bounds on throughput and on ready workers."""
    least = min(min(f.least_seen, f.least_ready) for r in rounds for f in r.values())
    return [
        Aim(text=f"jobs/s with replacement {OFTEN}, of never", measured=share_of_none(rounds, OFTEN)[0], bound=0.98),
        Aim(text=f"jobs/s with replacement {SELDOM}, of never", measured=share_of_none(rounds, SELDOM)[0], bound=0.98),
        Aim(text="ready workers at any time", measured=least, bound=WORKERS),
    ]


def main(run: Run) -> None:
    """Measure and report; a run in which nobody was replaced, or somebody died, says nothing and fails."""
    jobs = 240 if run.quick else 600
    rounds = compare(run.rounds, jobs)
    if any(not r[name].recycles for r in rounds for name in (OFTEN, SELDOM)):
        raise SystemExit("no worker was replaced in some round: this says nothing about recycling")
    if any(f.deaths for r in rounds for f in r.values()):
        raise SystemExit("a worker died in some round: this says nothing about recycling")
    settings = {"jobs": jobs, "rounds": run.rounds, "max_jobs": LIMITS, "sleep_s": SLEEP_S, "start_s": START_S}
    run.finish("Recycling", settings, [table(rounds, jobs)], aims(rounds), rounds)


if __name__ == "__main__":
    main(command_line("Jobs that sleep, with and without recycling.", rounds=3, quick_rounds=2))
