"""A real daemon under load and under fire, and whether it kept its promises: ``python -m support.soak --seconds 3600``.

First a calm tenth with the same clients, to know what the machine gives; then the nemesis joins in. When both are over,
every job is asked for once more, and the history is checked.
"""

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import zmq

from support.crowd import crowd
from support.daemon import Daemon, running
from support.history import History
from support.nemesis import Nemesis, Rates, serves
from support.pirate import Pirate
from support.promises import ENDS, KNOWN, Violation, check
from support.wait import eventually
from support.wire import Wire

WORKERS = 3

CONFIG = f"""
drain_timeout = "5s"
[pools.default]
engine = "scripted"
model = ""
workers = {WORKERS}
[pools.default.deadlines]
start = "20s"
warm_up = "10s"
busy_floor = "2s"
busy_factor = 1.0
stop = "1s"
kill = "300ms"
cancel = "300ms"
[pools.default.restarts]
intensity = 100
period = "1s"
delay_max = "100ms"
"""
"""A pool that gets over its deaths soon, and deadlines that show in a minute."""

ASKED = ("submit", "end", "fetch", "wait", "cancel", "release")
"""What clients do in the history."""

MAX_RSS = 150 << 20
"""Bytes of memory that the supervisor may have."""

MAX_STALL_S = 10.0
"""A daemon that is there and takes longer to answer the control socket hangs; far above what a busy machine does."""

LEAST_GOODPUT = 0.1
"""Share of the calm figure; the aim is 0.7, but the machine may be busy with something else in one of the two."""


class Gauge(msgspec.Struct):
    """What was measured from outside while the daemon ran."""

    trips: list[float] = []
    """Seconds of a question on the control socket and its answer."""
    lag_ms: float = 0.0
    rss: int = 0
    stalls: int = 0

    def look(self, daemon: Daemon) -> None:
        """Measure once; nothing, when there is no daemon just now."""
        process = daemon.process
        wire = Wire(daemon.directory, "req", "json", socket="control", timeout=MAX_STALL_S)
        try:
            since = time.monotonic()
            stats = wire.ask("stats")
            self.trips.append(time.monotonic() - since)
        except zmq.Again:
            self.stalls += process is daemon.process and process.poll() is None
            return
        finally:
            wire.close()
        self.lag_ms = max(self.lag_ms, stats["loop_lag_ms"])
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
            self.rss = max(self.rss, int(next(s for s in status if s.startswith("VmRSS")).split()[1]) << 10)

    def p99(self) -> float:
        """Of the trips, seconds."""
        return sorted(self.trips)[int(len(self.trips) * 0.99)] if self.trips else 0.0


class Report(msgspec.Struct):
    """What came out."""

    figures: dict[str, Any]
    violations: list[str]

    def __str__(self) -> str:
        width = max(map(len, self.figures))
        lines = [f"{name:{width}}  {value}" for name, value in self.figures.items()]
        return "\n".join([*lines, *(f"VIOLATION {said}" for said in self.violations)]) + "\n"


def soak(seconds: float, seed: int, rates: Rates, file: Path | None = None) -> Report:
    """All of it."""
    history, calm_s = History(file), max(5.0, seconds / 10)
    idle = threading.Event()  # never set: it is only there to wait
    with running(config=CONFIG) as daemon:
        calm, chaos = Gauge(), Gauge()
        with crowd(daemon.ready(), history, "calm", seed, lambda: calm.look(daemon)) as quiet:
            idle.wait(calm_s)
        chaos_s = max(5.0, seconds - calm_s)
        with (
            Nemesis(daemon, history, rates, seed) as nemesis,
            crowd(daemon, history, "chaos", seed, lambda: chaos.look(daemon)) as brave,
        ):
            idle.wait(chaos_s)
        complaints = [*nemesis.complaints, *judge(daemon, history)]
    history.close()
    violations = check(history.entries)
    goodput = sum(c.good for c in quiet) / calm_s, sum(c.good for c in brave) / chaos_s
    figures = _figures(history, violations, nemesis, goodput)
    figures["round trip p50, p99, calm"] = f"{statistics.median(calm.trips):.4f} s, {calm.p99():.4f} s"
    figures["round trip p50, p99, chaos"] = f"{statistics.median(chaos.trips):.4f} s, {chaos.p99():.4f} s"
    figures["loop lag, calm and chaos"] = f"{calm.lag_ms:.1f} ms, {chaos.lag_ms:.1f} ms"
    figures["supervisor memory"] = f"{max(calm.rss, chaos.rss) / 2**20:.1f} MiB"
    if max(calm.rss, chaos.rss) > MAX_RSS:
        complaints.append(f"the supervisor had {max(calm.rss, chaos.rss)} bytes of memory")
    if calm.stalls or chaos.stalls:
        complaints.append(f"the daemon was there and silent for {MAX_STALL_S} s, {calm.stalls + chaos.stalls} times")
    if goodput[1] < LEAST_GOODPUT * goodput[0]:
        complaints.append(f"goodput {figures['goodput']}")
    return Report(figures, complaints + [str(one) for one in violations])


def _figures(
    history: History, violations: list[Violation], nemesis: Nemesis, goodput: tuple[float, float]
) -> dict[str, Any]:
    entries = history.entries
    jobs = {entry.job for entry in entries if entry.act == "submit"}
    accepted = {entry.job for entry in entries if entry.answer in KNOWN}
    ended = {entry.job for entry in entries if entry.answer in ENDS}
    kinds = [one.kind for one in violations]
    return {
        "jobs": f"{len(jobs)}: {len(accepted)} accepted, {len(ended)} ended",
        "submits": sum(entry.act == "submit" and entry.phase == "invoke" for entry in entries),
        "without an answer": sum(entry.phase == "info" and entry.act in ASKED for entry in entries),
        "runs": sum(entry.act == "ran" for entry in entries),
        "blows": dict(nemesis.blows),
        "lost": kinds.count("lost"),
        "duplicates": kinds.count("two results"),
        "other violations": len(kinds) - kinds.count("lost") - kinds.count("two results"),
        "goodput": f"calm {goodput[0]:.1f}/s, chaos {goodput[1]:.1f}/s: {goodput[1] / goodput[0]:.0%}",
    }


# --- when all is over -------------------------------------------------------------------------------------------------


def judge(daemon: Daemon, history: History) -> list[str]:
    """Ask for every job once more, release them all, and see that nothing is left; what is wrong with that."""
    if not serves(daemon, 30.0):
        return [f"no daemon answers after the run: {daemon.log.read_text()[-2000:]}"]
    with contextlib.suppress(AssertionError):  # what is left then is in the list
        eventually(lambda: not _unfinished(daemon), 30, 0.2)
    for report in daemon.ask("jobs", limit=10_000)["jobs"]:
        history.note("judge", "info", "listed", report["job"], answer=report["state"])
    with daemon.log.open(errors="replace") as log:
        for line in log:
            if '"line":"RAN ' in line:
                history.note("log", "info", "ran", line.partition('"line":"RAN ')[2].partition('"')[0])
    with Pirate(daemon.directory, history, "judge") as pirate:
        released = {entry.job for entry in history.entries if entry.act == "release"}
        left = {entry.job for entry in history.entries if entry.job} - released
        for job in sorted(left):
            pirate.ask("fetch", job, 20.0)
        for job in sorted(left | released):
            pirate.ask("release", job, 20.0)
    return _leftovers(daemon)


def _unfinished(daemon: Daemon) -> int:
    jobs = daemon.ask("stats")["jobs"]
    return int(jobs["queued"] + jobs["running"])


def _leftovers(daemon: Daemon) -> list[str]:
    """What is in the state directory although every job is released."""
    spool = daemon.root / "state" / "spool"
    with contextlib.suppress(AssertionError):
        eventually(lambda: not list(spool.iterdir()), 5)
    files = sorted(path.name for path in spool.iterdir())
    bytes_left = daemon.ask("stats")["stored_bytes"]
    found = [f"audio is left in the spool: {files[:5]}"] if files else []
    return found + ([f"{bytes_left} bytes of results are left"] if bytes_left else [])


def main() -> int:
    """Print figures and violations; 1 when there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--history", type=Path, default=Path(tempfile.gettempdir()) / "asrd-soak.jsonl")
    given = parser.parse_args()
    sys.stdout.write(f"{given.seconds:.0f} s, seed {given.seed}, history in {given.history}\n")
    sys.stdout.flush()
    report = soak(given.seconds, given.seed, Rates(), given.history)
    sys.stdout.write(str(report))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
