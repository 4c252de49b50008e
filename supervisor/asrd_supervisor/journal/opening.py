"""How the journal is opened: looked at first, so that one that is refused is left as it was."""

import contextlib
import os
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec

from asrd_supervisor.journal.entries import ENDED, Entry, Standing, StoredStep

APPLICATION_ID = 0x61737264
"""``asrd``, in the head of the file."""

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY,
        job TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        request BLOB NOT NULL,
        source BLOB NOT NULL,
        digest BLOB NOT NULL,
        accepted_at REAL NOT NULL,
        checksum INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'queued',
        attempts INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        interrupted INTEGER NOT NULL DEFAULT 0,
        ended_at REAL NOT NULL DEFAULT 0,
        report BLOB NOT NULL DEFAULT x'',
        size INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE answers (
        job TEXT PRIMARY KEY REFERENCES jobs (job) ON DELETE CASCADE,
        header BLOB NOT NULL,
        body BLOB,
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE plans (
        job TEXT PRIMARY KEY REFERENCES jobs (job) ON DELETE CASCADE,
        plan BLOB NOT NULL,
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE steps (
        job TEXT NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
        step INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        running INTEGER NOT NULL DEFAULT 0,
        part BLOB NOT NULL DEFAULT x'',
        failed INTEGER NOT NULL DEFAULT 0,
        checksum INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job, step)
    );
    """,
)
"""Script N makes schema N out of schema N - 1."""

_COLUMNS = (
    "job, owner, request, source, digest, accepted_at, checksum, state, attempts, deaths, interrupted, ended_at, "
    "report, size"
)

Durability = Literal["full", "process", "none"]
_SYNCHRONOUS = {"full": "FULL", "process": "NORMAL", "none": "OFF"}


class JournalError(Exception):
    """The journal cannot be used; one sentence with the way out."""


class Damaged(JournalError):
    """Its content cannot be trusted."""


class NoRoom(JournalError):
    """The disk is full."""


class InUse(JournalError):
    """Another daemon has it."""


def move_aside(path: Path) -> Path | None:
    """Put a journal that cannot be used, with its log, into a directory of its own; None when there is none."""
    if not path.exists():
        return None
    name = f"damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    target = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=path.parent))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(target / f"{path.name}{suffix}")
    return target


def connected(path: Path | None, durability: Durability) -> sqlite3.Connection:
    """The journal, ready to be written to.

    Raises:
        Damaged, JournalError, sqlite3.DatabaseError: and the file is as it was.
    """
    hot = path is not None and Path(f"{path}-journal").exists()
    if path:
        if not hot:
            _look(path)
        # The log gets the mode of the file, and both hold what people have said.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    db = _opened(str(path or ":memory:"))
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if path and hot:  # killed while the file was made: only a writer can take that back
            _check_head(db, path)
            _check_rows(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        db.execute("PRAGMA foreign_keys = ON")
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _opened(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, isolation_level=None, check_same_thread=False, timeout=0, uri=uri)


def _look(path: Path) -> None:
    """See that the journal can be used, through a descriptor that cannot change it.

    Raises:
        Damaged, JournalError, sqlite3.DatabaseError
    """
    if not path.exists():
        return
    if not path.stat().st_size:
        log = Path(f"{path}-wal")
        if log.exists() and log.stat().st_size:
            raise Damaged(_way_out(path, "it is empty, and its log is not"))
        return
    index = Path(f"{path}-shm")
    shared = index.exists()
    try:
        # A writer that closes would write the log back, over what may have to be looked at by somebody.
        with contextlib.closing(_opened(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            _check_head(db, path)
            if (said := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise Damaged(_way_out(path, said))
            _check_rows(db, path)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise Damaged(_way_out(path, f"a row cannot be read: {error}")) from None
    except sqlite3.OperationalError as error:
        if "decode" in str(error).lower():
            raise Damaged(_way_out(path, f"a row cannot be read: {error}")) from None
        raise
    finally:
        if not shared:
            index.unlink(missing_ok=True)


def _check_head(db: sqlite3.Connection, path: Path) -> None:
    found, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if found != APPLICATION_ID and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise JournalError(f"{path} is a database of another program; asrd leaves it alone")
    if version > len(MIGRATIONS):
        raise JournalError(
            f"the journal {path} was written by a newer asrd (schema {version}, this one knows {len(MIGRATIONS)}); "
            "start that one, or use another --state-dir"
        )


def _check_rows(db: sqlite3.Connection, path: Path) -> None:
    """See that every job is one that can have been written: what it asks, where it is, and its answer if it has one."""
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    answered = {job for (job,) in db.execute("SELECT job FROM answers")}
    for standing in standings(db, path, "ORDER BY seq"):
        msgspec.convert(standing, Standing)
        if (standing.state in ENDED) != (standing.entry.job in answered) or (standing.state in ENDED) != bool(
            standing.report and standing.ended_at
        ):
            raise Damaged(_way_out(path, f"the job {standing.entry.job!r} has half an end"))


def standings(db: sqlite3.Connection, path: Path | None, rest: str, *values: str) -> Iterator[Standing]:
    """Jobs as they stand.

    Raises:
        Damaged: one is not what was written.
    """
    several = _with_several_steps(db)
    for row in db.execute(f"SELECT {_COLUMNS} FROM jobs {rest}", values):
        entry = Entry(*row[:6])
        if entry.checksum != row[6]:
            raise Damaged(_way_out(path, f"the job {entry.job!r} does not match its checksum"))
        more = (plan_of(db, entry.job), steps_of(db, entry.job)) if entry.job in several else ()
        yield Standing(entry, *row[7:], *more)


def _with_several_steps(db: sqlite3.Connection) -> set[str]:
    """Only jobs of long audio, or with speakers, have rows there; a journal of schema 1 has no such tables."""
    if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'steps'").fetchone()[0]:
        return set()
    return {job for (job,) in db.execute("SELECT job FROM plans UNION SELECT job FROM steps")}


def plan_of(db: sqlite3.Connection, job: str) -> bytes:
    """Where the audio of a job was cut; empty when it was not, or that is not what was written: it is cut anew then."""
    row = db.execute("SELECT plan, checksum FROM plans WHERE job = ?", (job,)).fetchone()
    return row[0] if row and zlib.crc32(row[0]) == row[1] else b""


def steps_of(db: sqlite3.Connection, job: str) -> tuple[StoredStep, ...]:
    """The steps of a job that were begun. A part that is not what was written is none: the step is done again."""
    rows = db.execute("SELECT step, attempts, deaths, part, checksum FROM steps WHERE job = ? ORDER BY step", (job,))
    return tuple(
        StoredStep(step, attempts, deaths, part if zlib.crc32(part) == checksum else b"")
        for step, attempts, deaths, part, checksum in rows
    )


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the schema up to date in one transaction. It writes in any case, so that the lock on the file is ours."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.executescript(
        f"BEGIN IMMEDIATE; {''.join(MIGRATIONS[version:])} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {len(MIGRATIONS)}; COMMIT;"
    )


def refusal(path: Path | None, error: sqlite3.DatabaseError) -> JournalError:
    """What an error of SQLite means to whoever starts the daemon."""
    code = getattr(error, "sqlite_errorcode", 0)
    match sqlite3.SQLITE_FULL if code == sqlite3.SQLITE_IOERR_SHMSIZE else code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return InUse(f"another asrd daemon uses the journal {path}; stop it, or use another --state-dir")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Damaged(_way_out(path, str(error)))
        case sqlite3.SQLITE_FULL:
            return NoRoom(f"the journal {path} cannot be opened: the disk is full")
        case _:
            return JournalError(f"the journal {path} cannot be opened: {error}")


def _way_out(path: Path | None, why: str) -> str:
    return (
        f"the journal {path} is damaged ({why}); keep a copy, then start with --accept-empty-journal, which moves it "
        "aside and begins with an empty one"
    )
