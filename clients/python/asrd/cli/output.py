"""Where transcripts go: to standard output, or to one file for each format."""

import sys
from pathlib import Path

import msgspec

from asrd.cli.verdict import UsageError
from asrd.formats import Layout, render
from asrd.track import Finished


class Rendering(msgspec.Struct, frozen=True):
    """How transcripts are written, and where."""

    formats: tuple[str, ...]
    layout: Layout = Layout()
    directory: Path | None = None
    """None for standard output."""

    def check(self, *, words: bool) -> None:
        """Whether the wishes fit together.

        Raises:
            UsageError
        """
        if self.directory is None and len(self.formats) > 1:
            raise UsageError("several formats need a directory to be written to: --output-dir")
        if self.layout != Layout() and not words:
            raise UsageError("the layout of subtitles needs the times of words: --word-timestamps")

    @property
    def streams(self) -> bool:
        """Whether the text may be printed as it is decoded."""
        return self.directory is None and self.formats == ("txt",)

    def text(self, finished: Finished, fmt: str) -> str:
        """One transcript in one format; json tells where and how the job ran, too."""
        return render(finished.transcript, fmt, self.layout, facts(finished) if fmt == "json" else None)

    def write(self, finished: Finished, stem: str) -> list[Path]:
        """Writes the files of one transcript.

        Raises:
            OSError
        """
        directory = self.directory or Path()
        directory.mkdir(parents=True, exist_ok=True)
        paths = [directory / f"{stem}.{fmt}" for fmt in self.formats]
        for path, fmt in zip(paths, self.formats, strict=True):
            path.write_text(self.text(finished, fmt), encoding="utf-8", newline="")
        return paths


def facts(finished: Finished) -> dict[str, object]:
    """How a job ran, as plain data."""
    run = finished.run
    return {
        "job": finished.job,
        "seat": run.seat,
        "timings": msgspec.to_builtins(run.timings),
        "work": msgspec.to_builtins(run.work),
        "attempts": run.attempts,
    }


def to_stdout(text: str) -> None:
    """Prints text at once, with a line end after it."""
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    sys.stdout.flush()
