"""The journal as an SQLite file, changed in transactions of many operations.

One connection, which belongs to one thread at a time: that is faster than several, and keeps clear of the bug in
SQLite before 3.51.3 by which several connections could damage a file in WAL mode.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import stages
from asrd_supervisor.journal.entries import (
    Accept,
    Answer,
    Attempt,
    Divide,
    End,
    Forget,
    Gather,
    Keep,
    Look,
    Operation,
    Read,
    Renew,
    Result,
    Standing,
    State,
    Steps,
    Wait,
)
from asrd_supervisor.journal.opening import Durability, connected, refusal, standings, steps_of


class DiskFull(Exception):
    """There is no room; nothing of the transaction was done."""


class Store:
    """The open journal.

    Raises:
        Damaged, InUse, JournalError: and the file is as it was.
    """

    def __init__(self, path: Path | None, durability: Durability) -> None:
        """``path``: None for a journal that lasts as long as the process."""
        self._path = path
        try:
            self._db = connected(path, durability)
        except sqlite3.DatabaseError as error:
            raise refusal(path, error) from None

    def close(self) -> None:
        """Write the log back into the file and let go of it."""
        self._db.close()

    # --- in one transaction -------------------------------------------------------------------------------------------

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        """Do all of it, or nothing; what each one gives.

        Raises:
            DiskFull: there is no room.
            sqlite3.Error: it is not known what is on the disk; nothing may be promised any more.
        """
        try:
            self._db.execute("BEGIN")
            results = [self._do(operation) for operation in operations]
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            with contextlib.suppress(sqlite3.OperationalError):  # SQLite may have rolled back by itself
                self._db.execute("ROLLBACK")
            raise DiskFull from None
        return results

    def _do(self, operation: Operation) -> Result:
        match operation:
            case Read(job):
                return self._read(job)
            case Look(job):
                return next(standings(self._db, self._path, "WHERE job = ?", job), None)
            case Gather(job):
                return Steps(steps_of(self._db, job))
            case _:
                self._change(operation)
                return None

    def _change(self, operation: Operation) -> None:
        run = self._db.execute
        match operation:
            case Accept(entry):
                e = entry
                run(
                    "INSERT INTO jobs (job, owner, request, source, digest, accepted_at, checksum) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (e.job, e.owner, e.request, e.source, e.digest, e.accepted_at, e.checksum),
                )
            case Attempt(job, attempts, deaths, stages.WHOLE):
                self._put(job, "running", attempts, deaths)
            case Attempt(job, attempts, deaths, step):
                self._put_step(job, step, attempts, deaths, running=True)
                run("UPDATE jobs SET state = 'running' WHERE job = ? AND ended_at = 0", (job,))
            case End():
                self._end(operation)
            case Wait(job, attempts, deaths, stages.WHOLE):
                self._put(job, "queued", attempts, deaths)
            case Wait(job, attempts, deaths, step):
                self._put_step(job, step, attempts, deaths, running=False)
            case Divide(job, plan):
                run("DELETE FROM steps WHERE job = ? AND step > ?", (job, stages.SPEAKERS))  # of an older cut
                run(
                    "INSERT OR REPLACE INTO plans (job, plan, checksum) "
                    "SELECT job, ?, ? FROM jobs WHERE job = ? AND ended_at = 0",
                    (plan, zlib.crc32(plan), job),
                )
            case Keep():
                self._keep(operation)
            case Renew(job, accepted_at):
                self._renew(job, accepted_at)
            case Forget(job):
                run("DELETE FROM jobs WHERE job = ?", (job,))

    def _put(self, job: str, state: State, attempts: int, deaths: int) -> None:
        """A job that has ended stays so, whatever comes late."""
        self._db.execute(
            "UPDATE jobs SET state = ?, attempts = ?, deaths = ? WHERE job = ? AND ended_at = 0",
            (state, attempts, deaths, job),
        )

    def _put_step(self, job: str, step: int, attempts: int, deaths: int, *, running: bool) -> None:
        self._db.execute(
            "INSERT INTO steps (job, step, attempts, deaths, running) SELECT job, ?, ?, ?, ? FROM jobs "
            "WHERE job = ? AND ended_at = 0 ON CONFLICT (job, step) DO UPDATE "
            "SET attempts = excluded.attempts, deaths = excluded.deaths, running = excluded.running",
            (step, attempts, deaths, running, job),
        )

    def _keep(self, keep: Keep) -> None:
        run = self._db.execute
        run(
            "INSERT INTO steps (job, step, part, failed, checksum) SELECT job, ?, ?, ?, ? FROM jobs "
            "WHERE job = ? AND ended_at = 0 ON CONFLICT (job, step) DO UPDATE "
            "SET part = excluded.part, failed = excluded.failed, checksum = excluded.checksum, running = 0",
            (keep.step, keep.part, keep.failed, zlib.crc32(keep.part), keep.job),
        )
        if keep.step != stages.SPEAKERS:  # else the first step may be tried again, and its tries count these
            run("UPDATE jobs SET interrupted = 0 WHERE job = ? AND ended_at = 0", (keep.job,))

    def _renew(self, job: str, accepted_at: float) -> None:
        """What its steps have given stays, and those that have failed begin at the beginning."""
        run = self._db.execute
        run(
            "UPDATE jobs SET state = 'queued', attempts = 0, deaths = 0, interrupted = 0, ended_at = 0, "
            "report = x'', size = 0, accepted_at = ? WHERE job = ?",
            (accepted_at, job),
        )
        run("UPDATE steps SET attempts = 0, deaths = 0 WHERE job = ?", (job,))
        run("UPDATE steps SET part = x'', checksum = 0, failed = 0 WHERE job = ? AND failed", (job,))
        run("DELETE FROM answers WHERE job = ?", (job,))

    def _end(self, end: End) -> None:
        answer = end.answer
        size = len(answer.header) + len(answer.body or b"")
        changed = self._db.execute(
            "UPDATE jobs SET state = ?, ended_at = ?, report = ?, size = ? WHERE job = ? AND ended_at = 0",
            (end.state, end.ended_at, end.report, size, end.job),
        )
        if not changed.rowcount:
            return  # it has ended before, or was never accepted
        self._db.execute(
            "INSERT INTO answers (job, header, body, checksum) VALUES (?, ?, ?, ?)",
            (end.job, answer.header, answer.body, answer.checksum),
        )
        if not end.again:
            self._db.execute("DELETE FROM plans WHERE job = ?", (end.job,))
            self._db.execute("DELETE FROM steps WHERE job = ?", (end.job,))

    def _read(self, job: str) -> Answer | Fault | None:
        row = self._db.execute("SELECT header, body, checksum FROM answers WHERE job = ?", (job,)).fetchone()
        if row is None:
            return None
        answer = Answer(row[0], row[1])
        if answer.checksum != row[2]:
            said = f"the stored result of the job {job!r} does not match its checksum; submit it again"
            return Fault.of(Code.STORAGE_FAILED, said)
        return answer

    # --- at the start -------------------------------------------------------------------------------------------------

    def recover(self) -> list[Standing]:
        """All jobs in the order in which they came. What was running when the last daemon ended waits again.

        A job counts how often that was so, until some of its text is stored; a step does not: the try is taken back.

        Raises:
            JournalError: there is no room to note that.
        """
        try:
            self._db.execute("UPDATE jobs SET state = 'queued', interrupted = interrupted + 1 WHERE state = 'running'")
            self._db.execute("UPDATE steps SET attempts = max(attempts - 1, 0), running = 0 WHERE running")
            return list(standings(self._db, self._path, "ORDER BY seq"))
        except sqlite3.DatabaseError as error:
            raise refusal(self._path, error) from None
