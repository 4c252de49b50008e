"""Timers of the core, on the clock of the event loop. A new one takes the place of the last one of its kind."""

import asyncio
from collections.abc import Callable

from asrd_supervisor.core.actions import SetTimer
from asrd_supervisor.core.events import TimerFired


class Timers:
    """Turns ``SetTimer`` into ``TimerFired``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, post: Callable[[TimerFired], None]) -> None:
        self._loop = loop
        self._post = post
        self._handles: dict[tuple[str, int, str], asyncio.TimerHandle] = {}

    def set(self, timer: SetTimer) -> None:
        """Start it."""
        key = (timer.pool, timer.slot, timer.kind)
        if last := self._handles.get(key):
            last.cancel()
        fired = TimerFired(timer.pool, timer.slot, timer.kind, timer.number)
        self._handles[key] = self._loop.call_later(timer.delay, self._post, fired)

    def close(self) -> None:
        """Drop all."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()
