"""What the control socket answers: how the daemon is, with its pools, workers and jobs."""

from typing import Any, Literal

import msgspec

from asrd_protocol.messages.base import Answer, Refused

JobState = Literal["queued", "running", "completed", "failed", "cancelled", "quarantined"]
"""``quarantined``: failed because workers died of it."""

Status = Literal["ready", "starting", "degraded", "draining", "unavailable"]

PoolStatus = Literal["ready", "starting", "degraded", "draining", "unavailable", "standby"]
"""``standby``: no worker is there, because none was needed for a while; the pool takes work, and starts them for it."""


class HealthReport(Answer, frozen=True, kw_only=True):
    """``ready`` and ``degraded`` take work, the others do not."""

    status: Status
    reason: str
    pools: dict[str, PoolStatus] = {}
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
    queued_s: float = 0.0
    """Predicted seconds of work of all queued jobs."""
    stored_bytes: int = 0
    """Results that are kept."""
    storage: str = "ok"
    """``ok``, or ``full``: nothing is accepted until there is room on the disk."""
    loop_lag_ms: float = 0.0
    """The longest time the supervisor's loop was held up within the last minute."""
    uptime_s: float = 0.0


Condition = Literal["unknown", "ok", "suspect", "degraded", "wrong"]
"""``unknown``: too few jobs yet. ``suspect``: slower for the same work, but that is not confirmed. ``degraded``: it is,
and the others are not. ``wrong``: it does not transcribe the built-in clip as it did."""


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
    pss_bytes: int | None = None
    """Its memory, with what it shares with others counted in shares; None where it is not known."""
    condition: Condition = "unknown"
    slowdown: float | None = None
    """The time it needs for the same work, as a multiple of what it needed when it was young."""
    proof_age_s: float = 0.0
    """Seconds since its computation last showed that it is alive."""
    last_fault: str = ""
    """Why the seat has no healthy worker."""
    device: str = ""
    """Where it computes, such as ``cpu`` or ``cuda:0``; empty as long as it is not placed."""


class WorkersReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """All seats of all pools, those of no worker included."""

    workers: list[WorkerReport]


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """One job in a list."""

    job: str
    pool: str
    state: JobState
    age_s: float
    attempts: int = 0
    seat: str = ""
    done: float = 0.0
    """Seconds of audio decoded so far."""
    duration: float = 0.0
    eta_s: float = 0.0
    """Seconds until the result is expected."""
    bytes: int = 0
    client: str = ""
    priority: str = "normal"
    code: str = ""
    """Why it failed."""
    message: str = ""


class JobsReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """Jobs, newest first."""

    jobs: list[JobReport]


class PoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """One pool: what it runs."""

    name: str
    engine: str
    model: str
    device: str
    """``cpu`` also while the pool has fallen back to that."""
    compute_type: str
    """As the workers compute now; empty where that is the engine's own affair, as where speakers are told apart."""
    workers: int
    queued: int
    status: PoolStatus
    fallback: str = ""
    """How it computes instead of as configured: ``int8`` or ``cpu``; empty while it does not."""
    default: bool = False
    ready: int = 0
    """Workers that are warm."""
    threads: int = 0
    behind: int = 0
    """Workers that have not loaded the present settings yet, after these were changed or the model was reloaded."""
    change_fault: str = ""
    """Why the last change was taken back; empty if it was not."""
    jobs: int = 0
    """Jobs that it has worked on since the daemon started."""
    audio_s: float = 0.0
    """Seconds of audio that it has worked through."""
    batch_efficiency: float | None = None
    """Windows that were decoded in batches, of those that there was room for; None where none were."""
    last_used_at: float | None = None
    """Seconds since the epoch; None for never."""
    idle_s: float = 0.0
    """Seconds since it had something to do; 0 while it has, and when it was not used since its start."""


class PoolsReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """All pools."""

    pools: list[PoolReport]


class RecycleReport(msgspec.Struct, frozen=True, kw_only=True):
    """One worker that was replaced on purpose."""

    at: float
    """Seconds since the epoch."""
    pool: str
    seat: str
    reason: str
    said: str
    """All of it in a sentence."""
    numbers: dict[str, Any] = {}
    """What the verdict was based on."""
    jobs_done: int = 0
    age_s: float = 0.0
    replacement: str = ""
    """Who came in its place, as far as it is known."""
    reload_s: float | None = None
    """From spawn to ready of the replacement."""
    before: float | None = None
    """Time of its last jobs for the same work, as a multiple of that of its first ones, less what all workers have in
    common; with the reasons ``experiment`` and ``lockstep``, what they have in common too."""
    siblings: float | None = None
    """The same of the other workers of the pool, at that time."""
    after: float | None = None
    """Time of the first jobs of the replacement for the same work, on the same scale."""
    effective: bool | None = None
    """Whether the replacement is faster by 15 % at least; None as long as nobody knows, or if slowness was not why."""


class RecyclesReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """Replaced workers, newest first."""

    recycles: list[RecycleReport]


class Insight(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the daemon has noticed."""

    topic: str
    """``degradation``, ``host``, ``memory``, ``queue``, ``faults``, ``throughput`` or ``recycling``."""
    severity: Literal["info", "warning", "critical"]
    said: str
    """In a sentence."""
    pool: str = ""
    advice: str = ""
    """What to do; empty for nothing."""
    numbers: dict[str, Any] = {}


class InsightsReport(Answer, frozen=True, kw_only=True, omit_defaults=False):
    """The most urgent ones first."""

    insights: list[Insight]


class Done(Answer, frozen=True, kw_only=True):
    """The command was taken; what it causes shows in ``workers``, ``health`` and the events."""

    message: str = ""


ControlAnswer = (
    HealthReport
    | StatsReport
    | WorkersReport
    | JobsReport
    | PoolsReport
    | RecyclesReport
    | InsightsReport
    | Done
    | Refused
)
