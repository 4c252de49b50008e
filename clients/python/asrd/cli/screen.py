"""How figures and tables look: on a terminal, in a pipe and as JSON."""

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200
"""Columns where there is no terminal: nothing is cut off for lack of room."""

COLOURS = {
    "ready": "green",
    "idle": "green",
    "completed": "green",
    "busy": "cyan",
    "running": "cyan",
    "starting": "yellow",
    "standby": "cyan",
    "degraded": "yellow",
    "draining": "yellow",
    "backoff": "red",
    "failed": "red",
    "quarantined": "red",
    "unavailable": "red",
    "ok": "green",
    "suspect": "yellow",
    "wrong": "red",
    "info": "cyan",
    "warning": "yellow",
    "critical": "red",
}

SENTENCES = ("FAULT", "WHAT")
"""Columns that may take several lines."""


def console() -> Console:
    """Standard output. No text that comes from the daemon is taken for markup."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def show(renderable: RenderableType) -> None:
    """Prints something."""
    console().print(renderable)


def print_json(data: Any) -> None:
    """Prints plain data or structs as JSON, for scripts."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
    sys.stdout.flush()


def fields(answer: msgspec.Struct) -> dict[str, Any]:
    """What an answer says, less what belongs to the wire. Fields with their default value are there, too."""
    return {name: getattr(answer, name) for name in answer.__struct_fields__ if name not in ("v", "ref")}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], flowing: Collection[str] = SENTENCES) -> Table:
    """A plain table; numbers are set to the right, None is a dash, words for states have their colours.

    Where there is no room, the ``flowing`` columns give way first, and take several lines.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        made.add_column(column, justify="right" if numeric else "left", no_wrap=column not in flowing)
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def cell(value: object) -> Text:
    """A value as text; what is text already stays as it is."""
    if isinstance(value, Text):
        return value
    if value is None or value == "":
        return Text("-", style="dim")
    word = str(value)
    return Text(word, style=COLOURS.get(word, ""))


def lines(pairs: Sequence[tuple[str, object]]) -> Table:
    """Names and values below each other."""
    made = Table.grid(padding=(0, 2))
    for name, value in pairs:
        made.add_row(Text(name, style="bold"), cell(value))
    return made


def age(seconds: float) -> str:
    """A time span for people: ``12 s``, ``3 min``, ``2 h 05``, ``4 d 01 h``."""
    whole = int(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6_000:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3_600} h {whole % 3_600 // 60:02d}"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600:02d} h"


def megabytes(size: int | None) -> str | None:
    """Bytes as ``35 MB``."""
    return None if size is None else f"{size / 1e6:.0f} MB"


def moment(at: float) -> str:
    """Seconds since the epoch as date and time of this host: ``2026-11-21 09:58:32``."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def times(factor: float | None) -> str | None:
    """A factor as ``1.03x``."""
    return None if factor is None else f"{factor:.2f}x"


def figures(by_name: Mapping[str, Any]) -> str:
    """Numbers of any kind by name: ``mb_per_job 5.1, max_jobs 96``; empty for nothing."""
    return ", ".join(f"{name} {_figure(value)}" for name, value in by_name.items())


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def counts(by_name: dict[str, int]) -> str:
    """``max_jobs 3, operator 1``; ``none`` for nothing."""
    return ", ".join(f"{name} {count}" for name, count in sorted(by_name.items())) or "none"
