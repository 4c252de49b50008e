"""Words that say nothing, such as "um", taken out with the commas that are theirs.

Only sounds are on the lists. A word that also means something ("well", "este", "那个") is the caller's to add.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from asrd_worker.text.edits import Edit, Step
from asrd_worker.text.letters import unspaced
from asrd_worker.text.options import FILLERS_MAX, bad_option


class _Sounds(NamedTuple):
    """Patterns of one language."""

    words: Sequence[str] = ()
    """Whole words, in any case but all capitals: those are abbreviations."""
    anywhere: Sequence[str] = ()
    """In writing without spaces: they are part of no other word."""
    alone: Sequence[str] = ()
    """They are, unless marks or the ends of the text are on both sides."""


_NASAL = ("h+m+", "mm+")
_SOUNDS = {
    "en": _Sounds(("uh+m*", "umm*", "er+m+", "er", *_NASAL)),
    "de": _Sounds(("ä+hm*", "ö+hm*", "ehm+", "uhm+", *_NASAL)),
    "fr": _Sounds(("e+uh+", "heu+", *_NASAL)),
    "es": _Sounds(("e+h*m+", "e+h+", *_NASAL)),
    "it": _Sounds(("e+hm+", "uhm+", *_NASAL)),
    "pt": _Sounds(("ahn+", "ãh*", "hã", "éh+", *_NASAL)),
    "nl": _Sounds(("e+uh+m*", "uhm*", "ehm*", *_NASAL)),
    "pl": _Sounds(("yy+", "ee+", "hm+", "mm+")),
    "ru": _Sounds(("э+м*", "хм+", "мм+")),
    "ko": _Sounds(("음+", "으음+", "어+")),
    "zh": _Sounds(anywhere=("嗯+", "呃+", "唔+"), alone=("啊+", "额+", "額+", "诶+", "誒+", "欸+", "哎+")),
    "ja": _Sounds(
        anywhere=("えー+っ?と", "あのー+", "うーん+", "んー+"), alone=("えっと", "ええと", "あの", "えー+", "あー+")
    ),
}
LANGUAGES = tuple(_SOUNDS)

_COMMA = ",;，、；–—"
_STOP = ".!?…。！？"
_BRACKETS = ("()", "[]", "（）")
_BLANKS = re.compile(r"\s+")
_COMMA_AFTER = re.compile(rf"\s*[{_COMMA}]")
_MARKS = re.compile(rf"[{_STOP}{_COMMA}]+")
_QUIET = re.compile(rf"\s*([{_STOP}]|$)")
_BEFORE_WORD, _AFTER_WORD = r"(?<![\w'’-])", r"(?![\w'’]|-\w)"


def check(more: Sequence[str]) -> None:
    """Nothing, if these words can be removed.

    Raises:
        EngineFault: there are too many words, or an empty one.
    """
    if len(more) > FILLERS_MAX:
        raise bad_option("fillers", f"{len(more)} words; a job may have {FILLERS_MAX}")
    if any(not word.strip() for word in more):
        raise bad_option("fillers", "one of the words is empty; leave it out")


def fillers(language: str, more: Sequence[str]) -> Step:
    """The step that removes the sounds of a language, if it has any here, and some more words."""
    pattern = _pattern(_SOUNDS.get(language, _Sounds()), more)
    wanted = frozenset(" ".join(word.split()).casefold() for word in more)

    def remove(text: str) -> list[Edit]:
        edits: list[Edit] = []
        for found in pattern.finditer(text):
            cut = [] if _means_something(text, found, wanted) else _cut(text, found)
            if cut and (not edits or edits[-1].end <= cut[0].start):
                edits += cut
        return edits

    return remove


def _pattern(sounds: _Sounds, more: Sequence[str]) -> re.Pattern[str]:
    own = [r"\s+".join(map(re.escape, word.split())) for word in sorted(more, key=len, reverse=True)]
    mine = dict(zip(own, sorted(more, key=len, reverse=True), strict=True))
    words = "|".join([*(word for word in own if not unspaced(mine[word])), *sounds.words])
    anywhere = "|".join([*(word for word in own if unspaced(mine[word])), *sounds.anywhere])
    alone = "|".join(sounds.alone)
    kinds = []
    if words:
        kinds.append(f"{_BEFORE_WORD}(?:{words}){_AFTER_WORD}")
    if anywhere:
        kinds.append(f"(?:{anywhere})")
    if alone:
        kinds.append(rf"(?<![^\s{_COMMA}{_STOP}])(?:{alone})(?![^\s{_COMMA}{_STOP}])")
    return re.compile("|".join(kinds) or r"(?!)", re.IGNORECASE)


def _means_something(text: str, found: re.Match[str], wanted: frozenset[str]) -> bool:
    """ER is a room in a hospital, and 5 mm is a length."""
    said = found[0]
    if " ".join(said.split()).casefold() in wanted:
        return False
    if said.casefold() == "mm" and text[: found.start()].rstrip()[-1:].isdigit():
        return True
    return len(said) > 1 and said.isupper()


def _cut(text: str, found: re.Match[str]) -> list[Edit]:
    """What goes with a filler: the marks of a sentence that was nothing else, or the commas around it."""
    start, end = _blanks_before(text, found.start()), found.end()
    before = text[start - 1] if start else ""
    if before in _STOP:  # nothing is in it, too
        return _opening(text, found, start, _span(_MARKS, text, end))
    comma_end = _span(_COMMA_AFTER, text, end)
    if before in _COMMA and (comma_end > end or _QUIET.match(text, end)):
        start = _blanks_before(text, start - 1)
    if text[found.start() - 1] + text[end : end + 1] in _BRACKETS:
        return [_without(text, _blanks_before(text, found.start() - 1), end + 1, flush=False)]
    return [_without(text, start, comma_end, flush=start == found.start())]


def _opening(text: str, found: re.Match[str], start: int, end: int) -> list[Edit]:
    """At the start of a sentence the next word takes over the capital."""
    cut = _without(text, start, end, flush=found.start() == 0)
    at = _span(_BLANKS, text, cut.end)
    first = text[at : at + 1]
    if found[0][0].isupper() and first.islower() and len(first.upper()) == 1:
        return [cut, Edit(at, at + 1, first.upper())]
    return [cut]


def _without(text: str, start: int, end: int, *, flush: bool) -> Edit:
    """Cut; ``flush`` when there was no space before, so that there is none after. What is left never runs together."""
    if flush:
        end = _span(_BLANKS, text, end)
    around = text[:start][-1:] + text[end : end + 1]
    joins = len(around) == 2 and around.isalnum() and not unspaced(around)
    return Edit(start, end, " " if joins else "")


def _blanks_before(text: str, at: int) -> int:
    """Where the white space begins that ends here."""
    while at and text[at - 1].isspace():
        at -= 1
    return at


def _span(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where what is found here ends; here, if nothing is."""
    found = pattern.match(text, at)
    return found.end() if found else at
