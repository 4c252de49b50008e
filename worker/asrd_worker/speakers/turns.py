"""From the speakers of windows to turns: who speaks from when to when."""

from itertools import pairwise
from typing import NamedTuple

from asrd_worker.recording import SAMPLE_RATE
from asrd_worker.speakers.speech import Stretch

BLIP = SAMPLE_RATE * 2 // 5
"""Samples. Nobody cuts in on somebody for less and falls silent again; such a turn belongs to who speaks around it."""


class Spoken(NamedTuple):
    """One stretch of one speaker, in samples."""

    start: int
    end: int
    speaker: int


def turns(stretch: Stretch, windows: list[Stretch], speakers: list[int]) -> list[Spoken]:
    """The turns of a stretch of speech that fill it; its windows are in their order, one speaker each.

    A window speaks for the time that is nearer to its middle than to that of another.
    """
    middles = [(start + end) // 2 for start, end in windows]
    bounds = [stretch.start, *((one + other) // 2 for one, other in pairwise(middles)), stretch.end]
    found: list[Spoken] = []
    for (start, end), speaker in zip(pairwise(bounds), speakers, strict=True):
        if end > start:
            _append(found, Spoken(start, end, speaker))
    return _without_blips(found)


def named(spoken: list[Spoken]) -> list[int]:
    """The speakers in the order in which they are first heard."""
    return list(dict.fromkeys(turn.speaker for turn in sorted(spoken)))


def _without_blips(found: list[Spoken]) -> list[Spoken]:
    kept: list[Spoken] = []
    for number, turn in enumerate(found):
        after = found[number + 1].speaker if number + 1 < len(found) else None
        blip = kept and kept[-1].speaker == after and turn.end - turn.start < BLIP
        _append(kept, turn._replace(speaker=kept[-1].speaker) if blip else turn)
    return kept


def _append(found: list[Spoken], turn: Spoken) -> None:
    """Who goes on speaking has one turn."""
    if found and found[-1].speaker == turn.speaker:
        found[-1] = found[-1]._replace(end=turn.end)
    else:
        found.append(turn)
