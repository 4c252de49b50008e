"""Who works next: the step whose turn it is, and the worker whose turn it is."""

from collections.abc import Sequence

from asrd_supervisor.core.backlog import Backlog
from asrd_supervisor.core.events import StepRef
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.slot import Slot


class Turns:
    """Matches what waits with who is idle."""

    def __init__(self, slots: Sequence[Slot], backlog: Backlog) -> None:
        self._slots = slots
        self._backlog = backlog
        self._next = 0

    def taken_by(self, slot: Slot) -> None:
        """It has had its turn."""
        self._next = slot.index + 1

    def next_match(self) -> tuple[StepRef, Slot] | None:
        """Round-robin over the idle ones. A step that avoids all of them lets others pass."""
        if not len(self._backlog):
            return None
        count = len(self._slots)
        turn = [self._slots[(self._next + i) % count] for i in range(count)]
        idle = [slot for slot in turn if slot.state is State.IDLE and self._fit(slot)]
        if not idle:
            return None
        suspected = any(slot.task and slot.task.suspect for slot in self._slots)
        able = (step for step in self._backlog.candidates() if not (step.suspect and suspected))
        return next(((step, slot) for step in able if (slot := self._suited(step, idle))), None)

    def _fit(self, slot: Slot) -> bool:
        """One that is stopped would not begin; one that is too fat or talks nonsense gets no more while others can."""
        if slot.stopped or not slot.unwelcome:
            return not slot.stopped
        return not any(s.ready and not s.unwelcome for s in self._slots)

    def _suited(self, step: StepRef, idle: list[Slot]) -> Slot | None:
        """The worker whose turn it is; the one that just failed the step only when there is no other."""
        if step.avoid and any(slot.ready and str(slot.seat) != step.avoid for slot in self._slots):
            idle = [slot for slot in idle if str(slot.seat) != step.avoid]
        return idle[0] if idle else None
