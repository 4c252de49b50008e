"""A step in the hands of a worker: sent, watched, ended. And the built-in clip, which is a step of no job."""

from collections.abc import Sequence

from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.devices import Devices
from asrd_supervisor.core.health.monitor import Monitor
from asrd_supervisor.core.lifecycle import Input, State
from asrd_supervisor.core.out import Out
from asrd_supervisor.core.pace import Pace
from asrd_supervisor.core.patience import busy_limit, stall_limit
from asrd_supervisor.core.placement import STARVED
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.staffing import Staffing
from asrd_supervisor.core.stages import MERGE, WHOLE
from asrd_supervisor.core.tally import Tally


class Steps:
    """What the workers of one pool have in hand."""

    def __init__(
        self,
        policy: PoolPolicy,
        slots: Sequence[Slot],
        staffing: Staffing,
        monitor: Monitor,
        devices: Devices,
    ) -> None:
        self._policy = policy
        self._slots = slots
        self._staffing = staffing
        self._monitor = monitor
        self._devices = devices
        self._attempts = 0
        self.pace = Pace()
        self.tally = Tally()

    # --- begun --------------------------------------------------------------------------------------------------------

    def give(self, now: float, slot: Slot, step: ev.StepRef) -> Out:
        """A step for an idle worker; it is sent as soon as the attempt is stored."""
        self._attempts += 1
        slot.take(now, step, self._attempts, self.pace.work(step.size, step.audio_s))
        return [*slot.apply(Input.ASSIGN, now), ev.StepStarted(step, slot.seat, slot.attempt)]

    def give_canary(self, now: float, slot: Slot, runs: int) -> Out:
        """The built-in clip for an idle worker."""
        self._attempts += 1
        slot.take_canary(now, self._attempts)
        deadlines = self._policy.deadlines
        wanted = deadlines.busy_factor * runs * slot.vitals.canary.first_took
        limit = max(deadlines.busy_floor, min(wanted, deadlines.warm_up))
        return [*slot.apply(Input.ASSIGN, now), do.SendCanary(slot.seat, slot.attempt, runs), slot.arm(limit)]

    def send(self, now: float, slot: Slot, event: ev.AttemptPersisted) -> Out:
        """The attempt is stored, so the step may be sent, if it is still wanted."""
        if slot.task is None or slot.sent or event.attempt != slot.attempt or slot.state is State.KILLING:
            return []
        if slot.cancelling:
            step, slot.task, slot.cancelling = slot.task, None, False
            return [ev.StepEnded(step, ev.Withdrawn(slot.seat)), *slot.apply(Input.FINISH, now)]
        slot.sent = True
        slot.started_at = slot.moved_at = now
        slot.load_before = self._devices[slot.device].load.total(now)
        deadlines = self._policy.deadlines
        return [
            do.SendStep(slot.seat, slot.attempt, slot.task.job, slot.task.index),
            slot.arm(deadlines.busy_floor),
            self._arm_stall(slot, stall_limit(slot, self.pace, deadlines)),
        ]

    # --- what the worker says -----------------------------------------------------------------------------------------

    def react(self, now: float, slot: Slot, event: ev.WorkerEvent) -> Out:
        """The worker has said something about what it has in hand."""
        if slot.state is State.KILLING:
            return []
        if not slot.sent or getattr(event, "attempt", None) != slot.attempt:
            return [*slot.apply(Input.BROKEN, now, "breach: it spoke of a step that it does not have")]
        if slot.task is None:
            return self._react_to_canary(now, slot, event)
        match event:
            case ev.StepProgressed():
                slot.note_progress(now, event.done, event.duration)
                slot.duration = event.duration or slot.duration
                return [*self._extend(now, slot, event), ev.StepMoved(slot.task, event.done, event.duration)]
            case ev.SegmentDecoded(index=index) if index != slot.segments:
                return [*slot.apply(Input.BROKEN, now, "breach: its segments are out of order")]
            case ev.SegmentDecoded():
                slot.segments += 1
                slot.note_progress(now, event.done)
                return [ev.StepMoved(slot.task, event.done, 0.0, event.index, event.body)]
            case ev.StepFinished():
                return self._finished(now, slot, event)
            case ev.StepSplit():
                return self._split(now, slot, event)
            case ev.StepFaulted():
                return self._faulted(now, slot, event)
            case _:
                return [*slot.apply(Input.BROKEN, now, "breach: it was given a step and speaks of the clip")]

    def _extend(self, now: float, slot: Slot, event: ev.StepProgressed) -> Out:
        """The first progress tells how long the audio is, and so how long the step may take."""
        if event.done > 0:
            return []
        limit = busy_limit(event.duration, self.pace, self._policy.deadlines)
        if slot.cancelling or limit <= self._policy.deadlines.busy_floor:
            return []
        return [slot.arm(slot.started_at + limit - now)]

    def _react_to_canary(self, now: float, slot: Slot, event: ev.WorkerEvent) -> Out:
        slot.sent = False
        slot.proved_at = now
        match event:
            case ev.CanaryFinished():
                said = self._monitor.canary_finished(now, slot, event)
                return [*said, *slot.apply(Input.FINISH, now)]
            case ev.StepFaulted(fault=fault):
                self.tally.faults[str(fault.code)] += 1
                out: Out = [*slot.apply(Input.FINISH, now)]
                failed = Verdict("canary", {"code": str(fault.code)})
                return out + (self._staffing.dismiss(now, slot, failed) if slot.state is State.IDLE else [])
            case _:
                return [*slot.apply(Input.BROKEN, now, "breach: it was given the clip and speaks of a step")]

    def _finished(self, now: float, slot: Slot, event: ev.StepFinished) -> Out:
        step = self._close_step(now, slot)
        companions = self._devices[slot.device].load.companions(now, slot.started_at, slot.load_before)
        self.pace.learn(now - slot.started_at, event.work.audio_s, step.size, media=step.audio_s is None)
        self.tally.note_work(event.work)
        outcome = ev.Finished(
            slot.seat, event.timings, event.work, slot.jobs_done, slot.age(now), event.body, event.rss
        )
        said = self._monitor.finished(now, slot, event, companions) if step.index != MERGE else []
        return [ev.StepEnded(step, outcome), *said, *slot.apply(Input.FINISH, now)]

    def _split(self, now: float, slot: Slot, event: ev.StepSplit) -> Out:
        assert slot.task is not None
        if slot.task.index != WHOLE:
            return [*slot.apply(Input.BROKEN, now, "breach: it has cut what was not to be cut")]
        step = self._close_step(now, slot)
        self.pace.learn_length(event.chunks[-1][1], step.size, media=step.audio_s is None)
        outcome = ev.Divided(slot.seat, event.attempt, event.chunks, event.head, event.timings)
        return [ev.StepEnded(step, outcome), *slot.apply(Input.FINISH, now)]

    def _faulted(self, now: float, slot: Slot, event: ev.StepFaulted) -> Out:
        cancelled = slot.cancelling and event.fault.code is Code.CANCELLED
        if not cancelled:
            self.tally.faults[str(event.fault.code)] += 1
        step = self._close_step(now, slot)
        outcome = ev.Withdrawn(slot.seat) if cancelled else ev.Faulted(slot.seat, event.fault, self._more(slot, event))
        out: Out = [ev.StepEnded(step, outcome), *slot.apply(Input.FINISH, now)]
        if event.leave and slot.state is State.IDLE:
            out += self._staffing.dismiss(now, slot, Verdict(str(event.fault.code), {}))
        return out

    def _more(self, slot: Slot, event: ev.StepFaulted) -> int:
        """Where a pool may take less memory, its jobs live to see it."""
        starved = event.leave and event.fault.code is Code.OUT_OF_MEMORY
        return STARVED * (len(self._policy.fallbacks) - slot.rung) if starved else 0

    @staticmethod
    def _close_step(now: float, slot: Slot) -> ev.StepRef:
        assert slot.task is not None
        slot.proved_at = now
        step, slot.task = slot.task, None
        slot.sent = slot.cancelling = False
        slot.jobs_done += 1
        return step

    def withdraw(self, step: ev.StepRef) -> Out:
        """Nobody wants the step any more; it is in the hands of a worker, or has just left them."""
        for slot in self._slots:
            if slot.task is None or slot.cancelling or slot.state is State.KILLING:
                continue
            if (slot.task.job, slot.task.index) == (step.job, step.index):
                slot.cancelling = True
                if not slot.sent:
                    return []  # it ends as soon as the journal has spoken
                return [do.SendCancel(slot.seat, slot.attempt), slot.arm(self._policy.deadlines.cancel)]
        return []

    # --- time ---------------------------------------------------------------------------------------------------------

    def overdue(self, now: float, slot: Slot) -> Out:
        """The worker has had its time."""
        if not slot.sent:
            return [slot.arm(self._policy.deadlines.busy_floor)]  # the journal is slow, not the worker
        if slot.task is None:
            return [*slot.apply(Input.DEADLINE, now, "canary deadline")]
        return [*slot.apply(Input.DEADLINE, now, "cancel" if slot.cancelling else "busy deadline")]

    def check_progress(self, now: float, slot: Slot, attempt: int) -> Out:
        """The alarm is not set anew by each progress; it looks how long the last one is ago, and waits for the rest."""
        stale = slot.task is None or slot.attempt != attempt or slot.state not in (State.BUSY, State.DRAINING)
        if stale or slot.cancelling:
            return []
        left = slot.moved_at + stall_limit(slot, self.pace, self._policy.deadlines) - now
        return [self._arm_stall(slot, left)] if left > 0 else [*slot.apply(Input.DEADLINE, now, "stalled")]

    def _arm_stall(self, slot: Slot, delay: float) -> do.SetTimer:
        return do.SetTimer(self._policy.name, slot.index, "stall", slot.attempt, delay)
