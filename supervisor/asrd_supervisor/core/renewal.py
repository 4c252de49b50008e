"""The workers of a pool are to load something else, or the same anew: what it is, who has it, and whether that works.

They are replaced like any others, one after the other. If the first one that tries cannot load it, the others stay, and
what was loaded before is wanted again.
"""

from collections.abc import Sequence

from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.edition import MEMORY, Edition, Editions
from asrd_supervisor.core.health.monitor import Monitor
from asrd_supervisor.core.lifecycle import MOVING_STATES
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.slot import Slot, stands

RENEWALS = ("changed", "reload", MEMORY)
"""Reasons to replace a worker for what it has loaded."""


class Renewal:
    """Of one pool."""

    def __init__(self, policy: PoolPolicy, slots: Sequence[Slot], monitor: Monitor) -> None:
        self._policy = policy
        self._slots = slots
        self._monitor = monitor
        self.editions = Editions()
        self.going_on = False

    @property
    def behind(self) -> int:
        """Workers that have loaded, or are loading, something else than what is wanted."""
        return sum(self.outdated(slot) and stands(slot) for slot in self._slots)

    def outdated(self, slot: Slot) -> bool:
        """Whether a worker is one of these."""
        return slot.live and slot.edition is not None and slot.edition.number != self.editions.wanted.number

    @property
    def verdict(self) -> Verdict:
        """Why such a worker is replaced."""
        return Verdict(self.editions.wanted.reason, {"settings": self.editions.wanted.settings})

    def begin(self, order: ev.RenewRequested) -> list[do.Action]:
        """From now on all workers shall load this."""
        self.going_on = True
        edition = self.editions.renew(order.reason, order.settings, order.load)
        self._monitor.renewed()
        for slot in self._slots:
            slot.next_edition = edition
        return [self._said("pool.changing", edition)]

    def warmed(self, slot: Slot) -> None:
        """A worker is warm, so what it has loaded is good."""
        self.editions.warmed(slot.edition)

    def misled(self, slot: Slot) -> list[do.Action] | None:
        """A worker died before it was warm. None if that is its own affair; else it had been told to load what is not
        wanted any more, or is taken back now because of it."""
        if slot.edition is None or slot.ready_at is not None:
            return None
        self.editions.failed(slot.edition)
        if slot.edition.number != self.editions.wanted.number:
            return []
        tried = self.editions.wanted
        if not self.editions.take_back(slot.last_fault):
            return None
        for other in self._slots:
            other.next_edition = self.editions.wanted
        self.going_on = False
        self._monitor.renewed()
        return [self._said("pool.change_failed", tried, fault=slot.last_fault)]

    def told(self) -> list[do.Action]:
        """What is to be said once the last worker of before has left."""
        done = self.going_on and self.editions.proven is self.editions.wanted and not self.behind
        if not done or any(slot.state in MOVING_STATES for slot in self._slots):
            return []
        self.going_on = False
        return [self._said("pool.changed", self.editions.wanted)]

    def _said(self, topic: str, edition: Edition, **more: str) -> do.Announce:
        fields = {"pool": self._policy.name, "reason": edition.reason, "settings": edition.settings}
        return do.Announce(topic, {**fields, **more})
