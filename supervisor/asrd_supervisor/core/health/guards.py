"""What a diagnosis must not do: replace workers faster than anybody could see whether it helps.

Only replacements that the daemon itself finds necessary are held back. ``max_jobs``, ``max_age`` and operators are
obeyed: whoever wrote the figure wants it.
"""

from collections import deque

from asrd_supervisor.core.policy import GuardPolicy

MOST_S = 3600.0
"""The longest that slow workers have to wait because replacing others did not help."""


class Guards:
    """The brakes of one pool."""

    def __init__(self, policy: GuardPolicy, workers: int) -> None:
        self._policy = policy
        self._budget = policy.budget or workers
        self._recycled: deque[float] = deque()
        self._last = float("-inf")
        self._patience = 1.0

    def objection(self, now: float, jobs_done: int, age: float, *, slow: bool) -> str:
        """Why this worker cannot be replaced now, because it is ``slow`` or for another reason; empty if it can."""
        policy = self._policy
        if jobs_done < policy.min_jobs or age < policy.min_age:
            return "young"
        patience = self._patience if slow else 1.0
        if now - self._last < max(policy.cooldown, min(policy.cooldown * patience, MOST_S)):
            return "cooldown"
        return "budget" if self.exhausted(now) else ""

    def exhausted(self, now: float) -> bool:
        """Whether the budget is used up: that goes for what is urgent, too."""
        while self._recycled and now - self._recycled[0] > self._policy.window:
            self._recycled.popleft()
        return len(self._recycled) >= self._budget

    def note(self, now: float) -> None:
        """A worker was replaced because of a diagnosis."""
        self._recycled.append(now)
        self._last = now

    def learn(self, *, effective: bool) -> None:
        """It has helped, or not: then the next one has to wait twice as long."""
        self._patience = 1.0 if effective else self._patience * 2
