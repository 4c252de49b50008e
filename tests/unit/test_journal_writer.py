"""The thread of the journal: answers after the commit and in order, a disk that is full, a disk that is broken."""

import asyncio
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.journal import writer as module
from asrd_supervisor.journal.ballast import Ballast
from asrd_supervisor.journal.entries import (
    Accept,
    Answer,
    Attempt,
    End,
    Entry,
    Forget,
    Look,
    Operation,
    Read,
    Result,
    Standing,
)
from asrd_supervisor.journal.store import Store
from asrd_supervisor.journal.writer import BATCH, Writer
from support import disk
from support.turning import Turning

MIB = 1 << 20


def _accept(job: str, size: int = 10) -> Accept:
    return Accept(Entry(job, "uid:1", bytes(size), b"source", b"digest", 1.0))


def _end(job: str, size: int = 10) -> End:
    return End(job, "completed", Answer(b"header", bytes(size)), b"report", 2.0)


class Desk:
    """A writer over a real file, and what it has answered, in order."""

    def __init__(self, directory: Path, ballast: int = 0) -> None:
        self.turning = Turning()
        self.path = directory / "journal.db"
        self.ballast = directory / "ballast"
        self.store = Store(self.path, "full")
        self.told: list[tuple[str, Result]] = []
        self.broken: list[Exception] = []
        self.threads: set[int] = set()
        loop = cast(asyncio.AbstractEventLoop, self.turning.loop)
        self.writer = Writer(loop, self.store, Ballast(self.ballast, ballast), self.broken.append)

    def write(self, name: str, operation: Operation) -> None:
        """Ask; the answer is told under this name."""

        def done(result: Result) -> None:
            self.threads.add(threading.get_ident())
            self.told.append((name, result))

        self.writer.write(operation, done)

    def answered(self, name: str) -> Result:
        """Turn the loop until it is answered."""
        self.turning.until(lambda: name in dict(self.told))
        return dict(self.told)[name]

    def do(self, name: str, operation: Operation) -> Result:
        """Ask, and wait."""
        self.write(name, operation)
        return self.answered(name)

    def answered_or_broken(self, name: str, operation: Operation) -> None:
        """Ask, and wait for the one or the other."""
        self.write(name, operation)
        self.turning.until(lambda: name in dict(self.told) or self.broken)
        self.told.clear()

    def close(self) -> None:
        """Close the writer; then the loop."""
        self.turning.loop.run_until_complete(self.writer.close())

    def found(self) -> list[str]:
        """The jobs that a new daemon would find, after the close."""
        store = Store(self.path, "full")
        jobs = [standing.entry.job for standing in store.recover()]
        store.close()
        return jobs


@pytest.fixture
def open_desk() -> Iterator[Callable[..., Desk]]:
    """Opens writers; closed at the end."""
    desks: list[Desk] = []

    def _opened(directory: Path, ballast: int = 0) -> Desk:
        desk = Desk(directory, ballast)
        desks.append(desk)
        desk.answered_or_broken("ready", Read("nobody"))  # the ballast is there by now
        return desk

    yield _opened
    for desk in desks:
        if desk.writer._thread.is_alive():
            desk.close()
        desk.turning.loop.run_until_complete(desk.turning.loop.shutdown_default_executor())
        desk.turning.close()


@pytest.fixture
def desk(open_desk: Callable[..., Desk], tmp_path: Path) -> Desk:
    """A writer on a disk with room."""
    return open_desk(tmp_path)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_everything_is_answered_in_order_on_the_loop(desk: Desk) -> None:
    steps: list[tuple[str, Operation]] = []
    for number in range(40):
        job = f"job-{number}"
        steps += [(f"accept {job}", _accept(job)), (f"attempt {job}", Attempt(job, 1, 0)), (f"end {job}", _end(job))]
        steps += [(f"read {job}", Read(job)), (f"forget {job}", Forget(job)), (f"look {job}", Look(job))]
    for name, operation in steps:
        desk.write(name, operation)
    desk.answered(steps[-1][0])

    assert [name for name, _ in desk.told] == [name for name, _ in steps]
    results = dict(desk.told)
    assert results["read job-7"] == Answer(b"header", bytes(10))
    assert (results["accept job-7"], results["look job-7"]) == (None, None)
    assert desk.threads == {threading.get_ident()}


def test_what_was_answered_is_in_the_file_and_not_before(desk: Desk, tmp_path: Path) -> None:
    """A copy of the files as they are at the moment of the answer is what is left when the daemon dies then."""
    copies: list[list[str]] = []

    def copied(_: Result) -> None:
        there = tmp_path / f"copy-{len(copies)}"
        there.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{desk.path}{suffix}", there / f"journal.db{suffix}")
        store = Store(there / "journal.db", "full")
        copies.append([standing.entry.job for standing in store.recover()])
        store.close()

    for number in range(5):
        desk.writer.write(_accept(f"job-{number}"), copied)
        desk.turning.until(lambda n=number: len(copies) > n)

    assert copies == [[f"job-{number}" for number in range(count + 1)] for count in range(5)]


def test_requests_that_wait_share_a_transaction(desk: Desk) -> None:
    """Two thousand commits of their own would be as many syncs."""
    commits: list[str] = []
    desk.do("first", _accept("first"))
    desk.store._db.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    for number in range(2 * BATCH):
        desk.write(f"{number}", _accept(f"job-{number}"))
    desk.answered(f"{2 * BATCH - 1}")

    assert 2 <= len(commits) < BATCH
    assert len(desk.told) == 2 * BATCH + 1


def test_an_answer_that_fails_harms_no_other(desk: Desk) -> None:
    def failing(_: Result) -> None:
        raise RuntimeError("of the caller")

    desk.writer.write(_accept("a"), failing)

    assert desk.do("b", _accept("b")) is None
    assert not desk.broken


def test_closing_writes_and_answers_what_is_queued(desk: Desk) -> None:
    for number in range(3 * BATCH):
        desk.write(f"{number}", _accept(f"job-{number}"))
    desk.close()

    assert len(desk.told) == 3 * BATCH
    assert desk.found() == [f"job-{number}" for number in range(3 * BATCH)]
    assert not desk.path.with_name("journal.db-wal").exists()


def test_closing_at_once_closes(desk: Desk) -> None:
    desk.close()

    assert desk.found() == []


# --- the ballast ------------------------------------------------------------------------------------------------------


def test_the_ballast_takes_real_room_and_gives_it_away(tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    ballast = Ballast(path, MIB)
    assert ballast.restore()
    assert path.stat().st_size == MIB
    assert path.stat().st_blocks * 512 >= MIB
    assert path.stat().st_mode & 0o777 == 0o600
    assert ballast.restore()
    ballast.free()
    assert not path.exists()
    ballast.free()


def test_a_ballast_that_was_not_finished_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    path.write_bytes(b"")

    assert Ballast(path, MIB).restore()
    assert path.stat().st_blocks * 512 >= MIB


@pytest.mark.parametrize(("name", "size"), [(None, MIB), ("ballast", 0)])
def test_there_may_be_no_ballast(tmp_path: Path, name: str | None, size: int) -> None:
    ballast = Ballast(tmp_path / name if name else None, size)

    assert ballast.restore()
    ballast.free()
    assert list(tmp_path.iterdir()) == []


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with disk.small_disk(tmp_path / "disk", 4) as directory:
        yield directory


def fill(directory: Path, leave: int = 0) -> Path:
    """Take all room but ``leave`` bytes."""
    filler = directory / "filler"
    free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_bsize - leave
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free, 1))
    return filler


def _refusal(result: Result) -> Code | None:
    return result.code if isinstance(result, Fault) else None


def test_on_a_full_disk_jobs_are_refused_and_end_in_the_room_of_the_ballast(
    open_desk: Callable[..., Desk], small_disk: Path
) -> None:
    desk = open_desk(small_disk, ballast=MIB)
    for number in range(8):
        desk.do(f"accept {number}", _accept(f"job-{number}"))
        desk.do(f"attempt {number}", Attempt(f"job-{number}", 1, 0))
    fill(small_disk)
    refused = desk.do("new", _accept("new", 100_000))
    assert isinstance(refused, Fault)
    assert (refused.code, refused.retry, refused.retry_after) == (Code.INSUFFICIENT_STORAGE, True, 10.0)
    assert desk.writer.full

    for number in range(8):
        assert desk.do(f"end {number}", _end(f"job-{number}", 50_000)) is None
        assert desk.do(f"read {number}", Read(f"job-{number}")) == Answer(b"header", bytes(50_000))
    assert isinstance(desk.do("look", Look("job-3")), Standing)
    assert not desk.broken
    desk.close()
    assert desk.found() == [f"job-{number}" for number in range(8)]


def test_a_batch_with_a_job_that_has_no_room_does_the_others(open_desk: Callable[..., Desk], small_disk: Path) -> None:
    desk = open_desk(small_disk, ballast=MIB)
    desk.do("accept", _accept("old"))
    fill(small_disk)
    for name, operation in (
        ("a", _accept("a", 200_000)),
        ("end", _end("old")),
        ("b", _accept("b")),
        ("r", Read("old")),
    ):
        desk.write(name, operation)
    desk.answered("r")

    assert [name for name, _ in desk.told[1:]] == ["a", "end", "b", "r"]
    results = dict(desk.told)
    assert _refusal(results["a"]) == Code.INSUFFICIENT_STORAGE
    assert (results["end"], results["r"]) == (None, Answer(b"header", bytes(10)))


def test_jobs_are_taken_again_when_there_is_room(open_desk: Callable[..., Desk], small_disk: Path) -> None:
    desk = open_desk(small_disk, ballast=MIB)
    filler = fill(small_disk)
    assert _refusal(desk.do("refused", _accept("refused", 300_000))) == Code.INSUFFICIENT_STORAGE
    assert not desk.ballast.exists()
    filler.unlink()

    def taken() -> bool:
        name = f"again-{len(desk.told)}"
        return desk.do(name, _accept(name, 300_000)) is None

    desk.turning.until(taken)
    assert not desk.writer.full
    assert desk.ballast.stat().st_size == MIB


def test_room_is_seen_while_nobody_asks(open_desk: Callable[..., Desk], small_disk: Path) -> None:
    """Whoever is refused because the disk is full never asks the writer."""
    desk = open_desk(small_disk, ballast=MIB)
    filler = fill(small_disk)
    desk.do("refused", _accept("refused", 300_000))
    filler.unlink()

    desk.turning.until(lambda: not desk.writer.full, timeout=6 * module.PAUSE)


def test_a_disk_that_has_no_room_for_the_ballast_is_full(open_desk: Callable[..., Desk], small_disk: Path) -> None:
    desk = open_desk(small_disk, ballast=8 * MIB)

    assert _refusal(desk.do("a", _accept("a"))) == Code.INSUFFICIENT_STORAGE
    assert desk.writer.full
    assert not desk.ballast.exists()
    assert desk.do("read", Read("a")) is None


def test_an_end_waits_for_room_when_even_the_ballast_is_not_enough(
    open_desk: Callable[..., Desk], small_disk: Path
) -> None:
    desk = open_desk(small_disk, ballast=MIB // 4)
    desk.do("accept", _accept("a"))
    filler = fill(small_disk)
    desk.write("end", _end("a", MIB))
    desk.turning.until(lambda: desk.writer.full)
    assert "end" not in dict(desk.told)
    filler.unlink()

    assert desk.answered("end") is None
    assert desk.do("read", Read("a")) == Answer(b"header", bytes(MIB))
    assert not desk.broken


def test_closing_does_not_wait_for_room_for_ever(open_desk: Callable[..., Desk], small_disk: Path) -> None:
    desk = open_desk(small_disk, ballast=0)
    desk.do("accept", _accept("a"))
    fill(small_disk)
    desk.write("end", _end("a", MIB))
    desk.turning.until(lambda: desk.writer.full)
    desk.close()
    desk.turning.turn()

    assert [type(error) for error in desk.broken] == [OSError]
    assert "end" not in dict(desk.told)
    (small_disk / "filler").unlink()
    assert desk.found() == ["a"]


# --- a broken one -----------------------------------------------------------------------------------------------------


def test_after_an_error_nothing_is_answered_any_more(desk: Desk) -> None:
    desk.do("a", _accept("a"))
    desk.write("again", _accept("a"))
    desk.turning.until(lambda: desk.broken)
    for number in range(10):
        desk.write(f"late {number}", _accept(f"late-{number}"))
    desk.close()
    desk.turning.turn()

    assert [name for name, _ in desk.told] == ["a"]
    assert [type(error) for error in desk.broken] == [sqlite3.IntegrityError]
    assert desk.found() == ["a"]


def test_a_ballast_that_cannot_be_made_is_told(open_desk: Callable[..., Desk], tmp_path: Path) -> None:
    (tmp_path / "ballast").mkdir()
    desk = open_desk(tmp_path, ballast=MIB)
    desk.write("a", _accept("a"))
    desk.turning.until(lambda: desk.broken)

    assert isinstance(desk.broken[0], OSError)
    assert desk.told == []
