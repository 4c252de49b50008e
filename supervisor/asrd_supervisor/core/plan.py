"""One job and its steps: what is left to do, and what an outcome means for it.

A short job has one step. Long audio will grow chunk and merge steps here; whoever schedules sees steps only.
"""

from enum import StrEnum
from typing import Any

import msgspec

from asrd_protocol.faults import Blame, Code, Fault
from asrd_supervisor.core.events import Faulted, JobSubmitted, Lost, StepRef
from asrd_supervisor.core.policy import RetryPolicy

MAX_INTERRUPTED = 3
"""Attempts that may end with the daemon, before the job is held to be what ends it."""


class JobState(StrEnum):
    """Where a job is; a job that has ended is forgotten by the core."""

    STORING = "storing"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """Between two tries."""


class Step(msgspec.Struct):
    """One stretch of a job for one pool, with its tries so far."""

    index: int
    pool: str
    attempts: int = 0
    deaths: int = 0
    avoid: str = ""
    done: float = 0.0
    duration: float = 0.0
    evidence: list[dict[str, Any]] = []
    """Of the workers that died of it since this daemon started."""


class Job(msgspec.Struct):
    """One job that has not ended."""

    id: str
    pool: str
    asked: JobSubmitted
    submitted_at: float
    step: Step
    retries: RetryPolicy
    audio_s: float = 0.0
    """Seconds of audio as the queue counts them: known, or guessed when the job came."""
    state: JobState = JobState.STORING
    started_at: float = 0.0
    seat: str = ""
    alarm: int = 0
    ending: Fault | None = None
    """Nobody wants it any more; why."""

    @property
    def size(self) -> int:
        """Bytes of its audio."""
        return self.asked.size

    def ref(self) -> StepRef:
        """Its step, as the pool sees it."""
        step, asked = self.step, self.asked
        return StepRef(
            job=self.id,
            index=step.index,
            pool=step.pool,
            size=asked.size,
            avoid=step.avoid,
            suspect=step.deaths > 0,
            client=f"{asked.owner} {asked.client or asked.connection}",  # names are those of one user's clients
            lane=asked.lane,
            audio_s=asked.audio_s,
        )


def after_loss(step: Step, lost: Lost, policy: RetryPolicy) -> Fault | None:
    """None when the step shall be tried again after its worker died, else why not."""
    step.deaths += 1
    last: dict[str, Any] = {"seat": str(lost.seat), "death": lost.how, "log_tail": list(lost.log_tail)}
    last |= {"done_s": step.done, "duration_s": step.duration}
    evidence = {**last, "deaths": step.deaths, "attempts": step.attempts, "earlier": list(step.evidence)}
    step.evidence.append(last)
    if step.deaths >= policy.deaths:
        return Fault.of(
            Code.POISON,
            f"{step.deaths} workers died of this job ({lost.how} the last time); it is in quarantine",
            **evidence,
        )
    if step.attempts < policy.attempts:
        return None
    if lost.hung:
        return Fault.of(Code.WORKER_HUNG, f"the worker {lost.seat} made no end of the job and was killed", **evidence)
    return Fault.of(Code.WORKER_DIED, f"the worker {lost.seat} died of the job ({lost.how})", **evidence)


def after_fault(step: Step, faulted: Faulted, policy: RetryPolicy) -> Fault | None:
    """None when the step shall be tried again on another worker, else why not: blame decides."""
    if faulted.fault.blame is Blame.CALLER or step.attempts >= policy.attempts:
        return faulted.fault
    return None


def after_interruption(interrupted: int) -> Fault | None:
    """None when the job shall be tried again after the daemon itself was killed, else why not."""
    if interrupted <= MAX_INTERRUPTED:
        return None
    said = f"the daemon was killed {interrupted} times while it ran this job; it is in quarantine"
    return Fault.of(Code.POISON, said, interrupted=interrupted)
