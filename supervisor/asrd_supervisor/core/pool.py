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
from asrd_supervisor.core.devices import Devices
from asrd_supervisor.core.health.inquiry import RUNS
from asrd_supervisor.core.health.monitor import Monitor
from asrd_supervisor.core.lifecycle import Input, State
from asrd_supervisor.core.losses import Losses
from asrd_supervisor.core.out import Out
from asrd_supervisor.core.pace import Pace
from asrd_supervisor.core.placement import Placement
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.slot import Slot, all_failed
from asrd_supervisor.core.staffing import Staffing
from asrd_supervisor.core.steps import Steps
from asrd_supervisor.core.tally import Tally
from asrd_supervisor.core.turns import Turns
from asrd_supervisor.core.usage import Usage

_BUSY = (State.BUSY, State.DRAINING)


class Pool:
    """One pool. State changes in :meth:`handle` only."""

    def __init__(self, policy: PoolPolicy, rng: random.Random, devices: Devices) -> None:
        seats = policy.workers + (1 if policy.start_first else 0)
        self.policy = policy
        self.slots = [Slot(policy, index, rng) for index in range(seats)]
        self.backlog = Backlog()
        self.monitor = Monitor(policy, self.slots)
        self.staffing = Staffing(policy, self.slots, self.monitor)
        self.placement = Placement(policy, self.slots, devices)
        self.stale = 0
        self.usage = Usage()
        self._held = False
        self._turns = Turns(self.slots, self.backlog)
        self._losses = Losses(policy, self.slots, self.staffing, self.placement, self.monitor)
        self._steps = Steps(policy, self.slots, self.staffing, self.monitor, devices)

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.policy.name

    @property
    def pace(self) -> Pace:
        """How long the work takes."""
        return self._steps.pace

    @property
    def deaths(self) -> Counter[str]:
        """Workers that have died, by how."""
        return self._losses.deaths

    @property
    def tally(self) -> Tally:
        """What was done."""
        return self._steps.tally

    @property
    def ready(self) -> int:
        """Workers that are warm and there to stay."""
        return sum(slot.ready for slot in self.slots)

    @property
    def able(self) -> int:
        """Those of them that could begin now or after the step at hand."""
        return sum(slot.ready and not slot.stopped for slot in self.slots)

    @property
    def unavailable(self) -> bool:
        """No worker, and none on its way: every seat in use has failed."""
        return all_failed(self.slots)

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
        if not self.ready:
            cost += self.monitor.advice.reload_s  # somebody has to be warm first
        return cost + (ahead + running) / workers if ahead or self._all_busy() else cost

    def _all_busy(self) -> bool:
        return not any(slot.state is State.IDLE for slot in self.slots)

    # --- the one entry ------------------------------------------------------------------------------------------------

    def handle(self, now: float, event: ev.Event) -> Out:
        """Take one event in; the actions and the events for siblings that follow from it."""
        out = self._react(now, event)
        if isinstance(event, ev.StepProgressed | ev.SegmentDecoded):
            return out  # the most frequent ones; nobody's turn comes by them, and no seat is freed
        out += self.staffing.reconcile(now, waits=len(self.backlog) > 0 and not self._held)
        out += self._check_up(now)
        out += self._dispatch(now)
        self.placement.note(now, [slot for slot in self.slots if slot.state in _BUSY])
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
                queued = self.backlog.remove(step.job, step.index)
                return [ev.StepEnded(step, ev.Withdrawn())] if queued else self._steps.withdraw(step)
            case ev.WorkerEvent():
                return self._react_to_worker(now, event)
            case ev.TimerFired():
                return self._react_to_timer(now, event)
            case ev.HostSampled():
                return self._sampled(now, event)
            case ev.RecycleRequested():
                self.placement.forgive()
                return list(self.staffing.request(now, event.slot))
            case ev.WakeRequested() | ev.RenewRequested():
                self.placement.forgive()
                return [*self.staffing.obey(now, event)]
            case ev.RestRequested():
                return [*self.staffing.obey(now, event)]
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
                self.placement.place(now, slot, self.staffing.condemned)
                return [*slot.apply(Input.HELLO, now)]
            case ev.WorkerWarmed():
                return self._warmed(now, slot, event)
            case ev.LoadFaulted():
                slot.said, slot.misplaced = event.fault.message, "device" in event.fault.context
                return []
            case ev.WorkerBroke():
                return [*slot.apply(Input.BROKEN, now, f"breach: {event.what}")]
            case ev.WorkerExited():
                return self._losses.exited(now, slot, event)
            case ev.StepFaulted(fault=fault, leave=True) if fault.code is Code.OUT_OF_MEMORY:
                return [*self._steps.react(now, slot, event), *self._losses.starved(now, slot, fault)]
            case ev.StepSplit():
                return self._split(now, slot, event)
            case ev.AttemptPersisted():
                return self._steps.send(now, slot, event)
            case _:
                out = self._steps.react(now, slot, event)
                self.usage.note(now, out)
                return out

    def _split(self, now: float, slot: Slot, event: ev.StepSplit) -> Out:
        step, paid = slot.task, slot.paid
        out = self._steps.react(now, slot, event)
        if step is not None and slot.task is None:
            self.backlog.give_back(step, paid)
        return out

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
            self.staffing.warmed(slot)
            self.placement.warmed(slot)
            self.monitor.born(now, slot, event)
            fields = {"seat": str(slot.seat), "pid": slot.pid, "load_s": event.load_s, "warm_up_s": event.warm_up_s}
            fields |= {"start_s": round(slot.age(now), 3), "device": slot.device}
            out.append(do.Announce("worker.ready", fields))
        return out

    # --- the host, and time -------------------------------------------------------------------------------------------

    def _sampled(self, now: float, event: ev.HostSampled) -> Out:
        out: Out = [
            action
            for slot in self.monitor.sampled(now, event)
            for action in slot.apply(Input.BROKEN, now, "more memory than kill_rss")
        ]
        self.tally.note_queue(now, self.backlog.work)
        stopped = {worker.seat for worker in event.workers if worker.stopped}
        for slot in self.slots:
            still = slot.stopped
            slot.stopped = slot.live and slot.seat in stopped
            if slot.stopped and still:
                out += slot.apply(Input.BROKEN, now, "stopped by a signal")
        return out

    def _react_to_timer(self, now: float, event: ev.TimerFired) -> Out:
        slot = self.slots[event.slot]
        if event.kind == "idle":
            self.staffing.rest.rang(event.number)
            return []
        if event.kind == "stall":
            return self._steps.check_progress(now, slot, event.number)
        if event.kind != "state" or event.number != slot.timer:
            return []  # an age timer has done its work by waking the rules up
        match slot.state:
            case State.BACKOFF:
                return [*slot.apply(Input.DELAY_OVER if self.staffing.wanted(slot) else Input.RETIRE, now)]
            case State.FAILED:
                return [*slot.apply(Input.REVIVE if self.staffing.wanted(slot) else Input.RETIRE, now)]
            case State.BUSY | State.DRAINING:
                return self._steps.overdue(now, slot)
            case _:
                return [*slot.apply(Input.DEADLINE, now, f"{slot.state} deadline")]

    # --- who works next -----------------------------------------------------------------------------------------------

    def _check_up(self, now: float) -> Out:
        """The clip goes before what waits."""
        if self._held or self.staffing.closing:
            return []
        out: Out = []
        for slot in self.slots:
            if slot.state is not State.IDLE or not (runs := self.monitor.canary_runs(now, slot)):
                continue
            # One at a time: those that are due together would keep the whole pool from its work.
            if runs == RUNS or not any(other.at_clip for other in self.slots):
                out += self._steps.give_canary(now, slot, runs)
        return out

    def _dispatch(self, now: float) -> Out:
        out: Out = []
        while not self._held and (match := self._turns.next_match()) is not None:
            step, slot = match
            paid = self.backlog.take(step)
            self._turns.taken_by(slot)
            out += self._steps.give(now, slot, step)
            slot.paid = paid
        return out

    def _turn_away(self) -> Out:
        """Nobody will ever work: say so now instead of letting callers wait."""
        spared = self.policy.diarizes and self.unavailable  # a transcript need not wait for who speaks
        if not len(self.backlog) or not (spared or (self.hopeless and not self.policy.durable)):
            return []
        fault = self.unavailable_fault()
        return [ev.StepEnded(step, ev.Unserved(fault)) for step in self.backlog.clear()]

    def unavailable_fault(self) -> Fault:
        """Why the pool takes no work, with the last thing that its workers said."""
        reason = next((slot.last_fault for slot in self.slots if slot.last_fault), "no worker could be started")
        said = f"the pool {self.name!r} has no worker: {reason}"
        return Fault.of(Code.ENGINE_UNAVAILABLE, said, retry_after=None if self.hopeless else 30.0)
