"""When each character of a segment is spoken, from the words that have times, if any."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import pairwise

import msgspec

from asrd.subtitles.cue import speaker_of
from asrd_protocol.model import Segment


class Moment(msgspec.Struct, frozen=True):
    """When something is spoken, in seconds, and by whom."""

    start: float
    end: float
    speaker: str | None


def moments(letters: str, segment: Segment) -> list[Moment]:
    """One for each letter of a segment, white space left out; letters that no word has share the time between others.

    ``letters`` is what the segment says, which need not be quite what its words say.
    """
    said, timed = _timed_letters(segment)
    if said == letters:
        return timed
    found: list[Moment | None] = [None] * len(letters)
    if timed:
        for ours, theirs, size in SequenceMatcher(None, letters, said, autojunk=False).get_matching_blocks():
            found[ours : ours + size] = timed[theirs : theirs + size]
    return _filled(found, segment)


def _timed_letters(segment: Segment) -> tuple[str, list[Moment]]:
    """The letters of the words, each with its share of the time of its word."""
    whole = speaker_of(segment)
    said: list[str] = []
    timed: list[Moment] = []
    for word in segment.words or ():
        letters = "".join(word.word.split())
        speaker = speaker_of(word) or whole
        said.append(letters)
        timed += (Moment(start, end, speaker) for start, end in _shares(word.start, word.end, len(letters)))
    return "".join(said), timed


def _filled(found: list[Moment | None], segment: Segment) -> list[Moment]:
    """The same without gaps: a run of letters without times fills the time between its neighbours."""
    filled: list[Moment] = []
    now, speaker = segment.start, speaker_of(segment)
    at = 0
    while at < len(found):
        moment = found[at]
        if moment is None:
            until = next((i for i in range(at, len(found)) if found[i]), len(found))
            after = found[until] if until < len(found) else None
            end = after.start if after else segment.end
            filled += (Moment(*share, speaker) for share in _shares(now, max(now, end), until - at))
            at = until
        else:
            filled.append(moment)
            now, speaker = moment.end, moment.speaker
            at += 1
    return filled


def _shares(start: float, end: float, count: int) -> Iterator[tuple[float, float]]:
    """A time divided evenly; the first and the last border are kept to the last bit."""
    if not count:
        return
    borders = [start, *(start + (end - start) * i / count for i in range(1, count)), end]
    yield from pairwise(borders)
