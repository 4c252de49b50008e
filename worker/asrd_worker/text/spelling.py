"""Words as whisper spells them: joined, they are the text of their segment, so each has its leading space."""

from collections.abc import Sequence

from msgspec.structs import replace

from asrd_protocol.model import Segment, Word


def spelled(segment: Segment) -> tuple[str, list[Word] | None]:
    """The text of a segment and its words, in agreement; no words where there are none.

    Other aligners give words without spaces, and not all of them: what stands between two words goes to the second.
    Words that are not in the text at all are believed, and the text is made of them.
    """
    if not segment.words or "".join(word.word for word in segment.words) == segment.text:
        return segment.text, segment.words
    found = _found(segment.text, segment.words)
    if found is None:
        found = [_spaced(word, index > 0 and " " in segment.text) for index, word in enumerate(segment.words)]
    return "".join(word.word for word in found), found


def _found(text: str, words: Sequence[Word]) -> list[Word] | None:
    """The words with all that stands between them; None when one of them is not there."""
    at, found = 0, []
    for word in words:
        bare = word.word.strip()
        begin = text.find(bare, at)
        if begin < 0:
            return None
        if bare:
            found.append(replace(word, word=text[at : begin + len(bare)]))
            at = begin + len(bare)
    if not found:
        return None
    found[-1] = replace(found[-1], word=found[-1].word + text[at:])
    return found


def _spaced(word: Word, space: bool) -> Word:
    return replace(word, word=f" {word.word}") if space and not word.word[:1].isspace() else word
