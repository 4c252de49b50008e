"""Changes to a text, and the same changes to its words: the only place where words are joined, cut or dropped."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from msgspec.structs import replace

from asrd_protocol.model import Word


class Edit(NamedTuple):
    """Characters ``start`` to ``end`` of a text become ``new``; an edit of nothing (``start == end``) puts it in."""

    start: int
    end: int
    new: str


Step = Callable[[str], list[Edit]]
"""What to change in a text: edits in their order that do not overlap."""


class _Piece(NamedTuple):
    """Words that stay one word: where they stand in the text, and the word they make."""

    start: int
    end: int
    word: Word


def edited(text: str, edits: Sequence[Edit]) -> str:
    """The text with the changes made; nothing at all when only white space is left."""
    parts, at = [], 0
    for edit in edits:
        parts += [text[at : edit.start], edit.new]
        at = edit.end
    whole = "".join([*parts, text[at:]])
    return whole if whole.strip() else ""


def edited_words(words: Sequence[Word], edits: Sequence[Edit]) -> list[Word]:
    """The words of ``edited("".join(words), edits)``, which are that text again when joined.

    Words that one edit reaches over become one, with the start of the first, the end of the last and the least
    probability. A word that has lost all its letters is dropped; marks that it leaves go to the word before.
    """
    starts, ends = [edit.start for edit in edits], [edit.end for edit in edits]
    pieces = _joined(words, edits)
    rewritten = []
    for piece in pieces:
        near = edits[bisect_left(ends, piece.start) : bisect_right(starts, piece.end)]
        rewritten.append((piece.word, _rewritten(piece, near, piece is pieces[-1])))
    return _settled(rewritten)


def _joined(words: Sequence[Word], edits: Sequence[Edit]) -> list[_Piece]:
    """One piece for all words that a new text replaces together. What is only cut away joins nothing."""
    spans = [edit for edit in edits if edit.new.strip()]
    pieces: list[_Piece] = []
    ends = list(accumulate(len(word.word) for word in words))
    for word, end in zip(words, ends, strict=True):
        start = end - len(word.word)
        while spans and spans[0].end <= start:
            spans.pop(0)
        if pieces and spans and spans[0].start < start < spans[0].end:
            pieces[-1] = _Piece(pieces[-1].start, end, _together(pieces[-1].word, word))
        else:
            pieces.append(_Piece(start, end, word))
    return pieces


def _together(one: Word, other: Word) -> Word:
    probability = min(one.probability, other.probability)
    return Word(start=one.start, end=other.end, word=one.word + other.word, probability=probability)


def _rewritten(piece: _Piece, edits: Sequence[Edit], last: bool) -> str:
    """The text of a piece: what it keeps, and what is new of the edits that begin in it."""
    parts, at = [], piece.start
    for edit in edits:
        parts.append(piece.word.word[at - piece.start : max(at, min(edit.start, piece.end)) - piece.start])
        if piece.start <= edit.start < piece.end or (last and edit.start == piece.end):
            parts.append(edit.new)
        at = max(at, min(edit.end, piece.end))
    return "".join([*parts, piece.word.word[at - piece.start :]])


def _settled(rewritten: Sequence[tuple[Word, str]]) -> list[Word]:
    """Words again: blanks go to the word after, marks without a word to the word before."""
    words: list[Word] = []
    over = ""
    for old, new in rewritten:
        new = over + new
        over = ""
        if new == old.word or says(new) or (new.strip() and not says(old.word)):
            words.append(replace(old, word=new))
        elif words and new.strip():
            words[-1] = replace(words[-1], word=words[-1].word + new)
        else:
            over = new
    if over and words:
        words[-1] = replace(words[-1], word=words[-1].word + over)
    elif over.strip():
        words.append(replace(rewritten[-1][0], word=over))
    return words if any(word.word.strip() for word in words) else []


def says(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return any(char.isalnum() for char in text)
