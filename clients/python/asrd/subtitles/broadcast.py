"""A transcript cut into cues that are easy to read.

segments -> atoms (what no line break divides) -> runs (one speaker, no long pause) -> blocks (the atoms of one cue)
-> cues. See :class:`asrd.subtitles.layout.Layout` for what each step keeps to.
"""

from collections.abc import Iterator, Sequence

from asrd.subtitles.atoms import atoms
from asrd.subtitles.cue import Cue, Labels
from asrd.subtitles.cutting import Block, cut, runs
from asrd.subtitles.layout import Layout
from asrd.subtitles.lines import set_lines
from asrd.subtitles.timing import Span, shown
from asrd_protocol.model import Segment


def broadcast_cues(segments: Sequence[Segment], layout: Layout) -> Iterator[Cue]:
    """The cues of a transcript, in order; word times are used where a segment has them."""
    blocks = list(_blocks(segments, layout))
    spoken = [(block.atoms[0].start, block.atoms[-1].end) for block in blocks]
    for block, span in zip(blocks, shown(spoken, layout), strict=True):
        text = set_lines(block.atoms, layout, block.label)
        whole = Cue(*span, text, speaker=block.atoms[0].speaker)
        yield from _word_by_word(whole, block) if layout.highlight_words else (whole,)


def _blocks(segments: Sequence[Segment], layout: Layout) -> Iterator[Block]:
    labels = Labels(layout.speaker_labels)
    found = list(runs(atoms(segments), layout))
    for number, run in enumerate(found, start=1):
        following = found[number][0].start if number < len(found) else None
        speaker = run[0].speaker
        # Asked twice: whether a run goes on with its own speaker is what the second label depends on.
        yield from cut(run, following, layout, labels.next(speaker), labels.next(speaker))


def _word_by_word(whole: Cue, block: Block) -> Iterator[Cue]:
    """The cue once for each of its words, lit while it is spoken, and with nothing lit in between."""
    now = whole.start
    at = len(block.label.strip())
    for atom in block.atoms:
        begin = whole.text.index(atom.text, at)
        at = begin + len(atom.text)
        start, end = (min(max(now, time), whole.end) for time in (atom.start, atom.end))
        yield from _part(whole, now, start)
        yield from _part(whole, start, end, (begin, at))
        now = end
    yield from _part(whole, now, whole.end)


def _part(whole: Cue, start: int, end: int, lit: Span | None = None) -> Iterator[Cue]:
    if start < end:
        yield Cue(start, end, whole.text, lit, whole.speaker)
