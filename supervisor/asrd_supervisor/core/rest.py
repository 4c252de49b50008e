"""When a pool may send its workers home because nothing is to be done, and when it has to have them back."""

NEVER = -1.0
"""As the time after which a pool rests."""

LEAST = 1.0
"""Seconds without a step that it takes in any case: a job that is between two of its steps is not over."""


class Rest:
    """The idle time of one pool. It says when; what follows is the staffing's business."""

    def __init__(self, ttl: float) -> None:
        """``ttl``: seconds without a step, or ``NEVER``."""
        self._ttl = ttl if ttl == NEVER else max(LEAST, ttl)
        self._counts_when_warm = ttl > 0
        self._used = False
        self._armed = False
        self._since: float | None = None
        self.number = 0
        """Of the timer that rings next; another one is stale."""
        self.asleep = False
        """The seats are empty, or become so, and nobody misses the workers."""
        self.waking = False
        """It was asleep, and nobody is warm again yet."""

    def idle_s(self, now: float) -> float:
        """Seconds since there was something to do; 0 while there is."""
        return 0.0 if self._since is None else max(0.0, now - self._since)

    def look(self, now: float, *, work: bool) -> None:
        """Whether something waits or runs now. What was started on purpose is not idle before it was used."""
        if self.asleep:
            return
        if work:
            self._used, self._since = True, None
        elif self._used and self._since is None:
            self._since = now

    def warmed(self) -> None:
        """A worker is ready: from now on it costs something to keep it."""
        self.waking = False
        self._used = self._used or self._counts_when_warm

    def fall_asleep(self) -> None:
        """Nobody is wanted from now on."""
        self.asleep, self.waking, self._used, self._since = True, False, False, None

    def wake(self) -> None:
        """Workers are wanted, and the idle time begins anew."""
        self._used = self._counts_when_warm and not self.asleep
        self.waking = self.waking or self.asleep
        self.asleep, self._since = False, None

    def due(self, now: float) -> bool:
        """The idle time is over."""
        return self._ttl != NEVER and self._since is not None and self._since + self._ttl <= now + 1e-9

    def delay(self, now: float) -> float | None:
        """Seconds after which a timer with ``number`` shall ring; None when there is one, or no need."""
        if self._ttl == NEVER or self._armed or self._since is None or self.due(now):
            return None
        self._armed = True
        self.number += 1
        return self._since + self._ttl - now

    def rang(self, number: int) -> None:
        """A timer has rung."""
        if number == self.number:
            self._armed = False
