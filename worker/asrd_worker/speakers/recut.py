"""A segment cut where its speaker changes, with no letter of its text lost.

The cuts are between words. A word that is no more than signs, such as a full stop, stays with the word before it (at
the beginning of a segment, with the one behind it); so does one that the text of the segment does not have. What the
text has and the words have not goes with the word behind it, closing punctuation with the one before it.

What the engine said of the whole segment is said of each piece: ``avg_logprob`` and the like are figures of the window
it was decoded in. Tokens cannot be cut, because a word need not begin with one: the first piece keeps them all and the
others have none, so that joined they are still those of the text.

The first piece starts with the segment and the last one ends with it. In between, a piece starts with its first word
and ends with its last one, or where the next one starts if that is earlier.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from asrd_protocol.model import Segment, Word


class Unit(NamedTuple):
    """Words of a segment that stay together, up to the next unit; the first unit has those before it, too."""

    word: int
    """Which of the words it begins with; this one tells when it is said."""
    begin: int
    """Where in the text of the segment it begins."""


def units(segment: Segment) -> list[Unit]:
    """The parts of a segment between which it may be cut; none where it has no words, or the text has none of them."""
    words = segment.words or []
    begins = enumerate(_begins(segment.text, words))
    return [Unit(i, begin) for i, begin in begins if begin is not None and _has_letters(words[i].word)]


def recut(segment: Segment, parts: Sequence[Unit], speakers: Sequence[str | None]) -> Iterator[Segment]:
    """The pieces of a segment, each with one speaker; the segment itself when it has only one."""
    words = segment.words or []
    changes = [i for i in range(1, len(parts)) if speakers[i] != speakers[i - 1]]
    if not changes:
        yield named(segment, speakers[0])
        return
    borders = [Unit(0, 0), *(parts[i] for i in changes), Unit(len(words), len(segment.text))]
    said = [words[a.word : b.word] for a, b in pairwise(borders)]
    texts = [segment.text[a.begin : b.begin] for a, b in pairwise(borders)]
    times = _times(segment, said)
    whose = [speakers[i] for i in (0, *changes)]
    for n, (start, end) in enumerate(times):
        tokens = [] if n else segment.tokens
        piece = replace(segment, start=start, end=end, text=texts[n], words=said[n], tokens=tokens)
        yield named(piece, whose[n])


def named(segment: Segment, speaker: str | None) -> Segment:
    """The segment and all its words with their speaker; without any where it is not known."""
    label = UNSET if speaker is None else speaker
    words = segment.words and [replace(word, speaker=label) for word in segment.words]
    return replace(segment, words=words, speaker=label)


def _times(segment: Segment, said: Sequence[Sequence[Word]]) -> list[tuple[float, float]]:
    """When each piece is said: in order, within the segment, none over another, whatever the words claim."""
    firsts = (min(words[0].start, segment.end) for words in said[1:])
    starts = list(accumulate((segment.start, *firsts), max))
    lasts = [max(word.end for word in words) for words in said[:-1]]
    ends = [min(max(last, start), due) for last, start, due in zip(lasts, starts, starts[1:], strict=False)]
    return list(zip(starts, [*ends, segment.end], strict=True))


def _begins(text: str, words: Sequence[Word]) -> Sequence[int | None]:
    """Where in the text each word begins; None for one that is not there."""
    if "".join(word.word for word in words) == text:
        return [0, *accumulate(len(word.word) for word in words)][: len(words)]
    at = 0
    found: list[int | None] = []
    for word in words:
        bare = word.word.strip()
        begin = text.find(bare, at) if bare else -1
        found.append(at + _closing(text[at:begin]) if begin >= 0 else None)
        at = begin + len(bare) if begin >= 0 else at
    return found


def _closing(between: str) -> int:
    """How many signs at the beginning of what stands between two words belong to the first of them."""
    for i, sign in enumerate(between):
        if sign.isspace() or sign.isalnum() or unicodedata.category(sign) in ("Ps", "Pi"):
            return i
    return len(between)


def _has_letters(word: str) -> bool:
    return any(map(str.isalnum, word))
