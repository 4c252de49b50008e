"""What becomes of a full queue when the supervisor is killed, and how much memory it takes.

Many jobs wait, their audio on the disk, while the one worker is busy. Then the supervisor gets SIGKILL, and the next
one starts with what is on the disk: how long until all of them wait again?
"""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec

from asrd_protocol.messages import Stats, StatsReport
from children import dies_with_parent
from daemon import Control, Daemon
from durability import PARKED, PROCESS, Parking, config, lag_aim
from figures import Aim, Run, Table, command_line, over_rounds, spread

QUEUED = 10_000
BODY = 320_000
CONCURRENCY = 32
BACK_S = 2.0
MEMORY_MIB = 150.0
PATIENCE = 60.0
MOST_KILLS = 3
"""During one more the job that runs would go into quarantine."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """A full queue, and what became of it."""

    empty_mib: float
    """Memory of the supervisor before the first job."""
    full_mib: float
    peak_mib: float
    """The most that it ever took until the queue was full."""
    fill_s: float
    back_s: list[float]
    """From the start of the next supervisor until all jobs wait again, for each kill."""
    restarted_mib: float
    lag_ms: list[float]


class Mortal(Daemon):
    """A daemon that can be killed, and started again with what it has left."""

    def __enter__(self) -> "Mortal":
        super().__enter__()
        return self

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self._process.kill()
        self._process.wait()

    def start_again(self) -> None:
        """The same command in the same directories."""
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._process.args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._root,
                preexec_fn=dies_with_parent(signal.SIGTERM),
            )

    def memory_mib(self, line: str = "VmRSS") -> float:
        """A line of the status of the supervisor: ``VmRSS`` is now, ``VmHWM`` the most so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{line}:")[2].split()[0]) / 1024

    def wait_for_worker(self) -> None:
        """Wait until the worker has its long job again.

        Raises:
            RuntimeError: it has not.
        """
        deadline = time.monotonic() + PATIENCE
        while not (running := self.control.stats().jobs.running) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not running:
            raise RuntimeError(f"no job runs after a restart; the log ended:\n{self.log_tail()}")


def recover(jobs: int, kills: int) -> Recovery:
    """Fill the queue, kill the supervisor, start the next one; the job that keeps the worker busy is one more."""
    need = 2 * jobs * BODY
    if shutil.disk_usage(tempfile.gettempdir()).free < need:
        raise SystemExit(f"{tempfile.gettempdir()} needs {need / 1e9:.1f} GB of free space")
    with Mortal(config(PROCESS, PARKED), 1) as daemon:
        empty = daemon.memory_mib()
        with Parking(daemon.addresses.jobs) as parking:
            parking.park(daemon)
            flood = parking.flood([bytes(BODY)] * jobs, CONCURRENCY)
        stats = daemon.control.stats()
        if stats.jobs.queued != jobs:
            raise RuntimeError(f"{jobs} jobs were accepted, and {stats.jobs.queued} wait")
        full, peak = daemon.memory_mib(), daemon.memory_mib("VmHWM")
        lags = [stats.loop_lag_ms]
        back = []
        for _ in range(kills):
            daemon.kill()
            back.append(restart(daemon, jobs))
            daemon.wait_for_worker()
            lags.append(daemon.control.stats().loop_lag_ms)
        restarted = daemon.memory_mib()
    return Recovery(
        empty_mib=empty,
        full_mib=full,
        peak_mib=peak,
        fill_s=flood.wall,
        back_s=back,
        restarted_mib=restarted,
        lag_ms=lags,
    )


def restart(daemon: Mortal, jobs: int) -> float:
    """Seconds from the start of a process until it knows so many jobs, and the one of the worker.

    Raises:
        RuntimeError: it did not.
    """
    start = time.monotonic()
    daemon.start_again()
    while time.monotonic() - start < PATIENCE:
        if Path(daemon.addresses.control.removeprefix("ipc://")).exists() and known(daemon) > jobs:
            return time.monotonic() - start
        time.sleep(0.005)
    raise RuntimeError(f"the jobs did not come back within {PATIENCE:.0f} s; the log ended:\n{daemon.log_tail()}")


def known(daemon: Daemon) -> int:
    """How many jobs wait or run; -1 when nobody answers. By a new socket: an old one waits before it connects anew."""
    control = Control(daemon.addresses.control)
    try:
        jobs = control.ask(Stats(), StatsReport, patience=0.1).jobs
        return jobs.queued + jobs.running
    except TimeoutError:
        return -1
    finally:
        control.close()


def table(found: Recovery, jobs: int) -> Table:
    """The figures."""
    return Table(
        title=f"{jobs} queued jobs of {BODY // 1000} KB, durability `{PROCESS}`",
        columns=["filled in s", "RSS MiB, empty", "full", "peak", "after a restart", "kills", "all wait again, s"],
        rows=[
            [
                f"{found.fill_s:.1f}",
                *(f"{x:.0f}" for x in (found.empty_mib, found.full_mib, found.peak_mib, found.restarted_mib)),
                str(len(found.back_s)),
                spread(over_rounds(found.back_s, float)),
            ]
        ],
        note="RSS is that of the supervisor. The jobs are the same in each restart.",
    )


def aims(found: Recovery, jobs: int) -> list[Aim]:
    """The bounds on time and on memory."""
    return [
        Aim(
            text=f"s until {jobs} jobs wait again, the longest", measured=max(found.back_s), bound=BACK_S, at_most=True
        ),
        Aim(text=f"MiB of the supervisor with {jobs} jobs", measured=found.full_mib, bound=MEMORY_MIB, at_most=True),
        lag_aim(found.lag_ms),
    ]


def main(run: Run) -> None:
    """Measure and report."""
    jobs, kills = QUEUED // (10 if run.quick else 1), min(MOST_KILLS, run.rounds)
    found = recover(jobs, kills)
    settings = {"jobs": jobs, "body": f"{BODY // 1000} KB", "kills": kills, "durability": PROCESS}
    run.finish("Recovery", settings, [table(found, jobs)], aims(found, jobs), [found])


if __name__ == "__main__":
    main(command_line("A full queue, before and after a kill of the supervisor.", rounds=3, quick_rounds=2))
