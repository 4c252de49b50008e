"""The messages between clients and daemon. The header of every message is one of these; a body may follow.

Questions carry ``v`` (the protocol version) and ``ref`` (any string, echoed in each answer to the question, so that one
connection can have many questions open). A message is told by its field ``type``.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from asrd_protocol import VERSION
from asrd_protocol.faults import Fault
from asrd_protocol.model import Run

# (?!\n): in Python's expressions a dollar matches before a last line feed too.
JobId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}(?!\n)$")]
PoolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}(?!\n)$")]
Ref = Annotated[str, Meta(max_length=64)]
Seconds = Annotated[float, Meta(ge=0, le=604_800)]

Scalar = bool | Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | float | str | None
Item = Scalar | list[Scalar] | dict[str, Scalar]
OptionValue = Scalar | list[Item] | dict[str, Item]
"""As wide and as deep as engines need and no more: whatever is taken here can be written to a worker in msgpack."""


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=_snake, tag_field="type", forbid_unknown_fields=True):
    """The base of everything on the two sockets."""

    v: int = VERSION
    ref: Ref = ""


class Answer(Message, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=False):
    """The base of what the daemon says. A client ignores fields that it does not know."""


# --- the audio of a job -----------------------------------------------------------------------------------------------


class MediaFile(msgspec.Struct, frozen=True, kw_only=True, tag="file", tag_field="kind", forbid_unknown_fields=True):
    """The body is a media file: any container and codec on the daemon's white-list."""

    name: Annotated[str, Meta(max_length=255)] = ""
    """Shown in messages; never opened."""


class Pcm(msgspec.Struct, frozen=True, kw_only=True, tag="pcm", tag_field="kind", forbid_unknown_fields=True):
    """The body is raw mono samples, little-endian: float32 in -1..1, or int16."""

    dtype: Literal["float32", "int16"] = "float32"
    rate: Annotated[int, Meta(ge=4_000, le=384_000)] = 16_000


Audio = MediaFile | Pcm

# --- jobs socket: questions -------------------------------------------------------------------------------------------


class Submit(Message, frozen=True, kw_only=True):
    """Transcribe the body. Answered by ``accepted``, ``progress`` and ``segment``, then ``completed`` or ``failed``."""

    job: JobId | None = None
    """The caller's own id, so that a repeated submit is the same job. The daemon makes one up otherwise."""
    pool: PoolName | None = None
    """Which pool; the daemon's default pool otherwise."""
    audio: Audio = MediaFile()
    options: dict[Annotated[str, Meta(max_length=64)], OptionValue] = {}
    """Options of the pool's engine, e.g. ``{"language": "en", "beam_size": 5}``; checked by the engine itself."""
    reply: Literal["stream", "final", "accepted"] = "stream"
    """Which answers to send: all of them, only the last, or only ``accepted``. A REQ socket gets one in any case."""


class Cancel(Message, frozen=True, kw_only=True):
    """Stop a job: a queued one at once, a running one at its next segment, by force after a grace of 2 s."""

    job: JobId


class Fetch(Message, frozen=True, kw_only=True):
    """The state of a job now: ``pending``, ``completed`` or ``failed``."""

    job: JobId


class Wait(Message, frozen=True, kw_only=True):
    """As ``fetch``, but held back until the job has ended or ``timeout`` seconds are over (then ``pending``)."""

    job: JobId
    timeout: Seconds = 60.0
    stream: bool = False
    """Send ``progress`` and ``segment`` of the running job too (not to a REQ socket)."""


class Release(Message, frozen=True, kw_only=True):
    """The result has arrived: the daemon may forget it."""

    job: JobId


JobQuestion = Submit | Cancel | Fetch | Wait | Release

# --- jobs socket: answers ---------------------------------------------------------------------------------------------


class Accepted(Answer, frozen=True, kw_only=True):
    """The job is stored and will end in exactly one of ``completed`` and ``failed``."""

    job: str
    ahead: int = 0
    """Steps queued before it."""


class Progress(Answer, frozen=True, kw_only=True):
    """How far the decoding of a running job has come, in seconds of its audio."""

    job: str
    done: float
    duration: float
    """Seconds of audio in all."""


class SegmentDecoded(Answer, frozen=True, kw_only=True, tag="segment"):
    """One segment, as soon as it is decoded; the body is a :class:`~asrd_protocol.model.Segment` in JSON."""

    job: str
    index: int
    """From 0; starts again from 0 when the job is tried on another worker (``attempt`` grows then)."""
    attempt: int = 1


class Completed(Answer, frozen=True, kw_only=True):
    """The end of a job that went well; the body is a :class:`~asrd_protocol.model.Transcript` in JSON."""

    job: str
    run: Run


class Failed(Answer, frozen=True, kw_only=True):
    """The end of a job that has no result."""

    job: str
    fault: Fault
    attempts: int = 0
    seat: str = ""


class Refused(Answer, frozen=True, kw_only=True):
    """The question is not answered, and nothing was changed by it."""

    fault: Fault
    job: str | None = None


class Pending(Answer, frozen=True, kw_only=True):
    """The job is known and has not ended."""

    job: str
    state: Literal["queued", "running"]


class Released(Answer, frozen=True, kw_only=True):
    """The result is forgotten."""

    job: str


# --- control socket: questions ----------------------------------------------------------------------------------------


class Health(Message, frozen=True, kw_only=True):
    """May work be sent?"""


class Stats(Message, frozen=True, kw_only=True):
    """Counters since the daemon started."""


class Workers(Message, frozen=True, kw_only=True):
    """Every seat with its worker."""


class Jobs(Message, frozen=True, kw_only=True):
    """The jobs that are known: queued, running and ended ones that are not released."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100


class Pools(Message, frozen=True, kw_only=True):
    """Every pool with its configuration."""


class Recycle(Message, frozen=True, kw_only=True):
    """Replace healthy workers, one after the other, each by one that is warm before."""

    pool: PoolName | None = None
    """All pools otherwise."""
    seat: Annotated[str, Meta(max_length=64)] | None = None
    """Only this worker."""


class Drain(Message, frozen=True, kw_only=True):
    """Refuse new jobs and finish the accepted ones; ``resume`` takes it back."""

    resume: bool = False


class Stop(Message, frozen=True, kw_only=True):
    """Drain, then exit; ``now`` gives up what is running."""

    now: bool = False


ControlQuestion = Health | Stats | Workers | Jobs | Pools | Recycle | Drain | Stop

# --- control socket: answers ------------------------------------------------------------------------------------------

Status = Literal["ready", "starting", "degraded", "draining", "unavailable"]


class HealthReport(Answer, frozen=True, kw_only=True):
    """``ready`` and ``degraded`` take work, the others do not."""

    status: Status
    reason: str
    pools: dict[str, Status] = {}
    version: str = ""
    pid: int = 0
    uptime_s: float = 0.0
    max_body: int = 0
    """The largest body in bytes that this daemon takes."""


class WorkerCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers are warm, and how many there shall be."""

    ready: int = 0
    total: int = 0


class JobCount(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs by state; the last three since the daemon started."""

    queued: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


class StatsReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """Counters since the daemon started; scripts rely on the names."""

    jobs: JobCount
    workers: WorkerCount
    recycles: dict[str, int]
    """Healthy workers replaced, by reason."""
    deaths: dict[str, int]
    """Workers lost, by reason: ``SIGKILL``, ``exit 3``, ``busy deadline``, ..."""
    retries: int = 0
    """Steps that were tried again on another worker."""
    refused: dict[str, int] = {}
    """Questions refused, by fault code."""
    audio_s: float = 0.0
    """Seconds of audio in completed jobs."""
    least_ready: dict[str, int] = {}
    """The smallest number of warm workers of each pool since it was first fully staffed."""
    loop_lag_ms: float = 0.0
    """The longest time the supervisor's loop was held up within the last minute."""
    uptime_s: float = 0.0


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One seat and the worker in it."""

    seat: str
    pool: str
    slot: int
    generation: int
    pid: int | None
    state: str
    jobs_done: int
    uptime_s: float
    rss_bytes: int | None
    vram_bytes: int | None
    """None where it is not known."""
    job: str | None = None
    """What the worker is doing."""
    last_fault: str = ""
    """Why the seat has no healthy worker."""


class WorkersReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """All seats of all pools, those of no worker included."""

    workers: list[WorkerReport]


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """One job in a list."""

    job: str
    pool: str
    state: Literal["queued", "running", "completed", "failed", "cancelled"]
    age_s: float
    attempts: int = 0
    seat: str = ""
    done: float = 0.0
    """Seconds of audio decoded so far."""
    duration: float = 0.0


class JobsReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """Jobs, newest first."""

    jobs: list[JobReport]


class PoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """One pool: what it runs."""

    name: str
    engine: str
    model: str
    device: str
    compute_type: str
    workers: int
    queued: int
    status: Status
    default: bool = False


class PoolsReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """All pools."""

    pools: list[PoolReport]


class Done(Answer, frozen=True, kw_only=True):
    """The command was taken; what it causes shows in ``workers``, ``health`` and the events."""

    message: str = ""


JobAnswer = Accepted | Progress | SegmentDecoded | Completed | Failed | Refused | Pending | Released
ControlAnswer = HealthReport | StatsReport | WorkersReport | JobsReport | PoolsReport | Done | Refused
AnyAnswer = (
    Accepted
    | Progress
    | SegmentDecoded
    | Completed
    | Failed
    | Refused
    | Pending
    | Released
    | HealthReport
    | StatsReport
    | WorkersReport
    | JobsReport
    | PoolsReport
    | Done
)
