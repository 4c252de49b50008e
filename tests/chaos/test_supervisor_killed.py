"""The supervisor is killed, at any moment, with 3 jobs that run and 50 that wait: nothing is lost, nothing is left.

``ASRD_ROUNDS=200`` for a thorough run.
"""

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running
from support.history import History
from support.nemesis import alive, children, serves
from support.pirate import Job, Pirate
from support.promises import check
from support.soak import CONFIG, WORKERS, judge
from support.wait import eventually

ROUNDS = int(os.environ.get("ASRD_ROUNDS", "20"))

QUEUED = 50


class Reign:
    """One daemon after another over the same jobs."""

    def __init__(self, daemon: Daemon, history: History) -> None:
        self.daemon = daemon
        self.open: list[str] = []
        """Jobs that were accepted and have not been seen to end."""
        self.recovery: list[float] = []
        self.orphaned: list[float] = []
        self._history = history
        self._round = 0
        self._dice = random.Random(24)

    def round(self) -> None:
        """Fill the queue, kill, look for orphans, start anew, and ask for every job."""
        self._round += 1
        with Pirate(self.daemon.directory, self._history, f"filler-{self._round}") as filler:
            match self._dice.choice(("taking", "accepted", "running", "ended", "ended")):
                case "taking":
                    killer = threading.Thread(target=self._kill_soon)
                    killer.start()
                    self._fill(filler)
                    killer.join()
                case "accepted":
                    self._fill(filler)
                    self._kill_at_an_accepted()
                case "running":
                    self._fill_and_run(filler)
                    self._kill_soon()
                case "ended":
                    self._fill_and_run(filler)
                    workers = children(self.daemon.process.pid)
                    filler.at_answer = self.daemon.process.kill
                    filler.ask("wait", self.open[3 * WORKERS])  # one that waits: not yet in the journal as ended
                    self._kill(workers)
        self._restart()

    def _fill(self, filler: Pirate) -> None:
        """Submit until enough is under way; what was accepted is known by the answers."""
        while len(self.open) < QUEUED + WORKERS:
            job = Job.plain(0.05)
            answer = filler.submit(job, "accepted", timeout=1.0)
            if answer is None:
                return  # killed
            assert answer["type"] == "accepted", answer
            self.open.append(job.job)

    def _fill_and_run(self, filler: Pirate) -> None:
        self._fill(filler)
        eventually(lambda: self.daemon.ask("stats")["jobs"]["running"] == WORKERS, 20)

    def _kill_at_an_accepted(self) -> None:
        """Some submits at once; at the first that is accepted, and before anything else, the kill."""
        pirates = [Pirate(self.daemon.directory, self._history, f"eager-{self._round}-{number}") for number in range(6)]
        crew = [(Job.plain(0.05), pirate) for pirate in pirates]
        workers: list[int] | None = children(self.daemon.process.pid)
        try:
            for job, pirate in crew:
                pirate.begin(job, "accepted", timeout=0.25)
            for job, pirate in crew:
                answer = pirate.outcome("submit", job.job)
                if answer and workers is not None:
                    self._kill(workers)
                    workers = None
                if answer:
                    self.open.append(job.job)
        finally:
            for pirate in pirates:
                pirate.close()
        if workers is not None:
            self._kill(workers)

    def _kill_soon(self) -> None:
        threading.Event().wait(self._dice.uniform(0, 0.25))
        self._kill(children(self.daemon.process.pid))

    def _kill(self, workers: list[int]) -> None:
        self.daemon.process.kill()
        killed = time.monotonic()
        self._history.note("nemesis", "info", "kill supervisor")
        self.daemon.kill()
        eventually(lambda: not any(alive(pid) for pid in workers), 10, 0.005)
        self.orphaned.append(time.monotonic() - killed)

    def _restart(self) -> None:
        started = time.monotonic()
        self.daemon.restart()
        eventually(lambda: serves(self.daemon, 1.0), 20)
        self.recovery.append(time.monotonic() - started)
        with Pirate(self.daemon.directory, self._history, f"looker-{self._round}") as looker:
            answers = {job: looker.ask("fetch", job, timeout=10.0) for job in self.open}
        unknown = [job for job, answer in answers.items() if answer is None or answer["type"] == "refused"]
        assert not unknown, f"round {self._round}: accepted, and lost by the kill: {unknown}"
        self.open = [job for job, answer in answers.items() if answer and answer["type"] == "pending"]


@contextlib.contextmanager
def _reign(history: History) -> Iterator[Reign]:
    with running(config=CONFIG) as daemon:
        reign = Reign(daemon.ready(), history)
        yield reign
        eventually(lambda: sorted(children(daemon.process.pid)) == sorted(w["pid"] for w in daemon.workers()), 20)
        wanted = WORKERS + 2
        eventually(lambda: len(daemon.processes()) == wanted, 20)  # one supervisor, one janitor, and their workers


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_a_killed_supervisor_loses_nothing_and_leaves_nobody_behind(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    with _reign(history) as reign:
        for _ in range(ROUNDS):
            reign.round()
        complaints = judge(reign.daemon, history)
    history.close()
    jobs = {entry.job for entry in history.entries if entry.act == "submit"}
    print(  # noqa: T201  (shown when the test fails, and with -s)
        f"{ROUNDS} rounds, {len(jobs)} jobs; orphans gone after {max(reign.orphaned):.3f} s at most, "
        f"serving again after {max(reign.recovery):.3f} s at most"
    )
    broken = "\n".join([*complaints, *map(str, check(history.entries))])
    assert not broken, f"{broken}\nthe history is in {tmp_path / 'history'}"
    assert max(reign.orphaned) < 5, "the kernel kills the workers with the supervisor"
