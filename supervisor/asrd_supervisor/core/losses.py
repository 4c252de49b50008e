"""What follows when a worker of a pool is gone, or has found no memory for its work."""

from collections import Counter
from collections.abc import Sequence

from asrd_protocol.faults import Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.edition import MEMORY
from asrd_supervisor.core.health.monitor import Monitor
from asrd_supervisor.core.lifecycle import Input, State
from asrd_supervisor.core.out import Out
from asrd_supervisor.core.placement import Placement
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.slot import Slot, all_failed
from asrd_supervisor.core.staffing import Staffing

HANGS = frozenset({"busy deadline", "stalled", "stopped by a signal"})
"""Kills of workers that made no end, or no progress, of a step."""

WANTED_KILLS = frozenset({"retired", "shut down"})
"""Kills that are no deaths: the worker was not needed any more."""


class Losses:
    """Of one pool."""

    def __init__(
        self, policy: PoolPolicy, slots: Sequence[Slot], staffing: Staffing, placement: Placement, monitor: Monitor
    ) -> None:
        self._policy = policy
        self._slots = slots
        self._staffing = staffing
        self._placement = placement
        self._monitor = monitor
        self.deaths: Counter[str] = Counter()
        """By how."""

    def exited(self, now: float, slot: Slot, event: ev.WorkerExited) -> Out:
        """The process is gone; with it the step that it had."""
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
        out += self._seat_again(now, slot, how) if slot.state is State.BACKOFF else []
        if slot.state is State.FAILED:
            out.append(do.Announce("worker.failed", {"seat": str(seat), "fault": slot.last_fault}))
            out += self._fall_back(now)
        lost = ev.Lost(seat, how, hung, event.log_tail, unsent=not slot.sent)
        cancelled = slot.cancelling
        slot.task, slot.sent = None, False
        if step is not None:
            out.append(ev.StepEnded(step, ev.Withdrawn(seat) if cancelled else lost))
        return out

    def _seat_again(self, now: float, slot: Slot, how: str) -> Out:
        """When the seat may have its next worker. That a suspect kills whoever has it is not the fault of the seat; nor
        is what the worker was told to load."""
        died = how not in WANTED_KILLS
        misled = self._staffing.misled(slot) if died else None
        slot.hopeless = slot.hopeless and misled is None
        placed = self._placement.died(now, slot) if died and misled is None else []
        suspect = slot.task is not None and slot.task.suspect and slot.sent
        return [*placed, *(misled or []), *slot.back_off(now, blameless=suspect or misled is not None)]

    def _fall_back(self, now: float) -> Out:
        """Go on where the pool was not meant to compute, if it may and has to."""
        said = self._placement.give_up() if all_failed(self._slots) else []
        if said:
            self._monitor.renewed()
        return [*said, *(self._staffing.revive_all(now) if said else [])]

    def starved(self, now: float, slot: Slot, fault: Fault) -> Out:
        """The next worker may find room for what this one had none for; if that is not enough, all shall take less."""
        said = self._placement.starved(now, slot, fault.message)
        renew = ev.RenewRequested(self._policy.name, MEMORY)
        return [*said, *(self._staffing.obey(now, renew) if said else [])]
