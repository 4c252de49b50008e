"""The workers that were replaced, and whether it helped.

Replacing a worker that is slow because of its host, or of its work, helps nobody. So the first jobs of the replacement
are held to the last ones of the worker that went, on its scale.
"""

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

from asrd_protocol.model import Work
from asrd_supervisor.core.health.drift import FIRST, Kind, Track, common_slowdown
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.seats import Seat

LATENCY = frozenset({"slow", "lockstep", "experiment"})
"""Reasons whose replacements must make the pool faster."""

GAIN = 0.15
"""A replacement that is not so much faster has not helped."""

KEPT = 200


class Record:
    """One replacement."""

    def __init__(self, at: float, seat: Seat, verdict: Verdict, jobs_done: int, age: float) -> None:
        self.at = at
        self.seat = seat
        self.reason = verdict.reason
        self.numbers: dict[str, Any] = verdict.numbers
        self.jobs_done = jobs_done
        self.age = age
        self.replacement: Seat | None = None
        self.reload_s: float | None = None
        self.before: float | None = None
        self.siblings: float | None = None
        self.after: float | None = None
        self.slowdown: float | None = None
        """How slow it was in the end by its own start."""
        self._track: Track | None = None
        self._base = 0.0
        self._first: list[float] = []

    @property
    def _of_all(self) -> bool:
        """What all workers have in common was the reason, so it is not taken out."""
        return self.reason in ("lockstep", "experiment")

    def remember(self, track: Track, siblings: Sequence[Track]) -> None:
        """How the worker was in the end."""
        base = track.own_base if self._of_all else track.last_base
        if base is None or not track.ratios:
            return
        self._track, self._base = track, base
        self.slowdown = track.slowdown
        self.before = math.exp(median(track.ratios if self._of_all else track.relative) - base)
        self.siblings = common_slowdown(siblings) if siblings else None

    def note(self, kind: Kind, work: Work, wall: float, common: float) -> bool:
        """A job of the replacement; True when it is the one that makes the comparison possible."""
        if self.after is not None or self._track is None:
            return False
        ratio = self._track.ratio(kind, work, wall, None)
        if ratio is None:
            return False
        self._first.append(ratio - self._base - (0.0 if self._of_all else common))
        if len(self._first) < FIRST:
            return False
        self.after = math.exp(median(self._first))
        return True

    @property
    def effective(self) -> bool | None:
        """Whether the pool is faster for it; None as long as nobody knows, or if that was not the reason."""
        if self.reason not in LATENCY or self.before is None or self.after is None:
            return None
        return self.after <= (1 - GAIN) * self.before


class History:
    """The last replacements of a pool, oldest first."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=KEPT)

    def add(self, record: Record, replacement: tuple[Seat, float] | None) -> None:
        """A worker goes; with start-first its replacement is there already, and the seconds that it took to start."""
        self.records.append(record)
        if replacement:
            record.replacement, record.reload_s = replacement

    def born(self, seat: Seat, took: float) -> Record | None:
        """A worker is ready. If one went before and nobody came for it yet, this is its replacement."""
        waiting = (record for record in self.records if record.replacement is None and record.seat != seat)
        if record := next(waiting, None):
            record.replacement, record.reload_s = seat, took
        return record
