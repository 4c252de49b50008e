"""A transcript cut into cues, the timed blocks of text of a subtitle file, exactly as openai-whisper cuts it.

Segments without word times are one cue each. With word times the words are set in lines and the lines in cues:
segments -> runs (words that flow together) -> lines -> blocks (the words of one cue) -> cues.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from asrd_protocol.model import Segment, Word

_UNLIMITED = 1000
"""What whisper takes for "no limit" of characters in a line and of words in a run. It shows in very long segments."""

_PAUSE_S = 3.0
"""Seconds from the start of one word to the start of the next, above which they share no line."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How words are set in cues: whisper's options; None and 0 mean no limit. Without word times nothing changes.

    Raises:
        ValueError: when a limit is negative.
    """

    max_line_width: int | None = None
    """Characters in a line; one longer word still gets a line."""
    max_line_count: int | None = None
    """Lines in a cue."""
    highlight_words: bool = False
    """One cue for each word, with that word underlined by ``<u>``."""
    max_words_per_line: int | None = None
    """Words in a cue; whisper ignores it when both the width and the count of lines are given."""

    def __post_init__(self) -> None:
        """Refuse what would have no meaning."""
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            limit = getattr(self, name)
            if limit is not None and limit < 0:
                raise ValueError(f"{name} is {limit}, it cannot be negative")

    @property
    def flows(self) -> bool:
        """Whether words flow over the borders of segments; pauses then end a cue instead."""
        return bool(self.max_line_width and self.max_line_count)


class Cue(msgspec.Struct, frozen=True):
    """A text and when it is shown, in milliseconds. A word on its way into a block is one, too."""

    start: int
    end: int
    text: str


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded before anything is split off, so that 59.9996 s is one minute."""
    return round(seconds * 1000)


def cues(segments: list[Segment], layout: Layout) -> Iterator[Cue]:
    """The cues of a transcript, in order: laid out by word when every segment has word times, else one a segment."""
    spoken = [segment.words for segment in segments if segment.words is not None]
    if len(spoken) < len(segments):
        yield from map(_whole_segment, segments)
        return
    show = _word_by_word if layout.highlight_words else _at_once
    for run in _runs(spoken, layout):
        for block in _blocks(_lines(run, layout), layout.max_line_count):
            yield from show(block)


def _whole_segment(segment: Segment) -> Cue:
    text = segment.text.strip().replace("-->", "->")
    return Cue(milliseconds(segment.start), milliseconds(segment.end), text)


def _runs(spoken: list[list[Word]], layout: Layout) -> Iterator[list[Word]]:
    """The words that may share a cue: all of them when they flow, else some of one segment."""
    if layout.flows:
        yield list(chain.from_iterable(spoken))
        return
    size = layout.max_words_per_line or _UNLIMITED
    for words in spoken:
        yield from (words[i : i + size] for i in range(0, len(words), size))


class _Line:
    """A line being filled with words. ``width`` counts its characters; blank words leave it at 0."""

    def __init__(self, first: Word, after_pause: bool) -> None:
        text = first.word.strip()
        self.words = [_timed(first, text)]
        self.width = len(text)
        self.after_pause = after_pause

    def has_room(self, word: Word, max_width: int) -> bool:
        """Whether the word fits behind those that are here. Nothing fits behind a blank."""
        return 0 < self.width <= max_width - len(word.word)

    def append(self, word: Word) -> None:
        """Set a word with its own leading space."""
        self.words.append(_timed(word, word.word))
        self.width += len(word.word)

    def below(self) -> list[Cue]:
        """The words of this line for the place under another line."""
        first, *rest = self.words
        return [Cue(first.start, first.end, "\n" + first.text), *rest]


def _timed(word: Word, text: str) -> Cue:
    return Cue(milliseconds(word.start), milliseconds(word.end), text)


def _lines(run: list[Word], layout: Layout) -> Iterator[_Line]:
    """The lines of a run, each as full as the width allows."""
    max_width = layout.max_line_width or _UNLIMITED
    line: _Line | None = None
    before = 0.0
    for word in run:
        pause = layout.flows and line is not None and word.start - before > _PAUSE_S
        if line and line.has_room(word, max_width) and not pause:
            line.append(word)
        else:
            if line:
                yield line
            line = _Line(word, after_pause=pause)
        before = word.start
    if line:
        yield line


def _blocks(lines: Iterable[_Line], max_lines: int | None) -> Iterator[list[Cue]]:
    """The words of each cue, with the line breaks in their texts."""
    block: list[Cue] = []
    count = 0
    width_above = 0
    for line in lines:
        if block and max_lines and (line.after_pause or count >= max_lines):
            yield block
            block, width_above = [], 0
        if not block:
            count = 1
        elif width_above:
            count += 1
        block.extend(line.below() if width_above else line.words)
        width_above = line.width
    if block:
        yield block


def _at_once(block: list[Cue]) -> Iterator[Cue]:
    yield Cue(block[0].start, block[-1].end, _joined(block))


def _word_by_word(block: list[Cue]) -> Iterator[Cue]:
    """A cue for each word, underlined, and one with nothing underlined for each gap between two words."""
    shown_until = block[0].start
    for i, word in enumerate(block):
        if word.start != shown_until:
            yield Cue(shown_until, word.start, _joined(block))
        text = _joined(block[:i]) + _underlined(word.text) + _joined(block[i + 1 :])
        yield Cue(word.start, word.end, text)
        shown_until = word.end


def _joined(words: list[Cue]) -> str:
    return "".join(word.text for word in words)


def _underlined(text: str) -> str:
    """The text in ``<u>``, the white space before it and one line end behind it left outside.

    Text of more lines stays as it is, because whisper leaves it so.
    """
    body = text.lstrip()
    space = text.removesuffix(body)
    line, line_end, more = body.partition("\n")
    return text if more else f"{space}<u>{line}</u>{line_end}"
