"""The segments of a job on their way to one caller: all of them, in order, as fast as it reads.

A job that has said much before somebody asks, or whose foremost chunk is the last to end, has thousands of segments to
tell at once: more than a socket takes. So they go in portions, and a portion that is not taken is offered again.
"""

import asyncio
from collections.abc import Callable

from asrd_supervisor.sources import Body

PORTION = 200
"""Segments between two looks at everything else."""

PAUSE_S = 0.02
"""Until the first new try to send; each further one waits twice as long, up to a second."""

PATIENCE_S = 10.0
"""After the end of the job, for a caller that reads nothing."""

Send = Callable[[int, int, Body], bool]
"""Index, attempt and segment; False when the caller does not take it now."""


class Feed:
    """Of one caller that follows one job."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send, since: int) -> None:
        """``since``: the first segment that is wanted."""
        self._loop = loop
        self._send = send
        self._since = self._next = since
        self._shown: list[Body] = []
        self._attempt = 0
        self._pause = PAUSE_S
        self._timer: asyncio.Handle | None = None
        self._end: Callable[[], object] | None = None
        self._moved_at = 0.0

    def show(self, shown: list[Body], attempt: int) -> None:
        """These segments may be seen now; fewer than before when some are decoded anew."""
        self._shown, self._attempt = shown, attempt
        self._next = max(self._since, min(self._next, len(shown)))
        if self._timer is None:
            self._go_on()

    def finish(self, end: Callable[[], object]) -> None:
        """There will be no more; ``end`` is called when all are sent, or nobody takes them."""
        self._shown = list(self._shown)  # some may be decoded anew
        self._end, self._moved_at = end, self._loop.time()
        if self._timer is None:
            self._go_on()

    def close(self) -> None:
        """The caller does not follow the job any more."""
        if self._timer:
            self._timer.cancel()
        self._shown = []

    def _go_on(self) -> None:
        self._timer = None
        stop = min(len(self._shown), self._next + PORTION)
        while self._next < stop:
            if not self._send(self._next, self._attempt, self._shown[self._next]):
                self._wait()
                return
            self._next += 1
            self._pause = PAUSE_S
            self._moved_at = self._loop.time()
        if self._next < len(self._shown):
            self._timer = self._loop.call_soon(self._go_on)
        elif self._end and self._end() is False:
            self._wait()

    def _wait(self) -> None:
        if self._end and self._loop.time() - self._moved_at > PATIENCE_S:
            self._end()
            return
        self._timer = self._loop.call_later(self._pause, self._go_on)
        self._pause = min(1.0, 2 * self._pause)
