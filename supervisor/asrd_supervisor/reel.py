"""The segments of a job in the order of its audio, although its chunks are transcribed side by side.

Whoever follows a job sees the segments of a chunk when all before it are done. The foremost chunk is shown as it is
decoded; when it is tried again, it is shown anew from its first segment, as a job with one step is from 0.
"""

from collections.abc import Iterable

import msgspec

from asrd_supervisor.sources import Body


class _Stretch(msgspec.Struct):
    attempt: int = 0
    segments: list[Body] = []
    ended: bool = False


class Reel:
    """Of one job."""

    def __init__(self) -> None:
        self._stretches = {0: _Stretch()}
        self._head = 0
        """Which of them is the foremost that has not ended."""
        self._order = [0]
        self._base = 0
        self.shown: list[Body] = []
        """The segments that may be seen, each at its index."""

    def divide(self, steps: Iterable[int]) -> None:
        """The audio was cut: these steps are its stretches, in order."""
        self._order = list(steps)
        self._stretches = {step: _Stretch() for step in self._order}
        self._head = self._base = 0
        self.shown = []

    def begin(self, step: int, attempt: int) -> None:
        """A worker tries a step."""
        if step not in self._stretches:
            return
        self._stretches[step] = _Stretch(attempt)
        if self._foremost == step:
            del self.shown[self._base :]

    def add(self, step: int, attempt: int, index: int, body: Body) -> list[Body]:
        """A segment of a step; those that may be seen because of it."""
        stretch = self._stretches.get(step)
        if stretch is None or attempt != stretch.attempt or index != len(stretch.segments):
            return []
        stretch.segments.append(body)
        return self._show([body]) if self._foremost == step else []

    def end(self, step: int) -> list[Body]:
        """A step has given all that it will; the segments that may be seen because of it."""
        if step not in self._stretches:
            return []
        self._stretches[step].ended = True
        shown: list[Body] = []
        while self._foremost is not None and self._stretches[self._foremost].ended:
            self._head += 1
            self._base = len(self.shown)
            if self._foremost is not None:
                shown += self._show(self._stretches[self._foremost].segments)
        return shown

    def _show(self, segments: list[Body]) -> list[Body]:
        self.shown += segments
        return segments

    def restore(self, step: int, segments: list[Body]) -> None:
        """What a step gave, before the daemon was started again."""
        if step in self._stretches:
            self._stretches[step].segments = segments
            if self._foremost == step:
                self.shown += segments
            self.end(step)

    def segments_of(self, step: int) -> list[Body]:
        """What a step has given."""
        return self._stretches[step].segments if step in self._stretches else []

    @property
    def _foremost(self) -> int | None:
        return self._order[self._head] if self._head < len(self._order) else None
