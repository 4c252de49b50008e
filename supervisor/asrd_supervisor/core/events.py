"""What happened, in the past tense. Events come from the shell, or from one part of the core to its sibling."""

from typing import Any

import msgspec

from asrd_protocol.faults import Fault
from asrd_protocol.messages import Retries
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core.seats import Seat

Stretch = tuple[float, float]
"""From when to when, in seconds of a job's audio."""


class Event(msgspec.Struct, frozen=True):
    """The base of all events."""


# --- from clients and operators ---------------------------------------------------------------------------------------


class JobSubmitted(Event, frozen=True):
    """A client wants a transcript."""

    job: str
    pool: str | None
    size: int
    """Bytes of audio."""
    owner: str = ""
    """Who it is, as the kernel says."""
    client: str = ""
    """The name of the client, where it has one."""
    connection: str = ""
    """It stands for a client that has no name."""
    lane: str = "normal"
    audio_s: float | None = None
    """Seconds of audio, where they are known without opening it."""
    deadline: float | None = None
    """Seconds from now."""
    retries: Retries | None = None
    diarize: bool = False
    """Who speaks is to be found out, too."""
    diarize_pool: str | None = None
    report_missing: bool = False
    """A stretch of long audio that cannot be transcribed is left out, and that is said."""


class KeptStep(msgspec.Struct, frozen=True):
    """What the journal knows of a step of a job that has several."""

    index: int
    attempts: int = 0
    deaths: int = 0
    ended: bool = False
    failed: bool = False
    """It ended without a result, and the job does without."""
    timings: Timings = Timings()
    work: Work = Work()


class JobRecovered(Event, frozen=True):
    """A job that was accepted before is here again: after a restart of the daemon, or because somebody wants it so.

    It is no job that is active, and the daemon is not stopping: whoever posts this has seen to that.
    """

    submitted: JobSubmitted
    attempts: int = 0
    deaths: int = 0
    interrupted: int = 0
    """Attempts that ended with the daemon."""
    chunks: tuple[Stretch, ...] = ()
    """Into which its audio was cut; none when it was not."""
    steps: tuple[KeptStep, ...] = ()


class JobPersisted(Event, frozen=True):
    """The job is stored: it may be accepted."""

    job: str


class JobUnstored(Event, frozen=True):
    """The job cannot be stored, so it cannot be accepted."""

    job: str
    fault: Fault


class PlanPersisted(Event, frozen=True):
    """Where the audio of the job was cut is stored, and the audio itself as samples."""

    job: str


class PlanUnstored(Event, frozen=True):
    """It cannot be stored, so the job cannot go on."""

    job: str
    fault: Fault


class PartPersisted(Event, frozen=True):
    """What a step of the job has given is stored."""

    job: str
    index: int


class CancelRequested(Event, frozen=True):
    """A client does not want the job any more."""

    job: str


class RecycleRequested(Event, frozen=True):
    """An operator wants fresh workers: one, those of a pool, or all."""

    pool: str | None = None
    slot: int | None = None


class DrainRequested(Event, frozen=True):
    """No new jobs from now on, or again."""

    resume: bool = False


class StopRequested(Event, frozen=True):
    """The daemon shall finish what it has and leave; ``now``: without finishing."""

    now: bool = False


# --- from workers -----------------------------------------------------------------------------------------------------


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


# --- from the host ----------------------------------------------------------------------------------------------------


class WorkerSample(msgspec.Struct, frozen=True):
    """What the host says of one worker, in bytes; None where it does not say."""

    seat: Seat
    rss: int | None = None
    pss: int | None = None
    vram: int | None = None
    stopped: bool = False
    """Its process is stopped by a signal."""


class HostSampled(Event, frozen=True):
    """What the host says of itself, every few seconds."""

    cpu_pressure: float | None = None
    """Percent of the last 10 s in which some task waited for a core; None where the kernel does not say."""
    memory_pressure: float | None = None
    slept: bool = False
    """The host was suspended since the last sample."""
    throttled: frozenset[str] = frozenset()
    """Devices (``cuda:0``) that were slowed down by heat or power."""
    memory_left: float | None = None
    """Share of the memory of the host, or of what the daemon may use of it, that is available."""
    free: dict[str, int] = {}
    """Bytes of memory that are free: of the host (``cpu``) and of each GPU."""
    workers: tuple[WorkerSample, ...] = ()


# --- from the clock ---------------------------------------------------------------------------------------------------


class TimerFired(Event, frozen=True):
    """A timer that an action has set. ``number`` tells a stale one."""

    pool: str
    """Empty for the daemon's own."""
    slot: int
    kind: str
    number: int


class AlarmRang(Event, frozen=True):
    """An alarm of a job that an action has set. ``number`` tells a stale one."""

    job: str
    kind: str
    number: int


# --- between the parts of the core ------------------------------------------------------------------------------------


class StepQueued(Event, frozen=True):
    """A step wants a worker; ``again``: it had its turn before."""

    step: "StepRef"
    again: bool = False


class StepRef(msgspec.Struct, frozen=True):
    """A step as the pool sees it."""

    job: str
    index: int
    pool: str
    size: int = 0
    avoid: str = ""
    """The seat that failed it the last time."""
    suspect: bool = False
    """A worker died of it: it may hold one slot of the pool at a time."""
    client: str = ""
    lane: str = "normal"
    audio_s: float | None = None


class StepWithdrawn(Event, frozen=True):
    """Nobody wants the step any more."""

    step: StepRef


class StepStarted(Event, frozen=True):
    """A worker has it."""

    step: StepRef
    seat: Seat
    attempt: int


class StepMoved(Event, frozen=True):
    """A worker has come so far with it, in seconds of audio."""

    step: StepRef
    done: float
    duration: float
    index: int | None = None
    body: Any = None


class StepEnded(Event, frozen=True):
    """The pool is through with it, for better or worse."""

    step: StepRef
    outcome: "Outcome"


class Finished(msgspec.Struct, frozen=True):
    """A result."""

    seat: Seat
    timings: Timings
    work: Work
    job_index: int
    uptime: float
    body: Any
    rss: int = 0


class Divided(msgspec.Struct, frozen=True):
    """No result: the audio was cut into chunks, and these are to be transcribed."""

    seat: Seat
    attempt: int
    """Of the worker that did it."""
    chunks: tuple[Stretch, ...]
    head: Any
    timings: Timings = Timings()


class Faulted(msgspec.Struct, frozen=True):
    """No result, from a worker that lives."""

    seat: Seat
    fault: Fault


class Lost(msgspec.Struct, frozen=True):
    """The worker died of it, or with it."""

    seat: Seat
    how: str
    hung: bool
    log_tail: tuple[str, ...] = ()
    unsent: bool = False
    """It died before it was given the step."""


class Withdrawn(msgspec.Struct, frozen=True):
    """It was cancelled before it had a result."""

    seat: Seat | None = None


class Unserved(msgspec.Struct, frozen=True):
    """The pool has no worker and will not get one."""

    fault: Fault


Outcome = Finished | Divided | Faulted | Lost | Withdrawn | Unserved


class PoolHeld(Event, frozen=True):
    """The pool shall begin nothing new: what waits is kept for the next daemon."""

    pool: str


class PoolClosed(Event, frozen=True):
    """The pool shall empty its seats; ``hurry``: without waiting for steps."""

    pool: str
    hurry: bool


class PoolEmptied(Event, frozen=True):
    """The last worker of a closed pool is gone."""

    pool: str


# --- what a pool has loaded -------------------------------------------------------------------------------------------


class RestRequested(Event, frozen=True):
    """An operator wants the memory back: the workers of the pool leave after their steps, and come back with a job."""

    pool: str


class WakeRequested(Event, frozen=True):
    """An operator wants the pool to be warm before the next job comes."""

    pool: str


class RenewRequested(Event, frozen=True):
    """The engine shall be loaded anew: an operator wants other settings, or the same ones read again; or it shall take
    less memory."""

    pool: str
    reason: str
    """``changed``, ``reload`` or ``memory``."""
    settings: dict[str, Any] | None = None
    """All that operators have set, as it is to be told; None for what is loaded now."""
    load: Any = None
    """The message for the workers; it is carried and never opened."""
