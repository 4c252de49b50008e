"""The course of a job through its steps: what is queued next, what is tried again, and when that is over."""

import random
from collections import Counter

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.endings import Endings, wait
from asrd_supervisor.core.out import Out
from asrd_supervisor.core.plan import Job, Step, StepState, after_fault, after_loss, in_stretch
from asrd_supervisor.core.retries import delay_before
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, WHOLE


class Course:
    """Moves steps; a job whose last one has ended goes to the endings."""

    def __init__(self, endings: Endings, rng: random.Random) -> None:
        self._endings = endings
        self._rng = rng
        self.retries: Counter[tuple[str, str]] = Counter()
        """Steps that were tried again, by pool and by how the worker was lost, or the code of the fault."""

    def advance(self, job: Job) -> Out:
        """Queue what is to be done next; if nobody wants the job any more, end it as soon as its steps have ended."""
        if job.ending:
            return [] if job.live else [*self._endings.fail(job, job.ending)]
        due = job.due()  # others may pass a suspect that waits in front; a merge is next to nothing
        return [
            queued for step in due for queued in self._queue(job, step, again=step.deaths > 0 or step.index == MERGE)
        ]

    def stored(self, job: Job, index: int) -> Out:
        """What a step has given is stored."""
        job.steps[index].state = StepState.ENDED
        return self.advance(job)

    def uncut(self, job: Job, fault: Fault) -> Out:
        """Where its audio is cut cannot be stored."""
        job.unite()
        return self._faulted(job, job.steps[WHOLE], fault)

    @staticmethod
    def _queue(job: Job, step: Step, *, again: bool = True) -> Out:
        step.state = StepState.QUEUED
        return [ev.StepQueued(job.ref(step), again)]

    def retry_due(self, job: Job, number: int) -> Out:
        """The delay before a try is over."""
        if job.ending:
            return []
        late = [s for s in job.steps.values() if s.state is StepState.WAITING and s.alarm == number]
        return [thing for step in late for thing in self._queue(job, step)]

    def started(self, now: float, job: Job, event: ev.StepStarted) -> Out:
        """A worker has a step: the next chunk may wait for one, too."""
        step = job.steps[event.step.index]
        step.state = StepState.RUNNING
        job.seat = str(event.seat)
        job.started_at = now if job.single else job.started_at or now
        step.attempts += 1
        step.done = 0.0
        counts = (step.attempts, step.deaths, step.index, job.attempts)
        stored = do.PersistAttempt(job.id, event.seat, event.attempt, *counts)
        return [stored, *(self.advance(job) if step.index >= FIRST_CHUNK and not job.ending else [])]

    @staticmethod
    def moved(job: Job, event: ev.StepMoved) -> Out:
        """A worker has come so far with a step."""
        step = job.steps[event.step.index]
        step.done = max(step.done, event.done)
        step.duration = event.duration or step.duration
        done, duration = round(job.done, 3), job.duration
        return [do.Relay(job.id, done, duration, step.attempts, event.index, event.body, step.index)]

    def step_ended(self, now: float, job: Job, event: ev.StepEnded) -> Out:
        """The pool is through with a step."""
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
                step.state, step.given_up = StepState.ENDED, True
                job.ending = job.ending or Fault.of(Code.INTERNAL, "the step was withdrawn by nobody")
                return self.advance(job)
            case ev.Unserved(fault):
                return self.hopeless(job, step, fault)
            case ev.Lost(unsent=True) if not job.ending:
                step.attempts -= 1
                return [wait(job, step), *self._queue(job, step)]
            case ev.Lost() as lost:
                if verdict := job.ending or after_loss(step, lost, job.retries, spared=job.spared(step)):
                    return self.hopeless(job, step, verdict)
                return self._again(job, step, str(lost.seat), lost.how, lost.how)
            case ev.Faulted() as faulted:
                asked = job.asked.retries and job.asked.retries.attempts
                more = 0 if asked else faulted.more
                return self._faulted(job, step, faulted.fault, seat=str(faulted.seat), more=more)

    def _finished(self, now: float, job: Job, step: Step, finished: ev.Finished) -> Out:
        job.count(step.index, finished.timings, finished.work)
        if job.single or step.index == MERGE:
            return [*self._endings.complete(now, job, finished)]
        step.state = StepState.STORING
        return [do.PersistPart(job.id, step.index, finished.body, finished.timings, finished.work)]

    def _faulted(self, job: Job, step: Step, fault: Fault, *, seat: str = "", more: int = 0) -> Out:
        """A try gave a fault instead of a result."""
        if verdict := job.ending or after_fault(step, fault, job.retries, more=more):
            return self.hopeless(job, step, verdict)
        pause = min(job.retries.delay_max, fault.retry_after or 0.0)
        return self._again(job, step, seat, fault.message, str(fault.code), pause)

    def _again(self, job: Job, step: Step, seat: str, why: str, cause: str, pause: float = 0.0) -> Out:
        """Try the step again on another worker, after a pause of so many seconds at least."""
        step.avoid = seat
        self.retries[step.pool, cause.partition(":")[0]] += 1
        delay = max(pause, delay_before(step.attempts + 1, job.retries, self._rng))
        fields = {"job": job.id, "seat": seat, "attempt": step.attempts, "why": why, "delay_s": round(delay, 3)}
        said = do.Announce("job.retried", fields)
        if not delay:
            return [said, wait(job, step), *self._queue(job, step)]
        step.state = StepState.WAITING
        job.alarms += 1
        step.alarm = job.alarms
        return [said, wait(job, step), do.SetAlarm(job.id, "retry", step.alarm, delay)]

    def hopeless(self, job: Job, step: Step, fault: Fault) -> Out:
        """A step will never have a result. Some the job can do without."""
        fault = in_stretch(fault, step)
        step.failed = not job.ending and job.spared(step)
        if step.failed and not job.barren:
            step.state = StepState.STORING
            fields = {"job": job.id, "pool": step.pool, "step": step.index, "code": str(fault.code)}
            said = do.Announce("job.part_failed", {**fields, "message": fault.message, "attempts": step.attempts})
            return [said, do.PersistPart(job.id, step.index, fault, Timings(), Work())]
        step.state, step.given_up = StepState.ENDED, True
        if job.ending:
            return self.advance(job)
        job.ending = fault
        return self.withdraw(job, fault)

    def withdraw(self, job: Job, fault: Fault) -> Out:
        """Let go of its steps; the job ends with the last of them that somebody has in hand."""
        if not job.live:
            return [*self._endings.fail(job, fault)]
        return [ev.StepWithdrawn(job.ref(step)) for step in job.live if step.state is not StepState.STORING]
