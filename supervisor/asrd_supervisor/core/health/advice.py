"""How many jobs a worker should do, from what was measured: a reload costs time, and so does going on.

Memory sets an upper bound: the budget divided by the growth of each job. Against a slow-down of each job stands the
time of a reload; what costs least in all is the square root of twice the reload by the slow-down of a job, as with
check points (J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17 (1974)).
"""

import math
from collections import deque
from statistics import mean, median

from asrd_supervisor.core.health.history import Record
from asrd_supervisor.core.policy import RecyclePolicy

LEAST, MOST = 10, 10_000
"""Bounds of a sensible answer."""

SEVERAL = 3
"""Workers that must have been seen to the end."""

NOTEWORTHY = 1.05
"""A slow-down over a whole life under which there is none."""


class Advice:
    """Figures of the last workers of a pool."""

    def __init__(self, policy: RecyclePolicy) -> None:
        self._policy = policy
        self._baseline = 0
        self._reloads: deque[float] = deque(maxlen=20)
        self._steps: deque[float] = deque(maxlen=200)
        self._leaks: deque[float] = deque(maxlen=20)
        self._creeps: deque[float] = deque(maxlen=20)

    def note_reload(self, took: float) -> None:
        """Seconds from spawn to ready."""
        self._reloads.append(took)

    def note_baseline(self, size: int) -> None:
        """Bytes of a worker after its warm-up."""
        self._baseline = size

    @property
    def budget(self) -> int:
        """Bytes that a worker may grow by; 0 for any number."""
        return max(self._policy.rss_growth, self._baseline // 2) if self._policy.rss_growth else 0

    def note_step(self, took: float) -> None:
        """Seconds that a step was computed for."""
        if took > 0:
            self._steps.append(took)

    def note_leak(self, slope: float | None) -> None:
        """Bytes a job that a worker grew by; None if nobody knows."""
        if slope is not None:
            self._leaks.append(slope)

    def note_record(self, record: Record) -> None:
        """A worker was replaced, and both are known."""
        if record.slowdown and record.jobs_done:
            lost = record.slowdown - 1.0 if record.slowdown >= NOTEWORTHY else 0.0
            self._creeps.append(lost / record.jobs_done)

    @property
    def reload_s(self) -> float:
        """Of a replacement."""
        return median(self._reloads) if self._reloads else 0.0

    @property
    def leak(self) -> float:
        """Bytes a job."""
        return median(self._leaks) if self._leaks else 0.0

    @property
    def creep(self) -> float:
        """Share by which each job makes the next one slower. An accident of one worker tells nothing of others."""
        return median(self._creeps) if len(self._creeps) >= SEVERAL else 0.0

    @property
    def max_jobs(self) -> int:
        """The best number of jobs for a worker; 0 for any number."""
        bounds = []
        if self.budget and self.leak > 0:
            bounds.append(self.budget / self.leak)
        if self.creep > 0 and self._steps:
            bounds.append(math.sqrt(2 * self.reload_s / (self.creep * mean(self._steps))))
        return max(LEAST, min(MOST, int(min(bounds)))) if bounds else 0
