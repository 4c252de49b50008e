"""Figures of a run: medians over rounds, tables in Markdown, aims, and the JSON file that ``report.py`` reads."""

import argparse
import math
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from machine import Machine, describe


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a report; cells are text already."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """The table in Markdown, padded so that it reads well on a terminal too."""
        widths = [max(len(row[i]) for row in (self.columns, *self.rows)) for i in range(len(self.columns))]
        lines = [_line(self.columns, widths), _line(["-" * w for w in widths], widths)]
        lines += [_line(row, widths) for row in self.rows]
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])])


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """A bound that the measured figure is held against. Missing it is reported, it is no failure of the run."""

    text: str
    measured: float
    bound: float
    at_most: bool = False
    """Whether smaller is better."""

    @property
    def met(self) -> bool:
        """Whether the measured figure keeps the bound."""
        return self.measured <= self.bound if self.at_most else self.measured >= self.bound

    def markdown(self) -> str:
        """One line: the aim, the figure and the verdict."""
        sign = "≤" if self.at_most else "≥"
        verdict = "met" if self.met else "missed"
        return f"- {self.text} {sign} {self.bound:g}: measured **{self.measured:.4g}**, {verdict}"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All that one run of one benchmark found."""

    title: str
    started: str
    quick: bool
    machine: Machine
    settings: dict[str, Any]
    tables: list[Table]
    aims: list[Aim]
    rounds: list[Any]
    """The raw figures of each round."""

    def markdown(self) -> str:
        """The tables and the aims."""
        return "\n\n".join([*(t.markdown() for t in self.tables), "\n".join(a.markdown() for a in self.aims)])


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The command line of a benchmark, and when and where it was started."""

    quick: bool
    rounds: int
    json: Path | None
    started: str
    machine: Machine

    def finish(
        self,
        title: str,
        settings: dict[str, Any],
        tables: list[Table],
        aims: list[Aim],
        rounds: list[Any],
    ) -> None:
        """Print the result and, when asked for, write it as JSON."""
        result = Result(
            title=title,
            started=self.started,
            quick=self.quick,
            machine=self.machine,
            settings=settings,
            tables=tables,
            aims=aims,
            rounds=rounds,
        )
        print("\n" + result.markdown(), flush=True)
        if self.json is not None:
            self.json.parent.mkdir(parents=True, exist_ok=True)
            self.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def command_line(description: str, *, rounds: int, quick_rounds: int) -> Run:
    """The arguments that all benchmarks share. From now on SIGTERM unwinds the ``with`` blocks too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer jobs: a check that it works, not a measurement")
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds (default {rounds}, quick {quick_rounds})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and the machine there")
    given = parser.parse_args()
    return Run(
        quick=given.quick,
        rounds=max(1, given.rounds or (quick_rounds if given.quick else rounds)),
        json=given.json,
        started=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=describe(),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0..1) of the values do not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def over_rounds(rounds: Sequence[Any], figure: Callable[[Any], float]) -> tuple[float, float, float]:
    """Median, smallest and largest of one figure over the rounds."""
    values = [figure(r) for r in rounds]
    return statistics.median(values), min(values), max(values)


def spread(figure: tuple[float, float, float], form: str = ".2f") -> str:
    """``median (smallest-largest)``."""
    middle, low, high = figure
    return f"{middle:{form}} ({low:{form}}-{high:{form}})"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
