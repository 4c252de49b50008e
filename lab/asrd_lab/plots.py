"""Plots as SVG. Colours are classes, so that the page's style sheet has them for light and for dark."""

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10

import msgspec

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 44
"""Margins in pixels: room for ticks and for the names of the axes."""

TICKS = 5


class Point(msgspec.Struct, frozen=True):
    """One job."""

    x: float
    y: float
    hint: str = ""
    """Shown under the pointer."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one colour."""

    name: str
    colour: int
    """Which of the page's colours, from 0."""
    points: Sequence[Point]
    line: tuple[Point, Point] | None = None
    """A trend through them."""


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """What is along it."""

    name: str
    low: float
    high: float
    ticks: Sequence[float]
    tell: Callable[[float], str] = "{:g}".format

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value is between two pixels."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)


def axis(name: str, values: Sequence[float], *, from_zero: bool = False) -> Axis:
    """An axis that holds the values, with round numbers as ticks."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if from_zero:
        low = min(0.0, low)
    if high - low < 1e-9 * max(1.0, abs(high)):
        room = 0.5 * (abs(high) if abs(high) > 1e-6 else 1.0)
        low, high = low - room, high + room
    step = nice((high - low) / TICKS)
    first, last = floor(low / step), ceil(high / step)
    ticks = [step * i for i in range(first, last + 1)]
    return Axis(name=name, low=ticks[0], high=ticks[-1], ticks=ticks, tell=_teller(step))


def nice(step: float) -> float:
    """The next larger one of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** floor(log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def scatter(title: str, x: str, y: str, series: Sequence[Series], *, from_zero: bool = True) -> str:
    """Points, and lines through them; empty text when there are no points."""
    points = [point for one in series for point in one.points]
    if not points:
        return ""
    ends = [point for one in series if one.line for point in one.line]
    across = axis(x, [point.x for point in points])
    up = axis(y, [point.y for point in points + ends], from_zero=from_zero)
    marks = "".join(_marks(one, across, up) for one in series)
    lines = "".join(_line(one, across, up) for one in series)
    return _framed(title, across, up, marks + lines) + _legend(series)


def _framed(title: str, across: Axis, up: Axis, inside: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{_grid(across, up)}{inside}</svg>"
    )


def _grid(across: Axis, up: Axis) -> str:
    parts = []
    for tick in up.ticks:
        at = _y(up, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{up.tell(tick)}</text>')
    for tick in across.ticks:
        at = _x(across, tick)
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
            f"{across.tell(tick)}</text>"
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(across.name)}</text>"
    )
    parts.append(
        f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(up.name)}</text>"
    )
    return "".join(parts)


def _marks(series: Series, across: Axis, up: Axis) -> str:
    circles = "".join(
        f'<circle cx="{_x(across, point.x):.1f}" cy="{_y(up, point.y):.1f}" r="3">'
        f"<title>{escape(point.hint)}</title></circle>"
        for point in series.points
    )
    return f'<g class="mark c{series.colour}">{circles}</g>'


def _line(series: Series, across: Axis, up: Axis) -> str:
    if series.line is None:
        return ""
    one, other = series.line
    return (
        f'<line class="trend c{series.colour}" x1="{_x(across, one.x):.1f}" y1="{_y(up, one.y):.1f}" '
        f'x2="{_x(across, other.x):.1f}" y2="{_y(up, other.y):.1f}"/>'
    )


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    keys = "".join(f'<span><i class="key c{one.colour}"></i>{escape(one.name)}</span>' for one in series)
    return f'<p class="legend">{keys}</p>'


def _x(across: Axis, value: float) -> float:
    return across.place(value, LEFT, WIDTH - RIGHT)


def _y(up: Axis, value: float) -> float:
    return up.place(value, HEIGHT - BOTTOM, TOP)


def _teller(step: float) -> Callable[[float], str]:
    """With as many digits as tell two ticks apart."""
    digits = max(0, -floor(log10(step)) + (0 if f"{step:.0e}".startswith(("1", "2", "5")) else 1))
    if f"{step:.1e}".startswith("2.5"):
        digits = max(0, -floor(log10(step)) + 1)
    return lambda value: f"{value + 0.0:.{digits}f}"
