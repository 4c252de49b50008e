"""Jobs of several steps on the disk: plans, parts and samples in a real journal and a real spool, across restarts."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from asrd_protocol import messages as msg
from asrd_protocol import sheaf
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Run, Timings, Work
from asrd_supervisor.config import JournalConfig
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Size
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE
from asrd_supervisor.ledger import Ended
from asrd_supervisor.records import Record
from asrd_supervisor.sources import Spooled
from asrd_supervisor.storage import Storage
from support import disk
from support.turning import Turning
from support.wait import eventually

MIB = 1 << 20
SMALL = JournalConfig(ballast=Size(8192))
A, B, C = range(FIRST_CHUNK, FIRST_CHUNK + 3)
CHUNKS = ((0.0, 10.0), (10.0, 20.0), (20.0, 25.0))
GONE = Fault.of(Code.POISON, "two died")


class Desk:
    """A ledger over a state directory, as one daemon has it; the loop turns while a test waits."""

    def __init__(self, directory: Path, config: JournalConfig = SMALL) -> None:
        self.turning = Turning()
        self.events: list[ev.Event] = []
        self.broken: list[Exception] = []
        storage = Storage(directory, directory.with_name("volatile"), config, accept_empty=False)
        self.spool = storage.spool
        loop = cast(asyncio.AbstractEventLoop, self.turning.loop)
        self.ledger = storage.ledger(loop, self.events.append, self.broken.append)
        self.recovered = self.ledger.recover(storage.take_standings())
        self.closed = False

    def close(self) -> None:
        """As the daemon leaves."""
        if not self.closed:
            self.closed = True
            self.turning.loop.run_until_complete(self.ledger.close())
            self.turning.loop.run_until_complete(self.turning.loop.shutdown_default_executor())
            self.turning.close()

    def await_event(self, cause: Callable[[], None]) -> ev.Event:
        """What the core is told because of it."""
        before = len(self.events)
        cause()
        self.turning.until(lambda: len(self.events) > before or self.broken)
        assert not self.broken
        return self.events[-1]

    def record(self, job: str = "a") -> Record:
        found = self.ledger.find(job)
        assert found
        return found

    # --- what the core orders -----------------------------------------------------------------------------------------

    def submit(self, job: str = "a", **more: object) -> None:
        self.ledger.begin("uid:0", msg.Submit(job=job, **more), b"audio", None, "connection")  # type: ignore[arg-type]
        assert self.await_event(lambda: self.ledger.persist(job)) == ev.JobPersisted(job)

    def attempt(self, step: int, attempts: int = 1, deaths: int = 0, job: str = "a") -> None:
        told: list[bool] = []
        self.ledger.attempt(
            do.PersistAttempt(job, Seat("p", 0, 1), 1, attempts, deaths, step, attempts), lambda: told.append(True)
        )
        self.turning.until(lambda: told)

    def cut(self, job: str = "a", chunks: tuple[ev.Stretch, ...] = CHUNKS, samples: bytes = b"samples") -> ev.Event:
        """A worker has written samples, and says where they are cut."""
        tape = self.spool.tape()
        assert tape is not None
        os.write(tape, samples)
        plan = do.PersistPlan(job, Seat("p", 0, 1), 1, chunks, b"head")
        event = self.await_event(lambda: self.ledger.divide(plan, tape))
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(tape)
        return event

    def keep(self, step: int, body: bytes | Fault = b"{}", *segments: bytes, job: str = "a") -> None:
        """A step has given this."""
        reel = self.record(job).reel
        if segments:
            assert reel
            for index, segment in enumerate(segments):
                list(reel.add(step, 1, index, segment))
        shown: list[int] = []

        def kept() -> None:
            shown.append(step)

        part = do.PersistPart(job, step, body, Timings(transcribe=float(step)), Work(segments=len(segments)))
        assert self.await_event(lambda: self.ledger.keep(part, kept)) == ev.PartPersisted(job, step)
        assert shown == [step]
        if reel:
            list(reel.end(step))

    def gather(self, job: str = "a") -> sheaf.Sheaf | Fault:
        told: list[bytes | Fault] = []
        self.ledger.gather(self.record(job), told.append)
        self.turning.until(lambda: told)
        return told[0] if isinstance(told[0], Fault) else sheaf.decode(told[0])

    def end(self, state: str = "completed", job: str = "a") -> None:
        """Completed, or failed in a way that somebody may want to try again."""
        answer: msg.Completed | msg.Failed
        body = None
        if state == "completed":
            answer, body = msg.Completed(job=job, run=Run(seat="p/0.1")), b"text"
        else:
            answer = msg.Failed(job=job, fault=GONE if state == "quarantined" else Fault.of(Code.CANCELLED, "no"))
        report = msg.JobReport(job=job, pool="p", state=state, age_s=0.0, code=_code(answer))  # type: ignore[arg-type]
        told: list[Ended] = []
        self.ledger.settle(Ended(answer, body), report, told.append)
        self.turning.until(lambda: told)

    def forget(self, job: str = "a") -> None:
        told: list[bool] = []
        self.ledger.archive.forget(job, lambda: told.append(True))
        self.turning.until(lambda: told)

    def revive(self, job: str = "a") -> ev.JobRecovered:
        event = self.await_event(lambda: self.ledger.revive(job, lambda: None))
        assert isinstance(event, ev.JobRecovered)
        return event


def _code(answer: msg.Completed | msg.Failed) -> str:
    return "" if isinstance(answer, msg.Completed) else str(answer.fault.code)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory; it is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def desk_at() -> Iterator[Callable[..., Desk]]:
    """Opens desks; a former one is closed first."""
    desks: list[Desk] = []

    def _opened(directory: Path, config: JournalConfig = SMALL) -> Desk:
        for former in desks:
            former.close()
        desks.append(Desk(directory, config))
        return desks[-1]

    yield _opened
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(desk_at: Callable[..., Desk], state: Path) -> Callable[[], Desk]:
    """The same state again, by another daemon."""
    return lambda: desk_at(state)


def spooled(state: Path) -> list[str]:
    """The kinds of files in the spool."""
    return sorted("tape" if path.suffix == ".tape" else "audio" for path in (state / "spool").iterdir())


def half_done(desk: Desk) -> None:
    """Two of three chunks are done, and the third was begun."""
    desk.submit()
    desk.attempt(WHOLE)
    assert desk.cut() == ev.PlanPersisted("a")
    for step in (A, B, C):
        desk.attempt(step)
    desk.keep(A, b'{"a":1}', b"a1", b"a2")
    desk.keep(C, b'{"c":1}', b"c1")


def change(state: Path, statement: str, *values: object) -> None:
    """Somebody else has written to the journal, or the disk has."""
    with sqlite3.connect(state / "journal.db") as db:
        assert db.execute(statement, values).rowcount == 1
    db.close()


# --- what survives ----------------------------------------------------------------------------------------------------


def test_the_plan_the_samples_and_the_parts_survive(desk: Callable[[], Desk], state: Path) -> None:
    half_done(desk())
    assert spooled(state) == ["audio", "tape"]

    after = desk()
    (event,) = after.recovered
    assert (event.chunks, event.attempts, event.interrupted) == (CHUNKS, 1, 1)
    work = [Work(segments=2), Work(), Work(segments=1)]
    assert event.steps == (
        ev.KeptStep(A, 1, 0, True, False, Timings(transcribe=3.0), work[0]),
        ev.KeptStep(B, 0, 0),
        ev.KeptStep(C, 1, 0, True, False, Timings(transcribe=5.0), work[2]),
    )
    record = after.record()
    assert record.plan
    assert spooled(state) == ["audio", "tape"], "the sweep of the start leaves both"
    with os.fdopen(after.spool.open(record.plan.tape), "rb") as tape:
        assert tape.read() == b"samples"
    assert record.so_far() == b"[a1,a2]"


def test_what_was_kept_is_gathered_with_what_comes_after_the_restart(desk: Callable[[], Desk]) -> None:
    half_done(desk())
    after = desk()
    after.attempt(B, 2)
    reel = after.record().reel
    assert reel
    assert reel.add(B, 2, 0, b"b1") == [b"b1"]
    after.keep(B, b'{"b":1}')
    assert after.gather() == sheaf.Sheaf(
        b"head",
        [
            sheaf.Part(0.0, 10.0, b'{"a":1}', [b"a1", b"a2"]),
            sheaf.Part(10.0, 20.0, b'{"b":1}', [b"b1"]),
            sheaf.Part(20.0, 25.0, b'{"c":1}', [b"c1"]),
        ],
        None,
    )
    assert after.record().so_far() == b"[a1,a2,b1,c1]"


def test_a_part_that_failed_is_kept_with_its_fault_and_what_it_had_said(desk: Callable[[], Desk]) -> None:
    first = desk()
    first.submit()
    first.cut(chunks=CHUNKS[:2])
    first.attempt(A)
    first.keep(A, GONE, b"a1")

    after = desk()
    (kept,) = after.recovered[0].steps
    assert (kept.index, kept.ended, kept.failed) == (A, True, True)
    after.attempt(B)
    after.keep(B)
    found = after.gather()
    assert isinstance(found, sheaf.Sheaf)
    assert found.parts[0] == sheaf.Part(0.0, 10.0, GONE, [b"a1"])


def test_a_recording_that_was_not_cut_keeps_its_words_and_its_speakers(desk: Callable[[], Desk], state: Path) -> None:
    first = desk()
    first.submit(diarize=msg.Speakers())
    first.attempt(WHOLE)
    first.attempt(SPEAKERS)
    first.keep(WHOLE, b"words")

    after = desk()
    (event,) = after.recovered
    assert (event.chunks, [(one.index, one.ended) for one in event.steps]) == ((), [(WHOLE, True), (SPEAKERS, False)])
    after.keep(SPEAKERS, GONE)
    assert after.gather() == sheaf.Sheaf(b"", [sheaf.Part(0.0, 0.0, b"words")], GONE)
    assert spooled(state) == ["audio"]


def test_attempts_and_deaths_are_counted_for_each_step(desk: Callable[[], Desk]) -> None:
    first = desk()
    first.submit()
    first.cut()
    first.attempt(A, 2, 1)
    first.attempt(B, 1)
    first.ledger.wait("a", 3, 1, A)
    first.attempt(MERGE)

    steps = {one.index: (one.attempts, one.deaths, one.ended) for one in desk().recovered[0].steps}
    assert steps == {A: (3, 1, False), B: (0, 0, False), MERGE: (0, 0, False)}, (
        "what ended with the daemon does not count"
    )


def test_progress_is_no_interruption(desk: Callable[[], Desk]) -> None:
    """However often the daemon is killed: a job that gets on is not what kills it."""
    half_done(desk())
    for killed in (1, 2, 3):
        after = desk()
        assert after.recovered[0].interrupted == killed
        after.attempt(B, 1 + killed)
    after.keep(B)
    assert desk().recovered[0].interrupted == 1


def test_speakers_are_no_progress_of_the_text(desk: Callable[[], Desk]) -> None:
    """The tries of the text that ended with the daemon are forgiven by their number."""
    first = desk()
    first.submit(diarize=msg.Speakers())
    first.attempt(WHOLE)
    first.attempt(SPEAKERS)
    second = desk()
    second.attempt(SPEAKERS)
    second.keep(SPEAKERS, b"voices")
    (event,) = desk().recovered
    assert (event.attempts, event.interrupted) == (1, 2)


def test_a_chunk_that_was_given_up_by_a_stop_is_no_interruption(desk: Callable[[], Desk]) -> None:
    """As ``give_up`` orders it."""
    half_done(desk())
    second = desk()
    second.attempt(B, 2)
    second.ledger.wait("a", 1, 0, B)
    second.ledger.wait("a", 1, 0, WHOLE)
    (event,) = desk().recovered
    assert event.interrupted == second.recovered[0].interrupted
    assert {one.index: one.attempts for one in event.steps}[B] == 1


# --- what is damaged --------------------------------------------------------------------------------------------------


def test_a_part_with_a_flipped_bit_is_done_again(desk: Callable[[], Desk], state: Path) -> None:
    half_done(desk())
    desk().close()
    change(state, "UPDATE steps SET part = CAST(substr(part, 1, length(part) - 1) || x'00' AS BLOB) WHERE step = ?", C)

    after = desk()
    assert {one.index: one.ended for one in after.recovered[0].steps} == {A: True, B: False, C: False}
    for step in (B, C):
        after.attempt(step, 2)
        after.keep(step, b'{"again":1}')
    found = after.gather()
    assert isinstance(found, sheaf.Sheaf)
    assert [part.content for part in found.parts] == [b'{"a":1}', b'{"again":1}', b'{"again":1}']


def test_a_part_that_is_damaged_before_the_merge_is_a_fault_and_no_hole(desk: Callable[[], Desk]) -> None:
    only = desk()
    half_done(only)
    fault = only.gather()
    assert isinstance(fault, Fault)
    assert (fault.code, "1 of 3" in fault.message) == (Code.STORAGE_FAILED, True)


def test_a_plan_with_a_flipped_bit_is_made_anew(desk: Callable[[], Desk], state: Path) -> None:
    half_done(desk())
    desk().close()
    change(state, "UPDATE plans SET plan = CAST(substr(plan, 1, length(plan) - 1) || x'00' AS BLOB)")

    after = desk()
    (event,) = after.recovered
    assert (event.chunks, [one.index for one in event.steps if one.index >= FIRST_CHUNK]) == ((), [])
    assert spooled(state) == ["audio"], "nobody knows what the old samples were"
    assert after.cut(chunks=((0.0, 12.0), (12.0, 25.0)), samples=b"again") == ev.PlanPersisted("a")
    assert spooled(state) == ["audio", "tape"]


def test_parts_of_a_former_plan_are_not_taken_for_those_of_the_next_one(desk: Callable[[], Desk], state: Path) -> None:
    half_done(desk())
    desk().close()
    change(state, "UPDATE plans SET checksum = checksum + 1")
    second = desk()
    second.attempt(WHOLE, 2)
    second.cut(chunks=((0.0, 12.0), (12.0, 25.0)))

    (event,) = desk().recovered
    assert event.chunks == ((0.0, 12.0), (12.0, 25.0))
    assert [one.index for one in event.steps if one.ended] == [], "the old first chunk went to 10 s only"


# --- the end ----------------------------------------------------------------------------------------------------------


def rows(state: Path) -> dict[str, int]:
    db = sqlite3.connect(f"file:{state / 'journal.db'}?mode=ro", uri=True)
    try:
        return {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("jobs", "plans", "steps")}
    finally:
        db.close()


@pytest.mark.parametrize("state_of_job", ["completed", "cancelled"])
def test_a_job_that_nobody_will_try_again_leaves_its_answer_alone(
    desk: Callable[[], Desk], state: Path, state_of_job: str
) -> None:
    first = desk()
    half_done(first)
    first.end(state_of_job)
    first.turning.until(lambda: spooled(state) == [])
    first.close()
    assert rows(state) == {"jobs": 1, "plans": 0, "steps": 0}
    assert desk().recovered == []


def test_a_job_that_may_be_tried_again_keeps_all(desk: Callable[[], Desk], state: Path) -> None:
    first = desk()
    half_done(first)
    first.end("quarantined")
    assert first.ledger.archive.kept > len(b"audio") + len(b"samples")

    second = desk()
    assert second.recovered == []
    assert spooled(state) == ["audio", "tape"]
    event = second.revive()
    assert event.chunks == CHUNKS
    assert {one.index: (one.attempts, one.ended) for one in event.steps} == {A: (0, True), B: (0, False), C: (0, True)}
    assert second.record().so_far() == b"[a1,a2]"

    (event,) = desk().recovered
    assert (event.chunks, [one.index for one in event.steps if one.ended]) == (CHUNKS, [A, C])


def test_a_retry_does_what_had_failed_once_more(desk: Callable[[], Desk]) -> None:
    only = desk()
    only.submit(on_chunk_error="report")
    only.cut()
    only.attempt(A)
    only.keep(A, GONE)
    only.attempt(B)
    only.keep(B, b'{"b":1}')
    only.end("quarantined")
    assert {one.index for one in only.revive().steps if one.ended} == {B}


def test_a_retry_outlives_the_daemon(desk: Callable[[], Desk]) -> None:
    only = desk()
    only.submit(on_chunk_error="report")
    only.cut()
    for step, given in ((A, GONE), (B, b"{}")):
        only.attempt(step)
        only.keep(step, given)
    only.end("quarantined")
    only.revive()
    assert {one.index for one in desk().recovered[0].steps if one.ended} == {B}


def test_a_job_that_is_forgotten_leaves_nothing(desk: Callable[[], Desk], state: Path) -> None:
    first = desk()
    half_done(first)
    first.end("quarantined")
    first.forget()
    first.turning.until(lambda: spooled(state) == [])
    assert first.ledger.archive.kept == 0
    first.close()
    assert rows(state) == {"jobs": 0, "plans": 0, "steps": 0}


def test_what_comes_after_the_end_changes_nothing(desk: Callable[[], Desk], state: Path) -> None:
    first = desk()
    first.submit()
    first.end()
    first.attempt(A)
    first.keep(A)
    first.close()
    assert rows(state) == {"jobs": 1, "plans": 0, "steps": 0}


# --- files ------------------------------------------------------------------------------------------------------------


def test_samples_that_nobody_knows_are_swept(desk: Callable[[], Desk], state: Path) -> None:
    half_done(desk())
    (state / "spool" / "b-01234567.tape").write_bytes(b"of a job whose plan was not stored")
    desk()
    assert spooled(state) == ["audio", "tape"]
    assert not (state / "spool" / "b-01234567.tape").exists()


@pytest.mark.parametrize("left", [None, 0, 3])
def test_samples_that_are_not_what_was_stored_are_written_anew(
    desk: Callable[[], Desk], state: Path, left: int | None
) -> None:
    """As after a crash of the host: the words in the rest must not be lost without a word."""
    half_done(desk())
    desk().close()
    (tape,) = (state / "spool").glob("*.tape")
    tape.unlink() if left is None else os.truncate(tape, left)

    (event,) = desk().recovered
    assert (event.chunks, [one.index for one in event.steps if one.ended]) == ((), [])
    assert spooled(state) == ["audio"]


def test_a_tape_has_no_name_until_it_is_adopted(desk: Callable[[], Desk], state: Path) -> None:
    only = desk()
    only.submit()
    tape = only.spool.tape()
    assert tape is not None
    os.write(tape, b"x" * 100)
    assert spooled(state) == ["audio"]
    found = only.spool.adopt("a", tape)
    os.close(tape)
    assert (found.size, spooled(state)) == (100, ["audio", "tape"])
    assert isinstance(found, Spooled)
    assert (state / "spool" / found.name).stat().st_mode & 0o777 == 0o600
    only.spool.drop(found)
    assert spooled(state) == ["audio"]


def test_a_worker_that_cuts_what_it_was_not_asked_to_cut_is_told_of(desk: Callable[[], Desk]) -> None:
    only = desk()
    only.submit()
    plan = do.PersistPlan("a", Seat("p", 0, 1), 1, CHUNKS, b"head")
    event = only.await_event(lambda: only.ledger.divide(plan, None))
    assert isinstance(event, ev.PlanUnstored)
    assert event.fault.code is Code.ENGINE_ERROR
    assert only.record().plan is None


def test_without_durability_a_job_of_several_steps_goes_well_too(desk_at: Callable[..., Desk], tmp_path: Path) -> None:
    only = desk_at(tmp_path / "state", JournalConfig(durability="none", ballast=Size(0)))
    half_done(only)
    only.keep(B)
    assert isinstance(only.gather(), sheaf.Sheaf)
    only.end()
    eventually(lambda: list((tmp_path / "volatile").iterdir()) == [])


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    with disk.small_disk(tmp_path / "disk", 8) as directory:
        yield directory


def test_parts_wait_for_room_on_a_full_disk_and_are_there_when_there_is_some(
    small_disk: Path, desk_at: Callable[..., Desk]
) -> None:
    config = JournalConfig(ballast=Size(256 * 1024))
    only = desk_at(small_disk / "state", config)
    only.submit()
    only.cut(chunks=tuple((10.0 * at, 10.0 * (at + 1)) for at in range(40)))
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        found = os.statvfs(small_disk)
        os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_bsize))
    stored: list[int] = []
    for step in range(FIRST_CHUNK, FIRST_CHUNK + 40):
        part = do.PersistPart("a", step, b"x" * 100_000, Timings(), Work())
        only.ledger.keep(part, lambda step=step: stored.append(step))  # type: ignore[misc]
    only.turning.until(lambda: only.ledger.full)
    assert len(stored) < 40, "there is no room for 4 MB"
    assert not only.broken
    filler.unlink()
    only.turning.until(lambda: len(stored) == 40, 30)
    assert stored == list(range(FIRST_CHUNK, FIRST_CHUNK + 40))
    gathered = only.gather()
    assert isinstance(gathered, sheaf.Sheaf)
    assert [part.content for part in gathered.parts] == [b"x" * 100_000] * 40
