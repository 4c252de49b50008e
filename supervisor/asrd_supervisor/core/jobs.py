"""Every job that has not ended: admission, tries, and its one end."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from asrd_protocol.codec import did_you_mean
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Run
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import Job, JobState, Step, after_fault, after_loss
from asrd_supervisor.core.policy import QueuePolicy, RetryPolicy
from asrd_supervisor.core.pool import Out, Pool


class Jobs:
    """The jobs of the daemon. A job that is accepted ends once, in ``Deliver`` or in ``Fail``."""

    def __init__(self, pools: Mapping[str, Pool], default: str, queue: QueuePolicy, retries: RetryPolicy) -> None:
        self._pools = pools
        self._default = default
        self._queue = queue
        self._retries = retries
        self.active: dict[str, Job] = {}
        self.draining = False
        self.closing = False
        self.ended: Counter[str] = Counter()
        """Completed, failed and cancelled jobs."""
        self.refused: Counter[str] = Counter()
        self._states: Counter[JobState] = Counter()
        self._held = 0
        self.retried = 0
        self.audio_s = 0.0

    def count(self, *states: JobState) -> int:
        """How many jobs are in one of these states."""
        return sum(self._states[state] for state in states)

    def _enter(self, job: Job, state: JobState) -> None:
        """Change the state of a job; the counts are kept, because every submit asks for them."""
        self._states[job.state] -= 1
        self._states[state] += 1
        job.state = state

    def _forget(self, job: Job) -> None:
        del self.active[job.id]
        self._states[job.state] -= 1
        self._held -= job.size

    def handle(self, now: float, event: ev.Event) -> Out:
        """Take one event in."""
        match event:
            case ev.JobSubmitted():
                return self._submitted(now, event)
            case ev.DrainRequested(resume):
                self.draining = not resume
                return [do.Announce("daemon.resumed" if resume else "daemon.draining", {"jobs": len(self.active)})]
        job = self._job_of(event)
        if job is None:
            return []
        match event:
            case ev.JobPersisted():
                return self._persisted(now, job)
            case ev.CancelRequested():
                return self._cancel(job)
            case ev.StepStarted():
                return self._started(now, job, event)
            case ev.StepMoved():
                return self._moved(job, event)
            case ev.StepEnded():
                return self._step_ended(now, job, event)
            case _:
                return []

    def _job_of(self, event: ev.Event) -> Job | None:
        match event:
            case ev.JobPersisted(job) | ev.CancelRequested(job):
                return self.active.get(job)
            case ev.StepStarted(step) | ev.StepMoved(step) | ev.StepEnded(step):
                return self.active.get(step.job)
            case _:
                return None

    # --- admission ----------------------------------------------------------------------------------------------------

    def _submitted(self, now: float, event: ev.JobSubmitted) -> Out:
        name = event.pool or self._default
        if fault := self._objection(event, name):
            self.refused[fault.code] += 1
            return [do.Refuse(event.job, fault)]
        job = self.active[event.job] = Job(event.job, name, event.size, now, Step(0, name))
        self._states[job.state] += 1
        self._held += job.size
        return [do.Persist(event.job)]

    def _objection(self, event: ev.JobSubmitted, name: str) -> Fault | None:
        if event.job in self.active:
            return Fault.of(Code.ID_CONFLICT, f"there is another job with the id {event.job!r}")
        if self.closing or self.draining:
            code = Code.SHUTTING_DOWN if self.closing else Code.DRAINING
            return Fault.of(code, "the daemon takes no new jobs now", retry_after=30.0)
        pool = self._pools.get(name)
        if pool is None:
            known = sorted(self._pools)
            said = f"there is no pool {name!r}{did_you_mean(name, known)}"
            return Fault.of(Code.UNKNOWN_POOL, said, known=known)
        if pool.unavailable:
            return pool.unavailable_fault()
        return self._overload(pool, event.size)

    def _overload(self, pool: Pool, size: int) -> Fault | None:
        queued = self.count(JobState.STORING, JobState.QUEUED)
        held = self._held
        if queued < self._queue.max_jobs and held + size <= self._queue.max_bytes:
            return None
        wait = pool.room_in()
        said = f"the queue is full ({queued} jobs wait, {held} bytes of audio are held); come back in {wait:g} s"
        return Fault.of(Code.OVERLOADED, said, retry_after=wait)

    def _persisted(self, now: float, job: Job) -> Out:
        self._enter(job, JobState.QUEUED)
        out: Out = [do.Accept(job.id, len(self._pools[job.pool].backlog))]
        out.append(do.Announce("job.accepted", {"job": job.id, "pool": job.pool, "bytes": job.size}))
        if job.cancelled:
            return out + self._fail(job, self._cancelled())
        return [*out, ev.StepQueued(job.ref())]

    # --- tries --------------------------------------------------------------------------------------------------------

    def _started(self, now: float, job: Job, event: ev.StepStarted) -> Out:
        self._enter(job, JobState.RUNNING)
        job.started_at, job.seat = now, str(event.seat)
        job.step.attempts += 1
        job.step.done = 0.0
        return []

    def _moved(self, job: Job, event: ev.StepMoved) -> Out:
        step = job.step
        step.done = max(step.done, event.done)
        step.duration = event.duration or step.duration
        return [do.Relay(job.id, step.done, step.duration, step.attempts, event.index, event.body)]

    def _step_ended(self, now: float, job: Job, event: ev.StepEnded) -> Out:
        match event.outcome:
            case ev.Finished() as finished:
                return self._complete(now, job, finished)
            case ev.Withdrawn():
                return self._fail(job, self._cancelled())
            case ev.Unserved(fault):
                return self._fail(job, fault)
            case ev.Lost() as lost:
                return self._again(job, after_loss(job.step, lost, self._retries), str(lost.seat), lost.how)
            case ev.Faulted() as faulted:
                verdict = after_fault(job.step, faulted, self._retries)
                return self._again(job, verdict, str(faulted.seat), faulted.fault.message)

    def _again(self, job: Job, fault: Fault | None, seat: str, why: str) -> Out:
        """Try the step again on another worker, unless there is a fault that says why not."""
        if job.cancelled:
            return self._fail(job, self._cancelled())
        if fault:
            return self._fail(job, fault)
        self._enter(job, JobState.QUEUED)
        job.step.avoid = seat
        self.retried += 1
        said = do.Announce("job.retried", {"job": job.id, "seat": seat, "attempt": job.step.attempts, "why": why})
        return [said, ev.StepQueued(job.ref(), again=True)]

    def _cancel(self, job: Job) -> Out:
        if job.cancelled:
            return []
        job.cancelled = True
        return [] if job.state is JobState.STORING else [ev.StepWithdrawn(job.ref())]

    # --- the one end --------------------------------------------------------------------------------------------------

    def _complete(self, now: float, job: Job, finished: ev.Finished) -> Out:
        queue, total = job.started_at - job.submitted_at, now - job.submitted_at
        timings = msgspec.structs.replace(finished.timings, queue=round(queue, 6), total=round(total, 6))
        run = Run(
            seat=str(finished.seat),
            attempts=job.step.attempts,
            job_index=finished.job_index,
            worker_uptime=round(finished.uptime, 3),
            timings=timings,
            work=finished.work,
        )
        self._forget(job)
        self.ended["completed"] += 1
        self.audio_s += finished.work.audio_s
        fields = {"job": job.id, "pool": job.pool, **msgspec.to_builtins(run)}
        return [do.Deliver(job, run, finished.body), do.Announce("job.completed", fields)]

    def _fail(self, job: Job, fault: Fault) -> Out:
        self._forget(job)
        self.ended["cancelled" if fault.code is Code.CANCELLED else "failed"] += 1
        fields = {"job": job.id, "pool": job.pool, "code": str(fault.code), "message": fault.message, "seat": job.seat}
        said = do.Announce("job.failed", {**fields, "attempts": job.step.attempts})
        return [do.Fail(job, fault), said]

    def give_up(self) -> Out:
        """Fail everything that has not ended: the daemon leaves now."""
        fault = Fault.of(Code.SHUTTING_DOWN, "the daemon was stopped before the job was done; submit it again")
        return [thing for job in list(self.active.values()) for thing in self._fail(job, fault)]

    @staticmethod
    def _cancelled() -> Fault:
        return Fault.of(Code.CANCELLED, "the job was cancelled")
