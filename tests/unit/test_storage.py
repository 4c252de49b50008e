"""The state directory and the ledger over it: a job from its submit until it is forgotten, across restarts."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from asrd_protocol import messages as msg
from asrd_protocol.addresses import Addresses
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Run
from asrd_supervisor.config import JournalConfig
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Size
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.ground import sweep
from asrd_supervisor.journal.opening import Damaged, InUse, JournalError
from asrd_supervisor.ledger import Ended
from asrd_supervisor.sources import Identity, Named, Spooled
from asrd_supervisor.storage import Storage
from support import disk
from support.turning import Turning

MIB = 1 << 20
SMALL = JournalConfig(ballast=Size(8192))


def _report(job: str, state: msg.JobState = "completed") -> msg.JobReport:
    return msg.JobReport(job=job, pool="default", state=state, age_s=0.0)


def _failed(job: str) -> Ended:
    return Ended(msg.Failed(job=job, fault=Fault.of(Code.POISON, "two died")), None)


class Bench:
    """A ledger over a state directory, on a loop that turns while a test waits."""

    def __init__(self, directory: Path, config: JournalConfig = SMALL) -> None:
        self.turning = Turning()
        self.events: list[ev.Event] = []
        self.broken: list[Exception] = []
        self.volatile = directory.with_name("runtime") / "spool"
        self.storage = Storage(directory, self.volatile, config, accept_empty=False)
        loop = cast(asyncio.AbstractEventLoop, self.turning.loop)
        self.ledger = self.storage.ledger(loop, self.events.append, self.broken.append)
        self.recovered = self.ledger.recover(self.storage.take_standings())
        self.closed = False

    def close(self) -> None:
        """As the daemon leaves."""
        if not self.closed:
            self.closed = True
            self.turning.loop.run_until_complete(self.ledger.close())
            self.turning.loop.run_until_complete(self.turning.loop.shutdown_default_executor())
            self.turning.close()

    def submit(self, job: str, body: bytes | None = b"audio", named: Named | None = None) -> ev.Event:
        """Store a job; what the core is told."""
        self.ledger.begin("uid:0", msg.Submit(job=job), body, named, "connection")
        return self.persisted(job)

    def persisted(self, job: str) -> ev.Event:
        """Store a job that has begun; what the core is told."""
        before = len(self.events)
        self.ledger.persist(job)
        self.turning.until(lambda: len(self.events) > before or self.broken)
        return self.events[-1]

    def call(self, method: Callable[..., None], *arguments: object) -> tuple[object, ...]:
        """Call something that has a callback as its last argument, and wait for it."""
        told: list[tuple[object, ...]] = []
        method(*arguments, lambda *values: told.append(values))
        self.turning.until(lambda: told)
        return told[0]

    def settle(self, job: str, text: bytes = b"text") -> None:
        """The job is completed."""
        self.call(self.ledger.settle, self.completed(job, text), _report(job))

    @staticmethod
    def completed(job: str, text: bytes) -> Ended:
        """The answer of a completed job."""
        return Ended(msg.Completed(job=job, run=Run(seat="default/0.1")), text)

    def answer(self, job: str) -> Ended:
        """Its end, as somebody would fetch it."""
        (ended,) = self.call(self.ledger.archive.answer, job)
        assert isinstance(ended, Ended)
        return ended

    def audio(self, job: str) -> bytes:
        """What a worker would read."""
        record = self.ledger.find(job)
        assert record
        assert isinstance(record.source, Spooled)
        with os.fdopen(self.storage.spool.open(record.source), "rb") as file:
            return file.read()


@pytest.fixture
def open_bench() -> Iterator[Callable[..., Bench]]:
    """Opens benches; closed at the end."""
    benches: list[Bench] = []

    def _opened(directory: Path, config: JournalConfig = SMALL) -> Bench:
        benches.append(Bench(directory, config))
        return benches[-1]

    yield _opened
    for bench in benches:
        bench.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory; it is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def reopened(open_bench: Callable[..., Bench], state: Path) -> Callable[[], Bench]:
    """The same state again, by another daemon, after the one before has left."""
    benches: list[Bench] = []

    def _reopened() -> Bench:
        for bench in benches:
            bench.close()
        benches.append(open_bench(state))
        return benches[-1]

    return _reopened


def _spooled(state: Path) -> int:
    return len(list((state / "spool").iterdir()))


# --- the life of a job ------------------------------------------------------------------------------------------------


def test_a_job_that_was_accepted_is_there_after_a_restart(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    assert bench.submit("a", b"12345") == ev.JobPersisted("a")
    assert (bench.audio("a"), bench.ledger.intake.storing) == (b"12345", 0)

    bench = reopened()
    (event,) = bench.recovered
    assert (event.submitted.job, event.submitted.size, event.attempts) == ("a", 5, 0)
    assert bench.audio("a") == b"12345"


def test_a_named_file_has_no_audio_of_ours(reopened: Callable[[], Bench], state: Path) -> None:
    named = Named("/a.wav", Identity(1, 2, 3, 4))
    assert reopened().submit("a", None, named) == ev.JobPersisted("a")
    assert _spooled(state) == 0

    bench = reopened()
    record = bench.ledger.find("a")
    assert record
    assert (record.source, bench.recovered[0].submitted.size) == (named, 3)


def test_attempts_are_counted_across_restarts(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    bench.submit("a")
    bench.call(bench.ledger.attempt, do.PersistAttempt("a", Seat("p", 0, 1), 1, 2, 1))

    (event,) = reopened().recovered
    assert (event.attempts, event.deaths, event.interrupted) == (2, 1, 1)


def test_a_job_that_is_kept_is_as_if_it_had_not_been_begun(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    bench.submit("a")
    bench.call(bench.ledger.attempt, do.PersistAttempt("a", Seat("p", 0, 1), 1, 1, 0))
    bench.ledger.wait("a", 0, 0)

    (event,) = reopened().recovered
    assert event.attempts - event.interrupted == 0


def test_a_result_can_be_had_again_and_again_until_it_is_forgotten(reopened: Callable[[], Bench], state: Path) -> None:
    bench = reopened()
    bench.submit("a")
    bench.settle("a", b"text" * 1000)
    wanted = bench.completed("a", b"text" * 1000)
    assert [bench.answer("a"), bench.answer("a")] == [wanted, wanted]

    bench = reopened()
    assert (bench.recovered, bench.answer("a")) == ([], wanted)
    assert bench.ledger.archive.kept > 4000
    bench.call(bench.ledger.archive.forget, "a")
    assert (bench.ledger.find("a"), bench.ledger.archive.kept) == (None, 0)

    bench = reopened()
    assert (bench.recovered, bench.ledger.find("a"), _spooled(state)) == ([], None, 0)
    answer = bench.answer("a").answer
    assert isinstance(answer, msg.Failed)
    assert answer.fault.code == Code.UNKNOWN_JOB


def test_the_audio_of_a_completed_job_goes_and_that_of_a_failed_one_stays(
    reopened: Callable[[], Bench], state: Path
) -> None:
    bench = reopened()
    for job in ("done", "failed"):
        bench.submit(job, job.encode())
    bench.settle("done")
    bench.call(bench.ledger.settle, _failed("failed"), _report("failed", "quarantined"))
    bench.turning.until(lambda: _spooled(state) == 1)

    bench = reopened()
    assert (bench.recovered, _spooled(state), bench.audio("failed")) == ([], 1, b"failed")
    bench.call(bench.ledger.archive.forget, "failed")
    bench.turning.until(lambda: _spooled(state) == 0)


def test_a_failed_job_can_be_tried_again(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    bench.submit("a")
    bench.call(bench.ledger.attempt, do.PersistAttempt("a", Seat("p", 0, 1), 1, 3, 2))
    bench.call(bench.ledger.settle, _failed("a"), _report("a", "quarantined"))
    bench.close()
    bench = reopened()
    bench.call(bench.ledger.revive, "a")
    event = bench.events[-1]
    assert isinstance(event, ev.JobRecovered)
    assert (event.submitted.job, event.attempts, event.deaths) == ("a", 0, 0)

    bench = reopened()
    assert len(bench.recovered) == 1
    bench.settle("a")
    assert bench.answer("a") == bench.completed("a", b"text")


def test_the_same_submit_is_the_same_job_also_after_a_restart_and_after_its_end(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    bench.submit("a", b"audio")
    _compare(bench)
    bench = reopened()
    _compare(bench)
    bench.settle("a")
    _compare(bench)
    _compare(reopened())


def _compare(bench: Bench) -> None:
    def same(submit: msg.Submit, body: bytes) -> bool:
        return bool(bench.call(bench.ledger.compare, bench.ledger.find("a"), submit, body, None)[0])

    assert same(msg.Submit(job="a", ref="another", reply="final"), b"audio")
    assert not same(msg.Submit(job="a"), b"other")
    assert not same(msg.Submit(job="a", options={"language": "en"}), b"audio")


def test_a_submit_that_is_compared_while_its_job_is_being_stored_waits(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    record = bench.ledger.begin("uid:0", msg.Submit(job="a"), b"audio", None, "c")
    told: list[bool] = []
    for body in (b"audio", b"other"):
        bench.ledger.compare(record, msg.Submit(job="a"), body, None, told.append)
    for _ in range(50):
        bench.turning.turn()
    assert told == []

    bench.persisted("a")
    bench.turning.until(lambda: len(told) == 2)
    assert sorted(told) == [False, True]


def test_a_job_that_was_not_accepted_leaves_nothing(reopened: Callable[[], Bench], state: Path) -> None:
    bench = reopened()
    bench.ledger.begin("uid:0", msg.Submit(job="a"), b"audio", None, "c")
    relieved: list[int] = []
    bench.ledger.intake.relieved = lambda: relieved.append(bench.ledger.intake.storing)
    bench.ledger.abandon("a")
    assert (bench.ledger.find("a"), bench.ledger.intake.storing, relieved) == (None, 0, [0])

    assert (reopened().recovered, _spooled(state)) == ([], 0)


def test_results_expire(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    for job in ("old", "waiting"):
        bench.submit(job)
    bench.settle("old")
    bench.ledger.archive.expire(3600)
    assert bench.ledger.find("old")
    bench.ledger.archive.expire(-1)
    assert (bench.ledger.find("old"), bench.ledger.archive.kept) == (None, 0)

    assert [event.submitted.job for event in reopened().recovered] == ["waiting"]


def test_the_list_is_newest_first_also_after_a_restart(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    for job in ("a", "b", "c"):
        bench.submit(job)
    for job in ("c", "a"):
        bench.settle(job)
    assert [report.job for report in bench.ledger.archive.ended()] == ["c", "a"]
    assert [report.job for report in reopened().ledger.archive.ended()] == ["c", "a"]


def test_an_end_that_is_stored_while_the_daemon_closes_is_told(reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    bench.submit("a")
    ready, told = threading.Event(), list[Ended]()
    bench.ledger.intake._files.submit(ready.wait)  # the end is stored while a file is being written
    closing = bench.turning.loop.create_task(bench.ledger.close())
    bench.turning.until(lambda: bench.ledger.intake._files._shutdown)
    bench.ledger.settle(bench.completed("a", b"text"), _report("a"), told.append)
    try:
        bench.turning.until(lambda: told)
    finally:
        ready.set()
        bench.turning.loop.run_until_complete(closing)
        bench.closed = True
        bench.turning.loop.run_until_complete(bench.turning.loop.shutdown_default_executor())
        bench.turning.close()


def test_without_durability_only_the_audio_is_in_files_and_goes_with_the_daemon(
    state: Path, open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(state, JournalConfig(durability="none", ballast=Size(0)))
    bench.submit("a", b"audio")
    assert bench.audio("a") == b"audio"
    assert len(list(bench.volatile.iterdir())) == 1
    bench.close()
    sweep(Addresses(bench.volatile.parent))

    assert not state.exists()
    assert not bench.volatile.exists()


# --- the directory ----------------------------------------------------------------------------------------------------


def test_nobody_else_can_read_it(state: Path, open_bench: Callable[..., Bench]) -> None:
    old = os.umask(0)
    try:
        open_bench(state).submit("a")
    finally:
        os.umask(old)
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "spool").stat().st_mode & 0o777 == 0o700
    assert (state / "journal.db").stat().st_mode & 0o777 == 0o600


def test_nobody_else_can_read_it_in_a_directory_that_was_there(state: Path, open_bench: Callable[..., Bench]) -> None:
    state.mkdir(mode=0o755)
    open_bench(state).submit("a")

    modes = {path.name: path.stat().st_mode & 0o777 for path in state.iterdir()}
    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "ballast": 0o600, "spool": 0o700}


def test_a_second_daemon_is_refused_and_harms_nothing(state: Path, reopened: Callable[[], Bench]) -> None:
    bench = reopened()
    bench.submit("a")
    for accept_empty in (False, True):
        with pytest.raises(InUse):
            Storage(state, state / "volatile", SMALL, accept_empty=accept_empty)
    assert bench.submit("b") == ev.JobPersisted("b")

    assert len(reopened().recovered) == 2


def _damage(state: Path) -> bytes:
    state.mkdir()
    (state / "journal.db").write_bytes(b"not a journal " * 500)
    return (state / "journal.db").read_bytes()


def test_a_damaged_journal_is_refused_unless_told_otherwise(state: Path) -> None:
    content = _damage(state)
    with pytest.raises(Damaged, match="--accept-empty-journal"):
        Storage(state, state / "volatile", SMALL, accept_empty=False)
    assert [path.name for path in state.iterdir()] == ["journal.db"]
    assert (state / "journal.db").read_bytes() == content


def test_a_damaged_journal_is_kept_when_an_empty_one_takes_its_place(
    state: Path, reopened: Callable[[], Bench]
) -> None:
    content = _damage(state)
    Storage(state, state / "volatile", SMALL, accept_empty=True)._store.close()

    (aside,) = state.glob("damaged-*/journal.db")
    assert aside.read_bytes() == content
    assert reopened().submit("a") == ev.JobPersisted("a")


def test_a_job_that_is_not_what_was_written_is_damage_too(state: Path, reopened: Callable[[], Bench]) -> None:
    reopened().submit("a")
    reopened().close()
    with sqlite3.connect(state / "journal.db") as db:
        db.execute("UPDATE jobs SET request = x'80'")
    db.close()

    with pytest.raises(Damaged, match="checksum"):
        Storage(state, state / "volatile", SMALL, accept_empty=False)
    storage = Storage(state, state / "volatile", SMALL, accept_empty=True)
    assert storage.take_standings() == []
    storage._store.close()


@pytest.mark.parametrize("accept_empty", [False, True])
def test_a_newer_journal_is_never_moved_aside(state: Path, accept_empty: bool, reopened: Callable[[], Bench]) -> None:
    reopened().close()
    db = sqlite3.connect(state / "journal.db", isolation_level=None)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match="newer"):
        Storage(state, state / "volatile", SMALL, accept_empty=accept_empty)
    assert list(state.glob("*damaged*")) == []


@pytest.mark.parametrize("name", ["", "spool"])
def test_a_file_in_the_place_of_a_directory_is_refused(state: Path, name: str) -> None:
    if name:
        state.mkdir()
    (state / name).write_bytes(b"")
    with pytest.raises(JournalError, match="state"):
        Storage(state, state / "volatile", SMALL, accept_empty=False)


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    with disk.small_disk(tmp_path / "disk", 8) as directory:
        yield directory


def _fill(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("wb") as file:
        found = os.statvfs(directory)
        os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_bsize))
    return filler


def _refused_by(event: ev.Event) -> Code:
    assert isinstance(event, ev.JobUnstored)
    return event.fault.code


def test_on_a_full_disk_jobs_end_and_none_is_taken_until_there_is_room(
    small_disk: Path, open_bench: Callable[..., Bench]
) -> None:
    config = JournalConfig(ballast=Size(MIB))
    bench = open_bench(small_disk / "state", config)
    accepted = []
    for number in range(100):
        job = f"job-{number}"
        event = bench.submit(job, bytes(512 * 1024))
        if event != ev.JobPersisted(job):
            assert _refused_by(event) == Code.INSUFFICIENT_STORAGE
            bench.ledger.abandon(job)
            break
        accepted.append(job)
    assert 5 <= len(accepted) <= 14

    filler = _fill(small_disk)
    for number in range(100):  # jobs without audio of ours take a little of the journal each
        if isinstance(
            event := bench.submit(f"named-{number}", None, Named("/a", Identity(1, 2, 3, 4))), ev.JobUnstored
        ):
            break
        accepted.append(f"named-{number}")
    assert _refused_by(event) == Code.INSUFFICIENT_STORAGE
    bench.ledger.abandon(f"named-{number}")
    assert bench.ledger.full
    for job in accepted:
        bench.settle(job, bytes(20_000))
        assert bench.answer(job) == bench.completed(job, bytes(20_000))
    assert not bench.broken

    filler.unlink()
    bench.turning.until(lambda: not bench.ledger.full or not bench.answer(accepted[0]))
    assert bench.submit("again", bytes(512 * 1024)) == ev.JobPersisted("again")
    bench.close()
    bench = open_bench(small_disk / "state", config)
    assert [event.submitted.job for event in bench.recovered] == ["again"]
    assert all(bench.answer(job) == bench.completed(job, bytes(20_000)) for job in accepted)


def test_a_daemon_that_died_on_a_full_disk_starts_in_the_room_of_the_ballast(
    small_disk: Path, open_bench: Callable[..., Bench]
) -> None:
    config = JournalConfig(ballast=Size(MIB))
    bench = open_bench(small_disk / "state", config)
    bench.submit("a")
    bench.close()
    _fill(small_disk)

    assert len(open_bench(small_disk / "state", config).recovered) == 1
