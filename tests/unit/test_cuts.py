"""Cuts: laws of all of them, and where each one lies."""

import itertools
import math
import os
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd_worker import cuts
from asrd_worker.cuts import REACH_S, cut
from asrd_worker.recording import SAMPLE_RATE, Recording

Tape = Callable[[npt.NDArray[np.int16]], Recording]
Parts = list[tuple[float, float]]

RANDOM = np.random.default_rng(7)


def on_file(pcm: npt.NDArray[np.int16]) -> tuple[Recording, int]:
    fd = os.memfd_create("recording")
    os.write(fd, pcm.astype("<i2").tobytes())
    return Recording(fd), fd


@pytest.fixture
def tape() -> Iterator[Tape]:
    """Makes recordings."""
    fds = list[int]()

    def make(pcm: npt.NDArray[np.int16]) -> Recording:
        recording, fd = on_file(pcm)
        fds.append(fd)
        return recording

    yield make
    for fd in fds:
        os.close(fd)


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where faster-whisper is not installed."""
    monkeypatch.setitem(sys.modules, "faster_whisper.vad", None)


def hiss(seconds: float, volume: float = 3_000) -> npt.NDArray[np.int16]:
    """What no detector takes for speech."""
    return (RANDOM.normal(0, volume, round(seconds * SAMPLE_RATE))).clip(-32_768, 32_767).astype(np.int16)


def silence(seconds: float) -> npt.NDArray[np.int16]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


@pytest.fixture(scope="module")
def talk(speech: Path) -> npt.NDArray[np.int16]:
    """25 seconds of one clip after the other, the pauses at their ends cut off."""
    clips = []
    for clip in sorted(speech.glob("*.wav")):
        with wave.open(str(clip)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        loud = np.flatnonzero(np.abs(pcm) > 600)
        clips.append(pcm[loud[0] : loud[-1]])
    return np.concatenate(clips)


# --- laws -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40 * SAMPLE_RATE), st.floats(1.0, 15.0), st.integers(1, 5), st.booleans(), st.integers(0, 9))
def test_the_laws_of_cuts(count: int, chunk_s: float, ways: int, loud: bool, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 1_000, count) if loud else np.zeros(count)
    recording, fd = on_file(noise.astype(np.int16))
    try:
        found = cut(recording, chunk_s, ways)
        assert found == cut(recording, chunk_s, ways)
    finally:
        os.close(fd)
    lawful(found, recording.duration, chunk_s, ways)


def lawful(found: Parts, duration: float, chunk_s: float, ways: int) -> None:
    """No gap, no overlap, nothing too short or too long, all on the grid, and a fair share for each worker."""
    assert found[0][0] == 0.0
    assert found[-1][1] == duration
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(found))
    assert all(start == round(start, 2) for start, _ in found)
    lengths = [end - start for start, end in found]
    assert min(lengths) >= min(duration, chunk_s / 4) - cuts.GRID_S
    assert max(lengths) <= chunk_s + 2 * min(REACH_S, chunk_s / 4) + cuts.GRID_S
    assert len(found) % ways == 0 or len(found) < ways
    if len(found) < ways:
        assert duration / ways < chunk_s / 2, "there was enough for everybody"
    spacing = duration / len(found)
    reach = min(REACH_S, chunk_s / 4, spacing / 4)
    for number, (start, _) in enumerate(found):
        assert abs(start - number * spacing) <= reach + cuts.GRID_S


@given(st.floats(0.01, 200_000.0), st.floats(1.0, 3_600.0), st.integers(1, 64))
def test_the_number_of_parts(duration: float, chunk_s: float, ways: int) -> None:
    count = cuts.parts(duration, chunk_s, ways)
    spacing = duration / count
    reach = min(REACH_S, chunk_s / 4, spacing / 4)
    assert spacing <= chunk_s * (1 + 1e-9)
    assert count == 1 or spacing - 2 * reach >= chunk_s / 4 * (1 - 1e-9)
    assert count % ways == 0 or count < ways
    assert count < duration / chunk_s + ways, "no more than it takes for everybody to have as many"


@pytest.mark.parametrize(
    ("duration", "chunk_s", "ways", "count"),
    [
        (3_600, 300, 1, 12),
        (3_600, 300, 2, 12),
        (3_601, 300, 2, 14),
        (3_600, 300, 8, 16),
        (301, 300, 2, 2),
        (250, 300, 2, 2),
        (250, 300, 8, 2),
        (90, 300, 8, 1),
        (10_800, 300, 64, 64),
    ],
)
def test_the_number_of_parts_of_some_lengths(duration: float, chunk_s: float, ways: int, count: int) -> None:
    assert cuts.parts(duration, chunk_s, ways) == count


def test_an_empty_recording_is_one_part(tape: Tape) -> None:
    assert cut(tape(silence(0)), 300, 2) == [(0.0, 0.0)]


def test_it_is_told_how_far_it_is(tape: Tape) -> None:
    seen = list[float]()
    found = cut(tape(hiss(20)), 5.0, 2, seen.append)
    assert seen == [start for start, _ in found[1:]]
    assert len(seen) == 3


# --- where they lie ---------------------------------------------------------------------------------------------------


def cut_once(recording: Recording) -> float:
    """The one cut that makes two of it."""
    first, second = cut(recording, recording.duration / 2 + 1, 2)
    assert first[1] == second[0]
    return first[1]


def test_in_speech_it_is_the_middle_of_the_longest_pause(tape: Tape, talk: npt.NDArray[np.int16]) -> None:
    half = talk.size // 2
    near, far = half - SAMPLE_RATE, half + SAMPLE_RATE
    pcm = np.concatenate([talk[:near], silence(0.7), talk[near:far], silence(1.5), talk[far:]])
    middle = far / SAMPLE_RATE + 0.7 + 0.75
    assert cut_once(tape(pcm)) == pytest.approx(middle, abs=0.25)


def test_hiss_in_a_pause_does_not_hide_it(tape: Tape, talk: npt.NDArray[np.int16]) -> None:
    """By power alone it would be any gap between two words."""
    near = talk.size // 2 + 2 * SAMPLE_RATE
    pcm = np.concatenate([talk[:near], hiss(2.0, 400), talk[near:]])
    assert cut_once(tape(pcm)) == pytest.approx(near / SAMPLE_RATE + 1.0, abs=0.3)


@pytest.mark.parametrize("make", [silence, hiss])
def test_where_nobody_speaks_it_is_the_middle(tape: Tape, make: Callable[[float], npt.NDArray[np.int16]]) -> None:
    assert cut_once(tape(make(20))) == pytest.approx(10, abs=0.02)


def test_a_pause_out_of_reach_is_none(tape: Tape, talk: npt.NDArray[np.int16]) -> None:
    pcm = np.concatenate([talk, silence(3)])
    middle = pcm.size / SAMPLE_RATE / 2
    assert abs(cut_once(tape(pcm)) - middle) <= middle / 4 + 0.01


@pytest.mark.usefixtures("no_detector")
def test_without_a_detector_it_is_the_quietest_place(tape: Tape) -> None:
    pcm = np.concatenate([hiss(6.6), hiss(0.1, 20), hiss(5), hiss(0.4, 300), hiss(7)])
    assert cut_once(tape(pcm)) == pytest.approx(11.85, abs=0.12)  # the quieter one is out of reach
    pcm = np.concatenate([hiss(8.6), hiss(0.1, 20), hiss(4), hiss(0.4, 300), hiss(7)])
    assert cut_once(tape(pcm)) == 8.65


@pytest.mark.usefixtures("no_detector")
def test_of_equally_quiet_places_it_is_the_nearest(tape: Tape) -> None:
    assert cut_once(tape(silence(20))) == pytest.approx(10, abs=0.011)


def test_speech_without_a_pause_is_cut_where_it_is_quietest(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "_detector", lambda: lambda samples: [(0, samples.size)])
    pcm = np.concatenate([hiss(11), hiss(0.1, 20), hiss(9)])
    assert cut_once(tape(pcm)) == 11.05


@pytest.mark.parametrize(("pause", "place"), [(0.25, 11.05), (0.35, 9.18)])
def test_a_pause_of_no_length_is_none(tape: Tape, monkeypatch: pytest.MonkeyPatch, pause: float, place: float) -> None:
    def hear(samples: npt.NDArray[np.float32]) -> list[cuts.Span]:
        start = round((9.0 - 7.5) * SAMPLE_RATE) + round(cuts.LEAD_S * SAMPLE_RATE)
        return [(0, start), (start + round(pause * SAMPLE_RATE), samples.size)]

    monkeypatch.setattr(cuts, "_detector", lambda: hear)
    pcm = np.concatenate([hiss(11), hiss(0.1, 20), hiss(8.9)])
    assert cut_once(tape(pcm)) == pytest.approx(place, abs=0.02)


def test_only_what_a_cut_may_reach_is_read(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = list[int]()

    def hear(samples: npt.NDArray[np.float32]) -> list[cuts.Span]:
        heard.append(samples.size)
        return []

    monkeypatch.setattr(cuts, "_detector", lambda: hear)
    assert len(cut(tape(silence(1_800)), 300.0, 2)) == 6
    assert heard == [round((2 * REACH_S + cuts.LEAD_S) * SAMPLE_RATE)] * 5


def test_a_short_recording_asks_no_detector(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "_detector", lambda: pytest.fail("it was asked"))
    assert cut(tape(hiss(10)), 300.0, 2) == [(0.0, 10.0)]


def test_infinity_is_one_part(tape: Tape) -> None:
    assert cut(tape(hiss(3)), math.inf, 1) == [(0.0, 3.0)]
