"""Marks in the width of the text they stand in, straight quotes, and spaces where the writing has them.

A text without Chinese and Japanese letters has half-width marks. In a text with such letters a half-width mark beside
one of them becomes full width; one between Latin words stays, and so do the marks of numbers and names (3.5, 10:30,
example.com).
"""

import re

from asrd_worker.text.edits import Edit, Step
from asrd_worker.text.letters import UNSPACED, japanese, unspaced

_HALF = {"，": ",", "、": ",", "。": ".", "？": "?", "！": "!", "：": ":", "；": ";", "（": "(", "）": ")"}
_FULL = {half: full for full, half in _HALF.items() if full != "、"}

_WIDE_MARK = re.compile(f"[{''.join(_HALF)}]")
_NARROW_MARK = re.compile(r"(?<![,.?!:;])[,.?!:;](?![,.?!:;])|[()]")
_DOUBLE = re.compile("[“”„‟]")
_SINGLE = re.compile("[‘’‚‛]")
_APOSTROPHE = re.compile("(?<=[A-Za-z])’(?=[A-Za-z])")

_OPEN = "（「『《〈【〔"
_CLOSED = "，、。？！：；）」』》〉】〕"
_SPACES = re.compile(r"[ \t\r\n\u3000]+")
_NO_SPACE_AFTER = re.compile(f"[{UNSPACED}{_OPEN}{_CLOSED}]$")
_NO_SPACE_BEFORE = re.compile(f"[{UNSPACED}{_OPEN}{_CLOSED}]")


def punctuation() -> tuple[Step, ...]:
    """The steps: quotes, marks, spaces."""
    return _quotes, _marks, _spaces


def _quotes(text: str) -> list[Edit]:
    """Straight quotes. Curly ones are right in Chinese, except as an apostrophe of an English word."""
    if unspaced(text):
        return [Edit(found.start(), found.end(), "'") for found in _APOSTROPHE.finditer(text)]
    double = [Edit(found.start(), found.end(), '"') for found in _DOUBLE.finditer(text)]
    single = [Edit(found.start(), found.end(), "'") for found in _SINGLE.finditer(text)]
    return sorted(double + single)


def _marks(text: str) -> list[Edit]:
    if not any(char.isalpha() for char in text):
        return []
    if not unspaced(text):
        return [_narrowed(text, found) for found in _WIDE_MARK.finditer(text)]
    comma = "、" if japanese(text) else "，"
    edits = []
    for found in _NARROW_MARK.finditer(text):
        if _stands_by_unspaced(text, found.start()):
            edits.append(Edit(found.start(), found.end(), comma if found[0] == "," else _FULL[found[0]]))
    return edits


def _narrowed(text: str, found: re.Match[str]) -> Edit:
    """A half-width mark has no space of its own inside."""
    before, after = text[: found.start()][-1:], text[found.end() :][:1]
    new = _HALF[found[0]]
    if new == "(":
        new = " (" if before.isalnum() else "("
    elif after.isalnum() and not (before.isdigit() and after.isdigit()):
        new += " "
    return Edit(found.start(), found.end(), new)


def _stands_by_unspaced(text: str, at: int) -> bool:
    """Whether the mark belongs to Chinese or Japanese text; a full stop only after it, other marks on either side."""
    before, after = text[:at].rstrip()[-1:], text[at + 1 :].lstrip()[:1]
    if text[at] == "(":
        return unspaced(after) or (unspaced(before) and after.isalnum())
    if text[at] == "." or after == "/":
        return unspaced(before) and after != "/" and not text[at + 1 :][:1].isalnum()
    return unspaced(before) or (unspaced(after) and before.isalnum())


def _spaces(text: str) -> list[Edit]:
    """One space where there are more, and none around Chinese and Japanese letters and marks."""
    edits = []
    for found in _SPACES.finditer(text):
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        if before and _superfluous(before, after):
            edits.append(Edit(found.start(), found.end(), ""))
            continue
        if len(found[0]) > 1:
            edits.append(Edit(found.start(), found.end() - 1, ""))
        if found[0][-1] != " ":
            edits.append(Edit(found.end() - 1, found.end(), " "))
    return edits


def _superfluous(before: str, after: str) -> bool:
    """Whether nothing belongs between two characters. Between Latin and Chinese letters there may be a space."""
    if before in _OPEN + _CLOSED or (after and after in _OPEN + _CLOSED):
        return True
    return bool(_NO_SPACE_AFTER.match(before) and _NO_SPACE_BEFORE.match(after))
