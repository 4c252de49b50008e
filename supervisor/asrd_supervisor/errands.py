"""What the core decides about jobs, carried out: stored first, then told to clients."""

import time

from asrd_protocol import messages as msg
from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.frontend import Frontend
from asrd_supervisor.handover import HandOver
from asrd_supervisor.ledger import Ledger
from asrd_supervisor.records import Ended, buffer_of
from asrd_supervisor.report.snapshot import job_report
from asrd_supervisor.timers import Timers

_END: dict[Code, msg.JobState] = {Code.CANCELLED: "cancelled", Code.POISON: "quarantined"}


class Errands:
    """Between ledger, workers' hand-over and clients."""

    def __init__(self, ledger: Ledger, handover: HandOver, frontend: Frontend, timers: Timers) -> None:
        self._ledger = ledger
        self._handover = handover
        self._frontend = frontend
        self._timers = timers

    def run(self, action: do.Action) -> None:
        """One action."""
        match action:
            case do.Persist(job):
                self._ledger.persist(job)
            case do.PersistAttempt():
                self._persist_attempt(action)
            case do.PersistWait(job, attempts, deaths, step):
                self._ledger.wait(job, attempts, deaths, step)
            case do.PersistPlan(seat=seat, attempt=attempt):
                self._ledger.divide(action, self._handover.take_tape(seat, attempt))
            case do.PersistPart():
                self._keep_part(action)
            case do.Accept(job, ahead, eta):
                self._frontend.accept(job, ahead, eta)
            case do.Refuse(job, fault):
                self._frontend.refuse(job, fault)
            case do.Relay():
                self._relay(action)
            case do.Deliver() | do.Fail():
                self._timers.forget(action.job.id)
                self._settle(action)

    def _persist_attempt(self, action: do.PersistAttempt) -> None:
        """The journal in order, and beside it the audio, if that takes its time; the core hears when both are ready."""
        record = self._ledger.find(action.job)
        assert record
        left = 2

        def ready() -> None:
            nonlocal left
            left -= 1
            if not left:
                self._handover.offer(ev.AttemptPersisted(action.seat, action.attempt))

        self._ledger.attempt(action, ready)
        self._frontend.show(record)  # fewer than before, if they are decoded anew
        self._handover.prepare(record, action, ready)

    def _keep_part(self, action: do.PersistPart) -> None:
        """When the chunk is stored, what comes after it may be seen."""
        record = self._ledger.find(action.job)
        assert record

        def kept() -> None:
            if record.reel and record.reel.end(action.step):
                self._frontend.show(record)

        self._ledger.keep(action, kept)

    def _relay(self, action: do.Relay) -> None:
        if action.index is not None and (record := self._ledger.find(action.job)) and record.reel:
            segment = bytes(buffer_of(action.body))  # the frame would keep all that has come with it in memory
            if record.reel.add(action.step, action.attempt, action.index, segment):
                self._frontend.show(record)
        self._frontend.relay(action.job, action.done, action.duration)

    def _settle(self, action: do.Deliver | do.Fail) -> None:
        job, now = action.job, time.monotonic()
        answer: msg.Completed | msg.Failed
        match action:
            case do.Deliver(run=run, body=body):
                answer = msg.Completed(job=job.id, run=run)
                report = job_report(job, now, "completed")
            case do.Fail(fault=fault):
                body = None
                answer = msg.Failed(job=job.id, fault=fault, attempts=job.attempts, seat=job.seat)
                report = job_report(job, now, _END.get(fault.code, "failed"), fault=fault)
        self._ledger.settle(Ended(answer, body), report, self._frontend.settle)
