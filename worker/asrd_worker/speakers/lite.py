"""The torch-free way to tell speakers apart: speech, its voices, their clusters, and who speaks when.

Voices are heard in windows of a second, four a second. To tell how many voices there are that is short, so clusters
are made of the means of three neighbours. To tell who speaks when it is not: each window goes to the speaker who is
nearest to it alone. A window has one speaker; where two speak at once, one of them is missed.

What is kept of audio of any length: a probability for each 32 ms, a vector for each quarter of a second of speech
(11 MB for an hour), and similarities of 2000 clusters at most (64 MB, for some seconds).
"""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

import numpy as np

from asrd_worker.recording import Samples
from asrd_worker.speakers.clusters import Bounds, Labels, centroids, unit
from asrd_worker.speakers.speech import Stretch, stretches
from asrd_worker.speakers.turns import Spoken, named, turns
from asrd_worker.speakers.voices import BATCH, Ear, Vectors, windows

SPEECH_SHARE = 0.05
"""Of the time that it all takes. Nearly all the rest is for the voices."""

_T = TypeVar("_T")


class Heard(NamedTuple):
    """Who speaks when."""

    turns: list[Spoken]
    """In the order of their starts; their speakers are numbered in the order in which they are first heard."""
    voices: Vectors
    """One of unit length for each speaker: (speakers, 192)."""
    windows: int
    """How many were heard."""


def listen(samples: Samples, ear: Ear, bounds: Bounds) -> Generator[float, None, Heard]:
    """Tell the speakers apart. Yields the share that is done, which never falls, after each second of work or so."""
    speech = yield from _scaled(stretches(samples), 0.0, SPEECH_SHARE)
    of_stretch = [windows(stretch) for stretch in speech]
    if not of_stretch:
        return Heard([], np.zeros((0, 0), np.float32), 0)
    every = [window for those in of_stretch for window in those]
    voices = yield from _scaled(_voices(samples, ear, every), SPEECH_SHARE, 1.0)
    counts = [len(those) for those in of_stretch]
    found = yield from _waiting(centroids(smooth(voices, counts), bounds))
    found = refined(voices, found)
    whose = iter(nearest(voices, found).tolist())
    spoken = []
    for stretch, those in zip(speech, of_stretch, strict=True):
        spoken += turns(stretch, those, [next(whose) for _ in those])
    return _heard(spoken, found, len(voices))


def _voices(samples: Samples, ear: Ear, every: list[Stretch]) -> Generator[float, None, Vectors]:
    heard = []
    for first in range(0, len(every), BATCH):
        heard.append(ear.hear(samples, every[first : first + BATCH]))
        yield min(1.0, (first + BATCH) / len(every))
    return np.concatenate(heard)


def smooth(voices: Vectors, counts: list[int]) -> Vectors:
    """Each voice with its two neighbours of the same stretch of speech; ``counts`` are the windows of each stretch."""
    total = voices.copy()
    follows = np.ones(len(voices) - 1, bool)
    follows[np.cumsum(counts)[:-1] - 1] = False
    total[:-1][follows] += voices[1:][follows]
    total[1:][follows] += voices[:-1][follows]
    return unit(total)


def nearest(voices: Vectors, speakers: Vectors) -> Labels:
    """Of each voice, the speaker it is most similar to: (n,)."""
    whose: Labels = np.argmax(voices @ speakers.T, axis=1)
    return whose


def refined(voices: Vectors, speakers: Vectors) -> Vectors:
    """Each speaker as the mean of those windows that are nearest; who has none stays as it was."""
    whose = nearest(voices, speakers)
    means = [voices[whose == one].mean(axis=0) if (whose == one).any() else old for one, old in enumerate(speakers)]
    return unit(np.stack(means))


def _heard(spoken: list[Spoken], found: Vectors, count: int) -> Heard:
    order = named(spoken)
    number = {speaker: place for place, speaker in enumerate(order)}
    return Heard([turn._replace(speaker=number[turn.speaker]) for turn in spoken], found[order], count)


def _scaled(work: Generator[float, None, _T], low: float, high: float) -> Generator[float, None, _T]:
    """Shares of one part of the work as shares of the whole."""
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            result: _T = end.value
            return result
        yield low + share * (high - low)


def _waiting(work: Generator[None, None, _T]) -> Generator[float, None, _T]:
    """The end of the work is near, and nobody knows how near."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: _T = end.value
            return result
        yield 1.0
