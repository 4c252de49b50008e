"""Spoken numbers to digits. Chinese by our own rules, other languages by text2num.

A lone number below ten stays a word, as books have it.
"""

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

from asrd_worker.text.edits import Edit, Step
from asrd_worker.text.hanzi import hanzi_numbers
from asrd_worker.text.options import missing

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "da", "zh")

_LEAST = 10.0
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|\s+|.", re.DOTALL)
_MULTIPLIERS = frozenset(("hundred", "thousand", "million", "billion", "trillion"))
_PLURALS = frozenset(f"{word}s" for word in _MULTIPLIERS)
_NEAR = re.compile(r",?\s+|-")
_DIGITS_AND_POINT = "0123456789.,"
_CENTURIES = range(16, 21)


class _Found(Protocol):
    """A number of text2num: tokens ``start`` to ``end`` (not included)."""

    start: int
    end: int
    text: str


class _Spoken:
    """A token, as text2num wants it."""

    def __init__(self, said: str) -> None:
        self._said = said

    def text(self) -> str:
        """What it is."""
        return self._said

    def nt_separated(self, previous: "_Spoken") -> bool:
        """Nothing but the text tells tokens apart."""
        return False

    def not_a_number_part(self) -> bool:
        """Nothing is known against it."""
        return False


class _Number(NamedTuple):
    """Tokens ``start`` to ``end`` (not included) in digits."""

    start: int
    end: int
    digits: str


Find = Callable[[list[_Spoken], str, float], Iterable[_Found]]


def numbers(language: str) -> Step:
    """The step for a language of ``LANGUAGES``.

    Raises:
        EngineFault: text2num is needed and not installed.
    """
    if language == "zh":
        return hanzi_numbers
    try:
        find: Find = importlib.import_module("text_to_num").find_numbers
    except ImportError:
        raise missing("numbers", "text2num") from None
    return lambda text: _edits(text, find, language)


def _edits(text: str, find: Find, language: str) -> list[Edit]:
    tokens = _TOKEN.findall(text)
    found = [_Number(one.start, one.end, one.text) for one in find([_Spoken(t) for t in tokens], language, _LEAST)]
    if language == "en":
        found = _years(tokens, [number for one in found if (number := _in_english(tokens, one))])
    at = [0, *accumulate(len(token) for token in tokens)]
    clear = (one for one in _counted(tokens, found) if not _after_digits(tokens, one.start))
    edits = (Edit(at[one.start], at[one.end], one.digits) for one in clear)
    return [edit for edit in edits if text[edit.start : edit.end] != edit.new]


def _counted(tokens: Sequence[str], found: Sequence[_Number]) -> Iterator[_Number]:
    """All but lone small numbers: one, two, three is counting; one or two is not."""
    for index, number in enumerate(found):
        beside = [(found[index - 1].end, number.start)] if index else []
        beside += [(number.end, other.start) for other in found[index + 1 : index + 2]]
        small = number.digits[:1].isdigit() and not any(char in _DIGITS_AND_POINT for char in number.digits[1:])
        if not small or any(_NEAR.fullmatch("".join(tokens[end:start])) for end, start in beside):
            yield number


def _after_digits(tokens: Sequence[str], start: int) -> bool:
    """2 million is half in digits already."""
    return start > 1 and tokens[start - 1].isspace() and tokens[start - 2].isdigit()


def _in_english(tokens: Sequence[str], number: _Number) -> _Number | None:
    """A hundred is 100; thousands are any number, and so are a couple hundred."""
    first, last = tokens[number.start].lower(), tokens[number.end - 1].lower()
    if last in _PLURALS:
        return None
    if first not in _MULTIPLIERS:
        return number
    start = number.start
    before = [token.lower() for token in tokens[max(0, start - 4) : start] if not token.isspace()]
    if start < 2 or before[-1:] != ["a"] or before[-2:-1] == ["half"]:
        return None
    return number._replace(start=start - 2)


def _years(tokens: Sequence[str], found: Sequence[_Number]) -> list[_Number]:
    """Nineteen eighty-four is one number."""
    joined: list[_Number] = []
    for number in found:
        if joined and _is_year(tokens, joined[-1], number):
            joined[-1] = _Number(joined[-1].start, number.end, joined[-1].digits + number.digits)
        else:
            joined.append(number)
    return joined


def _is_year(tokens: Sequence[str], one: _Number, two: _Number) -> bool:
    if two.start != one.end + 1 or not tokens[one.end].isspace():
        return False
    return (
        all(len(part) == 2 and part.isdecimal() for part in (one.digits, two.digits)) and int(one.digits) in _CENTURIES
    )
