"""What one part of the core tells its sibling."""

from typing import Any

import msgspec

from asrd_protocol.faults import Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core.events.base import Event, StepRef, Stretch
from asrd_supervisor.core.seats import Seat


class StepQueued(Event, frozen=True):
    """A step wants a worker; ``again``: it had its turn before."""

    step: StepRef
    again: bool = False


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
    more: int = 0
    """Tries over those of the policy that such a fault is worth."""


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
