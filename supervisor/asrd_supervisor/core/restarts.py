"""When a seat whose worker died gets the next one. Eight lines of Erlang/OTP's supervisor, with a back-off."""

import random

from asrd_supervisor.core.policy import RestartPolicy


class Restarts:
    """The deaths of one seat within the period."""

    def __init__(self, policy: RestartPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._deaths: list[float] = []

    def died(self, now: float, *, booting: bool) -> float | None:
        """Seconds until the next start, or None when there were too many deaths.

        The first restart of a worker that had been warm is immediate. One that died while booting waits at least a
        second: whatever broke it is probably still there.
        """
        self._deaths = [at for at in self._deaths if now - at < self._policy.period] + [now]
        count = len(self._deaths)
        if count > self._policy.intensity:
            return None
        if count == 1 and not booting:
            return 0.0
        exponent = max(0, count - 2)
        return min(self._policy.delay_max, 2.0**exponent * self._rng.uniform(1.0, 1.1))

    def forgive(self) -> None:
        """An operator has asked for another try: count from zero."""
        self._deaths.clear()
