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


class PositiveSize(Size):
    """Bytes, more than none."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RecyclePolicy(_Table, frozen=True, kw_only=True):
    """When a healthy worker is replaced, and how."""

    max_jobs: Annotated[int, Meta(ge=0)] = 200
    """Replace a worker after this many jobs; 0 never. The first workers of a pool get even shares of it, later ones up
    to a tenth less, so that they never all come due together."""
    max_age: Duration = Duration(86_400)
    """Replace a worker after this time; 0 never."""
    order: Literal["start-first", "stop-first", "auto"] = "auto"
    """start-first: the replacement is warm, in a spare seat, before the old worker goes. stop-first: one at a time, for
    when memory holds no second copy. auto: start-first on a CPU with the memory for it, else stop-first."""


class Deadlines(_Table, frozen=True, kw_only=True):
    """How long a worker may stay in a state before it is killed."""

    start: PositiveDuration = PositiveDuration(60)
    """From spawn to the first word of the process."""
    warm_up: PositiveDuration = PositiveDuration(300)
    """For loading the model and decoding something with it."""
    busy_floor: PositiveDuration = PositiveDuration(60)
    """The least that any step gets, and what it gets until the length of its audio is known."""
    busy_factor: Annotated[float, Meta(ge=1, le=1000)] = 10.0
    """A step gets this many seconds for each second of audio, if that is more than the floor."""
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
    """How often a step is tried."""

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    """Tries in all, whatever the reason of failure."""
    deaths: Annotated[int, Meta(ge=1, le=10)] = 2
    """A step that so many workers died of is poison, and is not tried again."""


class QueuePolicy(_Table, frozen=True, kw_only=True):
    """How much waits before the daemon says ``overloaded``."""

    max_jobs: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    """Jobs that wait for a worker."""
    max_bytes: PositiveSize = PositiveSize(1 << 30)
    """Audio of all jobs that are not finished."""


class PoolPolicy(_Table, frozen=True, kw_only=True):
    """Everything that one pool decides by."""

    name: str
    workers: int
    start_first: bool
    recycle: RecyclePolicy = RecyclePolicy()
    deadlines: Deadlines = Deadlines()
    restarts: RestartPolicy = RestartPolicy()
