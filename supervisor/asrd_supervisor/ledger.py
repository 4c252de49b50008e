"""Every job that is known, from the moment it comes until it is forgotten, and the order in which things are stored.

    Persist         spool file, then journal: accepted      ->  JobPersisted
    PersistAttempt  journal: attempt                         ->  AttemptPersisted
    Deliver, Fail   journal: end and answer, then the file   ->  whoever waits is told
    Release         journal: forgotten, then the file        ->  Released

Whatever the daemon says to a client it says after the step on the left is on the disk. In memory is only what lists and
repeated submits need; the answers of ended jobs are read from the journal when somebody asks.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from asrd_protocol import messages as msg
from asrd_protocol.faults import Code, Fault
from asrd_supervisor import sources
from asrd_supervisor.archive import Archive
from asrd_supervisor.assembly import Assembly
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.intake import Intake, Outcome
from asrd_supervisor.journal import entries
from asrd_supervisor.journal.entries import Result
from asrd_supervisor.journal.writer import Journal
from asrd_supervisor.records import (
    Ended,
    Record,
    buffer_of,
    keeps_audio,
    pack,
    read_report,
    request_of,
    submitted_again,
)
from asrd_supervisor.reel import Reel
from asrd_supervisor.sources import Body, Named, Spooled
from asrd_supervisor.spool import Spool


class Ledger:
    """Keyed by job id; on the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        writer: Journal,
        spool: Spool,
        post: Callable[[ev.Event], None],
        broken: Callable[[Exception], None],
        at_once: int | None = None,
    ) -> None:
        """``at_once``: see :class:`~asrd_supervisor.intake.Intake`."""
        self.intake = Intake(loop, spool, at_once)
        self._writer = writer
        self._spool = spool
        self._post = post
        self._broken = broken
        self._assembly = Assembly(self.intake, writer, post, broken)
        self._records: dict[str, Record] = {}
        self.broken = False
        """Whether the journal could not be written: nothing is taken any more."""
        self.asked = 0
        """Bytes of the submits of all jobs that have not ended."""
        self.archive = Archive(self._records, self.intake, writer)

    async def close(self) -> None:
        """Wait for everything that is being stored."""
        await self.intake.close()
        await self._writer.close()
        self._spool.close()

    def find(self, job: str) -> Record | None:
        """What is known of a job."""
        return self._records.get(job)

    @property
    def full(self) -> bool:
        """Whether the disk has no room for new jobs."""
        return self._writer.full

    @property
    def busy_s(self) -> float:
        """Seconds for which the disk has not answered."""
        return self._writer.busy_s

    # --- taking a job -------------------------------------------------------------------------------------------------

    def begin(self, owner: str, submit: msg.Submit, body: Body | None, named: Named | None, connection: str) -> Record:
        """A job has come; nothing of it is stored."""
        assert submit.job
        streams = submit.diarize is None
        record = Record(submit.job, owner, request_of(submit), source=named, connection=connection, streams=streams)
        self._records[submit.job] = record
        self.asked += len(record.request)
        self.intake.hold(submit.job, body)
        return record

    def abandon(self, job: str) -> None:
        """The job was not accepted."""
        record = self._records.pop(job)
        self.asked -= len(record.request)
        self.intake.let_go(job)
        record.go_on()
        # After an error of the disk the journal may know the job all the same; the sweep of the next start decides.
        if isinstance(record.source, Spooled) and not self.broken:
            self.intake.drop(record.source)

    def persist(self, job: str) -> None:
        """Store a job that has begun; ``JobPersisted`` or ``JobUnstored`` follows."""
        self.intake.store(self._records[job], self._stored)

    def _stored(self, record: Record, outcome: Outcome) -> None:
        self.intake.let_go(record.job)
        if isinstance(outcome, bytes):
            self._accept(record, outcome)
        elif isinstance(outcome, OSError) and outcome.errno in sources.NO_ROOM:
            said = f"the daemon has no room for this audio ({outcome.strerror})"
            self._post(ev.JobUnstored(record.job, Fault.of(Code.INSUFFICIENT_STORAGE, said, retry_after=10.0)))
        else:
            self._broken(outcome)

    def _accept(self, record: Record, digest: bytes) -> None:
        assert record.source
        record.accepted_at = time.time()
        entry = entries.Entry(
            record.job, record.owner, record.request, sources.encode(record.source), digest, record.accepted_at
        )

        def done(result: Result) -> None:
            if isinstance(result, Fault):
                self._post(ev.JobUnstored(record.job, result))
                return
            record.digest = digest
            self._post(ev.JobPersisted(record.job))
            record.go_on()

        self._writer.write(entries.Accept(entry), done)

    def compare(
        self,
        record: Record,
        submit: msg.Submit,
        body: Body | None,
        named: Named | None,
        done: Callable[[bool | None], None],
    ) -> None:
        """Whether a submit is the one that made this job; ``done`` is told when both are known: None, when there is no
        such job any more."""

        def tell(digest: bytes) -> None:
            if self._records.get(record.job) is not record:
                done(None)
            elif record.digest:
                done(digest == record.digest)
            else:
                record.waiting.append(partial(tell, digest))

        self.intake.identify(request_of(submit), body, named, tell)

    # --- its attempts -------------------------------------------------------------------------------------------------

    def attempt(self, begun: do.PersistAttempt, done: Callable[[], None]) -> None:
        """Store that a worker is going to try a step."""
        record = self._records[begun.job]
        record.attempt = begun.tries
        record.reel = record.reel or Reel()
        record.reel.begin(begun.step, begun.attempts)
        stored = entries.Attempt(begun.job, begun.attempts, begun.deaths, begun.step)
        self._writer.write(stored, lambda _: done())

    def wait(self, job: str, attempts: int, deaths: int, step: int = 0) -> None:
        """Store that a step waits for its next attempt."""
        self._writer.write(entries.Wait(job, attempts, deaths, step), lambda _: None)

    # --- its steps, where it has several ------------------------------------------------------------------------------

    def divide(self, plan: do.PersistPlan, tape: int | None) -> None:
        """Store where the audio of a job was cut; ``PlanPersisted`` or ``PlanUnstored`` follows."""
        self._assembly.divide(self._records[plan.job], tape, plan.chunks, bytes(buffer_of(plan.head)))

    def keep(self, part: do.PersistPart, done: Callable[[], None]) -> None:
        """Store what a step has given, ``done`` is called then; ``PartPersisted`` follows."""
        given = part.body if isinstance(part.body, Fault) else bytes(buffer_of(part.body))
        self._assembly.keep(self._records[part.job], part.step, given, part.timings, part.work, done)

    def gather(self, record: Record, done: Callable[[bytes | Fault], None]) -> None:
        """All parts of a job as one sheaf, in msgpack."""
        self._assembly.gather(record, done)

    # --- its end ------------------------------------------------------------------------------------------------------

    def settle(self, ended: Ended, report: msg.JobReport, tell: Callable[[Ended], None]) -> None:
        """Store the end of a job; ``tell`` is called when nobody can change it any more."""
        record = self._records[ended.answer.job]
        header, body = pack(ended.answer), None if ended.body is None else bytes(buffer_of(ended.body))
        answer = entries.Answer(header, body)

        def done(_: Result) -> None:
            tell(ended)
            self._end(record, report, time.time(), len(header) + len(body or b""))

        again = keeps_audio(report)
        self._writer.write(entries.End(record.job, report.state, answer, pack(report), time.time(), again), done)

    def _end(self, record: Record, report: msg.JobReport, ended_at: float, size: int) -> None:
        self.asked -= len(record.request)
        record.request, record.reel = b"", None
        self.archive.put(record, report, ended_at, size)

    def revive(self, job: str, done: Callable[[], object]) -> None:
        """Let a job that has failed wait again, with all its attempts; ``JobRecovered`` follows."""
        record = self._records[job]
        self.archive.take_out(record)

        def looked(result: Result) -> None:
            assert isinstance(result, entries.Standing)
            record.request = result.entry.request
            self.asked += len(record.request)
            done()
            chunks, steps = self._assembly.restore(record, result)
            submitted = submitted_again(record, record.submit.deadline)
            self._post(ev.JobRecovered(submitted, chunks=chunks, steps=steps))
            record.go_on()

        record.accepted_at = time.time()
        self._writer.write(entries.Renew(job, record.accepted_at), lambda _: None)
        self._writer.write(entries.Look(job), looked)

    # --- all of them --------------------------------------------------------------------------------------------------

    def recover(self, standings: list[entries.Standing]) -> list[ev.JobRecovered]:
        """Take in what the journal knows; the jobs that have not ended."""
        found = [event for standing in standings if (event := self._take_in(standing))]
        self._spool.sweep(source.name for record in self._records.values() for source in record.spooled)
        return found

    def _take_in(self, standing: entries.Standing) -> ev.JobRecovered | None:
        entry = standing.entry
        source = sources.decode(entry.source)
        record = Record(
            entry.job, entry.owner, entry.request, digest=entry.digest, source=source, accepted_at=entry.accepted_at
        )
        record.streams = record.submit.diarize is None
        record.attempt = max(standing.attempts, *(one.attempts for one in standing.steps), 0)
        self._records[entry.job] = record
        self.asked += len(record.request)
        chunks, steps = self._assembly.restore(record, standing)
        if standing.state in entries.ENDED:
            report = read_report(standing.report)
            if not keeps_audio(report):
                record.source = None
            self._end(record, report, min(standing.ended_at, time.time()), standing.size)
            return None
        left = None
        if (deadline := record.submit.deadline) is not None:
            left = min(deadline, max(0.0, deadline - (time.time() - entry.accepted_at)))
        counts = (standing.attempts, standing.deaths, standing.interrupted)
        return ev.JobRecovered(submitted_again(record, left), *counts, chunks, steps)
