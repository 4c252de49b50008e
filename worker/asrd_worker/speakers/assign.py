"""Who says what: the words of a transcript meet the turns of its speakers.

A word is its speaker's whose turn covers the word's centre. Where several do, because people speak at once, it is the
turn that covers most of the word, then the one that began earlier. A word in whose centre nobody speaks goes to the
turn that covers most of it, else to the nearest one, if that is at most ``NEAREST_S`` away; else nobody is named.

One correction is made, for times that are a little wrong: a word that stands alone between two words of one other
speaker, in one segment, is that speaker's unless its own speaks for more of its time. So a sliver of a turn that meets
a word's centre does not take it out of a sentence, nor does a turn that is only near, and a word without any length
stays with those around it. A one-word answer has a turn of its own, and stays whose it is.

Segments are cut where the speaker changes; :mod:`asrd_worker.speakers.recut` tells how. One without word times is not:
it goes as a whole to who speaks longest in it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from asrd_protocol.model import Diarization, Segment, Turn, Word
from asrd_worker.speakers.recut import Unit, named, recut, units

NEAREST_S = 1.0
"""Silence in seconds over which a word may be off the turn it belongs to.

The times of whisper's words are wrong by some tenths of a second, more beside pauses, and turns lack soft beginnings
and ends by as much again. What is farther from all turns was missed or is noise: it may be anybody's.
"""


class Span(NamedTuple):
    """A time, in seconds, that does not end before it starts."""

    start: float
    end: float

    @classmethod
    def of(cls, said: Segment | Word) -> "Span":
        """When it is said; times that are the wrong way round are turned."""
        return cls(min(said.start, said.end), max(said.start, said.end))

    @property
    def centre(self) -> float:
        """Half-way."""
        return self.start + (self.end - self.start) / 2

    def shared(self, other: "Span") -> float:
        """Seconds that are in both."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def gap(self, other: "Span") -> float:
        """Seconds between them."""
        return max(0.0, other.start - self.end, self.start - other.end)


class _Voice:
    """The turns of one speaker: none overlaps another, in order."""

    def __init__(self, speaker: str, turns: Iterable[Span]) -> None:
        self.speaker = speaker
        self._turns: list[Span] = []
        for turn in sorted(turns):
            last = self._turns[-1] if self._turns else None
            if last and turn.start <= last.end:
                self._turns[-1] = Span(last.start, max(last.end, turn.end))
            else:
                self._turns.append(turn)
        self._starts = [turn.start for turn in self._turns]
        self._ends = [turn.end for turn in self._turns]

    def near(self, span: Span) -> Sequence[Span]:
        """The turns within ``NEAREST_S`` of a time."""
        first = bisect_left(self._ends, span.start - NEAREST_S)
        return self._turns[first : bisect_right(self._starts, span.end + NEAREST_S)]

    def heard(self, span: Span) -> float:
        """Seconds for which this one speaks in a time."""
        return sum(span.shared(turn) for turn in self.near(span))


class Floor:
    """Who has the floor at which time. Turns may come in any order and overlap; those without a length are none."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        spoken: dict[str, list[Span]] = {}
        for turn in turns:
            if turn.start < turn.end:
                spoken.setdefault(turn.speaker, []).append(Span(turn.start, turn.end))
        self._voices = {speaker: _Voice(speaker, spans) for speaker, spans in sorted(spoken.items())}

    def at(self, span: Span) -> str | None:
        """Who says a word of this time; None for nobody who is known."""
        claims = ((_claim(span, turn), voice.speaker) for voice in self._all() for turn in voice.near(span))
        return min(claims, default=(None, None))[1]

    def most_of(self, span: Span) -> str | None:
        """Who speaks longest in a time, else nearest to it; None for nobody who is known."""
        claims = (
            (-voice.heard(span), min(span.gap(turn) for turn in near), near[0].start, voice.speaker)
            for voice in self._all()
            if (near := voice.near(span))
        )
        best = min(claims, default=None)
        return best and best[-1]

    def heard(self, speaker: str | None, span: Span) -> float:
        """Seconds for which somebody speaks in a time."""
        return 0.0 if speaker is None else self._voices[speaker].heard(span)

    def _all(self) -> Iterable[_Voice]:
        return self._voices.values()


def attribute(segments: Sequence[Segment], diarization: Diarization) -> list[Segment]:
    """The same text with its speakers, in segments of one speaker each, whose ids count from 0.

    Joined, the texts are what they were, and so are the tokens. The speaker of a segment is that of all its words.
    """
    floor = Floor(diarization.turns)
    pieces = [piece for segment in segments for piece in _told(segment, floor)]
    return [replace(piece, id=number) for number, piece in enumerate(pieces)]


def _told(segment: Segment, floor: Floor) -> Iterator[Segment]:
    """One segment as one or more that have a speaker."""
    parts = units(segment)
    if not parts:
        yield named(segment, floor.most_of(Span.of(segment)))
        return
    yield from recut(segment, parts, _speakers(segment.words or (), parts, floor))


def _speakers(words: Sequence[Word], parts: Sequence[Unit], floor: Floor) -> list[str | None]:
    """The speaker of each part of a segment."""
    spans = [Span.of(words[part.word]) for part in parts]
    found = [floor.at(span) for span in spans]
    for i in range(1, len(found) - 1):
        around, alone = found[i - 1], found[i]
        stray = around is not None and around == found[i + 1] != alone
        if stray and floor.heard(around, spans[i]) >= floor.heard(alone, spans[i]):
            found[i] = around
    return found


def _claim(span: Span, turn: Span) -> tuple[bool, float, float, float]:
    """How good a turn's claim to a word is: the least is the best."""
    elsewhere = not turn.start <= span.centre < turn.end
    return elsewhere, -span.shared(turn), span.gap(turn), turn.start
