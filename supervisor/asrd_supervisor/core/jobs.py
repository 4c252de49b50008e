"""Every job that has not ended: what is asked of it, and what becomes of that."""

import random
from collections import Counter
from collections.abc import Mapping

import msgspec

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.course import Course
from asrd_supervisor.core.endings import Endings
from asrd_supervisor.core.entrance import Entrance
from asrd_supervisor.core.out import Out
from asrd_supervisor.core.plan import Job, JobState, StepState, after_interruption, worked
from asrd_supervisor.core.policy import QueuePolicy
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.core.register import Register
from asrd_supervisor.core.stages import SPEAKERS, WHOLE


class Jobs:
    """The jobs of the daemon. A job that is accepted ends once, in ``Deliver`` or in ``Fail``."""

    def __init__(self, pools: Mapping[str, Pool], default: str, queue: QueuePolicy, rng: random.Random) -> None:
        self._pools = pools
        self._entrance = Entrance(pools, default, queue)
        self._register = Register(self._entrance.quotas)
        self._endings = Endings(self._register)
        self._course = Course(self._endings, rng)
        self.active = self._register.active
        self.draining = False
        self.closing = False
        self.ended = self._endings.count
        self.refused: Counter[str] = Counter()
        self.retries = self._course.retries

    @property
    def audio_s(self) -> float:
        """Seconds of audio in completed jobs."""
        return self._endings.audio_s

    @property
    def retried(self) -> int:
        """How many steps were tried again."""
        return self.retries.total()

    def count(self, *states: JobState) -> int:
        """How many jobs are in one of these states."""
        return self._register.count(*states)

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
            self._register.note_state(job)
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
                return self._course.retry_due(job, number)
            case ev.StepStarted():
                return self._course.started(now, job, event)
            case ev.StepMoved():
                return self._course.moved(job, event)
            case ev.StepEnded():
                return self._course.step_ended(now, job, event)
            case ev.PlanPersisted():
                return self._course.stored(job, WHOLE)
            case ev.PlanUnstored(fault=fault):
                return self._course.uncut(job, fault)
            case ev.PartPersisted(index=index):
                return self._course.stored(job, index)
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

    # --- admission ----------------------------------------------------------------------------------------------------

    def _submitted(self, now: float, event: ev.JobSubmitted) -> Out:
        if fault := self.objection(event):
            self.refused[fault.code] += 1
            return [do.Refuse(event.job, fault)]
        self._register.enter(self._entrance.job(now, event))
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
            return [*out, *self._endings.fail(job, job.ending)]
        if job.asked.deadline is not None:
            left = max(0.0, job.submitted_at + job.asked.deadline - now)
            out.append(do.SetAlarm(job.id, "deadline", 0, left))
        return out + self._course.advance(job)

    def _unstored(self, job: Job, fault: Fault) -> Out:
        self._register.leave(job)
        self.refused[fault.code] += 1
        return [do.Refuse(job.id, fault)]

    def _recovered(self, now: float, event: ev.JobRecovered) -> Out:
        """It was accepted once, so nothing but its own doing can end it here."""
        asked = event.submitted
        job = self._entrance.job(now, asked)
        first = job.steps[WHOLE]
        first.attempts, first.deaths = event.attempts, event.deaths
        if event.chunks:
            job.divide(event.chunks)
        job.resume(event.steps)
        # What the daemon's own end has cost is no fault of the job.
        job.retries = msgspec.structs.replace(job.retries, attempts=job.retries.attempts + event.interrupted)
        job.state = JobState.QUEUED
        self._register.enter(job)
        if fault := after_interruption(event.interrupted):
            return [*self._endings.fail(job, fault)]
        alarm: Out = [do.SetAlarm(job.id, "deadline", 0, asked.deadline)] if asked.deadline is not None else []
        if not self.served(job):
            # Perhaps a slip of the pen in the configuration: that must not end the job.
            return [*alarm, do.Announce("job.stranded", {"job": job.id, "pool": job.pool})]
        self._learn(job, event.steps)
        out = [*alarm, *self._without_listeners(job), *self._course.advance(job)]
        self._register.note_state(job)
        return out

    def stranded(self) -> Counter[str]:
        """How many jobs of an earlier daemon wait for pools that this one does not have, by pool."""
        return Counter(job.pool for job in self.active.values() if not self.served(job))

    def served(self, job: Job) -> bool:
        """Whether its pool is there, and transcribes."""
        return self._entrance.transcribes(job.pool)

    def _learn(self, job: Job, kept: tuple[ev.KeptStep, ...]) -> None:
        """After a restart nobody knows how long the work takes, but for what the journal has."""
        new = [name for name, pool in self._pools.items() if not pool.pace.learned]
        for one in kept:
            step = job.steps.get(one.index)
            if one.ended and step and step.pool in new:
                self._pools[step.pool].pace.learn(worked(one.timings), one.work.audio_s, 0, media=False)

    def _without_listeners(self, job: Job) -> Out:
        """The pool that was to tell its speakers apart is not configured any more."""
        step = job.steps.get(SPEAKERS)
        if step is None or step.pool or step.state is StepState.ENDED:
            return []
        return self._course.hopeless(job, step, self._entrance.no_listeners(job.asked))

    # --- the one end --------------------------------------------------------------------------------------------------

    def _end_early(self, job: Job, fault: Fault) -> Out:
        """Nobody wants it any more. The first reason counts."""
        if job.ending:
            return []
        job.ending = fault
        return [] if job.state is JobState.STORING else self._course.withdraw(job, fault)

    @staticmethod
    def _too_late(now: float, job: Job) -> Fault:
        waited, done = f"{now - job.submitted_at:.1f} s", round(job.done, 3)
        where = f"it was at {done:g} s of its audio" if job.started_at else "no worker was free for it"
        return Fault.of(Code.DEADLINE, f"the job had not ended after {waited}; {where}", done_s=done)

    def give_up(self, *, durable: bool) -> Out:
        """The daemon leaves now: what is stored is for the next one, and everything else fails."""
        if durable:
            return [action for job in list(self.active.values()) for action in self._endings.keep(job)]
        fault = Fault.of(Code.SHUTTING_DOWN, "the daemon was stopped before the job was done; submit it again")
        return [thing for job in list(self.active.values()) for thing in self._endings.fail(job, fault)]
