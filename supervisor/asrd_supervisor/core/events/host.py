"""What the host says of itself, and of the time."""

import msgspec

from asrd_supervisor.core.events.base import Event
from asrd_supervisor.core.seats import Seat


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
    free: dict[str, int] = msgspec.field(default_factory=dict)
    """Bytes of memory that are free: of the host (``cpu``) and of each GPU."""
    workers: tuple[WorkerSample, ...] = ()


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
