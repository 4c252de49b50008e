"""Clients that do all day what clients do: most insist, some are impatient, forgetful or mistaken."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from support.daemon import Daemon
from support.history import History
from support.pirate import Job, Pirate

CLIENTS = 8


class Client:
    """One client and what it does all day."""

    def __init__(self, pirate: Pirate, over: threading.Event) -> None:
        self._pirate = pirate
        self._over = over
        self._dice = pirate.dice
        self._kept: list[str] = []
        self.good = 0
        """Jobs that were brought to their end."""

    def run(self) -> None:
        """Until it is over."""
        deeds: list[tuple[int, Callable[[], None]]] = [
            (74, self._plain),
            (8, self._mob),
            (6, self._desert),
            (8, self._cancel),
            (1, self._poison),
            (3, self._look_back),
        ]
        weights = [weight for weight, _ in deeds]
        with self._pirate:
            while not self._over.wait(self._dice.uniform(0, 0.1)):
                self._dice.choices([deed for _, deed in deeds], weights)[0]()

    def _job(self) -> Job:
        return Job.plain(self._dice.uniform(0.02, 0.15))

    def _plain(self) -> None:
        job = self._job()
        answer, definite = self._pirate.insist(job)
        if answer and answer["type"] == "completed":
            self.good += 1
        self._done_with(job.job, definite)

    def _done_with(self, job: str, definite: bool) -> None:
        """Release it, unless a submit may still be under way: the job would begin anew."""
        if definite and self._dice.random() < 0.8:
            self._pirate.release(job)
            if self._dice.random() < 0.2:
                self._pirate.ask("fetch", job)
        else:
            self._kept.append(job)

    def _mob(self) -> None:
        job = self._job()
        definite = self._pirate.mob(job, self._dice.randint(2, 10))
        self._done_with(job.job, definite)

    def _desert(self) -> None:
        job = self._job()
        self._pirate.desert(job)
        self._kept.append(job.job)

    def _cancel(self) -> None:
        job = self._job()
        answer = self._pirate.submit(job, "accepted")
        self._over.wait(self._dice.uniform(0, 0.15))
        if answer and answer["type"] == "accepted":
            self._pirate.ask("cancel", job.job)
        self._kept.append(job.job)

    def _poison(self) -> None:
        self._done_with((job := Job.poison()).job, self._pirate.insist(job)[1])

    def _look_back(self) -> None:
        if self._kept:
            job = self._dice.choice(self._kept)
            if self._dice.random() < 0.5:
                self._pirate.ask("fetch", job)
            else:
                self._pirate.ask("wait", job, timeout=1.0)


@contextlib.contextmanager
def crowd(
    daemon: Daemon, history: History, phase: str, seed: int, measure: Callable[[], None]
) -> Iterator[list[Client]]:
    """Clients at work; ``measure`` is called every second."""
    over = threading.Event()
    names = [f"{phase}-{number}" for number in range(CLIENTS)]
    clients = [Client(Pirate(daemon.directory, history, name, seed), over) for name in names]

    def watch() -> None:
        while not over.wait(1.0):
            measure()

    threads = [threading.Thread(target=client.run) for client in clients] + [threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        over.set()
        for thread in threads:
            thread.join()
