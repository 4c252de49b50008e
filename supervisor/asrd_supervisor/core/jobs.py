"""Every job that has not ended: its states, its steps' tries, and its one end."""

import random
from collections import Counter
from collections.abc import Mapping

import msgspec

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Run, Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.entrance import Entrance
from asrd_supervisor.core.plan import (
    Job,
    JobState,
    Step,
    StepState,
    after_fault,
    after_interruption,
    after_loss,
    in_stretch,
)
from asrd_supervisor.core.policy import QueuePolicy
from asrd_supervisor.core.pool import Out, Pool
from asrd_supervisor.core.retries import delay_before
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE


class Jobs:
    """The jobs of the daemon. A job that is accepted ends once, in ``Deliver`` or in ``Fail``."""

    def __init__(self, pools: Mapping[str, Pool], default: str, queue: QueuePolicy, rng: random.Random) -> None:
        self._pools = pools
        self._rng = rng
        self._entrance = Entrance(pools, default, queue)
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

    def _remember(self, job: Job) -> None:
        self.active[job.id] = job
        self._states[job.state] += 1
        self._entrance.quotas.enter(job)

    def _forget(self, job: Job) -> None:
        del self.active[job.id]
        self._states[job.state] -= 1
        self._entrance.quotas.leave(job)

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
        if job is None:
            return []
        out = self._handle_job(now, job, event)
        if job.id in self.active and not isinstance(event, ev.StepMoved):
            self._note_state(job)
        return out

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
                return self._retry_due(job, number)
            case ev.StepStarted():
                return self._started(now, job, event)
            case ev.StepMoved():
                return self._moved(job, event)
            case ev.StepEnded():
                return self._step_ended(now, job, event)
            case ev.PlanPersisted():
                job.steps[WHOLE].state = StepState.ENDED
                return self._advance(job)
            case ev.PlanUnstored(fault=fault):
                return self._hopeless(job, job.steps[WHOLE], fault)
            case ev.PartPersisted(index=index):
                job.steps[index].state = StepState.ENDED
                return self._advance(job)
            case _:
                return []

    def _job_of(self, event: ev.Event) -> Job | None:
        match event:
            case ev.StepStarted(step) | ev.StepMoved(step) | ev.StepEnded(step):
                return self.active.get(step.job)
            case ev.JobPersisted(job) | ev.JobUnstored(job) | ev.CancelRequested(job) | ev.AlarmRang(job):
                return self.active.get(job)
            case ev.PlanPersisted(job) | ev.PlanUnstored(job) | ev.PartPersisted(job):
                return self.active.get(job)
            case _:
                return None

    def _note_state(self, job: Job) -> None:
        """The state of a job follows from those of its steps; it is counted, because every submit asks for that."""
        states = {step.state for step in job.steps.values()}
        if StepState.RUNNING in states or StepState.STORING in states:
            state = JobState.RUNNING
        elif StepState.QUEUED in states:
            state = JobState.QUEUED
        else:
            state = JobState.WAITING if StepState.WAITING in states else job.state
        if state is not job.state:
            self._states[job.state] -= 1
            self._states[state] += 1
            job.state = state

    # --- admission ----------------------------------------------------------------------------------------------------

    def _submitted(self, now: float, event: ev.JobSubmitted) -> Out:
        if fault := self.objection(event):
            self.refused[fault.code] += 1
            return [do.Refuse(event.job, fault)]
        self._remember(self._entrance.job(now, event))
        return [do.Persist(event.job)]

    def objection(self, event: ev.JobSubmitted) -> Fault | None:
        """None when a job would be taken now, else why not. Changes nothing."""
        if event.job in self.active:
            return Fault.of(Code.ID_CONFLICT, f"there is another job with the id {event.job!r}")
        if self.closing or self.draining:
            code = Code.SHUTTING_DOWN if self.closing else Code.DRAINING
            return Fault.of(code, "the daemon takes no new jobs now", retry_after=30.0)
        return self._entrance.objection(event, self.count(JobState.STORING, JobState.QUEUED, JobState.WAITING))

    def _persisted(self, now: float, job: Job) -> Out:
        pool, ref = self._pools[job.pool], job.ref(job.steps[WHOLE])
        ahead, eta = len(pool.backlog), round(pool.eta(ref), 3)
        out: Out = [do.Accept(job.id, ahead, eta)]
        out.append(do.Announce("job.accepted", {"job": job.id, "pool": job.pool, "bytes": job.size, "eta_s": eta}))
        if job.ending:
            return out + self._fail(job, job.ending)
        if job.asked.deadline is not None:
            left = max(0.0, job.submitted_at + job.asked.deadline - now)
            out.append(do.SetAlarm(job.id, "deadline", 0, left))
        return out + self._advance(job)

    def _unstored(self, job: Job, fault: Fault) -> Out:
        self._forget(job)
        self.refused[fault.code] += 1
        return [do.Refuse(job.id, fault)]

    def _recovered(self, now: float, event: ev.JobRecovered) -> Out:
        """It was accepted once, so nothing but its own doing can end it here."""
        known = event.submitted.pool is None or event.submitted.pool in self._pools
        asked = event.submitted if known else msgspec.structs.replace(event.submitted, pool=None)
        job = self._entrance.job(now, asked)
        first = job.steps[WHOLE]
        first.attempts, first.deaths = event.attempts, event.deaths
        if event.chunks:
            job.divide(event.chunks)
        job.resume(event.steps)
        # What the daemon's own end has cost is no fault of the job.
        job.retries = msgspec.structs.replace(job.retries, attempts=job.retries.attempts + event.interrupted)
        self._remember(job)
        if not known:
            return self._fail(job, self._entrance.no_pool(event.submitted.pool or ""))
        if fault := after_interruption(event.interrupted):
            return self._fail(job, fault)
        alarm: Out = [do.SetAlarm(job.id, "deadline", 0, asked.deadline)] if asked.deadline is not None else []
        alarm += self._without_listeners(job)
        out = [*alarm, *self._advance(job)]
        self._note_state(job)
        return out

    def _without_listeners(self, job: Job) -> Out:
        """The pool that was to tell its speakers apart is not configured any more."""
        step = job.steps.get(SPEAKERS)
        if step is None or step.pool or step.state is StepState.ENDED:
            return []
        return self._hopeless(job, step, self._entrance.no_listeners(job.asked))

    # --- tries --------------------------------------------------------------------------------------------------------

    def _advance(self, job: Job) -> Out:
        """Queue what is to be done next; if nobody wants the job any more, end it as soon as its steps have ended."""
        if job.ending:
            return [] if job.live else self._fail(job, job.ending)
        due = job.due()  # others may pass a suspect that waits in front; a merge is next to nothing
        return [
            queued for step in due for queued in self._queue(job, step, again=step.deaths > 0 or step.index == MERGE)
        ]

    @staticmethod
    def _queue(job: Job, step: Step, *, again: bool = True) -> Out:
        step.state = StepState.QUEUED
        return [ev.StepQueued(job.ref(step), again)]

    def _retry_due(self, job: Job, number: int) -> Out:
        if job.ending:
            return []
        late = [s for s in job.steps.values() if s.state is StepState.WAITING and s.alarm == number]
        return [thing for step in late for thing in self._queue(job, step)]

    def _started(self, now: float, job: Job, event: ev.StepStarted) -> Out:
        step = job.steps[event.step.index]
        step.state = StepState.RUNNING
        job.seat = str(event.seat)
        job.started_at = now if job.single else job.started_at or now
        step.attempts += 1
        step.done = 0.0
        stored = do.PersistAttempt(job.id, event.seat, event.attempt, step.attempts, step.deaths, step.index)
        return [stored, *(self._advance(job) if step.index >= FIRST_CHUNK and not job.ending else [])]

    @staticmethod
    def _moved(job: Job, event: ev.StepMoved) -> Out:
        step = job.steps[event.step.index]
        step.done = max(step.done, event.done)
        step.duration = event.duration or step.duration
        done, duration = round(job.done, 3), job.duration
        return [do.Relay(job.id, done, duration, step.attempts, event.index, event.body, step.index)]

    def _step_ended(self, now: float, job: Job, event: ev.StepEnded) -> Out:
        step = job.steps[event.step.index]
        match event.outcome:
            case ev.Finished() as finished:
                return self._finished(now, job, step, finished)
            case ev.Divided(seat, attempt, chunks, head, timings):
                job.divide(chunks)
                job.count(step.index, timings, Work())
                step.state = StepState.STORING
                return [do.PersistPlan(job.id, seat, attempt, chunks, head)]
            case ev.Withdrawn():
                step.state = StepState.ENDED
                job.ending = job.ending or Fault.of(Code.INTERNAL, "the step was withdrawn by nobody")
                return self._advance(job)
            case ev.Unserved(fault):
                return self._hopeless(job, step, fault)
            case ev.Lost(unsent=True) if not job.ending:
                step.attempts -= 1
                return [self._wait(job, step), *self._queue(job, step)]
            case ev.Lost() as lost:
                verdict = after_loss(step, lost, job.retries)
                return self._again(job, step, verdict, str(lost.seat), lost.how, lost.how)
            case ev.Faulted() as faulted:
                verdict = after_fault(step, faulted, job.retries)
                code = str(faulted.fault.code)
                return self._again(job, step, verdict, str(faulted.seat), faulted.fault.message, code)

    def _finished(self, now: float, job: Job, step: Step, finished: ev.Finished) -> Out:
        job.count(step.index, finished.timings, finished.work)
        if job.single or step.index == MERGE:
            return self._complete(now, job, finished)
        step.state = StepState.STORING
        return [do.PersistPart(job.id, step.index, finished.body, finished.timings, finished.work)]

    def _again(self, job: Job, step: Step, fault: Fault | None, seat: str, why: str, cause: str) -> Out:
        """Try the step again on another worker, unless there is a fault that says why not."""
        if verdict := job.ending or fault:
            return self._hopeless(job, step, verdict)
        step.avoid = seat
        self.retries[step.pool, cause.partition(":")[0]] += 1
        delay = delay_before(step.attempts + 1, job.retries, self._rng)
        fields = {"job": job.id, "seat": seat, "attempt": step.attempts, "why": why, "delay_s": round(delay, 3)}
        said = do.Announce("job.retried", fields)
        if not delay:
            return [said, self._wait(job, step), *self._queue(job, step)]
        step.state = StepState.WAITING
        job.alarms += 1
        step.alarm = job.alarms
        return [said, self._wait(job, step), do.SetAlarm(job.id, "retry", step.alarm, delay)]

    @staticmethod
    def _wait(job: Job, step: Step) -> do.Action:
        return do.PersistWait(job.id, step.attempts, step.deaths, step.index)

    def _hopeless(self, job: Job, step: Step, fault: Fault) -> Out:
        """A step will never have a result. Some the job can do without."""
        step.state = StepState.ENDED
        if job.ending:
            return self._advance(job)
        fault = in_stretch(fault, step)
        step.failed = job.spared(step)
        if not step.failed or job.barren:
            job.ending = fault
            return self._withdraw(job, fault)
        step.state = StepState.STORING
        fields = {"job": job.id, "pool": step.pool, "step": step.index, "code": str(fault.code)}
        said = do.Announce("job.part_failed", {**fields, "message": fault.message, "attempts": step.attempts})
        return [said, do.PersistPart(job.id, step.index, fault, Timings(), Work())]

    # --- the one end --------------------------------------------------------------------------------------------------

    def _end_early(self, job: Job, fault: Fault) -> Out:
        """Nobody wants it any more. The first reason counts."""
        if job.ending:
            return []
        job.ending = fault
        return [] if job.state is JobState.STORING else self._withdraw(job, fault)

    def _withdraw(self, job: Job, fault: Fault) -> Out:
        """Let go of its steps; the job ends with the last of them that somebody has in hand."""
        if not job.live:
            return self._fail(job, fault)
        return [ev.StepWithdrawn(job.ref(step)) for step in job.live if step.state is not StepState.STORING]

    @staticmethod
    def _too_late(now: float, job: Job) -> Fault:
        waited, done = f"{now - job.submitted_at:.1f} s", round(job.done, 3)
        where = f"it was at {done:g} s of its audio" if job.started_at else "no worker was free for it"
        return Fault.of(Code.DEADLINE, f"the job had not ended after {waited}; {where}", done_s=done)

    def _complete(self, now: float, job: Job, finished: ev.Finished) -> Out:
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
        self._forget(job)
        self.ended["completed"] += 1
        self.audio_s += job.work.audio_s
        fields = {"job": job.id, "pool": job.pool, **msgspec.to_builtins(run)}
        return [do.Deliver(job, run, finished.body), do.Announce("job.completed", fields)]

    def _fail(self, job: Job, fault: Fault) -> Out:
        self._forget(job)
        self.ended["cancelled" if fault.code is Code.CANCELLED else "failed"] += 1
        fields = {"job": job.id, "pool": job.pool, "code": str(fault.code), "message": fault.message, "seat": job.seat}
        topic = "job.quarantined" if fault.code is Code.POISON else "job.failed"
        return [do.Fail(job, fault), do.Announce(topic, {**fields, "attempts": job.attempts})]

    def _keep(self, job: Job) -> list[do.Action]:
        """For the next daemon. The tries that are given up are not the job's fault."""
        self._forget(job)
        kept = [step for step in job.steps.values() if step.state is StepState.RUNNING]
        for step in kept:
            step.attempts -= 1
        whole = job.steps[WHOLE]  # as far as the journal is concerned, it is the job that waits
        return [self._wait(job, step) for step in (*kept, *([] if whole in kept else [whole]))]

    def give_up(self, *, durable: bool) -> Out:
        """The daemon leaves now: what is stored is for the next one, and everything else fails."""
        if durable:
            return [action for job in list(self.active.values()) for action in self._keep(job)]
        fault = Fault.of(Code.SHUTTING_DOWN, "the daemon was stopped before the job was done; submit it again")
        return [thing for job in list(self.active.values()) for thing in self._fail(job, fault)]
