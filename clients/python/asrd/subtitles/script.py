"""Where a text may be broken, and how wide it is: spaces, Chinese and Japanese without spaces, Thai left whole."""

import re
import unicodedata
from collections.abc import Iterator

_BREAKING_SPACE = re.compile(r"[^\S\u00a0\u2007\u202f]+")
"""White space where a line may end: all but the spaces that are made to keep two words together."""

_WITHOUT_SPACES = re.compile(
    r"[\u2e80-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
"""Han, kana, bopomofo and the punctuation among them: a line may end after any of these. Korean has spaces."""

_HIRAGANA = re.compile(r"[\u3041-\u309f]")
_KATAKANA = re.compile(r"[\u30a1-\u30ff]")

_NEVER_FIRST = frozenset(
    "!%,.:;?\u2025\u2026\u203a~、。々・ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶゝゞヽヾ〜！％，．：；？～·"
)
_NEVER_LAST = frozenset("#$£¥€＃＄￡￥")

_SENTENCE_END = re.compile(r"[.!?\u2026。！？．।؟۔။។]+[\W_]*$")
_TAIL = 8
"""Characters at the end of a word that are looked at: quotes and brackets may close behind the full stop."""
_CLAUSE_END = re.compile(r"[,;:，、；：،؛\u2013\u2014]+[\W_]*$")


def columns(text: str) -> int:
    """The width of a text: 2 for each wide character, 0 for each mark that sits on another one."""
    return len(text) if text.isascii() else sum(map(_column, text))


def _column(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def pieces(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a text that no line break may divide, each with whether white space is before it.

    Punctuation that stands alone stays with the word it belongs to, with one space between them.
    """
    held = ""
    held_spaced = False
    for spaced, part in _parts(text):
        if held and spaced and (all(map(_cannot_start, part)) or all(map(_cannot_end, held))):
            held += " " + part
            continue
        if held:
            yield held_spaced, held
        held, held_spaced = part, spaced
    if held:
        yield held_spaced, held


def joined_by_space(left: str, right: str) -> bool:
    """Whether two texts that were not one, such as two segments or lines, have a space between them in one line."""
    return not (_WITHOUT_SPACES.match(left[-1:]) and _WITHOUT_SPACES.match(right[:1]))


def ends_sentence(text: str) -> bool:
    """Whether a sentence ends here, closing quotes and brackets passed over."""
    return bool(_SENTENCE_END.search(text[-_TAIL:]))


def ends_clause(text: str) -> bool:
    """Whether there is a comma or the like at the end."""
    return bool(_CLAUSE_END.search(text[-_TAIL:]))


def may_end_phrase(left: str, right: str) -> bool:
    """Whether two parts of a text are not of one word, as far as their letters tell.

    A Japanese phrase seldom begins with hiragana. Chinese letters tell nothing: all their borders are alike.
    """
    return not (_HIRAGANA.match(right[:1]) or (_KATAKANA.match(left[-1:]) and _KATAKANA.match(right[:1])))


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    for number, chunk in enumerate(_BREAKING_SPACE.split(text)):
        spaced = number > 0
        begin = 0
        for at in range(1, len(chunk)):
            if _may_break(chunk[at - 1], chunk[at]):
                yield spaced, chunk[begin:at]
                begin, spaced = at, False
        if chunk:
            yield spaced, chunk[begin:]


def _may_break(left: str, right: str) -> bool:
    """Whether a line may end between two characters that are no spaces, but perhaps one that has no width."""
    if left != "\u200b" and not (_WITHOUT_SPACES.match(left) or _WITHOUT_SPACES.match(right)):
        return False
    return not (_cannot_end(left) or _cannot_start(right))


def _cannot_start(char: str) -> bool:
    """Closing punctuation, small kana, marks: what may not be the first of a line."""
    return char in _NEVER_FIRST or unicodedata.category(char) in ("Pe", "Pf", "Mn", "Mc", "Me", "Cf")


def _cannot_end(char: str) -> bool:
    """Opening punctuation and signs of money: what may not be the last of a line."""
    return char in _NEVER_LAST or unicodedata.category(char) in ("Ps", "Pi")
