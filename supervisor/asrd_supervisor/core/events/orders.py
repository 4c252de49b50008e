"""What operators want."""

from typing import Any

from asrd_supervisor.core.events.base import Event


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
