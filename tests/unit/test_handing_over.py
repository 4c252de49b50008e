"""What a step is about cannot be opened or gathered: whatever the reason is, the core hears that the attempt is stored,
and then of a fault. Without a word the worker would be held, and the job would wait, for ever."""

import asyncio
import errno
import fcntl
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from asrd_protocol import messages as msg
from asrd_protocol import sheaf
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor import named_files
from asrd_supervisor.config import JournalConfig
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Size
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE
from asrd_supervisor.handover import HandOver
from asrd_supervisor.journal import entries
from asrd_supervisor.named_files import NamedFiles
from asrd_supervisor.peers import Peer
from asrd_supervisor.sources import Identity, Named
from asrd_supervisor.storage import Storage
from support.turning import Turning

SEAT = Seat("p", 0, 1)
ATTEMPT = 7
SEGMENT = b"s" * 100_000
CHUNKS = ((0.0, 10.0), (10.0, 20.0))

Cause = Callable[[], AbstractContextManager[None]]


class Worker:
    """Whoever gets the files of a step, in place of the launcher and the backend: it keeps what was in them."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.orders: list[Any] = []

    def hand_over(self, seat: Seat, attempt: int, *fds: int) -> None:
        assert (seat, attempt) == (SEAT, ATTEMPT)
        self.read.append(os.pread(fds[0], 1 << 24, 0))

    def run(self, seat: Seat, order: Any) -> None:
        self.orders.append(order)


class Hands:
    """A hand-over with a real journal and a real spool. It does with an attempt what the daemon does: both halves are
    prepared, the core is told, and the core has the step sent."""

    def __init__(self, directory: Path) -> None:
        self.turning = Turning()
        self.events: list[ev.Event] = []
        self.worker = Worker()
        self.heard = asyncio.Event()
        self.wanted: int | None = None
        """The step that the core still wants when its attempt is stored."""
        config = JournalConfig(ballast=Size(8192))
        storage = Storage(directory / "state", directory / "volatile", config, accept_empty=False)
        loop = cast(Any, self.turning.loop)
        self.spool = storage.spool
        self.ledger = storage.ledger(loop, self.events.append, self._broken)
        self.recovered = self.ledger.recover(storage.take_standings())
        worker = cast(Any, self.worker)
        self.hand = HandOver(
            loop, self.spool, self.ledger, NamedFiles(["/"]), worker, worker, {}, lambda event: self._told(event)
        )

    def _broken(self, error: Exception) -> None:
        raise AssertionError("nothing of this is a broken journal") from error

    def _told(self, event: ev.Event) -> None:
        self.events.append(event)
        match event:
            case ev.AttemptPersisted(seat, attempt) if self.wanted is not None:
                record = self.ledger.find("a")
                assert record
                self.hand.send(record, do.SendStep(seat, attempt, "a", self.wanted))
        self.heard.set()

    def close(self) -> None:
        self.hand.close()
        self.hand.threads.shutdown()
        self.turning.loop.run_until_complete(self.ledger.close())
        self.turning.loop.run_until_complete(self.turning.loop.shutdown_default_executor())
        self.turning.close()

    # --- a job --------------------------------------------------------------------------------------------------------

    def submit(self, named: Named | None = None, **more: Any) -> None:
        body = None if named else b"audio"
        self.ledger.begin("uid:0", msg.Submit(job="a", **more), body, named, "connection")
        self.ledger.persist("a")
        self.turning.until(lambda: ev.JobPersisted("a") in self.events)

    def done_but_for_the_merge(self) -> None:
        """Two chunks have given their parts."""
        self.submit()
        tape = self.spool.tape()
        assert tape is not None
        self.ledger.divide(do.PersistPlan("a", SEAT, 1, CHUNKS, b"head"), tape)
        self.turning.until(lambda: ev.PlanPersisted("a") in self.events)
        for step in (FIRST_CHUNK, FIRST_CHUNK + 1):
            record = self.ledger.find("a")
            assert record
            assert record.reel
            list(record.reel.add(step, 0, 0, SEGMENT))
            self.ledger.keep(do.PersistPart("a", step, b"{}", Timings(), Work()), lambda: None)
            self.turning.until(lambda step=step: ev.PartPersisted("a", step) in self.events)  # type: ignore[misc]

    def attempt(self, step: int, cause: Cause = nullcontext, *, wanted: bool = True) -> list[ev.Event]:
        """What the core is told of an attempt while there is a cause for it to fail."""
        before, self.wanted, self.heard = len(self.events), step if wanted else None, asyncio.Event()

        async def scene() -> None:
            with cause():
                self._prepare(step)
                await asyncio.wait_for(self.heard.wait(), 5.0)

        self.turning.loop.run_until_complete(scene())  # in one go: a loop that begins to turn opens files
        self.turning.turn()
        return self.events[before:]

    def _prepare(self, step: int) -> None:
        record = self.ledger.find("a")
        assert record
        order, left = do.PersistAttempt("a", SEAT, ATTEMPT, 1, 0, step), 2

        def ready() -> None:
            nonlocal left
            left -= 1
            if not left:
                self.hand.offer(ev.AttemptPersisted(SEAT, ATTEMPT))

        self.ledger.attempt(order, ready)
        self.hand.prepare(record, order, ready)

    def fault(self, step: int, cause: Cause = nullcontext) -> Fault:
        """Why the attempt comes to nothing."""
        stored, faulted = self.attempt(step, cause)
        assert stored == ev.AttemptPersisted(SEAT, ATTEMPT)
        assert isinstance(faulted, ev.StepFaulted)
        assert (faulted.seat, faulted.attempt, self.worker.read) == (SEAT, ATTEMPT, [])
        return faulted.fault

    def change_part(self, step: int, part: bytes) -> None:
        """Another part with a right checksum, as a release that writes parts in another way would leave."""
        written: list[object] = []
        self.ledger._writer.write(entries.Keep("a", step, part), written.append)
        self.turning.until(lambda: written)


@pytest.fixture
def hands(tmp_path: Path) -> Iterator[Hands]:
    """A hand-over; when the test ends there are no more open files than before its attempt."""
    one = Hands(tmp_path)
    one.hand.threads.submit(lambda: None).result()  # the pool of threads has what it needs
    yield one
    one.close()


def open_files() -> dict[str, str]:
    """By number."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = str(path.readlink())
        except FileNotFoundError:
            continue  # the one for this list
    return found


@contextmanager
def nothing_left_open() -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


@contextmanager
def limited(what: int, least: int) -> Iterator[None]:
    """Under a limit of the kernel."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (least, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Not one more can be had."""
    free = os.dup(0)
    os.close(free)
    with limited(resource.RLIMIT_NOFILE, free):
        yield


# --- the parts of a job -----------------------------------------------------------------------------------------------


def test_parts_that_can_be_gathered_reach_the_worker(hands: Hands) -> None:
    hands.done_but_for_the_merge()
    with nothing_left_open():
        assert hands.attempt(MERGE) == [ev.AttemptPersisted(SEAT, ATTEMPT)]
    (given,) = hands.worker.read
    assert [part.segments for part in sheaf.decode(given).parts] == [[SEGMENT], [SEGMENT]]
    assert len(hands.worker.orders) == 1


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (no_descriptors, "Too many open files"),
        (lambda: limited(resource.RLIMIT_FSIZE, 150_000), "File too large"),
        (lambda: limited(resource.RLIMIT_FSIZE, 0), "File too large"),
    ],
    ids=["no descriptor", "room for some of it", "room for nothing"],
)
def test_parts_that_find_no_room_are_a_fault(hands: Hands, cause: Cause, said: str) -> None:
    hands.done_but_for_the_merge()
    hands.attempt(MERGE, wanted=False)  # so that nothing is opened or written for the first time
    with nothing_left_open():
        fault = hands.fault(MERGE, cause)
    assert fault.code is Code.STORAGE_FAILED
    assert said in fault.message


@pytest.mark.parametrize(
    "part",
    [b"\xc1", b"not msgpack at all", msgspec.msgpack.encode([1, 2, 3, 4]), msgspec.msgpack.encode(["{}", ["x"]])],
    ids=["a flipped bit", "text", "of other types", "of another release"],
)
def test_a_part_that_cannot_be_read_is_a_fault(hands: Hands, part: bytes) -> None:
    hands.done_but_for_the_merge()
    hands.change_part(FIRST_CHUNK + 1, part)
    with nothing_left_open():
        fault = hands.fault(MERGE)
    assert fault.code is Code.STORAGE_FAILED


@pytest.mark.parametrize("part", [b"\xc1", msgspec.msgpack.encode([1, 2, 3, 4])], ids=["a flipped bit", "other types"])
def test_after_a_restart_such_a_part_is_done_again(tmp_path: Path, part: bytes) -> None:
    """And the daemon starts."""
    first = Hands(tmp_path)
    first.done_but_for_the_merge()
    first.change_part(FIRST_CHUNK + 1, part)
    first.close()
    second = Hands(tmp_path)
    (event,) = second.recovered
    second.close()
    assert {one.index: one.ended for one in event.steps if one.index >= FIRST_CHUNK} == {
        FIRST_CHUNK: True,
        FIRST_CHUNK + 1: False,
    }


def test_a_part_that_is_gone_is_a_fault(hands: Hands) -> None:
    hands.done_but_for_the_merge()
    hands.change_part(FIRST_CHUNK, b"")
    with nothing_left_open():
        fault = hands.fault(MERGE)
    assert fault.code is Code.STORAGE_FAILED
    assert "1 of 2 parts" in fault.message


def test_parts_that_nobody_wants_any_more_are_closed(hands: Hands) -> None:
    hands.done_but_for_the_merge()
    with nothing_left_open():
        assert hands.attempt(MERGE, wanted=False) == [ev.AttemptPersisted(SEAT, ATTEMPT)]
    assert not hands.worker.read


# --- a file that the job has named ------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path: Path) -> Named:
    """Audio of a caller."""
    path = tmp_path.resolve() / "folder" / "a.wav"
    path.parent.mkdir()
    path.write_bytes(b"samples")
    found = path.stat()
    return Named(str(path), Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def _removed(path: Path) -> None:
    path.unlink()


def _written_to(path: Path) -> None:
    path.write_bytes(b"other samples")


def _replaced(path: Path) -> None:
    path.rename(path.with_name("b.wav"))
    path.write_bytes(b"samples")


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_link(path: Path) -> None:
    path.rename(path.with_name("b.wav"))
    path.symlink_to("b.wav")


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder_gone(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def fails(error: Exception) -> Callable[[int], os.stat_result]:
    """An fstat of an open file that does this; the way to the file is looked at as ever."""

    def fstat(fd: int) -> os.stat_result:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH:
            return os.fstat(fd)
        raise error

    return fstat


@pytest.mark.parametrize("step", [WHOLE, SPEAKERS])
def test_a_named_file_reaches_the_worker(hands: Hands, named: Named, step: int) -> None:
    hands.submit(named, diarize=msg.Speakers())
    with nothing_left_open():
        assert hands.attempt(step) == [ev.AttemptPersisted(SEAT, ATTEMPT)]
    assert hands.worker.read == [b"samples"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_removed, Code.INPUT_MISSING),
        (_written_to, Code.INPUT_CHANGED),
        (_replaced, Code.INPUT_CHANGED),
        (_a_folder, Code.INPUT_MISSING),
        (_a_link, Code.INPUT_MISSING),
        (_a_pipe, Code.INPUT_MISSING),
        (_folder_gone, Code.INPUT_MISSING),
    ],
)
def test_a_named_file_that_is_not_what_it_was_is_a_fault(
    hands: Hands, named: Named, change: Callable[[Path], None], code: Code
) -> None:
    hands.submit(named)
    change(Path(named.path))
    with nothing_left_open():
        assert hands.fault(WHOLE).code is code


def test_no_descriptor_for_a_named_file_is_a_fault(hands: Hands, named: Named) -> None:
    hands.submit(named)
    with nothing_left_open():
        assert hands.fault(WHOLE, no_descriptors).code is Code.INPUT_MISSING


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ESTALE, "Stale file handle"), OSError(errno.EIO, "Input/output error"), MemoryError("none")],
    ids=["stale", "io", "memory"],
)
def test_a_file_system_that_fails_at_any_call_is_a_fault(
    hands: Hands, named: Named, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As those of a network do; no test can have one."""
    hands.submit(named)
    known = {name: getattr(os, name) for name in dir(os)}
    monkeypatch.setattr(named_files, "os", SimpleNamespace(**{**known, "fstat": fails(error)}))
    with nothing_left_open():
        assert hands.fault(WHOLE).code is Code.INPUT_MISSING


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_who_names_a_file_that_fails_is_answered_too(
    named: Named, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    known = {name: getattr(os, name) for name in dir(os)}
    monkeypatch.setattr(named_files, "os", SimpleNamespace(**{**known, "fstat": fails(OSError(number, "bad"))}))
    peer = Peer(uid=os.geteuid(), gid=os.getegid(), pid=os.getpid())
    refused = pytest.raises(named_files.InputFault)
    with nothing_left_open(), refused as told:
        NamedFiles(["/"]).identify(named.path, peer)
    assert told.value.fault.code is Code.INPUT_MISSING


# --- a file of ours ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", [no_descriptors, nullcontext], ids=["no descriptor", "gone"])
def test_audio_of_ours_that_cannot_be_opened_is_a_fault(hands: Hands, tmp_path: Path, cause: Cause) -> None:
    hands.submit()
    hands.attempt(WHOLE, wanted=False)
    if cause is nullcontext:
        for path in (tmp_path / "state" / "spool").iterdir():
            path.unlink()
    with nothing_left_open():
        assert hands.fault(WHOLE, cause).code is Code.STORAGE_FAILED
