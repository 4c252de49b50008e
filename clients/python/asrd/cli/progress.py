"""What is shown on stderr while files are transcribed: bars on a terminal, lines elsewhere, nothing if so wished."""

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from asrd.track import Finished, JobProgress
from asrd_protocol.model import Transcript

LINE_EVERY_S = 5.0
"""Seconds between two lines about the same file."""


class Display(AbstractContextManager["Display"], Protocol):
    """How far the files are, and a way to print text that does not disturb it."""

    def moved(self, name: str, progress: JobProgress) -> None:
        """A file has come so far."""

    def ended(self, name: str, finished: Finished | None) -> None:
        """A file is done; None when it failed."""

    def emit(self, text: str) -> None:
        """Prints to stdout, whole lines only."""


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def moved(self, name: str, progress: JobProgress) -> None:
        """Says nothing."""

    def ended(self, name: str, finished: Finished | None) -> None:
        """Says nothing."""

    def emit(self, text: str) -> None:
        """Prints to stdout."""
        sys.stdout.write(text)
        sys.stdout.flush()


class Lines(Quiet):
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def moved(self, name: str, progress: JobProgress) -> None:
        """Says how far a file is, if it was not said just before; not that a part of it is done once more."""
        now = time.monotonic()
        due = now - self._last.setdefault(name, now) >= LINE_EVERY_S
        if due and progress.duration and progress.done > self._said.get(name, -1.0):
            self._last[name], self._said[name] = now, progress.done
            share = f"{progress.done:.0f} of {progress.duration:.0f} s ({progress.fraction:.0%})"
            sys.stderr.write(f"{name}: {share}\n")

    def ended(self, name: str, finished: Finished | None) -> None:
        """Says how a file went; a failure is said elsewhere."""
        if finished:
            sys.stderr.write(f"{name}: {summary(finished)}\n")


class Bars(Quiet):
    """A bar with the time that is left for each file in work."""

    def __init__(self, files: int) -> None:
        # Where both streams are the terminal, text is printed above the bars; else it must go to the real stdout.
        self._above = sys.stdout.isatty()
        self._files = files
        self._console = Console(file=sys.stdout if self._above else sys.stderr, highlight=False)
        # Narrower than any terminal, so that the ^C that the terminal shows does not wrap and leave a line behind.
        names = TextColumn("{task.description}", markup=False, table_column=Column(max_width=30, no_wrap=True))
        columns = (names, BarColumn(20), TextColumn("{task.percentage:>3.0f} %"))
        self._progress = Progress(
            *(*columns, TextColumn("left"), TimeRemainingColumn()),
            console=self._console,
            transient=True,
            redirect_stdout=self._above,
        )
        self._bars: dict[str, TaskID] = {}
        self._all = self._progress.add_task(f"{files} files", total=files) if files > 1 else None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def moved(self, name: str, progress: JobProgress) -> None:
        """Moves the bar of a file; it pulses until the length of the audio is known."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(Path(name).name, total=None)
        self._progress.update(self._bars[name], completed=progress.done, total=progress.duration or None)

    def ended(self, name: str, finished: Finished | None) -> None:
        """Takes the bar of a file away."""
        if name in self._bars:
            self._progress.remove_task(self._bars.pop(name))
        if self._all is not None:
            self._progress.advance(self._all)

    def emit(self, text: str) -> None:
        """Prints to stdout, above the bars if they are there too."""
        if self._above:
            self._console.print(Text(text), end="", soft_wrap=True)
        else:
            super().emit(text)


def display(*, files: int, quiet: bool) -> Display:
    """What fits to where stderr goes."""
    if quiet:
        return Quiet()
    return Bars(files) if sys.stderr.isatty() else Lines()


def summary(finished: Finished) -> str:
    """One line about how a job went, with the number of speakers if they were told apart."""
    run, audio_s = finished.run, finished.transcript.duration
    took = run.timings.total
    speed = f" ({audio_s / took:.1f}x)" if took else ""
    retried = f", {run.attempts} attempts" if run.attempts > 1 else ""
    return f"{audio_s:.1f} s of audio in {took:.1f} s{speed} by {run.seat}{retried}{_speakers(finished.transcript)}"


def _speakers(transcript: Transcript) -> str:
    diarization = transcript.diarization
    if not diarization or diarization.status == "failed":
        return ""
    count = len({turn.speaker for turn in diarization.turns})
    return f", {count} speaker" if count == 1 else f", {count or 'no'} speakers"
