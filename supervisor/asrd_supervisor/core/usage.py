"""How much a pool, and so its model, is used."""

from collections.abc import Sequence

from asrd_supervisor.core.actions import Action
from asrd_supervisor.core.events import Event, Finished, StepEnded
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE

_ONCE = (WHOLE, SPEAKERS, FIRST_CHUNK)
"""Each job has one of these steps in a pool."""


class Usage:
    """Sums since the daemon started."""

    def __init__(self) -> None:
        self.jobs = 0
        self.audio_s = 0.0
        self.last_at: float | None = None
        """When a step was done last."""

    def note(self, now: float, things: Sequence[Action | Event]) -> None:
        """What has followed from an event: maybe the end of a step."""
        for thing in things:
            if isinstance(thing, StepEnded) and isinstance(thing.outcome, Finished):
                index = thing.step.index
                self.last_at = now
                self.jobs += index in _ONCE
                self.audio_s += 0.0 if index == MERGE else thing.outcome.work.audio_s
