"""Who sits where: how many workers a pool starts, and the replacement of healthy ones without a gap.

With start-first there is one seat more than workers. To replace a worker, the spare seat gets its successor; only when
that one is warm the old one is retired, and its seat is the next spare. So at most one worker of a pool retires at a
time, and the number of ready workers never falls below the number wanted.

A pool that rests has empty seats, and is as good as any other: the next step that is queued fills them.
"""

from collections import Counter

from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.health.monitor import Monitor
from asrd_supervisor.core.lifecycle import MOVING_STATES, Input, State
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Facts, Verdict, judge
from asrd_supervisor.core.renewal import RENEWALS, Renewal
from asrd_supervisor.core.rest import Rest
from asrd_supervisor.core.slot import Slot, stands

_UNSETTLED = {*MOVING_STATES, State.BACKOFF, State.FAILED}
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
        self._complete = False
        self.rest = Rest(policy.idle_ttl)
        self.renewal = Renewal(policy, slots, monitor)
        self.recycles: Counter[str] = Counter()
        self.least_ready: int | None = None
        """The smallest number of ready workers since the pool was first fully staffed; None before."""

    @property
    def closing(self) -> bool:
        """The pool is being emptied."""
        return self._closing

    @property
    def condemned(self) -> Slot | None:
        """Whose worker leaves as soon as nobody misses it."""
        return self._condemned[0] if self._condemned else None

    def note_ready(self, ready: int) -> None:
        """Keep the low-water mark; a pool that rests, or has rested, does not count until it is complete again."""
        if self._closing or not (self._complete or ready >= self._policy.workers):
            return
        self._complete = True
        self.least_ready = ready if self.least_ready is None else min(self.least_ready, ready)

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def request(self, now: float, index: int | None) -> list[do.Action]:
        """An operator wants one worker, or all, replaced; failed seats get another try."""
        actions: list[do.Action] = []
        for slot in self._slots:
            if index is not None and slot.index != index:
                continue
            slot.requested = slot.ready
            actions += self._revive(now, slot)
        return actions

    def dismiss(self, now: float, slot: Slot, verdict: Verdict) -> list[do.Action]:
        """Retire a worker at once, warm replacement or not: it is not to be trusted with another step."""
        self.recycles[verdict.reason] += 1
        self._monitor.replaced(now, slot, verdict)
        fields = {"seat": str(slot.seat), "reason": verdict.reason, "numbers": verdict.numbers}
        said = do.Announce("worker.recycled", fields)
        return [said, *slot.apply(Input.RETIRE, now)]

    def obey(self, now: float, order: ev.Event) -> list[do.Action]:
        """An operator wants the workers away, or there, or to load something else; not of a pool that is closing."""
        match order:
            case ev.RestRequested() if not self._closing:
                return self.send_home(now, "requested")
            case ev.WakeRequested() if not self._closing:
                return [*self._wake(), *self.revive_all(now)]
            case ev.RenewRequested() if not self._closing:
                return [*self.renewal.begin(order), *self.revive_all(now)]
            case _:
                return []

    def send_home(self, now: float, why: str) -> list[do.Action]:
        """All workers leave, after what they have in hand; the pool takes jobs as before."""
        if self.rest.asleep:
            return []
        fields = {"pool": self._policy.name, "why": why, "idle_s": round(self.rest.idle_s(now), 1)}
        self.rest.fall_asleep()
        self._condemned, self._complete = None, False
        retired = [action for slot in self._slots for action in slot.apply(Input.RETIRE, now, "retired")]
        return [do.Announce("pool.standby", fields), *retired]

    def revive_all(self, now: float) -> list[do.Action]:
        """Failed seats get another try."""
        return [action for slot in self._slots for action in self._revive(now, slot)]

    def _revive(self, now: float, slot: Slot) -> list[do.Action]:
        if slot.state is not State.FAILED:
            return []
        slot.forgive()
        return slot.apply(Input.REVIVE if self.wanted(slot) else Input.RETIRE, now)

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

    def warmed(self, slot: Slot) -> None:
        """A worker is warm, so what it has loaded is good."""
        self.rest.warmed()
        self.renewal.warmed(slot)

    def misled(self, slot: Slot) -> list[do.Action] | None:
        """See :meth:`Renewal.misled`; a worker that was to be replaced may have what is wanted now."""
        said = self.renewal.misled(slot)
        self._reconsider()
        return said

    # --- what it does by itself ---------------------------------------------------------------------------------------

    def reconcile(self, now: float, *, waits: bool = False) -> list[do.Action]:
        """Bring the seats to what is wanted; ``waits``: a step wants a worker."""
        actions = [] if self._closing else self._rest_or_wake(now, waits)
        if self._closing or self.rest.asleep:
            empty = [s for s in self._slots if s.state in (State.BACKOFF, State.FAILED)]
            return actions + [action for slot in empty for action in slot.apply(Input.RETIRE, now)]
        self._reconsider()
        actions += self._dismiss_nonsense(now)
        actions += self._condemn(now)
        actions += self._replace(now)
        actions += self._fill(now)
        actions += self.renewal.told()
        delay = self.rest.delay(now)
        return actions if delay is None else [*actions, self._idle_timer(delay)]

    def _idle_timer(self, delay: float) -> do.SetTimer:
        return do.SetTimer(self._policy.name, 0, "idle", self.rest.number, delay)

    def _rest_or_wake(self, now: float, waits: bool) -> list[do.Action]:
        """A pool that has not one warm worker, or a failed seat, has other troubles than idleness; so has one that is
        to show whether it can load what it was told."""
        if waits and self.rest.asleep:
            return self._wake()
        self.rest.look(now, work=waits or any(slot.task for slot in self._slots))
        well = any(s.ready for s in self._slots) and all(s.state is not State.FAILED for s in self._slots)
        return self.send_home(now, "idle") if well and self.rest.due(now) and not self.renewal.going_on else []

    def _wake(self) -> list[do.Action]:
        slept = self.rest.asleep
        self.rest.wake()
        return [do.Announce("pool.waking", {"pool": self._policy.name})] if slept else []

    def wanted(self, slot: Slot) -> bool:
        """Whether the seat of a worker that is gone shall be taken again. A failed seat keeps no other one empty."""
        others = sum(stands(s) and s.state is not State.FAILED for s in self._slots if s is not slot)
        return not self._closing and others < self._target()

    def _target(self) -> int:
        if self.rest.asleep:
            return 0
        return self._policy.workers + (1 if self._condemned and self._policy.start_first else 0)

    def _standing(self) -> int:
        return sum(stands(slot) for slot in self._slots)

    def _reconsider(self) -> None:
        """A condemned worker that died by itself, or has what is wanted after all, needs no retirement any more."""
        if self._condemned is None:
            return
        slot, generation, verdict = self._condemned
        pointless = verdict.reason in RENEWALS and not self.renewal.outdated(slot)
        if slot.generation != generation or not slot.ready or pointless:
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
        if any(slot.state in MOVING_STATES for slot in self._slots):
            return []
        for slot in self._slots:
            if slot.ready and (verdict := self._monitor.nonsense(now, slot)):
                return self.dismiss(now, slot, verdict)
        return []

    def _judge(self, now: float, slot: Slot) -> Verdict | None:
        if self.renewal.outdated(slot):
            return self.renewal.verdict
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
