"""What workers say, and how they end."""

from typing import Any

from asrd_protocol.faults import Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core.events.base import Event, Stretch
from asrd_supervisor.core.seats import Seat


class WorkerEvent(Event, frozen=True):
    """Something a worker did. A former generation's events are stale."""

    seat: Seat


class AttemptPersisted(WorkerEvent, frozen=True):
    """It is stored that the worker is going to try: the step may be sent."""

    attempt: int


class WorkerGreeted(WorkerEvent, frozen=True):
    """The process has spoken."""

    pid: int


class WorkerWarmed(WorkerEvent, frozen=True):
    """The model is loaded and has decoded something."""

    load_s: float = 0.0
    warm_up_s: float = 0.0
    canary_s: float = 0.0
    """What the built-in clip took it; 0 where it is not known."""
    canary_text: str = ""
    rss: int = 0


class LoadFaulted(WorkerEvent, frozen=True):
    """The engine could not be loaded; the exit follows."""

    fault: Fault


class WorkerBroke(WorkerEvent, frozen=True):
    """The worker said what cannot be understood."""

    what: str


class WorkerExited(WorkerEvent, frozen=True):
    """The process is gone."""

    how: str
    """``SIGKILL``, ``exit 3``, ..."""
    hopeless: bool = False
    """It said by its exit code that another start cannot help."""
    log_tail: tuple[str, ...] = ()


class StepProgressed(WorkerEvent, frozen=True):
    """The compute thread has come so far, in seconds of audio."""

    attempt: int
    done: float
    duration: float


class SegmentDecoded(WorkerEvent, frozen=True):
    """A segment; its bytes are carried and never opened."""

    attempt: int
    index: int
    done: float
    body: Any


class StepFinished(WorkerEvent, frozen=True):
    """The step is done; its bytes are carried and never opened."""

    attempt: int
    timings: Timings
    work: Work
    body: Any
    rss: int = 0
    """Resident memory after it; 0 where it is not known."""


class StepSplit(WorkerEvent, frozen=True):
    """The audio is long: it was cut instead of transcribed."""

    attempt: int
    chunks: tuple[Stretch, ...]
    head: Any
    """What the worker says of the whole; it is carried and never opened."""
    timings: Timings = Timings()


class CanaryFinished(WorkerEvent, frozen=True):
    """It has transcribed the built-in clip."""

    attempt: int
    took: tuple[float, ...]
    """Seconds of each run."""
    text: str
    rss: int = 0


class StepFaulted(WorkerEvent, frozen=True):
    """The worker lives and the step has no result."""

    attempt: int
    fault: Fault
    leave: bool = False
