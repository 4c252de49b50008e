"""What to do, in the imperative. The shell performs them in order; none of them answers, what follows is an event."""

from typing import Any

import msgspec

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Fault
from asrd_protocol.model import Run, Timings, Work
from asrd_supervisor.core.events import Stretch
from asrd_supervisor.core.plan import Job
from asrd_supervisor.core.seats import Seat


class Action(msgspec.Struct, frozen=True):
    """The base of all actions."""


class Persist(Action, frozen=True):
    """Store the job; ``JobPersisted`` follows."""

    job: str


class Accept(Action, frozen=True):
    """Tell the client that its job is stored."""

    job: str
    ahead: int
    eta: float
    """Seconds until the result is expected."""


class PersistAttempt(Action, frozen=True):
    """Store that a worker is going to try the job; ``AttemptPersisted`` follows."""

    job: str
    seat: Seat
    attempt: int
    attempts: int
    """Tries of the step, with this one."""
    deaths: int
    step: int = 0
    tries: int = 1
    """Of the job: one, and one more for each that was repeated."""


class PersistWait(Action, frozen=True):
    """Store that the step waits, after so many tries that it can be blamed for."""

    job: str
    attempts: int
    deaths: int
    step: int = 0


class PersistPlan(Action, frozen=True):
    """Keep the samples that the worker has written, and store where they are cut; ``PlanPersisted`` follows."""

    job: str
    seat: Seat
    attempt: int
    chunks: tuple[Stretch, ...]
    head: Any


class PersistPart(Action, frozen=True):
    """Store what a step has given, or why it has given nothing; ``PartPersisted`` follows."""

    job: str
    step: int
    body: Any
    """The fault, where there is no result."""
    timings: Timings
    work: Work


class Refuse(Action, frozen=True):
    """Tell the client that its job is not taken, and forget it."""

    job: str
    fault: Fault


class Relay(Action, frozen=True):
    """Pass progress, and maybe a segment, to whoever follows the job."""

    job: str
    done: float
    duration: float
    attempt: int
    index: int | None = None
    """Of the segment, within its step."""
    body: Any = None
    step: int = 0


class Deliver(Action, frozen=True):
    """Store the result, tell whoever waits for it, drop the audio."""

    job: Job
    run: Run
    body: Any


class Fail(Action, frozen=True):
    """Store the fault, tell whoever waits for it, drop the audio."""

    job: Job
    fault: Fault


class Spawn(Action, frozen=True):
    """Start the process of a seat."""

    seat: Seat


class SendLoad(Action, frozen=True):
    """Tell the worker which engine to load."""

    seat: Seat
    load: Any = None
    """The message, where operators have changed the settings; None for those of the configuration."""
    device: str = ""
    """Where it shall compute, if that is not the first device of the pool."""
    light: bool = False
    """In int8, because the pool has fallen back to that."""


class SendStep(Action, frozen=True):
    """Give the worker a step of a job."""

    seat: Seat
    attempt: int
    job: str
    step: int = 0


class SendCanary(Action, frozen=True):
    """Have the worker transcribe the built-in clip so many times."""

    seat: Seat
    attempt: int
    runs: int


class SendCancel(Action, frozen=True):
    """Ask the worker to give its step up at the next segment."""

    seat: Seat
    attempt: int


class SendStop(Action, frozen=True):
    """Ask the worker to leave."""

    seat: Seat


class Kill(Action, frozen=True):
    """End the process of a seat; ``dump``: by SIGABRT, so that it leaves its stack in the log."""

    seat: Seat
    dump: bool


class SetTimer(Action, frozen=True):
    """``TimerFired`` with these fields after ``delay`` seconds; takes the place of the slot's last one of its kind."""

    pool: str
    slot: int
    kind: str
    number: int
    delay: float


class SetAlarm(Action, frozen=True):
    """``AlarmRang`` with these fields after ``delay`` seconds, unless the job ends before."""

    job: str
    kind: str
    number: int
    delay: float


class Announce(Action, frozen=True):
    """Log it and publish it."""

    topic: str
    fields: dict[str, Any]


class Leave(Action, frozen=True):
    """End the daemon."""

    code: Exit
    message: str
