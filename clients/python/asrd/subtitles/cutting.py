"""Where cues begin and end: of all ways to cut a run of atoms, the one that is best to read."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import msgspec

from asrd.subtitles.atoms import Atom
from asrd.subtitles.cue import milliseconds
from asrd.subtitles.layout import Layout
from asrd.subtitles.lines import Fill
from asrd.subtitles.script import ends_clause, ends_sentence, may_end_phrase

_MOST = 200
"""Atoms in a cue for which there is no other limit; it keeps the search short."""

_PER_CUE = 1.0
_FULL = 1.0
_PAUSE_INSIDE = 2.0
_TOO_SHORT = 6.0
_IN_PHRASE = 5.0
_IN_CLAUSE = 4.0
_AT_SEGMENT = 2.5
_AT_CLAUSE = 1.5


class Block(msgspec.Struct, frozen=True):
    """The atoms of one cue, and the label in front of them."""

    atoms: Sequence[Atom]
    label: str


def runs(found: Sequence[Atom], layout: Layout) -> Iterator[list[Atom]]:
    """The atoms between which no cue must end: one speaker, no long pause."""
    run: list[Atom] = []
    for atom in found:
        if run and (atom.speaker != run[-1].speaker or _pauses(run[-1], atom, layout)):
            yield run
            run = []
        run.append(atom)
    if run:
        yield run


def cut(run: Sequence[Atom], following: int | None, layout: Layout, first_label: str, label: str) -> list[Block]:
    """The cheapest way to divide a run among cues.

    Args:
        following: when the next run begins, in milliseconds; None when there is none.
        first_label: for the first cue; ``label`` is for the others.
    """
    costs = _Costs(run, following, layout)
    best = [0.0] + [float("inf")] * len(run)
    begins = [0] * (len(run) + 1)
    for begin in range(len(run)):
        for end in _ends(run, begin, layout, label if begin else first_label):
            cost = best[begin] + costs.of(begin, end)
            if cost < best[end]:
                best[end], begins[end] = cost, begin
    borders = [len(run)]
    while borders[-1]:
        borders.append(begins[borders[-1]])
    cuts = pairwise(reversed(borders))
    return [Block(run[begin:end], label if begin else first_label) for begin, end in cuts]


def _pauses(before: Atom, after: Atom, layout: Layout) -> bool:
    return 0 < milliseconds(layout.pause) < after.start - before.end


def _ends(run: Sequence[Atom], begin: int, layout: Layout, label: str) -> Iterator[int]:
    """Before which atoms a cue may end that begins with this one. It always has one atom."""
    fill = Fill(layout, label)
    latest = run[begin].start + milliseconds(layout.max_subtitle_duration or float(1 << 40))
    for end in range(begin + 1, min(len(run), begin + (layout.max_words_per_line or _MOST)) + 1):
        atom = run[end - 1]
        fits = fill.add(atom) <= (layout.max_line_count or _MOST) and atom.end <= latest
        if end > begin + 1 and not fits:
            return
        yield end


class _Costs:
    """What a cue costs the reader; the figures are tastes, tried on real transcripts, and have no unit."""

    def __init__(self, run: Sequence[Atom], following: int | None, layout: Layout) -> None:
        self._shortest = milliseconds(layout.min_subtitle_duration)
        self._starts = [atom.start for atom in run]
        self._starts.append(run[-1].end + self._shortest if following is None else following)
        self._widths = list(accumulate((atom.spaced + atom.width for atom in run), initial=0))
        self._capacity = (layout.max_line_width or 0) * (layout.max_line_count or 0)
        # How much of a pause there is between an atom and the next one: 1 is a pause that would end a cue.
        pause = milliseconds(layout.pause)
        silences = [min((b.start - a.end) / pause, 1.0) if pause else 0.0 for a, b in pairwise(run)]
        self._silences = list(accumulate(silences, initial=0.0))
        self._borders = [
            _roughness(*pair) * (1 - silence) for pair, silence in zip(pairwise(run), silences, strict=True)
        ]
        self._borders.append(0.0)

    def of(self, begin: int, end: int) -> float:
        """The cost of one cue."""
        cost = _PER_CUE + self._borders[end - 1] + _PAUSE_INSIDE * (self._silences[end - 1] - self._silences[begin])
        if self._capacity:
            cost += _FULL * ((self._widths[end] - self._widths[begin]) / self._capacity) ** 2
        lacking = self._shortest - (self._starts[end] - self._starts[begin])
        return cost + _TOO_SHORT * lacking / self._shortest if lacking > 0 else cost


def _roughness(last: Atom, following: Atom) -> float:
    """What it costs when a cue ends between these two, and no pause is there."""
    if ends_sentence(last.text):
        return 0.0
    if ends_clause(last.text):
        return _AT_CLAUSE
    if last.closes_segment:
        return _AT_SEGMENT
    return _IN_CLAUSE if may_end_phrase(last.text, following.text) else _IN_PHRASE
