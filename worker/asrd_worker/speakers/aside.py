"""Work in a thread of its own, for libraries that do not return before all of it is done.

The worker's own thread hears of cancels meanwhile, and passes on how far the work is. It never vouches for it: what it
says is what the computing thread has said. Where a library computes without a word, the processor time of that thread
counts as progress instead, within a limit; a thread that waits for ever uses none.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

TICK_S = 2.0
"""Seconds without a word after which the processor time is looked at."""

OFTEN_S = 0.2
"""Words that follow each other faster than this are not passed on."""

BUSY = 0.2
"""Processor time, as a share of a tick, below which a thread does not compute but wait."""


class Stopped(Exception):
    """Nobody wants the result any more."""


class Report:
    """What the computing thread is given to say how far it is."""

    def __init__(self) -> None:
        self.said: SimpleQueue[float | None] = SimpleQueue()
        """Seconds of audio that are done; None is the end."""
        self.stop = threading.Event()
        self.silent_until = 0.0
        """Until then, by the monotonic clock, processor time counts."""
        self._next = 0.0

    def __call__(self, done: float) -> None:
        """So many seconds of the audio are done.

        Raises:
            Stopped: nobody wants the rest.
        """
        self._go_on()
        self.silent_until = 0.0
        self._say(done)

    def silent(self, done: float, limit_s: float) -> None:
        """So much is done, and what comes now is said nothing about, for ``limit_s`` seconds at most.

        Raises:
            Stopped: nobody wants the rest.
        """
        self._go_on()
        self.silent_until = time.monotonic() + limit_s
        self._say(done)

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: nobody wants the rest; it is not waited any longer then.
        """
        self.stop.wait(seconds)
        self._go_on()

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def _say(self, done: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + OFTEN_S
            self.said.put(done)


class _Task(threading.Thread, Generic[T]):
    """The computing thread."""

    def __init__(self, work: Callable[[Report], T]) -> None:
        super().__init__(name="asrd-aside", daemon=True)
        self._work = work
        self.report = Report()
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self._work(self.report))
        except BaseException as error:  # it is raised again where somebody handles it
            self.error = error
        finally:
            self.report.said.put(None)

    def cpu_s(self) -> float:
        """Processor time that it has used, in seconds; 0 once it has ended."""
        with contextlib.suppress(OSError):
            if self.ident is not None and self.is_alive():
                return time.clock_gettime(time.pthread_getcpuclockid(self.ident))
        return 0.0


def aside(work: Callable[[Report], T]) -> Generator[float, None, T]:
    """Do it in another thread. Yields what it reports, never falling; its result is the generator's return value.

    Closing the generator stops the work at its next report, and waits for that: the next job may not find the model
    in use. What the work raises is raised here.
    """
    task = _Task(work)
    task.start()
    done = 0.0
    try:
        for said in _heard(task):
            done = max(done, said)
            yield done
    finally:
        task.report.stop.set()
        task.join()
    if task.error is not None:
        raise task.error
    return task.results[0]


def _heard(task: _Task[T]) -> Generator[float, None, None]:
    """What it says, and 0 for each tick that it has computed without a word although it may."""
    used = 0.0
    while True:
        try:
            said = task.report.said.get(timeout=TICK_S)
        except Empty:
            before, used = used, task.cpu_s()
            if time.monotonic() < task.report.silent_until and used - before > BUSY * TICK_S:
                yield 0.0
            continue
        if said is None:
            return
        used = task.cpu_s()
        yield said
