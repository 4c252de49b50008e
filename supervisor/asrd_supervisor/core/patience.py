"""How long a worker may take over a step, and from one sign of progress to the next."""

from asrd_supervisor.core.pace import Pace
from asrd_supervisor.core.policy import Deadlines
from asrd_supervisor.core.slot import Slot

WINDOW_S = 30.0
"""Seconds of audio that Whisper decodes at a time, with nothing to be seen from outside."""

SLOW_WINDOWS = 8.0
"""A window may take so many times what it takes on average: six temperatures, each with all the tokens there can be."""

FIRST_SHARE = 0.1
"""Of the length of the audio may pass before its first segment: opening it and finding the speech in it."""


def busy_limit(duration: float, pace: Pace, deadlines: Deadlines) -> float:
    """Seconds for a step with so many seconds of audio.

    Silence takes next to no time: that the pool was quick of late says nothing of what comes, that it was slow does.
    """
    return deadlines.busy_factor * duration * max(1.0, pace.rate)


def stall_limit(slot: Slot, pace: Pace, deadlines: Deadlines) -> float:
    """Seconds from the last sign of progress of a worker to the next."""
    least = float(deadlines.stall)
    if pace.learned:
        least = max(least, SLOW_WINDOWS * WINDOW_S * pace.rate)
    return least if slot.done else max(least, FIRST_SHARE * slot.duration)
