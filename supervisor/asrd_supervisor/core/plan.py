"""One job and its steps: what is left to do, and what an outcome means for it.

A short job has one step. Long audio will grow chunk and merge steps here; whoever schedules sees steps only.
"""

from enum import StrEnum
from typing import Any

import msgspec

from asrd_protocol.faults import Blame, Code, Fault
from asrd_supervisor.core.events import Faulted, Lost, StepRef
from asrd_supervisor.core.policy import RetryPolicy


class JobState(StrEnum):
    """Where a job is; a job that has ended is forgotten by the core."""

    STORING = "storing"
    QUEUED = "queued"
    RUNNING = "running"


class Step(msgspec.Struct):
    """One stretch of a job for one pool, with its tries so far."""

    index: int
    pool: str
    attempts: int = 0
    deaths: int = 0
    avoid: str = ""
    done: float = 0.0
    duration: float = 0.0


class Job(msgspec.Struct):
    """One job that has not ended."""

    id: str
    pool: str
    size: int
    submitted_at: float
    step: Step
    state: JobState = JobState.STORING
    started_at: float = 0.0
    seat: str = ""
    cancelled: bool = False

    def ref(self) -> StepRef:
        """Its step, as the pool sees it."""
        return StepRef(self.id, self.step.index, self.step.pool, self.size, self.step.avoid)


def after_loss(step: Step, lost: Lost, policy: RetryPolicy) -> Fault | None:
    """None when the step shall be tried again after its worker died, else why not."""
    step.deaths += 1
    evidence: dict[str, Any] = {"seat": str(lost.seat), "death": lost.how, "log_tail": list(lost.log_tail)}
    if step.deaths >= policy.deaths:
        return Fault.of(
            Code.POISON,
            f"{step.deaths} workers died of this job ({lost.how} the last time); it is not tried again",
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
