"""Who sits where: how many workers a pool starts, and the replacement of healthy ones without a gap.

With start-first there is one seat more than workers. To replace a worker, the spare seat gets its successor; only when
that one is warm the old one is retired, and its seat is the next spare. So at most one worker of a pool retires at a
time, and the number of ready workers never falls below the number wanted.
"""

from collections import Counter

from asrd_supervisor.core import actions as do
from asrd_supervisor.core.health.monitor import Monitor
from asrd_supervisor.core.lifecycle import LEAVING_STATES, Input, State
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Facts, Verdict, judge
from asrd_supervisor.core.slot import Slot

_MOVING = {State.STARTING, State.WARMING, State.KILLING, *LEAVING_STATES}
"""Somebody is on the way in or out, and it ends soon."""

_UNSETTLED = {*_MOVING, State.BACKOFF, State.FAILED}
"""That, or nobody knows when it ends."""


class Staffing:
    """Starts, recycles and closes the slots of one pool."""

    def __init__(self, policy: PoolPolicy, slots: list[Slot], monitor: Monitor) -> None:
        self._policy = policy
        self._monitor = monitor
        self._slots = slots
        self._condemned: tuple[Slot, int, Verdict] | None = None
        self._closing = False
        self._emptied = False
        self.recycles: Counter[str] = Counter()
        self.least_ready: int | None = None
        """The smallest number of ready workers since the pool was first fully staffed; None before."""

    @property
    def closing(self) -> bool:
        """The pool is being emptied."""
        return self._closing

    def note_ready(self, ready: int) -> None:
        """Keep the low-water mark."""
        if self._closing or (self.least_ready is None and ready < self._policy.workers):
            return
        self.least_ready = ready if self.least_ready is None else min(self.least_ready, ready)

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def request(self, now: float, index: int | None) -> list[do.Action]:
        """An operator wants one worker, or all, replaced; failed seats get another try."""
        actions: list[do.Action] = []
        for slot in self._slots:
            if index is not None and slot.index != index:
                continue
            slot.requested = slot.ready
            if slot.state is State.FAILED:
                slot.forgive()
                actions += slot.apply(Input.REVIVE if self.wanted(slot) else Input.RETIRE, now)
        return actions

    def dismiss(self, now: float, slot: Slot, verdict: Verdict) -> list[do.Action]:
        """Retire a worker at once, warm replacement or not: it is not to be trusted with another step."""
        self.recycles[verdict.reason] += 1
        self._monitor.replaced(now, slot, verdict)
        fields = {"seat": str(slot.seat), "reason": verdict.reason, "numbers": verdict.numbers}
        said = do.Announce("worker.recycled", fields)
        return [said, *slot.apply(Input.RETIRE, now)]

    def close(self, now: float, *, hurry: bool) -> list[do.Action]:
        """Empty all seats; with ``hurry`` those too that have a step."""
        self._closing, self._condemned = True, None
        actions: list[do.Action] = []
        for slot in self._slots:
            told = slot.state is State.STOPPING
            actions += slot.apply(Input.RETIRE, now, "retired")
            done = slot.state is State.DRAINING and slot.task is None  # nobody needs the clip any more
            if done or (hurry and (told or slot.state is State.DRAINING)):
                slot.asked = True
                actions += slot.apply(Input.DEADLINE, now, "shut down")
        return actions

    def just_emptied(self) -> bool:
        """True once, when the last seat of a closing pool has become vacant."""
        if self._emptied or not self._closing or any(slot.state is not State.VACANT for slot in self._slots):
            return False
        self._emptied = True
        return True

    # --- what it does by itself ---------------------------------------------------------------------------------------

    def reconcile(self, now: float) -> list[do.Action]:
        """Bring the seats to what is wanted."""
        if self._closing:
            empty = [s for s in self._slots if s.state in (State.BACKOFF, State.FAILED)]
            return [action for slot in empty for action in slot.apply(Input.RETIRE, now)]
        self._reconsider()
        actions = self._dismiss_nonsense(now)
        actions += self._condemn(now)
        actions += self._replace(now)
        actions += self._fill(now)
        return actions

    def wanted(self, slot: Slot) -> bool:
        """Whether the seat of a worker that is gone shall be taken again. A failed seat keeps no other one empty."""
        others = sum(_stands(s) and s.state is not State.FAILED for s in self._slots if s is not slot)
        return not self._closing and others < self._target()

    def _target(self) -> int:
        return self._policy.workers + (1 if self._condemned and self._policy.start_first else 0)

    def _standing(self) -> int:
        return sum(_stands(slot) for slot in self._slots)

    def _reconsider(self) -> None:
        """A condemned worker that died by itself needs no retirement any more."""
        if self._condemned and (self._condemned[0].generation != self._condemned[1] or not self._condemned[0].ready):
            self._condemned = None

    def _condemn(self, now: float) -> list[do.Action]:
        """Choose the next worker to be replaced: one at a time, and only while all seats are taken and settled."""
        settled = self._standing() >= self._policy.workers and all(s.state not in _UNSETTLED for s in self._slots)
        if self._condemned or not settled:
            return []
        due = [(slot, verdict) for slot in self._slots if slot.ready and (verdict := self._judge(now, slot))]
        if not due:
            return []
        slot, verdict = min(due, key=lambda one: one[0].since)
        self._condemned = (slot, slot.generation, verdict)
        slot.spared = verdict.reason in ("rss", "vram")
        fields = {"seat": str(slot.seat), "reason": verdict.reason, "numbers": verdict.numbers}
        return [do.Announce("worker.recycling", fields)]

    def _dismiss_nonsense(self, now: float) -> list[do.Action]:
        """Wrong text is worse than waiting; but if all talk nonsense, one of them has to show that it helps."""
        if any(slot.state in _MOVING for slot in self._slots):
            return []
        for slot in self._slots:
            if slot.ready and (verdict := self._monitor.nonsense(now, slot)):
                return self.dismiss(now, slot, verdict)
        return []

    def _judge(self, now: float, slot: Slot) -> Verdict | None:
        diagnosed = self._monitor.diagnosed(now, slot)
        limit = self._monitor.limit(slot)
        return judge(Facts(slot.jobs_done, limit, slot.age(now), slot.requested, diagnosed), self._policy.recycle)

    def _replace(self, now: float) -> list[do.Action]:
        """Retire the condemned worker as soon as nobody misses it."""
        if not self._condemned:
            return []
        slot, _, verdict = self._condemned
        if self._policy.start_first and sum(s.ready for s in self._slots) <= self._policy.workers:
            return []
        self._condemned = None
        self.recycles[verdict.reason] += 1
        self._monitor.replaced(now, slot, verdict)
        fields = {"seat": str(slot.seat), "reason": verdict.reason, "jobs_done": slot.jobs_done}
        said = do.Announce("worker.recycled", {**fields, "numbers": verdict.numbers, "age_s": round(slot.age(now), 1)})
        return [said, *slot.apply(Input.RETIRE, now)]

    def _fill(self, now: float) -> list[do.Action]:
        missing = self._target() - self._standing()
        if missing <= 0:
            return []
        actions: list[do.Action] = []
        for slot in [slot for slot in self._slots if slot.state is State.VACANT][:missing]:
            actions += slot.apply(Input.START, now)
        return actions


def _stands(slot: Slot) -> bool:
    """The seat counts as taken: all do but the vacant ones and those whose worker is on its way out."""
    return slot.state is not State.VACANT and slot.state not in LEAVING_STATES
