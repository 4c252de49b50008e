"""What the workers of a pool were asked to do, and what became of it, in sums."""

from collections import Counter, deque

from asrd_protocol.model import Work
from asrd_supervisor.core.health.trend import mann_kendall, theil_sen

CERTAIN = 0.01
"""Probability that a queue without a trend looks as if it grew."""


class Tally:
    """Sums since the daemon started."""

    def __init__(self) -> None:
        self.steps = self.windows = self.attempts = 0
        self.beam_steps = self.sample_steps = 0
        self.batches = self.batch_rows = self.batch_room = 0
        self.faults: Counter[str] = Counter()
        """Steps without a result from workers that live, by fault code."""
        self._queue: deque[tuple[float, float]] = deque(maxlen=24)

    def note_work(self, work: Work) -> None:
        """A step was done."""
        self.steps += 1
        self.windows += work.windows
        self.attempts += work.attempts
        self.beam_steps += work.beam_steps
        self.sample_steps += work.sample_steps
        self.batches += work.batches
        self.batch_rows += work.batch_rows
        self.batch_room += work.batch_room

    def note_queue(self, now: float, work: float) -> None:
        """So many predicted seconds of work wait."""
        self._queue.append((now, work))

    @property
    def fallbacks(self) -> float:
        """Share of decodings that were done again at a higher temperature."""
        return max(0.0, 1 - self.windows / self.attempts) if self.attempts else 0.0

    @property
    def sampled(self) -> float:
        """Share of the decoding steps that were spent on them."""
        steps = self.beam_steps + self.sample_steps
        return self.sample_steps / steps if steps else 0.0

    @property
    def batch_efficiency(self) -> float | None:
        """Windows in batches, of those that there was room for; None where nothing is decoded in batches."""
        return self.batch_rows / self.batch_room if self.batch_room else None

    @property
    def queue_growth(self) -> float:
        """Seconds of work a second that the queue grows by, if it does for certain; 0.0 if not."""
        if len(self._queue) < 12:
            return 0.0
        waiting = [work for _, work in self._queue]
        if mann_kendall(waiting) >= CERTAIN:
            return 0.0
        every = (self._queue[-1][0] - self._queue[0][0]) / (len(self._queue) - 1)
        return max(0.0, theil_sen(waiting) / every) if every else 0.0
