"""All workers of a pool are slow: is it their age, or the host?

If the host tells of its trouble, or the workers wait for a core, it is the host. If not, only an experiment can tell:
the oldest worker is replaced, and its replacement and an old one are given the built-in clip.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

from asrd_supervisor.core import actions as do
from asrd_supervisor.core.health.drift import Drift, common_slowdown
from asrd_supervisor.core.health.history import LATENCY
from asrd_supervisor.core.health.host import Host
from asrd_supervisor.core.health.inquiry import Inquiry
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot

STATE = 1.2
"""How much slower than a fresh worker an old one must be, for its age to be the cause."""

TRUCE_S = 30.0
"""After the host was found to be the cause, while it tells of its trouble."""

HOUR_S = 3600.0
"""Between two experiments, and how long slow workers are left alone when replacing them does not help."""

LASTING = 10
"""Rounds of jobs for which all workers must have been slow, for an experiment;"""

LASTING_ABRUPT = 60
"""and if it came over all of them at the same time: that is the host, mostly, and it passes."""

NOTABLE = 10
"""Jobs that could not be judged, after which it is said that the host is busy."""

SAID_AGAIN_S = 600.0
"""Between two announcements of the same trouble."""

HELD_UP = 0.5
"""Share of the slow-down that must come from lost CPU time, for the host to be the cause."""

COMPUTING = 0.5
"""Cores that a worker must have used while it was young: one that waits for a GPU says nothing about the CPU."""


class Lockstep:
    """What the workers of one pool have in common."""

    def __init__(self, policy: PoolPolicy, drift: Drift, host: Host) -> None:
        self._policy = policy
        self._drift = drift
        self._host = host
        self._experiment_at = self._told_at = float("-inf")
        self._disturbed_jobs = 0
        self.ages = False
        """An experiment has shown that fresh workers are faster."""
        self.quiet_until = float("-inf")
        """Until then nothing is said of slow workers."""
        self.alert: dict[str, Any] = {}
        """Why slow workers were left alone the last time, with the numbers; empty if they were not."""

    def look(self, now: float, ready: Sequence[Slot]) -> list[do.Announce]:
        """They are slow, and nobody is to be told from the others."""
        slowdown = _common(ready)
        if slowdown < self._policy.drift.ratio:
            return []
        numbers = {"slowdown": round(slowdown, 2), **self._host_numbers(ready)}
        if self._host.disturbed_by or self._held_up(ready, slowdown):
            self._drift.forget([slot.vitals.pace for slot in ready])
            return self._tell(now, "host", numbers, TRUCE_S)
        if self.ages:
            return self._roll(ready, numbers, fresh=None)
        lasting = LASTING_ABRUPT if self._drift.abrupt else LASTING
        if now - self._experiment_at < HOUR_S or self._drift.slow_rounds < lasting:
            return []
        self._experiment_at = now
        oldest = min(ready, key=lambda slot: slot.since)
        oldest.vitals.finding = Verdict("experiment", {"seat_is": "the oldest", **numbers})
        return [self._announcement("unknown", numbers)]

    def disturbed(self, now: float, ready: Sequence[Slot]) -> list[do.Announce]:
        """A job could not be judged, because the host was disturbed or its company changed."""
        self._disturbed_jobs += 1
        if not self._host.disturbed_by or self._disturbed_jobs < NOTABLE or now < self.quiet_until:
            return []
        self._disturbed_jobs = 0
        return self._tell(now, "host", self._host_numbers(ready), TRUCE_S)

    def compared(self, now: float, inquiry: Inquiry, ready: Sequence[Slot]) -> list[do.Announce]:
        """The experiment: an old worker has answered, and the one that has just started."""
        numbers = {"old_by_new": round(inquiry.difference, 2), "slowdown": round(_common(ready), 2)}
        if inquiry.difference <= STATE:
            return self.leave_alone(now, ready, "host", numbers)
        self.ages = True
        return self._roll(ready, numbers, fresh=inquiry.reference)

    def leave_alone(self, now: float, ready: Sequence[Slot], cause: str, numbers: dict[str, Any]) -> list[do.Announce]:
        """Replacing workers does not help: what is slow now is the new normal."""
        self._drift.accept([slot.vitals.pace for slot in ready])
        for slot in ready:
            if slot.vitals.finding and slot.vitals.finding.reason in LATENCY:
                slot.vitals.finding = None
        return self._tell(now, cause, numbers, HOUR_S)

    def _roll(self, ready: Sequence[Slot], numbers: dict[str, Any], fresh: Seat | None) -> list[do.Announce]:
        """Age is the cause: all that are slow have to go, one after the other."""
        self._drift.common.reset()
        half = 1 + (_common(ready) - 1) / 2
        for slot in ready:
            if slot.seat != fresh and (slot.vitals.pace.slowdown or 1.0) >= half:
                slot.vitals.finding = Verdict("lockstep", numbers)
        return [self._announcement("workers", numbers)]

    def _tell(self, now: float, cause: str, numbers: dict[str, Any], how_long: float) -> list[do.Announce]:
        """Say it, but not again and again."""
        self.quiet_until = now + how_long
        told = self.alert and self.alert["cause"] == cause and now - self._told_at < SAID_AGAIN_S
        self.alert = {"at": now, "cause": cause, **numbers}
        if told:
            return []
        self._told_at = now
        return [self._announcement(cause, numbers)]

    def _announcement(self, cause: str, numbers: dict[str, Any]) -> do.Announce:
        return do.Announce("pool.slow", {"pool": self._policy.name, "cause": cause, "numbers": numbers})

    def _held_up(self, ready: Sequence[Slot], slowdown: float) -> bool:
        """Whether the time was lost while the workers waited for a core."""
        losses = [
            share.first / share.now
            for slot in ready
            if (share := slot.vitals.share).first and share.now and share.first >= COMPUTING
        ]
        return bool(losses) and median(losses) - 1 >= HELD_UP * (slowdown - 1)

    def _host_numbers(self, ready: Sequence[Slot]) -> dict[str, Any]:
        shares = [share.now for slot in ready if (share := slot.vitals.share).now is not None]
        return {
            "cpu_pressure": self._host.pressure,
            "usual_pressure": self._host.usual and round(self._host.usual, 1),
            "cpu_share": round(median(shares), 2) if shares else None,
            "disturbed_by": self._host.disturbed_by,
        }


def _common(slots: Sequence[Slot]) -> float:
    return common_slowdown([slot.vitals.pace for slot in slots])
