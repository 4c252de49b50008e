"""A judge of turns: start-time fair queueing gives each rival that has work its share, within the size of two steps.

While one rival waits without a break, no other one is ahead of it by more than its own largest step and the largest of
anybody, whatever it does in between: coming and going included. (Of anybody, because who comes anew is put where the
others stand on average, and one of them may just have had a large step.) That bound is what the law is written from,
and not the tags of the core.
"""

from collections import defaultdict
from collections.abc import Hashable


class Shares:
    """What some rivals were given of one good, by their weights."""

    def __init__(self) -> None:
        self._given: defaultdict[Hashable, float] = defaultdict(float)
        self._largest: defaultdict[Hashable, float] = defaultdict(float)
        self._waiting: dict[Hashable, int] = {}
        self._least: dict[Hashable, dict[Hashable, float]] = {}
        """For each that waits: by how much each other one was ahead of it, at the least, since it began to wait."""

    def comes(self, rival: Hashable, cost: float) -> None:
        """One more of its steps waits."""
        self._largest[rival] = max(self._largest[rival], cost)
        if not self._waiting.get(rival):
            self._waiting[rival] = 0
            self._least[rival] = {other: self._ahead(other, rival) for other in list(self._given)}
            self._least[rival]["nobody"] = -self._given[rival]
        self._waiting[rival] += 1

    def goes(self, rival: Hashable) -> None:
        """One of its steps does not wait any more."""
        self._waiting[rival] -= 1

    def gets(self, rival: Hashable, cost: float) -> None:
        """It has a turn; all that wait must bear it."""
        self._given[rival] += cost
        for other, count in self._waiting.items():
            if not count or other == rival:
                continue
            since = self._least[other].setdefault(rival, self._least[other]["nobody"])
            gain = self._ahead(rival, other) - since
            bound = self._largest[rival] + max(self._largest.values())
            assert gain <= bound + 1e-6, f"{rival} is ahead of {other} by {gain}"
        if self._waiting.get(rival):
            least = self._least[rival]
            for other in least:
                least[other] = min(least[other], self._ahead(other, rival))

    def gives_back(self, rival: Hashable, cost: float) -> None:
        """A turn that it had does not count as one any more. What it had to bear until now, it had to bear."""
        self._given[rival] -= cost
        for other in self._least.get(rival, {}):
            self._least[rival][other] += cost

    def _ahead(self, one: Hashable, other: Hashable) -> float:
        return (self._given[one] if one != "nobody" else 0.0) - self._given[other]
