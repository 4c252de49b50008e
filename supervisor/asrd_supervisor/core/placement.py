"""On which of its devices a worker of a pool computes, and when the pool has to do without them.

A worker is placed when it has greeted, just before it loads its model: what is known of the devices is newest then.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from asrd_supervisor.core import actions as do
from asrd_supervisor.core.devices import Devices
from asrd_supervisor.core.lifecycle import LEAVING_STATES, State
from asrd_supervisor.core.policy import CPU, PoolPolicy
from asrd_supervisor.core.slot import Slot

_AWAY = {State.VACANT, State.STARTING, State.KILLING, State.BACKOFF, State.FAILED, *LEAVING_STATES}
"""Nothing on a device, or not for long."""


STARVED = 2
"""Tries of jobs for which there was no memory, within an hour, until a pool takes its next fallback."""

LATELY_S = 3600.0
"""That hour."""


class Candidate(msgspec.Struct, frozen=True):
    """A device, as it is now."""

    name: str
    free: int | None = None
    """Bytes; None when nobody says."""
    residents: int = 0
    """Workers of ours that stay there."""
    deaths: int = 0
    """Workers of the pool that have lately died there before they were warm."""


def choose(candidates: Sequence[Candidate], need: int = 0) -> str:
    """The device for one more worker, which takes about ``need`` bytes (0: nobody knows).

    One that has the room goes before one that has not, one that the driver still speaks of before one that it does not;
    then the one where fewest workers die, then with the fewest workers, then with the most free memory; the first one
    if they are all alike.
    """
    known = any(one.free is not None for one in candidates)

    def order(one: Candidate) -> tuple[bool, int, int, int]:
        unfit = known and (one.free is None or one.free < need)
        return unfit, one.deaths, one.residents, -(one.free or 0)

    return min(candidates, key=order).name


class Placement:
    """The devices of one pool."""

    def __init__(self, policy: PoolPolicy, slots: Sequence[Slot], devices: Devices) -> None:
        self._policy = policy
        self._slots = slots
        self._devices = devices
        self._deaths: dict[str, list[float]] = {}
        self._useless: set[str] = set()
        """No worker will ever load there, by what the last one has said."""
        self._starved: deque[float] = deque(maxlen=STARVED)
        """When a job did not fit, with one window at a time."""
        self._rung = 0
        """How many of the fallbacks are taken."""
        self._retreat = 0
        """How many it is to be again, if the pool's own ways are in vain once more: they get another chance."""

    @property
    def fallback(self) -> str:
        """How the pool computes instead of as it was meant to: ``int8``, ``cpu``; empty as long as it does not."""
        return self._policy.fallbacks[self._rung - 1] if self._rung else ""

    @property
    def _wanted(self) -> tuple[str, ...]:
        return (CPU,) if self.fallback == CPU else self._policy.devices

    def place(self, now: float, slot: Slot, leaving: Slot | None) -> None:
        """Give a worker that is about to load its device; ``leaving`` goes as soon as that one is warm."""
        wanted = self._wanted
        slot.rung = self._rung
        slot.device = choose([self._candidate(now, name, slot, leaving) for name in wanted], self._need())

    def _candidate(self, now: float, name: str, slot: Slot, leaving: Slot | None) -> Candidate:
        device = self._devices[name]
        others = sum(count for pool, count in device.residents.items() if pool != self._policy.name)
        ours = sum(one.device == name and one is not leaving for one in self._there() if one is not slot)
        since = now - self._policy.restarts.period
        deaths = sum(at > since for at in self._deaths.get(name, [])) + (1000 if name in self._useless else 0)
        return Candidate(name, device.free, others + ours, deaths)

    def _need(self) -> int:
        return max((slot.vitals.memory.vram or 0 for slot in self._slots if slot.ready), default=0)

    def _there(self) -> list[Slot]:
        """The workers that are on their devices, and stay there for all that is known."""
        return [slot for slot in self._slots if slot.state not in _AWAY]

    def note(self, now: float, busy: Sequence[Slot]) -> None:
        """Tell the other pools who is where."""
        self._devices.note(now, self._policy.name, self._policy.every_device, self._there(), busy)

    # --- devices that do not work -------------------------------------------------------------------------------------

    def warmed(self, slot: Slot) -> None:
        """A worker could load its model there."""
        self._useless.discard(slot.device)
        self._deaths.pop(slot.device, None)
        self._retreat = self._retreat if slot.rung else 0

    def died(self, now: float, slot: Slot) -> list[do.Action]:
        """A worker is gone. If its device may be why, the next one is better off elsewhere, and what was hopeless here
        may be none. If the pool's own devices were given another chance, it was in vain."""
        if slot.edition is None or slot.ready_at is not None or (slot.hopeless and not slot.misplaced):
            return []
        lately = [at for at in self._deaths.get(slot.device, []) if now - at < self._policy.restarts.period]
        self._deaths[slot.device] = [*lately, now]
        if slot.hopeless:
            self._useless.add(slot.device)
            slot.hopeless = self._useless.issuperset(self._wanted)
        if not self._retreat or slot.rung:
            return []
        slot.hopeless = False
        return self._fall(self._retreat, slot.last_fault)

    def give_up(self) -> list[do.Action]:
        """No worker is left, and none can be started. Nothing if the pool may not go on otherwise, or if a wrong
        configuration is the reason: it is as wrong there."""
        failed = [slot for slot in self._slots if slot.state is State.FAILED]
        wrong = any(slot.hopeless and not slot.misplaced for slot in failed)
        below = self._below(elsewhere=any(slot.misplaced for slot in failed))
        return [] if below is None or wrong else self._fall(below, failed[0].last_fault)

    def starved(self, now: float, slot: Slot, fault: str) -> list[do.Action]:
        """A job did not fit into the memory of a device, with as little at a time as there can be. Once may be somebody
        else's doing; if it is so again soon, the pool takes its next fallback."""
        if slot.device == CPU or slot.rung != self._rung or (below := self._below()) is None:
            return []
        self._starved.append(now)
        if len(self._starved) < STARVED or now - self._starved[0] >= LATELY_S:
            return []
        return self._fall(below, fault)

    def _below(self, *, elsewhere: bool = False) -> int | None:
        """The next rung, on another device if ``elsewhere``; None when this is the last one."""
        ways = self._policy.fallbacks
        return next(
            (rung for rung in range(self._rung + 1, len(ways) + 1) if ways[rung - 1] == CPU or not elsewhere), None
        )

    def _fall(self, rung: int, fault: str) -> list[do.Action]:
        self._rung, self._retreat = rung, 0
        self._starved.clear()
        return [do.Announce("pool.fell_back", {"pool": self._policy.name, "fallback": self.fallback, "fault": fault})]

    def forgive(self) -> None:
        """An operator wants another try, as the pool was meant to be."""
        self._deaths.clear()
        self._useless.clear()
        self._starved.clear()
        self._retreat = self._rung or self._retreat
        self._rung = 0
