"""Where transcripts go: to standard output, or to one file for each format."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from asrd.cli.verdict import UsageError
from asrd.subtitles import AnyLayout, Layout, WhisperLayout, render
from asrd.track import Finished
from asrd_protocol.messages import PoolReport
from asrd_protocol.model import Transcript

_TIME_WORDS = frozenset({"faster-whisper", "whisperx"})
"""The engines that are known to have the option ``word_timestamps``."""

_SHOWN = 5
"""How many missing stretches are told one by one."""


class Rendering(msgspec.Struct, frozen=True):
    """How transcripts are written, and where."""

    formats: tuple[str, ...]
    layout: AnyLayout = WhisperLayout()
    directory: Path | None = None
    """None for standard output."""

    def check(self, *, words: bool) -> None:
        """Whether the wishes fit together.

        Raises:
            UsageError
        """
        if self.directory is None and len(self.formats) > 1:
            raise UsageError("several formats need a directory to be written to: --output-dir")
        if isinstance(self.layout, WhisperLayout) and self.layout.needs_words and not words:
            raise UsageError("the layout of subtitles needs the times of words: --word-timestamps")

    def make_directory(self) -> None:
        """Where the files shall be; before any work is done for them.

        Raises:
            UsageError: there cannot be one.
        """
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise UsageError(f"--output-dir {self.directory} cannot be a directory: {why}") from None
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise UsageError(f"--output-dir {self.directory}: you may not write there")

    def doubts(self, *, diarizes: bool) -> Iterator[str]:
        """What will not come of the wishes as somebody may believe, in sentences."""
        if "rttm" in self.formats and not diarizes:
            yield "rttm has turns only with --diarize"

    @property
    def streams(self) -> bool:
        """Whether the text may be printed as it is decoded."""
        return self.directory is None and self.formats == ("txt",)

    @property
    def wants_words(self) -> bool:
        """Whether the times of words are worth having though nobody asked for them."""
        return isinstance(self.layout, Layout)

    def text(self, finished: Finished, fmt: str, name: str = "") -> str:
        """One transcript in one format; json tells where and how the job ran, too.

        ``name`` is that of the recording; without one rttm has the id of the job.
        """
        extra = facts(finished) if fmt == "json" else None
        said = name.encode("utf-8", "replace").decode()  # a file may be called what no text can hold
        return render(finished.transcript, fmt, self.layout, extra, said or finished.job)

    def write(self, finished: Finished, stem: str) -> list[Path]:
        """Writes the files of one transcript.

        Raises:
            OSError
        """
        directory = self.directory or Path()
        paths = [directory / f"{stem}.{fmt}" for fmt in self.formats]
        for path, fmt in zip(paths, self.formats, strict=True):
            path.write_text(self.text(finished, fmt, stem), encoding="utf-8", newline="")
        return paths


def words_for_speakers(pools: Iterable[PoolReport], pool: str | None) -> dict[str, bool]:
    """The option with which a pool, or the default one, tells the times of words, if its engine is known to have it."""
    timed = any(one.engine in _TIME_WORDS for one in pools if (one.name == pool if pool else one.default))
    return {"word_timestamps": True} if timed else {}


def caveats(transcript: Transcript) -> Iterator[str]:
    """What is not as it should be in a transcript that is delivered all the same, in sentences."""
    yield from transcript.warnings
    diarization = transcript.diarization
    if diarization and diarization.status == "failed":
        yield f"speakers could not be told apart: {diarization.reason or 'no reason is known'}"
    missing = transcript.missing or []
    for stretch in missing[:_SHOWN]:
        yield f"{_clock(stretch.start)} to {_clock(stretch.end)} is missing: {stretch.message}"
    if more := missing[_SHOWN:]:
        yield f"{len(more)} more {'stretch is' if len(more) == 1 else 'stretches are'} missing; json tells of all"


def _clock(seconds: float) -> str:
    """A time in the audio, to the second."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def facts(finished: Finished) -> dict[str, object]:
    """How a job ran, and what whisper's json has no place for, as plain data."""
    run, transcript = finished.run, finished.transcript
    return {
        "job": finished.job,
        "duration": transcript.duration,
        "language_probability": transcript.language_probability,
        "warnings": transcript.warnings,
        "seat": run.seat,
        "timings": msgspec.to_builtins(run.timings),
        "work": msgspec.to_builtins(run.work),
        "attempts": run.attempts,
    }


def to_stdout(text: str) -> None:
    """Prints text at once, with a line end after it."""
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    sys.stdout.flush()
