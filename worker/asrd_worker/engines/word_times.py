"""Times for all words: a forced aligner leaves some without, and every reader of a transcript counts on them."""

import math
from collections.abc import Sequence

import msgspec

from asrd_protocol.model import Word


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A word as an aligner gives it."""

    word: str
    start: float | None = None
    """Seconds; None, or no number, when it was not found in the audio."""
    end: float | None = None
    score: float | None = None
    """How sure the aligner is, 0 to 1."""


def timed(words: Sequence[Heard], start: float, end: float) -> list[Word]:
    """The words of a stretch of audio, each with times: within the stretch, in order, and no two overlap.

    Words without times of their own share the time between their neighbours, each as much as it has letters.
    """
    done: list[Word] = []
    pending: list[Heard] = []
    at = start
    for word in words:
        if not (_number(word.start) and _number(word.end)):
            pending.append(word)
            continue
        left = min(max(at, float(word.start or 0.0)), end)
        right = min(max(left, float(word.end or 0.0)), end)
        done += _shared(pending, at, left)
        pending = []
        done.append(_word(word, left, right))
        at = right
    return done + _shared(pending, at, end)


def _shared(words: Sequence[Heard], start: float, end: float) -> list[Word]:
    """The words one after the other from start to end."""
    letters = sum(max(1, len(word.word.strip())) for word in words)
    done, passed = [], 0
    for word in words:
        left = start + (end - start) * passed / letters
        passed += max(1, len(word.word.strip()))
        done.append(_word(word, left, start + (end - start) * passed / letters))
    return done


def _word(word: Heard, start: float, end: float) -> Word:
    """To milliseconds; a probability of 0 stands for a word that was not found."""
    probability = word.score if _number(word.score) else 0.0
    return Word(
        start=round(start, 3),
        end=round(end, 3),
        word=word.word,
        probability=min(1.0, max(0.0, float(probability or 0.0))),
    )


def _number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
