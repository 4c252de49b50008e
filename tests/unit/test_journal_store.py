"""The journal file: what one transaction does, what is there afterwards, and which files are refused."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.journal.entries import (
    Accept,
    Answer,
    Attempt,
    End,
    Entry,
    Forget,
    Look,
    Read,
    Renew,
    Standing,
    Wait,
)
from asrd_supervisor.journal.opening import APPLICATION_ID, Damaged, InUse, JournalError, move_aside
from asrd_supervisor.journal.store import Store
from support.wait import eventually

ROOT = os.geteuid() == 0


def _entry(job: str, request: bytes = b"request") -> Entry:
    return Entry(job, "uid:1000", request, b"source", b"digest of 32 bytes", 1_700_000_000.25)


def _end(job: str, body: bytes | None = b"the text", state: str = "completed") -> End:
    return End(job, state, Answer(b"header", body), b"report", 1_700_000_009.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the journal; the one that was open is closed first."""
    stores: list[Store] = []

    def _opened() -> Store:
        for store in stores:
            store.close()
        stores.append(Store(path, "full"))
        return stores[-1]

    yield _opened
    for store in stores:
        store.close()


def _files(path: Path) -> dict[str, bytes]:
    """What is there; SQLite may leave an empty log."""
    found = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    return {name: content for name, content in found.items() if content or not name.endswith("-wal")}


# --- operations -------------------------------------------------------------------------------------------------------


def test_a_job_is_there_after_a_restart_as_it_was_accepted(opened: Callable[[], Store]) -> None:
    assert opened().apply([Accept(_entry("a")), Accept(_entry("b"))]) == [None, None]

    assert opened().recover() == [Standing(_entry("a"), "queued"), Standing(_entry("b"), "queued")]


def test_an_ended_job_keeps_its_answer_and_its_report(opened: Callable[[], Store]) -> None:
    opened().apply([Accept(_entry("a")), Attempt("a", 2, 1), _end("a")])
    store = opened()

    ended = Standing(_entry("a"), "completed", 2, 1, 0, 1_700_000_009.5, b"report", len(b"headerthe text"))
    assert store.recover() == [ended]
    assert store.apply([Read("a"), Look("a")]) == [Answer(b"header", b"the text"), ended]


def test_an_answer_without_a_body_is_not_one_with_an_empty_body(opened: Callable[[], Store]) -> None:
    opened().apply([Accept(_entry("a")), _end("a", None), Accept(_entry("b")), _end("b", b"")])

    assert opened().apply([Read("a"), Read("b")]) == [Answer(b"header", None), Answer(b"header", b"")]


def test_what_is_not_known_has_no_answer_and_no_standing(opened: Callable[[], Store]) -> None:
    store = opened()
    store.apply([Accept(_entry("a"))])

    assert store.apply([Read("a"), Read("b"), Look("b")]) == [None, None, None]


def test_a_forgotten_job_is_gone_with_its_answer_and_its_id_is_free(opened: Callable[[], Store]) -> None:
    store = opened()
    store.apply([Accept(_entry("a")), _end("a"), Forget("a")])

    assert store.apply([Look("a"), Read("a")]) == [None, None]
    store.apply([Accept(_entry("a", b"another")), Forget("b")])
    assert opened().recover() == [Standing(_entry("a", b"another"), "queued")]


def test_jobs_come_back_in_the_order_of_their_acceptance(opened: Callable[[], Store]) -> None:
    names = [f"job{number % 7}{number}" for number in range(50)]
    store = opened()
    store.apply([Accept(_entry(name)) for name in names])
    store.apply([Forget(names[3]), Attempt(names[10], 1, 0), _end(names[11]), Accept(_entry(names[3]))])

    found = [standing.entry.job for standing in opened().recover()]
    assert found == [*names[:3], *names[4:], names[3]]


def test_what_was_running_waits_again_and_is_counted_as_interrupted(opened: Callable[[], Store]) -> None:
    opened().apply([Accept(_entry("a")), Attempt("a", 1, 0), Accept(_entry("b"))])
    first = opened().recover()
    assert first == [Standing(_entry("a"), "queued", attempts=1, interrupted=1), Standing(_entry("b"), "queued")]
    assert opened().recover() == first

    opened().apply([Attempt("a", 2, 1)])
    assert opened().recover()[0] == Standing(_entry("a"), "queued", attempts=2, deaths=1, interrupted=2)


def test_a_job_that_is_renewed_has_no_end_any_more(opened: Callable[[], Store]) -> None:
    store = opened()
    store.apply([Accept(_entry("a")), Attempt("a", 3, 2), _end("a", state="quarantined")])
    store.apply([Renew("a", 1_800_000_000.5)])

    renewed = msgspec.structs.replace(_entry("a"), accepted_at=1_800_000_000.5)
    assert store.apply([Look("a"), Read("a")]) == [Standing(renewed, "queued"), None]
    assert opened().recover() == [Standing(renewed, "queued")]
    store = opened()
    store.apply([Attempt("a", 1, 0), _end("a")])
    assert store.apply([Read("a")]) == [Answer(b"header", b"the text")]


def test_a_job_that_waits_was_not_interrupted(opened: Callable[[], Store]) -> None:
    opened().apply([Accept(_entry("a")), Attempt("a", 2, 1), Wait("a", 1, 0)])

    assert opened().recover() == [Standing(_entry("a"), "queued", attempts=1)]


def test_the_first_end_counts(opened: Callable[[], Store]) -> None:
    store = opened()
    store.apply([Accept(_entry("a")), _end("a", b"first")])
    store.apply([_end("a", b"second", state="failed"), _end("never accepted")])

    assert store.apply([Read("a")]) == [Answer(b"header", b"first")]
    (standing,) = opened().recover()
    assert (standing.state, standing.size) == ("completed", len(b"headerfirst"))


@pytest.mark.parametrize("late", [Attempt("a", 2, 0), Wait("a", 2, 0)])
def test_what_comes_late_does_not_wake_an_ended_job(opened: Callable[[], Store], late: Attempt | Wait) -> None:
    opened().apply([Accept(_entry("a")), Attempt("a", 1, 0), _end("a"), late])
    (standing,) = opened().recover()
    assert (standing.state, standing.attempts) == ("completed", 1)


def test_all_of_a_transaction_is_done_or_nothing(opened: Callable[[], Store]) -> None:
    store = opened()
    store.apply([Accept(_entry("a"))])
    with pytest.raises(sqlite3.IntegrityError):
        store.apply([Accept(_entry("b")), _end("a"), Accept(_entry("a"))])

    assert opened().recover() == [Standing(_entry("a"), "queued")]


def test_an_answer_that_is_not_what_was_written_is_a_fault_and_the_others_are_told(
    opened: Callable[[], Store], path: Path
) -> None:
    opened().apply([Accept(_entry("a")), _end("a", b"first text"), Accept(_entry("b")), _end("b")])
    opened().close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE answers SET body = x'00' WHERE job = 'a'")
    db.close()

    fault, answer = opened().apply([Read("a"), Read("b")])
    assert isinstance(fault, Fault)
    assert (fault.code, "'a'" in fault.message) == (Code.STORAGE_FAILED, True)
    assert answer == Answer(b"header", b"the text")


def test_a_journal_without_a_file_lasts_as_long_as_it_is_open() -> None:
    store = Store(None, "none")
    store.apply([Accept(_entry("a")), _end("a")])

    assert store.apply([Read("a")]) == [Answer(b"header", b"the text")]
    store.close()
    again = Store(None, "none")
    assert again.recover() == []
    again.close()


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("process", 1)])
def test_how_much_is_synced_is_as_configured(path: Path, durability: str, level: int) -> None:
    store = Store(path, durability)

    def told(pragma: str) -> object:
        return store._db.execute(f"PRAGMA {pragma}").fetchone()[0]

    assert (told("synchronous"), told("journal_mode"), told("locking_mode")) == (level, "wal", "exclusive")
    assert (told("foreign_keys"), told("application_id")) == (1, APPLICATION_ID)
    store.close()


# --- files that are refused -------------------------------------------------------------------------------------------


def _refused(path: Path, kind: type[JournalError]) -> str:
    before = _files(path)
    with pytest.raises(JournalError) as caught:
        Store(path, "full").recover()
    assert type(caught.value) is kind
    assert _files(path) == before
    return str(caught.value)


def _filled(path: Path, jobs: int = 200) -> None:
    store = Store(path, "full")
    store.apply([Accept(_entry(f"job-{number}", b"R" * 300)) for number in range(jobs)])
    store.apply([_end(f"job-{number}", b"T" * 900) for number in range(0, jobs, 2)])
    store.close()


def _changed(path: Path, statement: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(statement)
    db.close()


def test_a_newer_journal_is_refused(path: Path) -> None:
    _filled(path)
    _changed(path, "PRAGMA user_version = 99")

    said = _refused(path, JournalError)
    assert all(word in said for word in (str(path), "newer", "99", "--state-dir"))


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    _changed(path, "CREATE TABLE theirs (x)")

    assert "another program" in _refused(path, JournalError)


def test_a_journal_with_another_application_id_is_refused(path: Path) -> None:
    _filled(path)
    _changed(path, "PRAGMA application_id = 1")

    assert "another program" in _refused(path, JournalError)


def test_something_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"these are no jobs, but somebody's notes\n" * 200)

    assert "--accept-empty-journal" in _refused(path, Damaged)


def test_a_directory_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()

    _refused(path, JournalError)


def test_a_journal_that_is_cut_is_refused(path: Path, tmp_path: Path) -> None:
    _filled(path)
    whole = path.read_bytes()
    cuts = [*range(4096, len(whole), 4096), 50, 99, 100, 511, 512, 4095, 5000]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        assert "--accept-empty-journal" in _refused(path, Damaged), cut


def test_a_job_that_does_not_match_its_checksum_is_refused(path: Path) -> None:
    for column, value in (
        ("request", "x'00'"),
        ("source", "x'00'"),
        ("digest", "x'00'"),
        ("owner", "'uid:0'"),
        ("checksum", "checksum + 1"),
        ("job", "'other'"),
    ):
        path.unlink(missing_ok=True)
        _filled(path, jobs=2)
        _changed(path, f"UPDATE jobs SET {column} = {value} WHERE job = 'job-1'")
        assert "checksum" in _refused(path, Damaged)


def _fixed(standing: Standing) -> tuple[object, ...]:
    """What must not change without being seen."""
    entry = standing.entry
    return (entry.job, entry.owner, entry.request, entry.source, entry.digest, standing.state)


def test_bytes_that_flip_are_found_or_did_not_matter(path: Path) -> None:
    """What is read is what was written, or it is refused; SQLite itself may say so, too."""
    _filled(path, jobs=40)
    whole = path.read_bytes()
    store = Store(path, "full")
    wanted = [_fixed(standing) for standing in store.recover()]
    store.close()
    choice, refused = random.Random(31), 0
    for _ in range(300):
        at = choice.randrange(100, len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << choice.randrange(8)]) + whole[at + 1 :])
        try:
            store = Store(path, "full")
        except Damaged:
            refused += 1
            continue
        try:
            assert [_fixed(standing) for standing in store.recover()] == wanted
            for number in range(0, 40, 2):
                (answer,) = store.apply([Read(f"job-{number}")])
                assert answer == Answer(b"header", b"T" * 900) or isinstance(answer, Fault)
        except Damaged:
            refused += 1
        finally:
            store.close()
    assert 20 < refused < 300


@pytest.mark.parametrize("column", ["owner", "state", "job"])
def test_text_that_is_no_text_any_more_is_damage(path: Path, column: str) -> None:
    _filled(path, jobs=2)
    _changed(path, f"UPDATE jobs SET {column} = CAST(x'ff' || substr({column}, 2) AS TEXT) WHERE job = 'job-0'")

    _refused(path, Damaged)


def test_a_state_that_does_not_exist_is_damage(path: Path) -> None:
    _filled(path, jobs=2)
    _changed(path, "UPDATE jobs SET state = 'complEted' WHERE job = 'job-0'")

    _refused(path, Damaged)


@pytest.mark.parametrize("pragma", ["user_version = 99", "application_id = 1"])
def test_a_refused_journal_keeps_its_log(path: Path, tmp_path: Path, pragma: str) -> None:
    """The log of a daemon that was killed holds what the file does not."""
    origin = tmp_path / "origin" / "journal.db"
    origin.parent.mkdir()
    db = sqlite3.connect(origin, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    for statement in (f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA {pragma}", "CREATE TABLE jobs (x)"):
        db.execute(statement)
    for suffix in ("", "-wal"):
        shutil.copy(f"{origin}{suffix}", f"{path}{suffix}")
    db.close()

    assert Path(f"{path}-wal").stat().st_size > 0
    _refused(path, JournalError)


_HOLDER = "import sys; from pathlib import Path; from asrd_supervisor.journal.store import Store\n" + (
    "store = Store(Path(sys.argv[1]), 'full'); print('open', flush=True); sys.stdin.read()"
)


def test_another_daemon_has_it(path: Path) -> None:
    _filled(path)
    command = [sys.executable, "-c", _HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == b"open\n"
        assert "another asrd daemon" in _refused(path, InUse)
        holder.kill()
    store = eventually(lambda: Store(path, "full"))
    assert len(store.recover()) == 200
    store.close()


_AS_NOBODY = "import os, sys; from pathlib import Path; from asrd_supervisor.journal import opening, store\n" + (
    "os.setgroups([]); os.setgid(1234); os.setuid(1234)\n"
    "try:\n    store.Store(Path(sys.argv[1]), 'full')\n"
    "except opening.JournalError as error:\n    print(type(error).__name__, error)"
)


@pytest.mark.skipif(not ROOT, reason="needs root, to leave it behind")
@pytest.mark.parametrize(("mode", "folder"), [(0o444, 0o755), (0o400, 0o777), (0o666, 0o555)])
def test_a_journal_that_may_not_be_written_is_refused(open_to_all: Path, mode: int, folder: int) -> None:
    path = open_to_all / "journal.db"
    _filled(path)
    path.chmod(mode)
    open_to_all.chmod(folder)
    before = _files(path)

    told = subprocess.run([sys.executable, "-c", _AS_NOBODY, str(path)], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("JournalError")
    assert str(path) in told.stdout
    assert _files(path) == before


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that every user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="asrd-open-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


# --- moved aside ------------------------------------------------------------------------------------------------------


def test_a_journal_that_is_moved_aside_is_kept_with_its_log(path: Path) -> None:
    path.write_bytes(b"bad")
    Path(f"{path}-wal").write_bytes(b"log")

    target = move_aside(path)
    assert target
    assert target.parent == path.parent
    assert target.name.startswith("damaged-")
    assert _files(target / "journal.db") == {"journal.db": b"bad", "journal.db-wal": b"log"}
    assert _files(path) == {}


def test_there_may_be_nothing_to_move_aside(path: Path) -> None:
    assert move_aside(path) is None


def test_two_that_are_moved_aside_are_both_kept(path: Path) -> None:
    for content in (b"first", b"second", b"third"):
        path.write_bytes(content)
        move_aside(path)

    assert sorted(kept.read_bytes() for kept in path.parent.glob("damaged-*/journal.db")) == [
        b"first",
        b"second",
        b"third",
    ]
