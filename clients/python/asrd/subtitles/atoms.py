"""A transcript as atoms: the parts of the text that stay whole, with times that never go back."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import msgspec

from asrd.subtitles.clock import Moment, moments
from asrd.subtitles.cue import milliseconds
from asrd.subtitles.script import columns, joined_by_space, pieces
from asrd_protocol.model import Segment


class Atom(msgspec.Struct, frozen=True):
    """A word, or a part of a text without spaces that no line break may divide. Times are milliseconds."""

    text: str
    spaced: bool
    """Whether a space is before it, unless it is the first of its line."""
    width: int
    start: int
    end: int
    speaker: str | None
    closes_segment: bool = False


def atoms(segments: Sequence[Segment]) -> list[Atom]:
    """The whole text in its order; no atom starts before the one ahead of it ends, and none ends before it starts."""
    found: list[Atom] = []
    for segment in segments:
        mine = list(_of_segment(segment))
        if found and mine and not mine[0].spaced and joined_by_space(found[-1].text, mine[0].text):
            mine[0] = msgspec.structs.replace(mine[0], spaced=True)
        found += mine
    return _in_order(found)


def _of_segment(segment: Segment) -> Iterator[Atom]:
    text = _without_arrows(_text_of(segment))
    letters = "".join(text.split())
    when = moments(letters, segment)
    parts = [(spaced, part) for spaced, part in pieces(text) if part.strip()]
    at = 0
    for number, (spaced, part) in enumerate(parts, start=1):
        size = len("".join(part.split()))
        yield _atom(spaced, part, when[at : at + size], closes_segment=number == len(parts))
        at += size


def _text_of(segment: Segment) -> str:
    """What a segment says. Its words count only when it says nothing itself: their white space is less reliable."""
    if segment.text.strip() or not segment.words:
        return segment.text
    return "".join(word.word for word in segment.words)


def _without_arrows(text: str) -> str:
    """The text without the sign that divides times in srt and vtt, shortened as whisper does it."""
    while "-->" in text:
        text = text.replace("-->", "->")
    return text


def _atom(spaced: bool, text: str, when: Sequence[Moment], *, closes_segment: bool) -> Atom:
    start, end = milliseconds(max(when[0].start, 0.0)), milliseconds(max(when[-1].end, 0.0))
    return Atom(text, spaced, columns(text), start, end, when[0].speaker, closes_segment)


def _in_order(found: list[Atom]) -> list[Atom]:
    """The same atoms with times that never go back.

    Most times are right: those of the longest series of atoms that is in order are kept, the others give way to them.
    """
    kept = _longest_rise([atom.start for atom in found])
    ordered: list[Atom] = []
    now = 0
    for i, (atom, ceiling) in enumerate(zip(found, _ceilings(found, kept), strict=True)):
        start = atom.start if i in kept else max(now, min(atom.start, ceiling))
        end = max(start, min(atom.end, ceiling))
        ordered.append(msgspec.structs.replace(atom, start=start, end=end))
        now = end
    return ordered


def _ceilings(found: list[Atom], kept: set[int]) -> list[int]:
    """For each atom the start of the next one whose time is kept, else the end of all."""
    ceiling = max((atom.end for atom in found), default=0)
    ceilings: list[int] = []
    for i in range(len(found) - 1, -1, -1):
        ceilings.append(ceiling)
        if i in kept:
            ceiling = found[i].start
    return ceilings[::-1]


def _longest_rise(starts: list[int]) -> set[int]:
    """Where the longest series in ``starts`` that never falls has its members."""
    lowest: list[int] = []
    ends: list[int] = []
    before: list[int | None] = []
    for i, start in enumerate(starts):
        length = bisect_right(lowest, start)
        before.append(ends[length - 1] if length else None)
        lowest[length : length + 1] = [start]
        ends[length : length + 1] = [i]
    rise: set[int] = set()
    at = ends[-1] if ends else None
    while at is not None:
        rise.add(at)
        at = before[at]
    return rise
