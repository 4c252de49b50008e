"""A transcript cut into cues exactly as openai-whisper cuts it; what whisper does not have is the speakers.

Segments without word times are one cue each. With word times the words are set in lines and the lines in cues:
segments -> runs (words that flow together) -> lines -> blocks (the words of one cue) -> cues.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby

import msgspec

from asrd.subtitles.cue import Cue, Labels, milliseconds, speaker_of
from asrd.subtitles.layout import WhisperLayout
from asrd_protocol.model import Segment, Word

_UNLIMITED = 1000
"""What whisper takes for "no limit" of characters in a line and of words in a run. It shows in very long segments."""

_PAUSE_S = 3.0
"""Seconds from the start of one word to the start of the next, above which they share no line."""

_Said = tuple[str | None, Word]
"""A word and who speaks it."""


def whisper_cues(segments: Sequence[Segment], layout: WhisperLayout) -> Iterator[Cue]:
    """The cues of a transcript, in order: laid out by word when every segment has word times, else one a segment."""
    labels = Labels(layout.speaker_labels)
    if any(segment.words is None for segment in segments):
        yield from (_whole_segment(segment, labels) for segment in segments)
        return
    show = _word_by_word if layout.highlight_words else _at_once
    for speaker, run in _runs(segments, layout):
        for block in _blocks(_lines(run, layout), layout.max_line_count):
            label = labels.next(speaker)
            for cue in show(block):
                yield _spoken(cue, speaker, label)


def _whole_segment(segment: Segment, labels: Labels) -> Cue:
    text = segment.text.strip().replace("-->", "->")
    speaker = speaker_of(segment)
    return _spoken(Cue(milliseconds(segment.start), milliseconds(segment.end), text), speaker, labels.next(speaker))


def _spoken(cue: Cue, speaker: str | None, label: str) -> Cue:
    """The cue with its speaker, behind the label."""
    lit = cue.lit and (cue.lit[0] + len(label), cue.lit[1] + len(label))
    return Cue(cue.start, cue.end, label + cue.text, lit, speaker)


def _runs(segments: Sequence[Segment], layout: WhisperLayout) -> Iterator[tuple[str | None, list[Word]]]:
    """The words that may share a cue, and their speaker: all of one speaker when they flow, else some of a segment."""
    said = [_said(segment) for segment in segments]
    if layout.flows:
        yield from _by_speaker(chain.from_iterable(said))
        return
    size = layout.max_words_per_line or _UNLIMITED
    for speaker, words in chain.from_iterable(map(_by_speaker, said)):
        yield from ((speaker, words[i : i + size]) for i in range(0, len(words), size))


def _said(segment: Segment) -> list[_Said]:
    whole = speaker_of(segment)
    return [(speaker_of(word) or whole, word) for word in segment.words or ()]


def _by_speaker(said: Iterable[_Said]) -> Iterator[tuple[str | None, list[Word]]]:
    for speaker, group in groupby(said, key=lambda pair: pair[0]):
        yield speaker, [word for _, word in group]


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
        return [msgspec.structs.replace(first, text="\n" + first.text), *rest]


def _timed(word: Word, text: str) -> Cue:
    """A word on its way into a block: a cue of its own."""
    return Cue(milliseconds(word.start), milliseconds(word.end), text)


def _lines(run: list[Word], layout: WhisperLayout) -> Iterator[_Line]:
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
    """A cue for each word, lit, and one with nothing lit for each gap between two words."""
    text = _joined(block)
    shown_until = block[0].start
    at = 0
    for word in block:
        if word.start != shown_until:
            yield Cue(shown_until, word.start, text)
        yield Cue(word.start, word.end, text, _body(word.text, at))
        shown_until = word.end
        at += len(word.text)


def _joined(words: list[Cue]) -> str:
    return "".join(word.text for word in words)


def _body(word: str, at: int) -> tuple[int, int] | None:
    """Where the word is in the text, without the white space before it and one line end behind it.

    Nowhere when it has more lines, because whisper does not underline it then.
    """
    body = word.lstrip()
    line, _, more = body.partition("\n")
    begin = at + len(word) - len(body)
    return None if more else (begin, begin + len(line))
