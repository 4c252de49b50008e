"""The slots of one engine configuration: who gets which step, who is started, replaced and given up.

Every event that concerns a worker ends in two questions that are asked in one place each: who works next
(:meth:`Pool._dispatch`), and who sits where (:class:`~asrd_supervisor.core.staffing.Staffing`).
"""

import random
from collections import Counter

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.backlog import Backlog
from asrd_supervisor.core.lifecycle import Input, State
from asrd_supervisor.core.pace import Pace
from asrd_supervisor.core.patience import busy_limit, stall_limit
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.staffing import Staffing
from asrd_supervisor.core.turns import Turns

Out = list[do.Action | ev.Event]

HANGS = frozenset({"busy deadline", "stalled"})
"""Kills of workers that made no end, or no progress, of a step."""

WANTED_KILLS = frozenset({"retired", "shut down"})
"""Kills that are no deaths: the worker was not needed any more."""


class Pool:
    """One pool. State changes in :meth:`handle` only."""

    def __init__(self, policy: PoolPolicy, rng: random.Random) -> None:
        seats = policy.workers + (1 if policy.start_first else 0)
        self.policy = policy
        self.slots = [Slot(policy, index, rng) for index in range(seats)]
        self.backlog = Backlog()
        self.staffing = Staffing(policy, self.slots)
        self.pace = Pace()
        self.deaths: Counter[str] = Counter()
        self.stale = 0
        self._held = False
        self._attempts = 0
        self._turns = Turns(self.slots, self.backlog)

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.policy.name

    @property
    def ready(self) -> int:
        """Workers that are warm and there to stay."""
        return sum(slot.ready for slot in self.slots)

    @property
    def unavailable(self) -> bool:
        """No worker, and none on its way: every seat in use has failed."""
        states = {slot.state for slot in self.slots}
        return State.FAILED in states and states <= {State.FAILED, State.VACANT}

    @property
    def hopeless(self) -> bool:
        """Unavailable, and another start cannot help."""
        return self.unavailable and all(slot.hopeless for slot in self.slots if slot.state is State.FAILED)

    def room_in(self) -> float:
        """Seconds until a tenth of the queue, and one step at least, has been worked off, at the pace so far."""
        steps = len(self.backlog)
        return max(1.0, round(self.backlog.work / max(1, min(steps, 10)) / max(1, self.ready), 1))

    def eta(self, step: ev.StepRef) -> float:
        """Seconds until a step that waits, or is about to, will be done, at the pace so far."""
        cost = self.pace.work(step.size, step.audio_s)
        ahead = self.backlog.ahead_of(step, cost)
        running = sum(slot.remaining for slot in self.slots if slot.task)
        workers = max(1, self.ready)
        return cost + (ahead + running) / workers if ahead or self._all_busy() else cost

    def _all_busy(self) -> bool:
        return not any(slot.state is State.IDLE for slot in self.slots)

    # --- the one entry ------------------------------------------------------------------------------------------------

    def handle(self, now: float, event: ev.Event) -> Out:
        """Take one event in; the actions and the events for siblings that follow from it."""
        out = self._react(now, event)
        if isinstance(event, ev.StepProgressed | ev.SegmentDecoded):
            return out  # the most frequent ones; nobody's turn comes by them, and no seat is freed
        out += self.staffing.reconcile(now)
        out += self._dispatch(now)
        out += self._turn_away()
        self.staffing.note_ready(self.ready)
        if self.staffing.just_emptied():
            out.append(ev.PoolEmptied(self.name))
        return out

    def _react(self, now: float, event: ev.Event) -> Out:
        match event:
            case ev.StepQueued(step, again):
                self.backlog.push(step, self.pace.work(step.size, step.audio_s), again=again)
                return []
            case ev.StepWithdrawn(step):
                return self._withdraw(step)
            case ev.WorkerEvent():
                return self._react_to_worker(now, event)
            case ev.TimerFired():
                return self._react_to_timer(now, event)
            case ev.RecycleRequested():
                return list(self.staffing.request(now, event.slot))
            case ev.PoolHeld():
                self._held = True
                return []
            case ev.PoolClosed():
                return [*self.staffing.close(now, hurry=event.hurry)]
            case _:
                return []

    # --- workers ------------------------------------------------------------------------------------------------------

    def _react_to_worker(self, now: float, event: ev.WorkerEvent) -> Out:
        slot = self._occupied(event)
        if slot is None:
            self.stale += 1
            return []
        match event:
            case ev.WorkerGreeted():
                slot.pid = event.pid
                return [*slot.apply(Input.HELLO, now)]
            case ev.WorkerWarmed():
                return self._warmed(now, slot, event)
            case ev.LoadFaulted():
                slot.said = event.fault.message
                return []
            case ev.WorkerBroke():
                return [*slot.apply(Input.BROKEN, now, f"breach: {event.what}")]
            case ev.WorkerExited():
                return self._exited(now, slot, event)
            case ev.AttemptPersisted():
                return self._send(now, slot, event)
            case _:
                return self._react_to_step(now, slot, event)

    def _occupied(self, event: ev.WorkerEvent) -> Slot | None:
        """The slot whose present worker the event is about."""
        index = event.seat.slot
        if index >= len(self.slots):
            return None
        slot = self.slots[index]
        return slot if slot.generation == event.seat.generation and slot.live else None

    def _warmed(self, now: float, slot: Slot, event: ev.WorkerWarmed) -> Out:
        out: Out = [*slot.apply(Input.READY, now)]
        if slot.state is State.IDLE:
            fields = {"seat": str(slot.seat), "pid": slot.pid, "load_s": event.load_s, "warm_up_s": event.warm_up_s}
            out.append(do.Announce("worker.ready", {**fields, "start_s": round(slot.age(now), 3)}))
        return out

    def _exited(self, now: float, slot: Slot, event: ev.WorkerExited) -> Out:
        step, seat = slot.task, slot.seat
        hung = slot.kill_reason in HANGS
        how = slot.kill_reason or event.how
        out: Out = [*slot.apply(Input.EXIT, now)]
        if slot.state is State.BACKOFF and how not in WANTED_KILLS:
            slot.hopeless = event.hopeless
            slot.last_fault = slot.said or how
            self.deaths[how] += 1
            fields = {"seat": str(seat), "how": how, "fault": slot.last_fault, "job": step.job if step else None}
            out.append(do.Announce("worker.died", {**fields, "log_tail": list(event.log_tail)}))
        else:
            out.append(do.Announce("worker.left", {"seat": str(seat), "how": how}))
        if slot.state is State.BACKOFF:
            # A suspect kills whoever has it: that is not the fault of the seat.
            out += slot.back_off(now, blameless=step is not None and step.suspect and slot.sent)
        if slot.state is State.FAILED:
            out.append(do.Announce("worker.failed", {"seat": str(seat), "fault": slot.last_fault}))
        slot.task = None
        if step is not None:
            cancelled = slot.cancelling
            lost = ev.Lost(seat, how, hung, event.log_tail, unsent=not slot.sent)
            out.append(ev.StepEnded(step, ev.Withdrawn(seat) if cancelled else lost))
        return out

    # --- steps in work ------------------------------------------------------------------------------------------------

    def _send(self, now: float, slot: Slot, event: ev.AttemptPersisted) -> Out:
        """The attempt is stored, so the step may be sent, if it is still wanted."""
        if slot.task is None or slot.sent or event.attempt != slot.attempt or slot.state is State.KILLING:
            return []
        if slot.cancelling:
            step, slot.task, slot.cancelling = slot.task, None, False
            return [ev.StepEnded(step, ev.Withdrawn(slot.seat)), *slot.apply(Input.FINISH, now)]
        slot.sent = True
        slot.started_at = slot.moved_at = now
        deadlines = self.policy.deadlines
        return [
            do.SendStep(slot.seat, slot.attempt, slot.task.job),
            slot.arm(deadlines.busy_floor),
            self._arm_stall(slot, stall_limit(slot, self.pace, deadlines)),
        ]

    def _react_to_step(self, now: float, slot: Slot, event: ev.WorkerEvent) -> Out:
        if slot.state is State.KILLING:
            return []
        if slot.task is None or not slot.sent or getattr(event, "attempt", None) != slot.attempt:
            return [*slot.apply(Input.BROKEN, now, "breach: it spoke of a step that it does not have")]
        match event:
            case ev.StepProgressed():
                slot.note_progress(now, event.done)
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
            case ev.StepFaulted():
                return self._faulted(now, slot, event)
            case _:
                return []

    def _extend(self, now: float, slot: Slot, event: ev.StepProgressed) -> Out:
        """The first progress tells how long the audio is, and so how long the step may take."""
        if event.done > 0:
            return []
        limit = busy_limit(event.duration, self.pace, self.policy.deadlines)
        if slot.cancelling or limit <= self.policy.deadlines.busy_floor:
            return []
        return [slot.arm(slot.started_at + limit - now)]

    def _finished(self, now: float, slot: Slot, event: ev.StepFinished) -> Out:
        step = self._close_step(slot)
        self.pace.learn(now - slot.started_at, event.work.audio_s, step.size, media=step.audio_s is None)
        outcome = ev.Finished(slot.seat, event.timings, event.work, slot.jobs_done, slot.age(now), event.body)
        return [ev.StepEnded(step, outcome), *slot.apply(Input.FINISH, now)]

    def _faulted(self, now: float, slot: Slot, event: ev.StepFaulted) -> Out:
        cancelled = slot.cancelling and event.fault.code is Code.CANCELLED
        step = self._close_step(slot)
        outcome = ev.Withdrawn(slot.seat) if cancelled else ev.Faulted(slot.seat, event.fault)
        out: Out = [ev.StepEnded(step, outcome), *slot.apply(Input.FINISH, now)]
        if event.leave and slot.state is State.IDLE:
            out += self.staffing.dismiss(now, slot, str(event.fault.code))
        return out

    @staticmethod
    def _close_step(slot: Slot) -> ev.StepRef:
        assert slot.task is not None
        step, slot.task, slot.cancelling = slot.task, None, False
        slot.jobs_done += 1
        return step

    def _withdraw(self, step: ev.StepRef) -> Out:
        if self.backlog.remove(step.job, step.index):
            return [ev.StepEnded(step, ev.Withdrawn())]
        for slot in self.slots:
            if slot.task is None or slot.cancelling or slot.state is State.KILLING:
                continue
            if (slot.task.job, slot.task.index) == (step.job, step.index):
                slot.cancelling = True
                if not slot.sent:
                    return []  # it ends as soon as the journal has spoken
                return [do.SendCancel(slot.seat, slot.attempt), slot.arm(self.policy.deadlines.cancel)]
        return []

    # --- time ---------------------------------------------------------------------------------------------------------

    def _react_to_timer(self, now: float, event: ev.TimerFired) -> Out:
        slot = self.slots[event.slot]
        if event.kind == "stall":
            return self._check_progress(now, slot, event.number)
        if event.kind != "state" or event.number != slot.timer:
            return []  # an age timer has done its work by waking the rules up
        match slot.state:
            case State.BACKOFF:
                return [*slot.apply(Input.DELAY_OVER if self.staffing.wanted(slot) else Input.RETIRE, now)]
            case State.FAILED:
                return [*slot.apply(Input.REVIVE if self.staffing.wanted(slot) else Input.RETIRE, now)]
            case State.BUSY | State.DRAINING if not slot.sent:
                return [slot.arm(self.policy.deadlines.busy_floor)]  # the journal is slow, not the worker
            case State.BUSY | State.DRAINING:
                return [*slot.apply(Input.DEADLINE, now, "cancel" if slot.cancelling else "busy deadline")]
            case _:
                return [*slot.apply(Input.DEADLINE, now, f"{slot.state} deadline")]

    def _check_progress(self, now: float, slot: Slot, attempt: int) -> Out:
        """The alarm is not set anew by each progress; it looks how long the last one is ago, and waits for the rest."""
        stale = slot.task is None or slot.attempt != attempt or slot.state not in (State.BUSY, State.DRAINING)
        if stale or slot.cancelling:
            return []
        left = slot.moved_at + stall_limit(slot, self.pace, self.policy.deadlines) - now
        return [self._arm_stall(slot, left)] if left > 0 else [*slot.apply(Input.DEADLINE, now, "stalled")]

    def _arm_stall(self, slot: Slot, delay: float) -> do.SetTimer:
        return do.SetTimer(self.name, slot.index, "stall", slot.attempt, delay)

    # --- who works next -----------------------------------------------------------------------------------------------

    def _dispatch(self, now: float) -> Out:
        out: Out = []
        while not self._held and (match := self._turns.next_match()) is not None:
            step, slot = match
            self.backlog.take(step)
            self._attempts += 1
            self._turns.taken_by(slot)
            slot.take(now, step, self._attempts, self.pace.work(step.size, step.audio_s))
            out += [*slot.apply(Input.ASSIGN, now), ev.StepStarted(step, slot.seat, slot.attempt)]
        return out

    def _turn_away(self) -> Out:
        """Nobody will ever work: say so now instead of letting callers wait."""
        if self.policy.durable or not len(self.backlog) or not self.hopeless:
            return []
        fault = self.unavailable_fault()
        return [ev.StepEnded(step, ev.Unserved(fault)) for step in self.backlog.clear()]

    def unavailable_fault(self) -> Fault:
        """Why the pool takes no work, with the last thing that its workers said."""
        reason = next((slot.last_fault for slot in self.slots if slot.last_fault), "no worker could be started")
        said = f"the pool {self.name!r} has no worker: {reason}"
        return Fault.of(Code.ENGINE_UNAVAILABLE, said, retry_after=None if self.hopeless else 30.0)
