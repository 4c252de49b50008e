"""Every job that has not ended: admission, tries, and its one end."""

import random
from collections import Counter
from collections.abc import Mapping

import msgspec

from asrd_protocol.codec import did_you_mean
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Run
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import Job, JobState, Step, after_fault, after_interruption, after_loss
from asrd_supervisor.core.policy import QueuePolicy
from asrd_supervisor.core.pool import Out, Pool
from asrd_supervisor.core.quotas import Quotas
from asrd_supervisor.core.retries import asked_for, delay_before


class Jobs:
    """The jobs of the daemon. A job that is accepted ends once, in ``Deliver`` or in ``Fail``."""

    def __init__(self, pools: Mapping[str, Pool], default: str, queue: QueuePolicy, rng: random.Random) -> None:
        self._pools = pools
        self._default = default
        self._rng = rng
        self._quotas = Quotas(queue)
        self.active: dict[str, Job] = {}
        self.draining = False
        self.closing = False
        self.ended: Counter[str] = Counter()
        """Completed, failed and cancelled jobs."""
        self.refused: Counter[str] = Counter()
        self._states: Counter[JobState] = Counter()
        self.retries: Counter[tuple[str, str]] = Counter()
        """Steps that were tried again, by pool and by how the worker was lost, or the code of the fault."""
        self.audio_s = 0.0

    @property
    def retried(self) -> int:
        """How many steps were tried again."""
        return self.retries.total()

    def count(self, *states: JobState) -> int:
        """How many jobs are in one of these states."""
        return sum(self._states[state] for state in states)

    def _enter(self, job: Job, state: JobState) -> None:
        """Change the state of a job; the counts are kept, because every submit asks for them."""
        self._states[job.state] -= 1
        self._states[state] += 1
        job.state = state

    def _remember(self, job: Job) -> None:
        self.active[job.id] = job
        self._states[job.state] += 1
        self._quotas.enter(job)

    def _forget(self, job: Job) -> None:
        del self.active[job.id]
        self._states[job.state] -= 1
        self._quotas.leave(job)

    def handle(self, now: float, event: ev.Event) -> Out:
        """Take one event in."""
        match event:
            case ev.JobSubmitted():
                return self._submitted(now, event)
            case ev.JobRecovered():
                return self._recovered(now, event)
            case ev.DrainRequested(resume):
                self.draining = not resume
                return [do.Announce("daemon.resumed" if resume else "daemon.draining", {"jobs": len(self.active)})]
        job = self._job_of(event)
        return [] if job is None else self._handle_job(now, job, event)

    def _handle_job(self, now: float, job: Job, event: ev.Event) -> Out:
        match event:
            case ev.JobPersisted():
                return self._persisted(now, job)
            case ev.JobUnstored(fault=fault):
                return self._unstored(job, fault)
            case ev.CancelRequested():
                return self._end_early(job, Fault.of(Code.CANCELLED, "the job was cancelled"))
            case ev.AlarmRang(kind="deadline"):
                return self._end_early(job, self._too_late(now, job))
            case ev.AlarmRang(number=number):
                return self._queue(job) if job.state is JobState.WAITING and number == job.alarm else []
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
            case ev.JobPersisted(job) | ev.JobUnstored(job) | ev.CancelRequested(job) | ev.AlarmRang(job):
                return self.active.get(job)
            case ev.StepStarted(step) | ev.StepMoved(step) | ev.StepEnded(step):
                return self.active.get(step.job)
            case _:
                return None

    # --- admission ----------------------------------------------------------------------------------------------------

    def _submitted(self, now: float, event: ev.JobSubmitted) -> Out:
        if fault := self.objection(event):
            self.refused[fault.code] += 1
            return [do.Refuse(event.job, fault)]
        self._remember(self._job(now, event))
        return [do.Persist(event.job)]

    def _job(self, now: float, event: ev.JobSubmitted) -> Job:
        name = event.pool or self._default
        pool = self._pools[name]
        retries = asked_for(pool.policy.retries, event.retries)
        return Job(event.job, name, event, now, Step(0, name), retries, pool.pace.length(event.size, event.audio_s))

    def objection(self, event: ev.JobSubmitted) -> Fault | None:
        """None when a job would be taken now, else why not. Changes nothing."""
        name = event.pool or self._default
        if event.job in self.active:
            return Fault.of(Code.ID_CONFLICT, f"there is another job with the id {event.job!r}")
        if self.closing or self.draining:
            code = Code.SHUTTING_DOWN if self.closing else Code.DRAINING
            return Fault.of(code, "the daemon takes no new jobs now", retry_after=30.0)
        pool = self._pools.get(name)
        if pool is None:
            return self._no_pool(name)
        if pool.unavailable:
            return pool.unavailable_fault()
        waiting = self.count(JobState.STORING, JobState.QUEUED, JobState.WAITING)
        length = pool.pace.length(event.size, event.audio_s)
        return self._quotas.objection(waiting, event.owner, event.size, length, pool.room_in)

    def _no_pool(self, name: str) -> Fault:
        known = sorted(self._pools)
        return Fault.of(Code.UNKNOWN_POOL, f"there is no pool {name!r}{did_you_mean(name, known)}", known=known)

    def _persisted(self, now: float, job: Job) -> Out:
        pool, ref = self._pools[job.pool], job.ref()
        ahead, eta = len(pool.backlog), round(pool.eta(ref), 3)
        out: Out = [do.Accept(job.id, ahead, eta)]
        out.append(do.Announce("job.accepted", {"job": job.id, "pool": job.pool, "bytes": job.size, "eta_s": eta}))
        if job.ending:
            return out + self._fail(job, job.ending)
        if job.asked.deadline is not None:
            left = max(0.0, job.submitted_at + job.asked.deadline - now)
            out.append(do.SetAlarm(job.id, "deadline", 0, left))
        return out + self._queue(job, again=False)

    def _unstored(self, job: Job, fault: Fault) -> Out:
        self._forget(job)
        self.refused[fault.code] += 1
        return [do.Refuse(job.id, fault)]

    def _recovered(self, now: float, event: ev.JobRecovered) -> Out:
        """It was accepted once, so nothing but its own doing can end it here."""
        known = event.submitted.pool is None or event.submitted.pool in self._pools
        asked = event.submitted if known else msgspec.structs.replace(event.submitted, pool=None)
        job = self._job(now, asked)
        job.step.attempts, job.step.deaths = event.attempts, event.deaths
        # What the daemon's own end has cost is no fault of the job.
        job.retries = msgspec.structs.replace(job.retries, attempts=job.retries.attempts + event.interrupted)
        self._remember(job)
        if not known:
            return self._fail(job, self._no_pool(event.submitted.pool or ""))
        if fault := after_interruption(event.interrupted):
            return self._fail(job, fault)
        alarm = [do.SetAlarm(job.id, "deadline", 0, asked.deadline)] if asked.deadline is not None else []
        return [*alarm, *self._queue(job, again=event.deaths > 0)]  # others may pass a suspect that waits in front

    def _queue(self, job: Job, *, again: bool = True) -> Out:
        self._enter(job, JobState.QUEUED)
        return [ev.StepQueued(job.ref(), again)]

    # --- tries --------------------------------------------------------------------------------------------------------

    def _started(self, now: float, job: Job, event: ev.StepStarted) -> Out:
        self._enter(job, JobState.RUNNING)
        job.started_at, job.seat = now, str(event.seat)
        step = job.step
        step.attempts += 1
        step.done = 0.0
        return [do.PersistAttempt(job.id, event.seat, event.attempt, step.attempts, step.deaths)]

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
                return self._fail(job, job.ending or Fault.of(Code.INTERNAL, "the step was withdrawn by nobody"))
            case ev.Unserved(fault):
                return self._fail(job, fault)
            case ev.Lost(unsent=True) if not job.ending:
                job.step.attempts -= 1
                return [self._wait(job), *self._queue(job)]
            case ev.Lost() as lost:
                return self._again(job, after_loss(job.step, lost, job.retries), str(lost.seat), lost.how, lost.how)
            case ev.Faulted() as faulted:
                verdict = after_fault(job.step, faulted, job.retries)
                return self._again(job, verdict, str(faulted.seat), faulted.fault.message, str(faulted.fault.code))

    def _again(self, job: Job, fault: Fault | None, seat: str, why: str, cause: str) -> Out:
        """Try the step again on another worker, unless there is a fault that says why not."""
        if verdict := job.ending or fault:
            return self._fail(job, verdict)
        job.step.avoid = seat
        self.retries[job.pool, cause.partition(":")[0]] += 1
        delay = delay_before(job.step.attempts + 1, job.retries, self._rng)
        fields = {"job": job.id, "seat": seat, "attempt": job.step.attempts, "why": why, "delay_s": round(delay, 3)}
        said = do.Announce("job.retried", fields)
        if not delay:
            return [said, self._wait(job), *self._queue(job)]
        self._enter(job, JobState.WAITING)
        job.alarm += 1
        return [said, self._wait(job), do.SetAlarm(job.id, "retry", job.alarm, delay)]

    @staticmethod
    def _wait(job: Job) -> do.Action:
        return do.PersistWait(job.id, job.step.attempts, job.step.deaths)

    # --- the one end --------------------------------------------------------------------------------------------------

    def _end_early(self, job: Job, fault: Fault) -> Out:
        """Nobody wants it any more. The first reason counts."""
        if job.ending:
            return []
        job.ending = fault
        match job.state:
            case JobState.STORING:
                return []
            case JobState.WAITING:
                return self._fail(job, fault)
            case _:
                return [ev.StepWithdrawn(job.ref())]

    @staticmethod
    def _too_late(now: float, job: Job) -> Fault:
        waited = f"{now - job.submitted_at:.1f} s"
        where = f"it was at {job.step.done:g} s of its audio" if job.started_at else "no worker was free for it"
        return Fault.of(Code.DEADLINE, f"the job had not ended after {waited}; {where}", done_s=job.step.done)

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
            rss_bytes=finished.rss,
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
        topic = "job.quarantined" if fault.code is Code.POISON else "job.failed"
        return [do.Fail(job, fault), do.Announce(topic, {**fields, "attempts": job.step.attempts})]

    def _keep(self, job: Job) -> do.Action:
        """For the next daemon. The try that is given up is not the job's fault."""
        job.step.attempts -= job.state is JobState.RUNNING
        self._forget(job)
        return self._wait(job)

    def give_up(self, *, durable: bool) -> Out:
        """The daemon leaves now: what is stored is for the next one, and everything else fails."""
        if durable:
            return [self._keep(job) for job in list(self.active.values())]
        fault = Fault.of(Code.SHUTTING_DOWN, "the daemon was stopped before the job was done; submit it again")
        return [thing for job in list(self.active.values()) for thing in self._fail(job, fault)]
