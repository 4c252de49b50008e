"""Lines: whether atoms fit in the lines of a cue, and where these lines end."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate, pairwise

from asrd.subtitles.atoms import Atom
from asrd.subtitles.layout import Layout
from asrd.subtitles.script import columns, ends_clause, ends_sentence, may_end_phrase

_BALANCED = 4
"""The most lines that are balanced; more are filled one after the other, which is quick for any number."""

_TOO_WIDE = 1000.0
"""What a column over the width costs: any other line end is better."""

_ABOVE = 1.1
"""How much more a wide line costs that is not the last: a shorter upper line hides less of the picture."""

_LABEL_ALONE = 1.0


class Fill:
    """Atoms set in as few lines as they need, one after the other."""

    def __init__(self, layout: Layout, label: str = "") -> None:
        self._limit = layout.max_line_width
        self.ends: list[int] = []
        """How many atoms are in the lines that are full."""
        self._count = 0
        self._column = columns(label.strip())

    def add(self, atom: Atom) -> int:
        """Sets an atom, and says how many lines there are now."""
        space = 1 if (atom.spaced or not self._count) and self._column else 0
        column = self._column + space + atom.width
        if self._limit and self._column and column > self._limit:
            # A label alone in its line counts as one, though no atom is in it.
            self.ends.append(self._count)
            column = atom.width
        self._column = column
        self._count += 1
        return len(self.ends) + 1


def set_lines(block: Sequence[Atom], layout: Layout, label: str = "") -> str:
    """The text of a cue: as few lines as can be, as even as can be, ending at punctuation where there is some.

    ``label``, with its space, is at the start of the first line.
    """
    fill = Fill(layout, label)
    for atom in block:
        fill.add(atom)
    count = min(len(fill.ends) + 1, layout.max_line_count or len(fill.ends) + 1)
    ends = _balanced(block, layout, label, count) if 1 < count <= _BALANCED else fill.ends[: count - 1]
    lines = [_line(block[begin:end]) for begin, end in pairwise([0, *ends, len(block)])]
    return "\n".join([(label + lines[0]).rstrip(" "), *lines[1:]])


def _line(atoms: Sequence[Atom]) -> str:
    return "".join(" " + atom.text if atom.spaced and i else atom.text for i, atom in enumerate(atoms))


def _balanced(block: Sequence[Atom], layout: Layout, label: str, count: int) -> list[int]:
    """Where ``count`` lines end, but for the last one, so that they look best."""
    cost = _cost_of_lines(block, layout)

    @cache
    def best(end: int, lines: int) -> tuple[float, tuple[int, ...]]:
        """The least cost of the first atoms in so many lines, and where these end."""
        if lines == 1:
            return cost(0, end, columns(label)), ()
        first = lines - 2 if label else lines - 1  # a label may have the first line for itself
        options = ((best(at, lines - 1), at) for at in range(first, end))
        return min((before + cost(at, end, 0), (*ends, at)) for (before, ends), at in options)

    return list(best(len(block), count)[1])


def _cost_of_lines(block: Sequence[Atom], layout: Layout) -> Callable[[int, int, int], float]:
    """What a line from one atom to before another one costs, behind so many columns of a label."""
    borders = list(accumulate((atom.spaced + atom.width for atom in block), initial=0))
    limit = layout.max_line_width or borders[-1]

    def cost(begin: int, end: int, ahead: int) -> float:
        if begin == end:
            return _LABEL_ALONE
        width = ahead + borders[end] - borders[begin] - block[begin].spaced
        cost = (width / limit) ** 2 + _TOO_WIDE * max(0, width - limit)
        return cost if end == len(block) else cost * _ABOVE + _roughness(block[end - 1], block[end])

    return cost


def _roughness(last: Atom, following: Atom) -> float:
    """What it costs the reader when a line ends between these two."""
    if ends_sentence(last.text):
        return 0.0
    if ends_clause(last.text):
        return 0.1
    return 0.3 if may_end_phrase(last.text, following.text) else 0.6
