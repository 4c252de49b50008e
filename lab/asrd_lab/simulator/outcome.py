"""What came of it: the lives of all workers, and what the core said."""

from typing import Any

import msgspec

DIAGNOSES = frozenset({"slow", "lockstep", "quality", "leak", "rss", "vram"})
"""Reasons for which the core replaces a worker because of what it has measured of it."""

EXPERIMENT = "experiment"
"""The reason for which the core replaces a worker to find out why all of them are slow."""


class Life(msgspec.Struct):
    """One worker that ever sat."""

    seat: str
    onset: int | None = None
    """Its first sick job, by number from 0; None for a healthy one."""
    jobs: int = 0
    suspected: int | None = None
    """Jobs it had done when it was first suspected of being slow."""
    condemned: int | None = None
    """Jobs it had done when its replacement was decided on, and the seconds since the start."""
    condemned_at: float | None = None
    reason: str = ""

    @property
    def false_alarm(self) -> bool:
        """It was suspected, or replaced for a diagnosis, while nothing was wrong with it."""
        return self.needless or (self.suspected is not None and self._healthy_after(self.suspected))

    @property
    def needless(self) -> bool:
        """It was replaced for a diagnosis while nothing was wrong with it."""
        return self._diagnosed is not None and self.reason != EXPERIMENT and self._healthy_after(self._diagnosed)

    @property
    def experiment(self) -> bool:
        """It was replaced to see whether that helps, while nothing was wrong with it."""
        return self.reason == EXPERIMENT and self.condemned is not None and self._healthy_after(self.condemned)

    @property
    def delay(self) -> int | None:
        """Sick jobs that it did until its replacement was decided on; None if it was not, or before."""
        if self.onset is None or self._diagnosed is None or self._healthy_after(self._diagnosed):
            return None
        return self._diagnosed - self.onset

    @property
    def _diagnosed(self) -> int | None:
        return self.condemned if self.reason in {*DIAGNOSES, EXPERIMENT} else None

    def _healthy_after(self, jobs: int) -> bool:
        """Whether nothing could be noticed after so many jobs. The clip notices what is wrong before the first one."""
        return self.onset is None or jobs < self.onset + (self.reason != "quality")


class Alert(msgspec.Struct, frozen=True):
    """Something that the core announced about its workers."""

    at: float
    topic: str
    fields: dict[str, Any]


class Outcome(msgspec.Struct):
    """One pool, played to its end."""

    lives: dict[str, Life] = {}
    """By seat, in order of appearance."""
    alerts: list[Alert] = []
    jobs: int = 0
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """What a common slow-down was blamed on first: ``workers`` or ``host``; empty for nothing."""
        causes = [alert.fields.get("cause") for alert in self.alerts if alert.topic == "pool.slow"]
        return next((cause for cause in causes if cause in ("workers", "host")), "")
