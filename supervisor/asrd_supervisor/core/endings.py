"""The one end that each job has."""

from collections import Counter

import msgspec

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Run
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import Job, Step, StepState
from asrd_supervisor.core.register import Register
from asrd_supervisor.core.stages import FIRST_CHUNK, WHOLE


class Endings:
    """Takes jobs out of the register, and counts how they went."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self.count: Counter[str] = Counter()
        """Completed, failed and cancelled jobs."""
        self.audio_s = 0.0

    def complete(self, now: float, job: Job, finished: ev.Finished) -> list[do.Action]:
        """The last step has given the result."""
        queue, total = job.started_at - job.submitted_at, now - job.submitted_at
        run = Run(
            seat=str(finished.seat),
            attempts=job.attempts,
            job_index=finished.job_index,
            worker_uptime=round(finished.uptime, 3),
            timings=msgspec.structs.replace(job.timings, queue=round(queue, 6), total=round(total, 6)),
            work=job.work,
            rss_bytes=finished.rss,
            steps=len(job.steps),
        )
        self._register.leave(job)
        self.count["completed"] += 1
        self.audio_s += job.work.audio_s
        fields = {"job": job.id, "pool": job.pool, **msgspec.to_builtins(run)}
        return [do.Deliver(job, run, finished.body), do.Announce("job.completed", fields)]

    def fail(self, job: Job, fault: Fault) -> list[do.Action]:
        """There is no result."""
        self._register.leave(job)
        self.count["cancelled" if fault.code is Code.CANCELLED else "failed"] += 1
        fields = {"job": job.id, "pool": job.pool, "code": str(fault.code), "message": fault.message, "seat": job.seat}
        topic = "job.quarantined" if fault.code is Code.POISON else "job.failed"
        return [do.Fail(job, fault), do.Announce(topic, {**fields, "attempts": job.attempts})]

    def keep(self, job: Job) -> list[do.Action]:
        """For the next daemon. The tries that are given up, and one whose cut may not get to the disk, are no fault of
        the job."""
        self._register.leave(job)
        whole = job.steps[WHOLE]  # as far as the journal is concerned, it is the job that waits
        kept = [step for step in job.steps.values() if step.state is StepState.RUNNING]
        kept += [whole] if whole.state is StepState.STORING and FIRST_CHUNK in job.steps else []
        for step in kept:
            step.attempts -= 1
        return [wait(job, step) for step in (*kept, *([] if whole in kept else [whole]))]


def wait(job: Job, step: Step) -> do.Action:
    """A step waits for its next try."""
    return do.PersistWait(job.id, step.attempts, step.deaths, step.index)
