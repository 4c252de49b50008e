"""What the control socket is asked: how the daemon is, and what it shall do."""

from typing import Annotated, Any

from msgspec import Meta

from asrd_protocol.messages.base import Message, PoolName
from asrd_protocol.messages.reports import JobState


class Health(Message, frozen=True, kw_only=True):
    """May work be sent?"""


class Stats(Message, frozen=True, kw_only=True):
    """Counters since the daemon started."""


class Workers(Message, frozen=True, kw_only=True):
    """Every seat with its worker."""


class Jobs(Message, frozen=True, kw_only=True):
    """The jobs that are known: queued, running and ended ones that are not released."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    states: list[JobState] = []
    """Only jobs in one of these; empty for all."""
    pool: PoolName | None = None
    client: Annotated[str, Meta(max_length=64)] | None = None


class Pools(Message, frozen=True, kw_only=True):
    """Every pool with its configuration."""


class Recycles(Message, frozen=True, kw_only=True):
    """The workers that were replaced on purpose, why, and whether it helped."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    pool: PoolName | None = None


class Insights(Message, frozen=True, kw_only=True):
    """What the daemon has noticed, in sentences with the numbers behind them."""


class Recycle(Message, frozen=True, kw_only=True):
    """Replace healthy workers, one after the other, each by one that is warm before."""

    pool: PoolName | None = None
    """All pools otherwise."""
    seat: Annotated[str, Meta(max_length=64)] | None = None
    """Only this worker."""


class Unload(Message, frozen=True, kw_only=True):
    """Let the workers of a pool leave after their steps, so that their memory is free; the next job starts them."""

    pool: PoolName


class Load(Message, frozen=True, kw_only=True):
    """Start the workers of a pool that rests, before there is a job."""

    pool: PoolName


class Reload(Message, frozen=True, kw_only=True):
    """Replace the workers of a pool one after the other, so that the model is read again from the disk."""

    pool: PoolName


class SetPool(Message, frozen=True, kw_only=True):
    """Change what the engine of a pool is told, and replace its workers one after the other. If the first one that
    tries cannot load that, the others stay and the change is taken back."""

    pool: PoolName
    settings: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=80)], Any], Meta(min_length=1, max_length=32)]
    """Keys of the pool's table, as ``compute_type``, and ``options.NAME``. Until the daemon ends."""


class Drain(Message, frozen=True, kw_only=True):
    """Refuse new jobs and finish the accepted ones; ``resume`` takes it back."""

    resume: bool = False


class Stop(Message, frozen=True, kw_only=True):
    """Drain, then exit; ``now`` gives up what is running."""

    now: bool = False


ControlQuestion = (
    Health
    | Stats
    | Workers
    | Jobs
    | Pools
    | Recycles
    | Insights
    | Recycle
    | Unload
    | Load
    | Reload
    | SetPool
    | Drain
    | Stop
)
