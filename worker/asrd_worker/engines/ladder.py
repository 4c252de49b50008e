"""How many windows fit into memory at once: halved when they did not, and tried again only after a while.

What CTranslate2 cannot allocate leaves the process as it was, so the step goes on where it stopped. One window is the
last rung in here; a smaller compute type, another device or another process are for the supervisor to choose.
"""

CALM = 50
"""Jobs that filled a batch without trouble, until twice as many windows are tried again: whoever had the memory may be
gone."""

CALMEST = 800
"""Each time that this was in vain it is waited twice as long, up to so many jobs."""


class Ladder:
    """What one worker knows about its memory. It outlives jobs and ends with the process."""

    def __init__(self, calm: int = CALM) -> None:
        self._calm = calm
        self._limit: int | None = None
        self._quiet = 0
        self._trying = False
        self.begin(1)

    @property
    def size(self) -> int:
        """Windows at once, now."""
        return self._asked if self._limit is None else min(self._asked, self._limit)

    @property
    def fell(self) -> bool:
        """Whether the job at hand has gone a rung down."""
        return self._fell

    @property
    def warnings(self) -> list[str]:
        """What the job at hand was not given as asked."""
        if self._least == self._asked:
            return []
        return [f"batch size {self._asked} did not fit into memory, {self._least} was used"]

    def begin(self, asked: int) -> None:
        """A job wants so many windows at once."""
        self._asked = asked
        self._least = self.size
        self._fell = self._filled = False

    def fitted(self, windows: int) -> None:
        """So many at once went well."""
        self._filled = self._filled or windows == self._limit

    def halve(self, windows: int) -> bool:
        """So many at once did not fit. False when it was one: there is no rung below."""
        if self._trying:
            self._calm = min(CALMEST, 2 * self._calm)
        self._quiet, self._trying = 0, False
        self._limit = self._least = max(1, windows // 2)
        self._fell = True
        return windows > 1

    def end(self) -> None:
        """The job at hand has a result."""
        if self._limit is None or self._fell or not self._filled:
            return
        self._trying = False
        self._quiet += 1
        if self._quiet >= self._calm:
            self._quiet, self._trying = 0, True
            self._limit *= 2
