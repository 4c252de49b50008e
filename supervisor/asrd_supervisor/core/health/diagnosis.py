"""From an alarm to a finding: is it this worker, all of them, or the host?

An alarm of one worker is confirmed by the built-in clip, which it and a sibling transcribe at the same time. A pool of
one has no sibling; there an alarm is like one of all workers, and the first jobs of a replacement tell.
"""

from collections.abc import Sequence
from typing import Any

from asrd_supervisor.core import actions as do
from asrd_supervisor.core.health.drift import Drift, common_slowdown
from asrd_supervisor.core.health.history import LATENCY, Record
from asrd_supervisor.core.health.host import Host
from asrd_supervisor.core.health.inquiry import PATIENCE_S, Inquiry
from asrd_supervisor.core.health.lockstep import HOUR_S, Lockstep
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot

CONFIRMED = 1.25
"""How much more than a sibling's the time of the clip must have grown, or be."""

DOUBTFUL = 3
"""Alarms of one worker that were not confirmed, after which what it is compared with is taken anew."""

TRUCE_S = 30.0
"""After an alarm that was not confirmed."""

USELESS = 2
"""Replacements in a row that did not help, after which slow workers are left alone."""

Said = list[do.Announce]


class Diagnosis:
    """The judgement of one pool. It marks slots with findings; whether they are acted on is up to others."""

    def __init__(self, policy: PoolPolicy, drift: Drift, host: Host) -> None:
        self._policy = policy
        self._drift = drift
        self._truce_until = self._trial_at = float("-inf")
        self._useless = 0
        self.lockstep = Lockstep(policy, drift, host)
        self.inquiry: Inquiry | None = None
        self.off_until = float("-inf")
        """Until then slow workers are left alone."""

    # --- alarms -------------------------------------------------------------------------------------------------------

    def consider(self, now: float, ready: Sequence[Slot]) -> Said:
        """Look at the workers after a job; ``ready``: those that are there to stay."""
        if self.inquiry:
            self._drop_stale_inquiry(now, ready)
        quiet_until = max(self._truce_until, self.lockstep.quiet_until, self.off_until)
        if self.inquiry or not self._policy.drift.enabled or now < quiet_until:
            return []
        if any(slot.vitals.finding for slot in ready):
            return []  # first things first: the pool looks different when they are replaced
        alarmed = [s for s in ready if s.vitals.pace.mood == "degraded"]
        if alarmed and len(ready) > 1:
            return self._inquire_about(now, alarmed[0], ready)
        if alarmed or self._drift.common.mood == "degraded":
            return self.lockstep.look(now, ready)
        return []

    def _inquire_about(self, now: float, slot: Slot, ready: Sequence[Slot]) -> Said:
        siblings = [s for s in ready if s is not slot]
        numbers = _numbers(slot, ready)
        said = do.Announce("worker.suspected", {"seat": str(slot.seat), "numbers": numbers})
        if not self._policy.canary.enabled:
            slot.vitals.finding = Verdict("slow", numbers)
            return [said]
        calmest = min(siblings, key=lambda s: s.vitals.pace.sum.sum)
        self.inquiry = Inquiry("worker", slot.seat, calmest.seat, now)
        return [said]

    # --- the clip -----------------------------------------------------------------------------------------------------

    def answered(self, now: float, slot: Slot, took: float, ready: Sequence[Slot]) -> Said:
        """A worker has transcribed the clip for the inquiry."""
        inquiry = self.inquiry
        if inquiry is None or not inquiry.wants(slot.seat):
            return []
        inquiry.note(slot.seat, took, slot.vitals.canary.ratio)
        if not inquiry.complete:
            return []
        self.inquiry = None
        if inquiry.about == "pool":
            return self.lockstep.compared(now, inquiry, ready)
        return self._conclude(now, inquiry, ready)

    def _conclude(self, now: float, inquiry: Inquiry, ready: Sequence[Slot]) -> Said:
        slot = next((s for s in ready if s.seat == inquiry.suspect), None)
        if slot is None:
            return []
        reference = inquiry.ratio.get(inquiry.reference) if inquiry.reference else None
        clips = {"clip": _times(inquiry.ratio[slot.seat]), "clip_of_sibling": _times(reference)}
        numbers = {**_numbers(slot, ready), **clips}
        if inquiry.excess <= CONFIRMED:
            return self._clear(now, slot, numbers)
        if not inquiry.again:  # the host may have changed between the two answers
            self.inquiry = Inquiry("worker", inquiry.suspect, inquiry.reference, now, again=True)
            return []
        slot.vitals.finding = Verdict("slow", numbers)
        return [do.Announce("worker.degraded", {"seat": str(slot.seat), "numbers": numbers})]

    def _clear(self, now: float, slot: Slot, numbers: dict[str, Any]) -> Said:
        """The clip does not confirm it. If that happens again and again, the measure is wrong, and not the worker; or
        it is slow where the clip does not lead, with beams or words or long audio: then a fresh one has to show it."""
        pace = slot.vitals.pace
        pace.cleared += 1
        self._truce_until = now + TRUCE_S
        if pace.cleared % DOUBTFUL:
            pace.sum.reset()
        elif (pace.slowdown or 1.0) >= self._policy.drift.ratio and now - self._trial_at >= HOUR_S:
            self._trial_at = now
            slot.vitals.finding = Verdict("slow", {**numbers, "confirmed": False})
            return [do.Announce("worker.degraded", {"seat": str(slot.seat), "numbers": slot.vitals.finding.numbers})]
        else:
            pace.rebase()
        return [do.Announce("worker.cleared", {"seat": str(slot.seat), "numbers": numbers})]

    def _drop_stale_inquiry(self, now: float, ready: Sequence[Slot]) -> None:
        """Somebody who was asked is gone, or cannot find the time."""
        inquiry = self.inquiry
        assert inquiry
        here = {slot.seat for slot in ready}
        if now - inquiry.since > PATIENCE_S or any(inquiry.wants(s) and s not in here for s in _asked(inquiry)):
            self.inquiry = None

    # --- what came of it ----------------------------------------------------------------------------------------------

    def replaced(self, now: float, record: Record, ready: Sequence[Slot]) -> None:
        """A worker was replaced; ``ready``: those that stay, the replacement among them if it is there already."""
        if record.reason not in LATENCY:
            return
        for slot in ready:
            slot.vitals.pace.rebase()  # it was measured against the one that went
        self._drift.common.reset()
        self.arrived(now, record, ready)

    def arrived(self, now: float, record: Record, ready: Sequence[Slot]) -> None:
        """The replacement of a worker is there; after an experiment it is compared with an old one."""
        old = [slot for slot in ready if slot.seat != record.replacement]
        if record.reason == "experiment" and record.replacement and old and self._policy.canary.enabled:
            oldest = min(old, key=lambda slot: slot.since)
            self.inquiry = Inquiry("pool", oldest.seat, record.replacement, now)

    def judged(self, now: float, record: Record, ready: Sequence[Slot]) -> Said:
        """It is known whether a replacement has helped."""
        told = record.reason == "experiment" and len(ready) > 1 and self._policy.canary.enabled  # by the clip
        if record.effective is None or told:
            return []
        if record.effective:
            self._useless, self.lockstep.alert = 0, {}
            return []
        self._useless += 1
        self.lockstep.ages = False
        fields = {"seat": str(record.seat), "reason": record.reason}
        numbers = {"before": _times(record.before), "after": _times(record.after)}
        said = [do.Announce("recycle.ineffective", {**fields, "numbers": numbers})]
        if self._useless >= USELESS or record.reason == "experiment":
            self._useless, self.inquiry = 0, None
            self.off_until = now + HOUR_S
            said += self.lockstep.leave_alone(now, ready, "not the worker", numbers)
        return said


def _asked(inquiry: Inquiry) -> list[Seat]:
    return [inquiry.suspect] if inquiry.reference is None else [inquiry.suspect, inquiry.reference]


def _numbers(slot: Slot, ready: Sequence[Slot]) -> dict[str, Any]:
    siblings = common_slowdown([s.vitals.pace for s in ready if s is not slot])
    pace = slot.vitals.pace
    return {"slowdown": _times(pace.slowdown), "siblings": _times(siblings), "sum": round(pace.sum.sum, 2)}


def _times(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 2)
