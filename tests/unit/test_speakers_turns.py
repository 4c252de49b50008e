"""From probabilities to stretches of speech, to windows, to turns."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_worker.recording import SAMPLE_RATE
from asrd_worker.speakers import speech
from asrd_worker.speakers.speech import FRAME, Stretch
from asrd_worker.speakers.turns import BLIP, Spoken, named, turns
from asrd_worker.speakers.voices import HOP, WINDOW, windows


def heard(text: str) -> list[tuple[float, float]]:
    """Stretches, in seconds, of a probability of a tenth for each digit; a digit stands for a tenth of a second."""
    tenths = np.array([int(digit) / 10 for digit in text])
    frames = np.repeat(tenths, 3)  # three frames are 96 ms
    found = speech.speech(frames.astype(np.float32), frames.size * FRAME)
    return [(round(start / FRAME / 3, 1), round(end / FRAME / 3, 1)) for start, end in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("0" * 20, []),
        ("3" * 20, []),
        ("0000099999000", [(4.5, 10.5)]),
        ("0000099333000", [(4.5, 10.5)]),
        ("00009991111999000", [(3.5, 7.5), (10.5, 14.5)]),
        ("00000991199900000", [(4.5, 12.5)]),
        ("0000090000000000", []),
        ("9999999999", [(0.0, 10.0)]),
    ],
    ids=["nothing", "silence", "hum", "speech", "falling", "pause", "breath", "click", "all"],
)
def test_stretches(text: str, expected: list[tuple[float, float]]) -> None:
    assert heard(text) == expected


@given(st.lists(st.floats(0, 1, width=32), max_size=200), st.integers(0, FRAME - 1))
def test_stretches_are_in_order_apart_and_within_the_audio(probabilities: list[float], missing: int) -> None:
    size = max(0, len(probabilities) * FRAME - missing)
    found = speech.speech(np.array(probabilities, np.float32), size)

    assert all(0 <= start < end <= size for start, end in found)
    assert all(one.end < other.start for one, other in pairwise(found))


@given(st.integers(0, 10_000), st.integers(1, 40 * SAMPLE_RATE))
def test_windows_cover_the_stretch(start: int, length: int) -> None:
    stretch = Stretch(start, start + length)
    found = windows(stretch)

    assert found[0].start == start
    assert found[-1].end == stretch.end
    assert len({one.end - one.start for one in found}) == 1
    assert found[0].end - start == min(WINDOW, length)
    assert all(0 < other.start - one.start <= HOP for one, other in pairwise(found))
    assert len(found) <= max(0, length - WINDOW) // HOP + 2


@st.composite
def told(draw: st.DrawFn) -> tuple[Stretch, list[Stretch], list[int]]:
    start = draw(st.integers(0, 99_999))
    stretch = Stretch(start, start + draw(st.integers(1, 20 * SAMPLE_RATE)))
    found = windows(stretch)
    speakers = draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found)))
    return stretch, found, speakers


@given(told())
def test_turns_fill_the_stretch_and_are_never_empty(given: tuple[Stretch, list[Stretch], list[int]]) -> None:
    stretch, _, speakers = given
    found = turns(*given)

    assert (found[0].start, found[-1].end) == stretch
    assert all(one.end == other.start and one.speaker != other.speaker for one, other in pairwise(found))
    assert all(one.start < one.end for one in found)
    assert {one.speaker for one in found} <= set(speakers)
    for before, one, after in zip(found, found[1:], found[2:], strict=False):
        assert one.end - one.start >= BLIP or before.speaker != after.speaker


def test_a_window_speaks_for_its_middle() -> None:
    stretch = Stretch(1000, 1000 + 8 * HOP)
    first = [*windows(stretch)]
    assert len(first) == 5
    change = (first[1].start + first[2].start + WINDOW) // 2

    assert turns(stretch, first, [1, 1, 0, 0, 0]) == [Spoken(1000, change, 1), Spoken(change, stretch.end, 0)]


def test_nobody_cuts_in_for_a_moment() -> None:
    stretch = Stretch(0, 12 * HOP)
    every = windows(stretch)

    assert turns(stretch, every, [0, 0, 0, 0, 1, 0, 0, 0, 0]) == [Spoken(0, stretch.end, 0)]
    assert len(turns(stretch, every, [0, 0, 0, 0, 1, 1, 0, 0, 0])) == 3
    assert len(turns(stretch, every, [0, 0, 0, 0, 1, 2, 2, 2, 2])) == 3


def test_speakers_are_in_the_order_in_which_they_are_first_heard() -> None:
    assert named([Spoken(5, 9, 2), Spoken(0, 4, 7), Spoken(9, 12, 7), Spoken(12, 13, 0)]) == [7, 2, 0]
