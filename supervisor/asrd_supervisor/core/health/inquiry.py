"""A question to two workers: how long does the clip take you now?

One of them is under suspicion, the other one is asked because whatever the host does to one it does to both.
"""

from typing import Literal

from asrd_supervisor.core.seats import Seat

RUNS = 3
"""How often the clip is transcribed."""

PATIENCE_S = 900.0
"""Both must have answered by then: a worker is asked when it has done the job at hand."""

_SHORTEST = 1e-6
"""Seconds. Nothing takes none, and it is divided by."""


class Inquiry:
    """One question, and the answers so far."""

    def __init__(
        self,
        about: Literal["worker", "pool"],
        suspect: Seat,
        reference: Seat | None,
        now: float,
        *,
        again: bool = False,
    ) -> None:
        self.about = about
        self.again = again
        """Both were asked before."""
        self.suspect = suspect
        self.reference = reference
        self.since = now
        self.took: dict[Seat, float] = {}
        """Median seconds of the clip."""
        self.ratio: dict[Seat, float] = {}
        """The same as a multiple of its first time."""

    def wants(self, seat: Seat) -> bool:
        """Whether this worker has still to answer."""
        return seat in (self.suspect, self.reference) and seat not in self.took

    def note(self, seat: Seat, took: float, ratio: float | None) -> None:
        """A worker has answered."""
        self.took[seat] = max(took, _SHORTEST)
        self.ratio[seat] = ratio or 1.0

    @property
    def complete(self) -> bool:
        """Both have answered."""
        return not self.wants(self.suspect) and (self.reference is None or not self.wants(self.reference))

    @property
    def difference(self) -> float:
        """How much slower the suspect is than the reference, as a multiple."""
        return self.took[self.suspect] / self.took[self.reference] if self.reference else 1.0

    @property
    def excess(self) -> float:
        """How much slower the suspect is than the reference, or got than it did, as a multiple.

        The first times of both were taken once, under circumstances of their own; what they take now is comparable at
        once, but for workers on unlike cores.
        """
        became = self.ratio[self.suspect] / (self.ratio[self.reference] if self.reference else 1.0)
        return max(became, self.difference)
