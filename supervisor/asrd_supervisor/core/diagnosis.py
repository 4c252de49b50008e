"""From an alarm to a finding: is it this worker, all of them, or the host?

An alarm of one worker is confirmed by the built-in clip, which it and a sibling transcribe at the same time. When all
workers have slowed down together, only an experiment can tell: the oldest one is replaced, and the clip is given to its
replacement and to a sibling. A pool of one has no sibling; there the first jobs of the replacement tell.
"""

from collections.abc import Sequence
from typing import Any

from asrd_supervisor.core import actions as do
from asrd_supervisor.core.drift import Drift, common_slowdown
from asrd_supervisor.core.history import LATENCY, Record
from asrd_supervisor.core.host import Host
from asrd_supervisor.core.inquiry import PATIENCE_S, Inquiry
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot

CONFIRMED = 1.25
"""How much more than a sibling's the time of the clip must have grown."""

STATE = 1.2
"""How much slower than a fresh worker an old one must be, for its age to be the cause."""

DOUBTFUL = 3
"""Alarms of one worker that were not confirmed, after which what it is compared with is taken anew."""

TRUCE_S = 30.0
"""After an alarm that was not confirmed."""

HOUR_S = 3600.0
"""Between two experiments, and how long slow workers are left alone when replacing them does not help."""

USELESS = 2
"""Replacements in a row that did not help, after which slow workers are left alone."""

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

Said = list[do.Announce]


class Diagnosis:
    """The judgement of one pool. It marks slots with findings; whether they are acted on is up to others."""

    def __init__(self, policy: PoolPolicy, drift: Drift, host: Host) -> None:
        self._policy = policy
        self._drift = drift
        self._host = host
        self._quiet_until = float("-inf")
        self._experiment_at = self._told_at = float("-inf")
        self._useless = 0
        self._disturbed_jobs = 0
        self._ages = False
        """An experiment has shown that fresh workers are faster."""
        self.inquiry: Inquiry | None = None
        self.off_until = float("-inf")
        """Until then slow workers are left alone."""
        self.alert: dict[str, Any] = {}
        """Why slow workers are left alone, with the numbers; empty if they are not."""

    # --- alarms -------------------------------------------------------------------------------------------------------

    def consider(self, now: float, ready: Sequence[Slot]) -> Said:
        """Look at the workers after a job; ``ready``: those that are there to stay."""
        if self.inquiry:
            self._drop_stale_inquiry(now, ready)
        if self.inquiry or not self._policy.drift.enabled or now < max(self._quiet_until, self.off_until):
            return []
        if any(slot.vitals.finding for slot in ready):
            return []  # first things first: the pool looks different when they are replaced
        alarmed = [s for s in ready if s.vitals.pace.mood == "degraded"]
        if alarmed and len(ready) > 1:
            return self._inquire_about(now, alarmed[0], ready)
        if alarmed or self._drift.common.mood == "degraded":
            return self._all_slow(now, ready)
        return []

    def disturbed(self, now: float, ready: Sequence[Slot]) -> Said:
        """A job could not be judged, because the host was disturbed or its company changed."""
        self._disturbed_jobs += 1
        if not self._host.disturbed_by or self._disturbed_jobs < NOTABLE or now < self._quiet_until:
            return []
        self._disturbed_jobs = 0
        return self._tell(now, "host", self._host_numbers(ready), TRUCE_S)

    def _inquire_about(self, now: float, slot: Slot, ready: Sequence[Slot]) -> Said:
        siblings = [s for s in ready if s is not slot]
        pace = slot.vitals.pace
        numbers = {
            "slowdown": _times(pace.slowdown),
            "siblings": _times(_common(siblings)),
            "sum": round(pace.sum.sum, 2),
        }
        said = do.Announce("worker.suspected", {"seat": str(slot.seat), "numbers": numbers})
        if not self._policy.canary.enabled:
            slot.vitals.finding = Verdict("slow", numbers)
            return [said]
        calmest = min(siblings, key=lambda s: s.vitals.pace.sum.sum)
        self.inquiry = Inquiry("worker", slot.seat, calmest.seat, now)
        return [said]

    def _all_slow(self, now: float, ready: Sequence[Slot]) -> Said:
        """Nobody is to be told from the others."""
        slowdown = _common(ready)
        if slowdown < self._policy.drift.ratio:
            return []
        numbers = {"slowdown": _times(slowdown), **self._host_numbers(ready)}
        if self._host.disturbed_by or self._held_up(ready, slowdown):
            self._drift.forget([slot.vitals.pace for slot in ready])
            return self._tell(now, "host", numbers, TRUCE_S)
        if self._ages:
            return self._roll(ready, numbers, fresh=None)
        lasting = LASTING_ABRUPT if self._drift.abrupt else LASTING
        if now - self._experiment_at < HOUR_S or self._drift.slow_rounds < lasting:
            return []
        self._experiment_at = now
        oldest = min(ready, key=lambda slot: slot.since)
        oldest.vitals.finding = Verdict("experiment", {"seat_is": "the oldest", **numbers})
        return [do.Announce("pool.slow", {"pool": self._policy.name, "cause": "unknown", "numbers": numbers})]

    def _held_up(self, ready: Sequence[Slot], slowdown: float) -> bool:
        """Whether the time was lost while the workers waited for a core."""
        losses = [
            share.first / share.now
            for slot in ready
            if (share := slot.vitals.share).first and share.now and share.first >= COMPUTING
        ]
        return bool(losses) and sorted(losses)[len(losses) // 2] - 1 >= HELD_UP * (slowdown - 1) > 0

    def _host_numbers(self, ready: Sequence[Slot]) -> dict[str, Any]:
        shares = [share.now for slot in ready if (share := slot.vitals.share).now is not None]
        return {
            "cpu_pressure": self._host.pressure,
            "usual_pressure": self._host.usual and round(self._host.usual, 1),
            "cpu_share": round(sum(shares) / len(shares), 2) if shares else None,
            "disturbed_by": self._host.disturbed_by,
        }

    def _leave_alone(
        self, now: float, ready: Sequence[Slot], cause: str, numbers: dict[str, Any], how_long: float
    ) -> Said:
        """Replacing workers does not help: what is slow now is the new normal."""
        self.inquiry = None
        self._drift.accept([slot.vitals.pace for slot in ready])
        for slot in ready:
            if slot.vitals.finding and slot.vitals.finding.reason in LATENCY:
                slot.vitals.finding = None
        return self._tell(now, cause, numbers, how_long)

    def _tell(self, now: float, cause: str, numbers: dict[str, Any], how_long: float) -> Said:
        """Say it, but not again and again."""
        self._quiet_until = now + how_long
        told = self.alert and self.alert["cause"] == cause and now - self._told_at < SAID_AGAIN_S
        self.alert = {"at": now, "cause": cause, **numbers}
        if told:
            return []
        self._told_at = now
        return [do.Announce("pool.slow", {"pool": self._policy.name, "cause": cause, "numbers": numbers})]

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
        return self._conclude(now, inquiry, ready) if inquiry.about == "worker" else self._compare(now, inquiry, ready)

    def _conclude(self, now: float, inquiry: Inquiry, ready: Sequence[Slot]) -> Said:
        slot = next((s for s in ready if s.seat == inquiry.suspect), None)
        if slot is None:
            return []
        numbers = self._slow_numbers(slot, inquiry, ready)
        if inquiry.excess <= CONFIRMED:
            return self._clear(now, slot, numbers)
        if not inquiry.again:  # the host may have changed between the two answers
            self.inquiry = Inquiry("worker", inquiry.suspect, inquiry.reference, now, again=True)
            return []
        slot.vitals.finding = Verdict("slow", numbers)
        return [do.Announce("worker.degraded", {"seat": str(slot.seat), "numbers": numbers})]

    def _clear(self, now: float, slot: Slot, numbers: dict[str, Any]) -> Said:
        """The clip does not confirm it. If that happens again and again, the measure is wrong and not the worker."""
        pace = slot.vitals.pace
        pace.cleared += 1
        if pace.cleared % DOUBTFUL:
            pace.sum.reset()
        else:
            pace.rebase()
        self._quiet_until = now + TRUCE_S
        return [do.Announce("worker.cleared", {"seat": str(slot.seat), "numbers": numbers})]

    @staticmethod
    def _slow_numbers(slot: Slot, inquiry: Inquiry, ready: Sequence[Slot]) -> dict[str, Any]:
        reference = inquiry.ratio.get(inquiry.reference) if inquiry.reference else None
        return {
            "slowdown": _times(slot.vitals.pace.slowdown),
            "siblings": _times(_common([s for s in ready if s is not slot])),
            "clip": _times(inquiry.ratio[slot.seat]),
            "clip_of_sibling": _times(reference),
            "sum": round(slot.vitals.pace.sum.sum, 2),
        }

    def _compare(self, now: float, inquiry: Inquiry, ready: Sequence[Slot]) -> Said:
        """The experiment: an old worker was asked, and the one that has just started."""
        numbers = {"old_by_new": _times(inquiry.difference), "slowdown": _times(_common(ready))}
        if inquiry.difference <= STATE:
            return self._leave_alone(now, ready, "host", numbers, HOUR_S)
        self._ages = True
        return self._roll(ready, numbers, fresh=inquiry.reference)

    def _roll(self, ready: Sequence[Slot], numbers: dict[str, Any], fresh: Seat | None) -> Said:
        """Age is the cause: all but a fresh one have to go, one after the other."""
        self._drift.common.reset()
        half = 1 + (_common(ready) - 1) / 2
        for slot in ready:
            if slot.seat != fresh and (slot.vitals.pace.slowdown or 1.0) >= half:
                slot.vitals.finding = Verdict("lockstep", numbers)
        return [do.Announce("pool.slow", {"pool": self._policy.name, "cause": "workers", "numbers": numbers})]

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
        if record.reason == "experiment" and record.replacement:
            self._compare_with(now, record.replacement, ready)

    def arrived(self, now: float, record: Record, ready: Sequence[Slot]) -> None:
        """The replacement of a worker that went before it came."""
        if record.reason == "experiment" and record.replacement:
            self._compare_with(now, record.replacement, ready)

    def _compare_with(self, now: float, fresh: Seat, ready: Sequence[Slot]) -> None:
        old = [slot for slot in ready if slot.seat != fresh]
        if old and self._policy.canary.enabled:
            self.inquiry = Inquiry("pool", min(old, key=lambda slot: slot.since).seat, fresh, now)

    def judged(self, now: float, record: Record, ready: Sequence[Slot]) -> Said:
        """It is known whether a replacement has helped."""
        told = record.reason == "experiment" and len(ready) > 1 and self._policy.canary.enabled  # by the clip
        if record.effective is None or told:
            return []
        if record.effective:
            self._useless, self.alert = 0, {}
            return []
        self._useless += 1
        self._ages = False
        fields = {"seat": str(record.seat), "reason": record.reason}
        numbers = {"before": _times(record.before), "after": _times(record.after)}
        said = [do.Announce("recycle.ineffective", {**fields, "numbers": numbers})]
        if self._useless >= USELESS or record.reason == "experiment":
            self._useless = 0
            self.off_until = now + HOUR_S
            said += self._leave_alone(now, ready, "not the worker", numbers, HOUR_S)
        return said


def _asked(inquiry: Inquiry) -> list[Seat]:
    return [inquiry.suspect] if inquiry.reference is None else [inquiry.suspect, inquiry.reference]


def _common(slots: Sequence[Slot]) -> float:
    return common_slowdown([slot.vitals.pace for slot in slots])


def _times(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 2)
