"""The beat of the loop: its lag, the watchdog, and the line that `systemctl status` shows.

The watchdog is fed from here and from nowhere else. A loop that does not turn does not feed it, and neither does one
whose journal waits for a disk that does not answer: nothing would be accepted, and nothing end.
"""

import asyncio
import time
from collections import deque

from asrd_supervisor.control import Control
from asrd_supervisor.core.supervisor import Supervisor
from asrd_supervisor.ledger import Ledger
from asrd_supervisor.systemd import Notifier

BEAT = 0.25
"""Seconds."""

DISK_S = 10.0
"""Seconds for which a disk may take its time."""

GRACE = 60.0
"""Seconds of patience that are asked of the manager at a time, while starting and while stopping."""

_MINUTE = int(60 / BEAT)


class Pulse:
    """One timer for everything that is due now and then."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        core: Supervisor,
        ledger: Ledger,
        control: Control,
        notifier: Notifier,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._core = core
        self._control = control
        self._notifier = notifier
        self._lags: deque[float] = deque(maxlen=_MINUTE)
        self._due = 0.0
        self._fed = 0.0
        self._asked = 0.0
        self._ready = False
        self._told_stopping = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat from now on."""
        self._due = time.monotonic()
        self._beat()

    def stop(self) -> None:
        """The daemon leaves."""
        if self._timer:
            self._timer.cancel()
        if not self._told_stopping:
            self._notifier.stopping()

    def _beat(self) -> None:
        now = time.monotonic()
        self._lags.append(max(0.0, now - self._due))
        self._control.loop_lag = max(self._lags)
        self._tell_the_manager(now)
        self._due = now + BEAT
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _ask_for_time(self, now: float) -> None:
        """Loading a model and finishing jobs may both take longer than the manager's own limits."""
        closing = self._core.jobs.closing
        if closing and not self._told_stopping:
            self._told_stopping = True
            self._notifier.stopping()
        if (closing or not self._ready) and now - self._asked >= GRACE / 6:
            self._asked = now
            self._notifier.extend_timeout(GRACE)

    def _tell_the_manager(self, now: float) -> None:
        status, reason = self._core.status()
        jobs = len(self._core.jobs.active)
        self._notifier.status(f"{status}: {reason}, {jobs} jobs")
        if not self._ready and any(pool.ready for pool in self._core.pools.values()):
            self._ready = True
            self._notifier.ready()
        self._ask_for_time(now)
        interval = self._notifier.watchdog_interval
        if interval is not None and now - self._fed >= interval and self._ledger.busy_s < DISK_S:
            self._fed = now
            self._notifier.watchdog()
