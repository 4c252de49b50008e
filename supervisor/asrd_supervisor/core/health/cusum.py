"""The cumulative sum of what exceeds the tolerable: small and lasting shows, large and short does not.

After E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), one-sided, with each value clipped.
"""

from typing import Literal

Mood = Literal["ok", "suspect", "degraded"]

CLIP = 0.7
"""About log 2: one job counts at most as twice as slow, so that no single one can raise an alarm."""

CALM = 0.2
"""Share of the threshold below which a suspicion is dropped."""

MOST = 1.5
"""Of the threshold: a long trouble that is over must not be remembered for as long as it lasted."""


class Cusum:
    """One sum and what it says. Values are log ratios: 0 is as it should be, 0.69 is twice as slow."""

    def __init__(self, slack: float, threshold: float, least: int) -> None:
        self._slack = slack
        self._threshold = threshold
        self._least = least
        self.reset()

    def reset(self) -> None:
        """Nothing is suspected any more. What was counted stays counted."""
        self.sum = 0.0
        self.mood: Mood = "ok"

    def add(self, value: float, count: int) -> None:
        """One more value; it is the worker's ``count``-th one."""
        reached = self.sum + max(-CLIP, min(CLIP, value)) - self._slack
        self.sum = max(0.0, min(reached, MOST * self._threshold))
        if self.sum >= self._threshold and count >= self._least:
            self.mood = "degraded"
        elif self.sum >= self._threshold / 2 and self.mood == "ok":
            self.mood = "suspect"
        elif self.sum <= self._threshold * CALM:
            self.mood = "ok"
