"""The figures by which a pool decides. Plain data; the configuration file fills it in."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Duration(float):
    """Seconds; in the configuration a number, or text such as ``"30s"``, ``"5m"``, ``"24h"``."""


class Size(int):
    """Bytes; in the configuration a number, or text such as ``"512MB"`` or ``"2GiB"``."""


class PositiveDuration(Duration):
    """Seconds, more than none."""


class ChunkTime(Duration):
    """Seconds, not too few: a recording of many hours is not to have a step for every sentence."""

    LEAST = 10


class IdleTime(Duration):
    """Seconds, or -1 for never."""


class PositiveSize(Size):
    """Bytes, more than none."""


CPU = "cpu"
"""The device, and the fallback to it."""

INT8 = "int8"
"""The fallback to a type that takes half as much memory, on the device."""

Backoff = Literal["fixed", "linear", "exponential", "fibonacci"]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class GuardPolicy(_Table, frozen=True, kw_only=True):
    """How often the daemon may replace workers of a pool because it finds them degraded. ``max_jobs``, ``max_age`` and
    operators are not held back."""

    cooldown: Duration = Duration(30)
    """From one such replacement to the next. It doubles each time that one did not help."""
    window: PositiveDuration = PositiveDuration(600)
    """The time that ``budget`` is for."""
    budget: Annotated[int, Meta(ge=0)] = 0
    """So many of them within ``window``; 0 for as many as the pool has workers."""
    min_jobs: Annotated[int, Meta(ge=0)] = 10
    """The least that a worker has done before it is found degraded."""
    min_age: Duration = Duration(60)
    """The least age at which a worker is found degraded."""


class RecyclePolicy(_Table, frozen=True, kw_only=True):
    """When a healthy worker is replaced, and how."""

    max_jobs: Annotated[int, Meta(ge=0)] | Literal["auto"] = 200
    """Replace a worker after this many jobs, each chunk of long audio being one; 0 never. The first workers of a pool
    get even shares of it, later ones up to a tenth less, so that they never all come due together. ``auto``: as many as
    the measured growth of memory, the measured slow-down and the time of a reload make the best; never, as long as
    neither is measured."""
    max_rss: Size = Size(0)
    """Replace a worker after a job that leaves it with more memory than this; 0 for 60 % of the memory of the host, or
    of the daemon's cgroup, divided by the workers of the pool. Not if a fresh worker needs more."""
    kill_rss: Size = Size(0)
    """Kill a warm worker that has more memory than this, whatever it does; 0: kill the largest one of the pool when
    less than 5 % of the memory are left."""
    rss_growth: Size = Size(256 << 20)
    """Replace a worker whose memory has grown since its warm-up by more than this and by more than a half, still grows
    from job to job, and not because of longer audio; 0 never."""
    vram_growth_mb: Annotated[int, Meta(ge=0)] = 500
    """Replace a worker whose memory on the GPU has grown since its warm-up by more than so many MiB, and not because of
    longer audio; 0 never. Off where the driver does not tell it."""
    vram_reserve_mb: Annotated[int, Meta(ge=0)] = 0
    """Replace the largest worker of the pool when less than so many MiB of its GPU are free; 0 never."""
    max_age: Duration = Duration(86_400)
    """Replace a worker after this time; 0 never."""
    order: Literal["start-first", "stop-first", "auto"] = "auto"
    """start-first: the replacement is warm, in a spare seat, before the old worker goes. stop-first: one at a time, for
    when memory holds no second copy. auto: start-first on a CPU with the memory for it, else stop-first."""
    guards: GuardPolicy = GuardPolicy()


class DriftPolicy(_Table, frozen=True, kw_only=True):
    """When a worker counts as slower for the same work."""

    enabled: bool = True
    """Whether slow workers are replaced at all."""
    ratio: Annotated[float, Meta(gt=1, le=10)] = 1.5
    """The smallest slow-down that is worth a replacement."""
    threshold: Annotated[float, Meta(ge=0.5, le=100)] = 2.0
    """How much evidence it takes, as the sum of the logarithms that exceed half of ``ratio``. With 2.0 a worker that is
    twice as slow is found after about 5 jobs, one that is 1.5 times as slow after about 10."""
    min_jobs: Annotated[int, Meta(ge=5)] = 8
    """Jobs of a worker before which nothing is said of it."""


class CanaryPolicy(_Table, frozen=True, kw_only=True):
    """The built-in clip that workers transcribe now and then, to show that they still can."""

    enabled: bool = True
    """Without it slowness is not confirmed, and nonsense not noticed."""
    every_jobs: Annotated[int, Meta(ge=1)] = 50
    """After so many jobs."""
    idle: PositiveDuration = PositiveDuration(600)
    """And after so long without a job."""


class Deadlines(_Table, frozen=True, kw_only=True):
    """How long a worker may stay in a state before it is killed."""

    start: PositiveDuration = PositiveDuration(60)
    """From spawn to the first word of the process."""
    warm_up: PositiveDuration = PositiveDuration(300)
    """For loading the model and decoding something with it."""
    busy_floor: PositiveDuration = PositiveDuration(60)
    """The least that any step gets, and what it gets until the length of its audio is known."""
    busy_factor: Annotated[float, Meta(ge=1, le=1000)] = 10.0
    """A step gets this many times the length of its audio, if that is more than the floor; a pool that needs longer for
    its audio than it lasts, so many times what that should take by what was measured."""
    stall: PositiveDuration = PositiveDuration(120)
    """The longest time without progress. A slow model gets eight times what it needs for a window of 30 s, and long
    audio a tenth of its length before its first segment, if that is more."""
    stop: PositiveDuration = PositiveDuration(8)
    """From being told to leave to being gone."""
    kill: Duration = Duration(2)
    """From SIGABRT, which makes a hung worker write its stack to the log, to SIGKILL."""
    cancel: Duration = Duration(2)
    """From a cancel to the next segment; then the worker is killed."""


class RestartPolicy(_Table, frozen=True, kw_only=True):
    """How often a worker that dies is started again."""

    intensity: Annotated[int, Meta(ge=1, le=100)] = 5
    """So many deaths in a seat within ``period`` are answered by another start; one more makes the seat failed."""
    period: PositiveDuration = PositiveDuration(60)
    """The time within which deaths are counted."""
    delay_max: Duration = Duration(60)
    """The longest back-off between two starts. The first restart is immediate, then 1, 2, 4, ... seconds."""
    revive: Duration = Duration(60)
    """After this a failed seat is tried once more; never when its configuration is wrong."""


class RetryPolicy(_Table, frozen=True, kw_only=True):
    """How often a step is tried, and when. A job may ask for other figures, but not for more deaths."""

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    """Tries in all, whatever the reason of failure."""
    deaths: Annotated[int, Meta(ge=1, le=10)] = 2
    """A step that so many workers died of is poison: it is put into quarantine, and not tried again by itself."""
    backoff: Backoff = "exponential"
    """How the delays grow from try to try: 1 1 1, 1 2 3, 1 2 4 or 1 2 3 5 times ``delay``."""
    delay: Duration = Duration(0)
    """Before the second try; 0: every try follows at once, on another worker, unless the fault asks for a pause, as a
    full disk does."""
    delay_max: Duration = Duration(60)
    """The longest delay."""
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Up to this share is added to each delay, so that jobs that failed together do not come back together."""


class ClientQuota(_Table, frozen=True, kw_only=True):
    """How much of the queue one user of the host may take; 0 is no limit."""

    max_jobs: Annotated[int, Meta(ge=0)] = 0
    """Jobs that have not ended."""
    max_bytes: Size = Size(0)
    """Their audio."""
    max_audio_s: Duration = Duration(0)
    """The length of their audio, as far as it is known or can be guessed from its bytes."""


class QueuePolicy(_Table, frozen=True, kw_only=True):
    """How much waits before the daemon says ``overloaded``."""

    max_jobs: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Jobs that wait for a worker."""
    max_bytes: PositiveSize = PositiveSize(8 << 30)
    """Audio of all jobs that are not finished; it lies on the disk."""
    max_audio_s: Duration = Duration(0)
    """The length of all audio that is not finished, as far as it is known or can be guessed; 0 is no limit."""
    per_user: ClientQuota = ClientQuota()


class PoolPolicy(_Table, frozen=True, kw_only=True):
    """Everything that one pool decides by."""

    name: str
    workers: int
    start_first: bool
    device: str = "cpu"
    """Where the workers compute: ``cpu``, or ``cuda:0``."""
    others: tuple[str, ...] = ()
    """Further devices, alike, among which the workers are shared out."""
    fallbacks: tuple[str, ...] = ()
    """What is tried, one after the other, when none of these can be used or has room for the work: ``int8``, which
    takes half as much there, and ``cpu``."""
    idle_ttl: IdleTime = IdleTime(-1)
    """After so long without a step its workers leave, until there is another one; -1 never."""
    diarizes: bool = False
    """They tell speakers apart instead of transcribing."""
    recycle: RecyclePolicy = RecyclePolicy()
    drift: DriftPolicy = DriftPolicy()
    canary: CanaryPolicy = CanaryPolicy()
    deadlines: Deadlines = Deadlines()
    restarts: RestartPolicy = RestartPolicy()
    retries: RetryPolicy = RetryPolicy()
    durable: bool = False
    """Queued jobs survive the daemon, so it need not end them."""

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices that are meant for the workers, the first one first."""
        return (self.device, *self.others)

    @property
    def every_device(self) -> tuple[str, ...]:
        """And the one that they may have to use."""
        return (*self.devices, CPU) if CPU in self.fallbacks else self.devices
