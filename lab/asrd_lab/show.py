"""How far a run is, on stderr: a bar on a terminal, a line now and then elsewhere, nothing if so wished."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from asrd_lab.verdict import NAMES

LINE_EVERY_S = 5.0


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begins(self, experiment: str, done: int, wanted: int) -> None:
        """Says nothing."""

    def moved(self, experiment: str, said: str) -> None:
        """Says nothing."""


class Lines(Silent):
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._done = self._wanted = 0
        self._last = 0.0

    def begins(self, experiment: str, done: int, wanted: int) -> None:
        """Names the experiment."""
        self._done, self._wanted, self._last = done, wanted, time.monotonic()
        sys.stderr.write(f"{NAMES[experiment]}: {done} of {wanted} jobs are there\n")

    def moved(self, experiment: str, said: str) -> None:
        """Says it, if nothing was said just before."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S or self._done == self._wanted:
            self._last = now
            sys.stderr.write(f"{NAMES[experiment]}: {self._done} of {self._wanted}, {said}\n")


class Bars(Silent):
    """One bar for each experiment, with the time that is left."""

    def __init__(self) -> None:
        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(24), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(file=sys.stderr, highlight=False))
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begins(self, experiment: str, done: int, wanted: int) -> None:
        """A bar more."""
        self._bars[experiment] = self._progress.add_task(NAMES[experiment], completed=done, total=wanted)

    def moved(self, experiment: str, said: str) -> None:
        """Moves it."""
        self._progress.advance(self._bars[experiment])


def display(*, quiet: bool) -> Silent:
    """What fits to where stderr goes."""
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()
