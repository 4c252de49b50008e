"""What is known of the health of one worker."""

from collections import deque
from statistics import median
from typing import Literal

from asrd_supervisor.core.health.canary import Canary
from asrd_supervisor.core.health.drift import FIRST, Track
from asrd_supervisor.core.health.history import Record
from asrd_supervisor.core.health.memory import Memory
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Verdict

Condition = Literal["unknown", "ok", "suspect", "degraded", "wrong"]


class Share:
    """How much of the time of its jobs a worker has spent on a core."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=FIRST)

    def note(self, cpu_s: float, wall_s: float) -> None:
        """Of one job."""
        if wall_s <= 0:
            return
        self._last.append(cpu_s / wall_s)
        if len(self._first) < FIRST:
            self._first.append(cpu_s / wall_s)

    @property
    def first(self) -> float | None:
        """While it was young; above 1 with several threads."""
        return median(self._first) if len(self._first) == FIRST else None

    @property
    def now(self) -> float | None:
        """Of its last jobs."""
        return median(self._last) if self._last else None


class Vitals:
    """Everything that a diagnosis of one worker is based on."""

    def __init__(self, pace: Track, memory: Memory, canary: Canary) -> None:
        self.pace = pace
        self.memory = memory
        self.canary = canary
        self.share = Share()
        self.predecessor: Record | None = None
        """The worker that it came for, if that one was replaced."""
        self.finding: Verdict | None = None
        """Slowness that was confirmed, or nonsense that was heard."""

    @classmethod
    def unknown(cls, policy: PoolPolicy) -> "Vitals":
        """Of a worker that is not ready yet."""
        return cls(Track(policy.drift), Memory(policy.recycle), Canary())

    @property
    def condition(self) -> Condition:
        """In one word."""
        if self.finding:
            return "wrong" if self.finding.reason == "quality" else "degraded"
        mood = self.pace.mood or "unknown"
        return "suspect" if mood == "degraded" else mood  # until the clip has confirmed it
