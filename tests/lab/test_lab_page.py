"""The report: one file, well formed, with nothing from anywhere."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_lab.figures import figures
from asrd_lab.page import page
from asrd_lab.plots import HEIGHT, WIDTH, Point, Series, axis, scatter
from asrd_lab.verdict import judge
from lab.measured import aged, fresh, started

ROWS = [*aged("e4", leak=5e6, slow=0.01), *aged("e2", seed=2), *fresh(), *aged("e3", seed=3), *started()]


def _page(rows: list = ROWS, subject: str = "tiny.en", missing: int = 0) -> str:
    found = judge(rows, subject)
    return page(subject, found, figures(rows, found), {"cores": "2"}, missing)


class _Balanced(HTMLParser):
    """Checks that what is opened is closed."""

    void = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_well_formed_and_needs_nothing_else() -> None:
    text = _page()
    checked = _Balanced()
    checked.feed(text)
    assert checked.open == []
    assert not re.search(r"<script|<link|src=|https?:|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text


def test_it_has_verdict_policy_plots_and_figures() -> None:
    text = _page()
    for part in ("leaks memory", "max_jobs = ", "Latency for the same work", "Memory in figures", "Starts", "p is the"):
        assert part in text
    assert text.count("<svg") == 5, "no GPU memory without a GPU"
    assert "Not complete" not in text and "17 jobs are still to be done" in _page(missing=17)


def test_of_nothing_there_is_a_page_too() -> None:
    text = _page(rows=[])
    assert "Too few jobs" in text and "<svg" not in text and "<table" not in text


def test_names_are_text_and_no_markup() -> None:
    text = _page(subject="<b>&'\"")
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text


def test_every_mark_is_inside_of_the_plot() -> None:
    points = [Point(x, y, "<hint>") for x, y in ((1, 0.2), (60, 19.2), (30, -3))]
    line = (Point(1, -10), Point(60, 40))
    drawn = scatter("a & b", "x", "y", [Series(name="s", colour=0, points=points, line=line)])
    root = ElementTree.fromstring(drawn)
    circles = [(float(c.get("cx", -1)), float(c.get("cy", -1))) for c in root.iter("circle")]
    lines = [float(value) for one in root.iter("line") for name, value in one.items() if name in ("y1", "y2")]
    assert len(circles) == 3 and all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in circles)
    assert all(0 < y < HEIGHT for y in lines)
    assert circles[0][0] < circles[2][0] < circles[1][0] and circles[1][1] < circles[0][1] < circles[2][1]
    assert root.find("title").text == "a & b"  # type: ignore[union-attr]


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20))
def test_an_axis_holds_its_values_with_a_handful_of_distinct_ticks(values: list[float]) -> None:
    found = axis("x", values)
    room = 1e-6 * max(1.0, abs(found.low), abs(found.high))
    assert found.low <= min(values) + room and max(values) <= found.high + room
    assert 2 <= len(found.ticks) <= 8
    told = [found.tell(tick) for tick in found.ticks]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(
    ("high", "last"), [(0.31, "0.4"), (9.7, "10"), (240, "250"), (0.02, "0.020"), (1.2e6, "1250000")]
)
def test_ticks_are_round(high: float, last: str) -> None:
    found = axis("x", [high], from_zero=True)
    assert found.tell(found.ticks[-1]) == last and found.ticks[0] == 0
