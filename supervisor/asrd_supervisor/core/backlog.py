"""The steps of one pool that wait for a worker, in the order in which they came."""

from collections import deque
from collections.abc import Iterator

from asrd_supervisor.core.events import StepRef


class Backlog:
    """First come, first served; a step that lost its worker goes in front."""

    def __init__(self) -> None:
        self._steps: deque[StepRef] = deque()

    def __len__(self) -> int:
        return len(self._steps)

    def push(self, step: StepRef, *, front: bool = False) -> None:
        """Put a step at the end, or in front."""
        if front:
            self._steps.appendleft(step)
        else:
            self._steps.append(step)

    def __iter__(self) -> Iterator[StepRef]:
        return iter(self._steps)

    def remove(self, job: str, index: int) -> bool:
        """Take a step out; False when it is not here."""
        for step in self._steps:
            if step.job == job and step.index == index:
                self._steps.remove(step)
                return True
        return False

    def clear(self) -> list[StepRef]:
        """Take all."""
        steps, self._steps = list(self._steps), deque()
        return steps
