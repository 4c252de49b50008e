"""The journal at every crash point: whatever was promised before is there after, wherever it was killed or failed."""

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from asrd_protocol import messages as msg
from asrd_supervisor import sources
from asrd_supervisor.config import JournalConfig
from asrd_supervisor.core.policy import Size
from asrd_supervisor.journal import entries
from asrd_supervisor.records import keeps_audio, read_report
from asrd_supervisor.sources import Spooled
from asrd_supervisor.spool import digest_of
from asrd_supervisor.storage import Storage
from support.faulty_disk import Life, Zygote, compiled
from support.journal_child import PLANS, body_of, ended_of, named_of, submit_of

_submit = msgspec.msgpack.Decoder(msg.Submit).decode
_answer = msgspec.msgpack.Decoder(msg.Completed | msg.Failed).decode

MOST = 400
"""More calls than any run makes."""


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Makes lives on a disk that fails."""
    zygote = Zygote(compiled(tmp_path_factory.mktemp("shim")))
    yield zygote
    zygote.close()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that can be: what a process leaves behind when it is killed does not depend on the disk."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="asrd-crash-", dir=root) as directory:
        yield Path(directory)


@pytest.fixture
def lives(zygote: Zygote, tmp_path: Path) -> Callable[..., tuple[Path, Life]]:
    """Lives, each in a directory of its own, which is empty at first."""
    directory = tmp_path / "state"

    def lived(script: str, **faults: object) -> tuple[Path, Life]:
        shutil.rmtree(directory, ignore_errors=True)
        return directory, zygote.live(directory, script, **faults)

    return lived


# --- what was promised, against what is there -------------------------------------------------------------------------


class Found:
    """What a new daemon finds in a state directory; opened as it would, and closed again."""

    def __init__(self, directory: Path) -> None:
        storage = Storage(directory, directory / "volatile", JournalConfig(ballast=Size(0)), accept_empty=False)
        self.standings = {standing.entry.job: standing for standing in storage.take_standings()}
        self.audio = {job: _audio(storage, standing) for job, standing in self.standings.items()}
        asyncio.run(self._ask(storage))
        self.files = {path.name for path in (directory / "spool").iterdir()}
        with sqlite3.connect(directory / "journal.db") as db:
            self.check = db.execute("PRAGMA integrity_check").fetchall()
            self.answered = {job for (job,) in db.execute("SELECT job FROM answers")}
        db.close()

    async def _ask(self, storage: Storage) -> None:
        loop = asyncio.get_running_loop()
        ledger = storage.ledger(loop, lambda event: None, lambda error: pytest.fail(f"broken: {error}"))
        ledger.recover(list(self.standings.values()))
        self.answers: dict[str, msg.Completed | msg.Failed | None] = {}
        self.bodies: dict[str, bytes | None] = {}
        asked = [asyncio.ensure_future(self._answer(ledger.archive.answer, job)) for job in PLANS]
        await asyncio.gather(*asked)
        await ledger.close()

    async def _answer(self, ask: Callable[..., None], job: str) -> None:
        told = asyncio.get_running_loop().create_future()
        ask(job, told.set_result)
        ended = await told
        self.answers[job], self.bodies[job] = ended.answer, ended.body


def _audio(storage: Storage, standing: entries.Standing) -> bytes | None:
    """The audio of a job that somebody may want to run; the spool must have it."""
    source = sources.decode(standing.entry.source)
    ended = standing.state in entries.ENDED
    if not isinstance(source, Spooled) or (ended and not keeps_audio(read_report(standing.report))):
        return None
    with os.fdopen(storage.spool.open(source), "rb") as file:
        return file.read()


def check(directory: Path, said: list[list[str]]) -> None:
    """All promises: ``said`` is what the life had said when it was cut off."""
    found = Found(directory)
    assert found.check == [("ok",)]
    assert not [name for name in found.files if name.endswith(".part")]
    assert found.standings.keys() <= PLANS.keys()
    for job in PLANS:
        _check_job(job, found, _steps(said, "begin", job), _steps(said, "done", job))
    wanted = {job for job, standing in found.standings.items() if standing.state in entries.ENDED}
    assert found.answered == wanted
    assert len(found.files) == sum(body is not None for body in found.audio.values())


def _steps(said: list[list[str]], word: str, job: str) -> list[str]:
    return [words[1] for words in said if words[0] == word and words[2] == job]


def _check_job(job: str, found: Found, begun: list[str], done: list[str]) -> None:
    standing = found.standings.get(job)
    if standing is None:
        assert "accept" not in done or "forget" in begun
        return
    assert "forget" not in done
    assert "accept" in begun
    _check_entry(job, standing.entry, found)
    if "revive" in begun and "revive" not in done:
        return  # it is as before, or as after
    ends = {"end", "fail"} if "revive" not in done else set()
    if standing.state in entries.ENDED:
        end = next(step for step in begun if step in ends)
        assert standing.state == ("completed" if end == "end" else "quarantined")
        expected = ended_of(job, end)
        assert (found.answers[job], found.bodies[job]) == (expected.answer, expected.body)
    else:
        assert standing.state == "queued"
        assert not ends & set(done)
        _check_attempts(standing, begun, done)


def _check_entry(job: str, entry: entries.Entry, found: Found) -> None:
    assert _submit(entry.request) == submit_of(job)
    named = named_of(job)
    audio = sources.encode(named) if named else body_of(job)
    assert entry.digest == digest_of(entry.request, audio)
    if found.audio[job] is not None:
        assert found.audio[job] == audio


def _check_attempts(standing: entries.Standing, begun: list[str], done: list[str]) -> None:
    if "revive" in done:
        assert (standing.attempts, standing.deaths, standing.interrupted) == (0, 0, 0)
    elif "wait" in done:
        assert (standing.attempts, standing.interrupted) == (done.count("attempt") - 1, 0)
    elif "wait" not in begun:
        assert done.count("attempt") <= standing.attempts <= begun.count("attempt")
        assert standing.interrupted == (standing.attempts > 0)


# --- the daemon is killed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [0, 1])
@pytest.mark.parametrize("script", ["one_by_one", "all_at_once"])
def test_killed_before_each_call_that_changes_a_file(
    lives: Callable[..., tuple[Path, Life]], script: str, torn: int
) -> None:
    seen: set[str] = set()
    for number in range(1, MOST):
        directory, life = lives(script, kill_at=number, torn=torn)
        if life.status == 0:
            break
        assert life.status == -9, life
        check(directory, life.said)
        seen |= {name for name, *_ in life.only("call")}
    assert life.only("closed") == [[]]
    check(directory, life.said)
    assert number > 100
    assert {"write", "pwrite64", "fsync", "fdatasync", "renameat", "unlinkat", "unlink"} <= seen


def test_killed_again_while_it_recovers(lives: Callable[..., tuple[Path, Life]], zygote: Zygote) -> None:
    before, first = lives("cut_off")
    kept = before.with_name("kept")
    before.rename(kept)
    for number in range(1, MOST):
        again = before
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(kept, again)
        life = zygote.live(again, "recover", kill_at=number)
        if life.status == 0:
            break
        assert life.status == -9, life
        check(again, first.said)
    assert number > 5


# --- the power fails --------------------------------------------------------------------------------------------------


def _promises(said: list[list[str]]) -> list[tuple[int, list[list[str]]]]:
    """For each number of bytes of the log that have reached the disk: what had been said until the next ones did."""
    synced, points = 0, []
    for index, words in enumerate(said):
        if words[:2] == ["call", "fdatasync"] and words[2].endswith("-wal") and words[4] == "0":
            points.append((synced, said[:index]))
            synced = int(words[3])
    return [*points, (synced, said)]


def _cut(kept: Path, directory: Path, size: int) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(kept, directory)
    log = directory / "journal.db-wal"
    with log.open("r+b") as file:
        file.truncate(min(size, log.stat().st_size))


@pytest.fixture
def log_of(tmp_path: Path, zygote: Zygote) -> tuple[Path, Life]:
    """A state directory as it was when the power failed after all steps, with all of its files."""
    life = zygote.live(tmp_path / "kept", "cut_off")
    assert life.only("cut") == [[]]
    return tmp_path / "kept", life


def test_what_was_told_before_the_power_failed_is_there(log_of: tuple[Path, Life], tmp_path: Path) -> None:
    kept, life = log_of
    points = _promises(life.said)
    assert len(points) > 20
    for size, said in points:
        if size > 4096:
            _cut(kept, tmp_path / "cut", size)
            check_log(tmp_path / "cut", said)


def test_a_log_that_is_cut_anywhere_keeps_what_was_synced_before(log_of: tuple[Path, Life], tmp_path: Path) -> None:
    kept, life = log_of
    points = _promises(life.said)
    choice = random.Random(4)
    ends = [size for size, _ in points if size]
    cuts = {end + by for end in ends for by in (-1, 1, 23, 24, 25, 4119, 4121)} | {0, 1, 31, 32, 33}
    cuts |= {choice.randrange(max(ends)) for _ in range(60)}
    for cut in sorted(cuts):
        _cut(kept, tmp_path / "cut", cut)
        said = [heard for size, heard in points if size <= cut][-1]
        check_log(tmp_path / "cut", said)


def check_log(directory: Path, said: list[list[str]]) -> None:
    """The promises that the journal alone keeps."""
    storage = Storage(directory, directory / "volatile", JournalConfig(ballast=Size(0)), accept_empty=False)
    there = {standing.entry.job: standing for standing in storage.take_standings()}
    asyncio.run(_closed(storage))
    for job in PLANS:
        steps = _steps(said, "done", job)
        if "accept" in steps and "forget" not in PLANS[job]:
            assert there[job].entry.digest == digest_of(there[job].entry.request, _source(job))
        if "forget" in steps:
            assert job not in there
        if {"end", "fail"} & set(steps) and not {"revive", "forget"} & set(PLANS[job]):
            assert there[job].state in entries.ENDED


def _source(job: str) -> bytes:
    named = named_of(job)
    return sources.encode(named) if named else body_of(job)


async def _closed(storage: Storage) -> None:
    await storage.ledger(asyncio.get_running_loop(), lambda event: None, lambda error: None).close()


def test_audio_is_on_the_disk_before_its_job_is_in_the_journal(lives: Callable[..., tuple[Path, Life]]) -> None:
    _, life = lives("one_by_one")
    for job in PLANS:
        if named_of(job) is None:
            begun, accepted = (life.said.index([word, "accept", job]) for word in ("begin", "done"))
            calls = [(name, Path(path).name) for word, name, path, *_ in life.said[begun:accepted] if word == "call"]
            names = [name for name, _ in calls]
            unfinished = next(path for name, path in calls if name == "write")
            assert calls[names.index("fsync")] == ("fsync", unfinished)
            assert names.index("write") < names.index("fsync") < names.index("renameat")
            assert calls.index(("renameat", unfinished.removesuffix(".part"))) < calls.index(("fsync", "spool"))
            assert calls.index(("fsync", "spool")) < calls.index(("pwrite64", "journal.db-wal"))
            assert names[-1] == "fdatasync"


# --- the disk fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["one_by_one", "all_at_once"])
@pytest.mark.parametrize(("calls", "times"), [("sync", 1 << 30), ("any", 1 << 30), ("sync", 1)])
def test_after_an_error_of_the_disk_nothing_is_promised(
    lives: Callable[..., tuple[Path, Life]], script: str, calls: str, times: int
) -> None:
    broken = 0
    for number in range(1, MOST):
        directory, life = lives(script, calls=calls, fail_at=number, times=times, error="EIO")
        if not [result for *_, result in life.only("call") if result == "-1"]:
            break
        if life.status == 1:  # it failed before anything was served
            assert not life.only("begin")
            continue
        assert life.status == 0
        if life.only("broken"):
            broken += 1
            end = life.said.index(["broken", *life.only("broken")[0]])
            if life.only("broken")[0] == ["OperationalError"]:
                assert not [words for words in life.said[end:] if words[0] == "done"]
        check(directory, life.said)
    assert broken > 10
