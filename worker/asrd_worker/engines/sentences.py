"""Segments out of the words of a window, where the model was not asked for times of its own.

Asked for them, it leaves what it began at the end of a window to the next one, which starts there. Windows that are
decoded at once have no such next one, and lose these words.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

PAUSE_S = 1.0
"""Silence between two words that ends a segment."""

LONGEST_S = 12.0
"""A segment of so many seconds ends at the next comma."""

_ENDS = (".", "?", "!", "。", "？", "！", "…")
_TITLE = re.compile(r"\W*[A-Z]\w{0,2}\.")
"""``Mr.``, ``St.``, ``J.``: a full stop that ends no sentence, most of the time."""
_COMMAS = (",", ";", ":", "，", "；", "：", "、")

Words = Sequence[dict[str, Any]]


def split(segment: dict[str, Any], decode: Callable[[list[int]], str]) -> list[dict[str, Any]]:
    """The segment of a window, cut where a sentence ends or somebody pauses; as it is when its words are not known.

    The words, joined, are the text of their segment, and no token is lost.
    """
    tokens: list[int] = list(segment["tokens"])
    found = []
    for words in _runs(segment.get("words") or []):
        text = "".join(word["word"] for word in words)
        count = _tokens_of(text, tokens, decode)
        ends = {"start": words[0]["start"], "end": words[-1]["end"]}
        found.append({**segment, **ends, "text": text, "tokens": tokens[:count], "words": list(words)})
        tokens = tokens[count:]
    if not found:
        return [segment]
    found[-1]["tokens"] += tokens
    return found


def _runs(words: Words) -> Iterator[Words]:
    begin = 0
    for index, (word, following) in enumerate(pairwise(words), start=1):
        said = word["word"].rstrip("\"'”’)]}」』 ")
        long = word["end"] - words[begin]["start"] > LONGEST_S and said.endswith(_COMMAS)
        ended = said.endswith(_ENDS) and not _TITLE.fullmatch(said)
        if long or ended or following["start"] - word["end"] >= PAUSE_S:
            yield words[begin:index]
            begin = index
    if begin < len(words):
        yield words[begin:]


def _tokens_of(text: str, tokens: list[int], decode: Callable[[list[int]], str]) -> int:
    """How many of the first tokens say so much. Part of a letter decodes to a sign of its own, so that it is short."""
    for count in range(1, len(tokens) + 1):
        if len(decode(tokens[:count])) >= len(text) and "�" not in decode(tokens[:count])[-1:]:
            return count
    return len(tokens)
