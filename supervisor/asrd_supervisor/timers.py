"""Timers and alarms of the core, on the clock of the event loop. A new one takes the place of the last of its kind."""

import asyncio
from collections.abc import Callable

from asrd_supervisor.core.actions import SetAlarm, SetTimer
from asrd_supervisor.core.events import AlarmRang, Event, TimerFired


class Timers:
    """Turns ``SetTimer`` into ``TimerFired``, and ``SetAlarm`` into ``AlarmRang``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, post: Callable[[Event], None]) -> None:
        self._loop = loop
        self._post = post
        self._handles: dict[tuple[str, int, str], asyncio.TimerHandle] = {}
        self._alarms: dict[str, dict[tuple[str, int], asyncio.TimerHandle]] = {}

    def set(self, timer: SetTimer | SetAlarm) -> None:
        """Start it."""
        match timer:
            case SetTimer(pool, slot, kind, number, delay):
                key = (pool, slot, kind)
                if last := self._handles.get(key):
                    last.cancel()
                self._handles[key] = self._loop.call_later(delay, self._post, TimerFired(pool, slot, kind, number))
            case SetAlarm(job, kind, number, delay):
                alarms = self._alarms.setdefault(job, {})
                if last := alarms.get((kind, number)):
                    last.cancel()
                alarms[kind, number] = self._loop.call_later(delay, self._post, AlarmRang(job, kind, number))

    def forget(self, job: str) -> None:
        """A job has ended: its alarms do not ring."""
        for handle in self._alarms.pop(job, {}).values():
            handle.cancel()

    def close(self) -> None:
        """Drop all."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()
        for job in list(self._alarms):
            self.forget(job)
