"""The jobs that have ended, until somebody has fetched and released them, or their time is over."""

import time
from collections.abc import Callable, Iterator

from asrd_protocol import messages as msg
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.intake import Intake
from asrd_supervisor.journal import entries
from asrd_supervisor.journal.entries import Result
from asrd_supervisor.journal.writer import Journal
from asrd_supervisor.records import Ended, Record, keeps_audio, read_answer
from asrd_supervisor.sources import Spooled

JUMP_S = 60.0
"""Seconds by which wall clock and monotonic clock may part between two looks."""


class Archive:
    """Part of the ledger, whose records it shares. Answers are on the disk, and read when somebody asks."""

    def __init__(self, records: dict[str, Record], intake: Intake, writer: Journal) -> None:
        self._records = records
        self._intake = intake
        self._writer = writer
        self._looked = (time.time(), time.monotonic())
        self.known = 0
        """Jobs that have ended and are not forgotten."""
        self.kept = 0
        """Bytes of them: their answers, and the audio of those that may be tried again."""

    def put(self, record: Record, report: msg.JobReport, ended_at: float, size: int) -> None:
        """A job has ended, with an answer of so many bytes. Audio that nobody needs any more is removed."""
        record.report, record.ended_at = report, ended_at
        if keeps_audio(report):
            size += sum(source.size for source in record.spooled)
        else:
            self._drop_files(record)
        record.size = size
        self.known += 1
        self.kept += size

    def take_out(self, record: Record) -> None:
        """A job is to be tried again."""
        self.known -= 1
        self.kept -= record.size
        record.report, record.size, record.attempt = None, 0, 0

    def _drop_files(self, record: Record) -> None:
        for source in record.spooled:
            self._intake.drop(source)
        record.plan = None
        if isinstance(record.source, Spooled):
            record.source = None

    def answer(self, job: str, tell: Callable[[Ended], None]) -> None:
        """Read the end of a job that has ended."""

        def done(result: Result) -> None:
            if isinstance(result, entries.Answer):
                tell(Ended(read_answer(result.header), result.body))
            else:
                gone = Fault.of(Code.UNKNOWN_JOB, f"the job {job!r} has just been released")
                tell(Ended(msg.Failed(job=job, fault=result if isinstance(result, Fault) else gone), None))

        self._writer.write(entries.Read(job), done)

    def forget(self, job: str, done: Callable[[], object]) -> None:
        """Forget a job that has ended."""
        record = self._records.pop(job)
        self.known -= 1
        self.kept -= record.size

        def forgotten(_: Result) -> None:
            self._drop_files(record)
            done()

        self._writer.write(entries.Forget(job), forgotten)

    def ended(self) -> Iterator[Record]:
        """The jobs that have ended, the newest first."""
        return (record for record in reversed(self._records.values()) if record.report)

    def expire(self, ttl: float) -> None:
        """Forget the jobs that ended so many seconds ago."""
        self._mind_the_clock()
        horizon = time.time() - ttl
        late = [r.job for r in self._records.values() if r.report and r.ended_at < horizon]
        for job in late:
            self.forget(job, lambda: None)

    def _mind_the_clock(self) -> None:
        """A wall clock that is set forward makes nobody older."""
        before, self._looked = self._looked, (time.time(), time.monotonic())
        jump = (self._looked[0] - before[0]) - (self._looked[1] - before[1])
        if abs(jump) > JUMP_S:
            for record in self.ended():
                record.ended_at += jump
