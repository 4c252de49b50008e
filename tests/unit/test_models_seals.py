"""What is remembered of files that were hashed: used while a file is untouched, and only then."""

import json
import os
from pathlib import Path

import pytest

from asrd_worker.models.seals import Seals
from support.models import settle, sha256, write_model

CONTENT = b"weights"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with one file that seems to have been there for long."""
    return write_model(tmp_path / "model", {"model.bin": CONTENT})


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "verified"


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that was written until now was written a minute ago."""
    import time

    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 60)


def learned(directory: Path, memory: Path) -> Path:
    """Hash the file, keep it, and return it."""
    path = directory / "model.bin"
    seals = Seals(directory, memory)
    seals.digest(path)
    seals.save()
    return path


def page(memory: Path) -> Path:
    (found,) = memory.iterdir()
    return found


@pytest.mark.usefixtures("old")
def test_the_next_one_knows_it(directory: Path, memory: Path) -> None:
    path = learned(directory, memory)

    known = Seals(directory, memory).recall(path)

    assert known is not None
    assert (known.size, known.sha256) == (len(CONTENT), sha256(CONTENT))


@pytest.mark.usefixtures("old")
def test_what_is_remembered_is_not_read_again(directory: Path, memory: Path) -> None:
    path = learned(directory, memory)
    forged = json.loads(page(memory).read_text())
    forged["seals"][str(path)][1] = "f" * 64
    page(memory).write_text(json.dumps(forged))

    assert Seals(directory, memory).digest(path).sha256 == "f" * 64


@pytest.mark.usefixtures("old")
def test_a_change_of_content_with_size_and_times_put_back_is_seen(directory: Path, memory: Path) -> None:
    path = learned(directory, memory)
    stat = path.stat()
    path.write_bytes(b"weighty")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert Seals(directory, memory).recall(path) is None
    assert Seals(directory, memory).digest(path).sha256 == sha256(b"weighty")


@pytest.mark.usefixtures("old")
def test_another_file_under_the_name_is_another_file(directory: Path, memory: Path) -> None:
    path = learned(directory, memory)
    other = write_model(directory.parent / "other", {"model.bin": b"w3ights"}) / "model.bin"
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)

    assert Seals(directory, memory).recall(path) is None


def test_what_was_changed_a_moment_ago_is_not_remembered(directory: Path, memory: Path) -> None:
    path = learned(directory, memory)

    assert not memory.exists()
    settle(directory)  # a time of content in the past does not help: the inode was changed now
    assert Seals(directory, memory).digest(path).sha256 == sha256(CONTENT)
    learned(directory, memory)
    assert not memory.exists()


@pytest.mark.usefixtures("old")
def test_what_is_left_of_an_earlier_start_of_the_host_is_forgotten(directory: Path, memory: Path) -> None:
    path = learned(directory, memory)
    page(memory).write_text(page(memory).read_text().replace('"boot":"', '"boot":"x'))

    assert Seals(directory, memory).recall(path) is None


@pytest.mark.usefixtures("old")
def test_what_others_could_have_written_is_not_believed(directory: Path, memory: Path) -> None:
    path = learned(directory, memory)
    assert page(memory).stat().st_mode & 0o777 == 0o600
    assert memory.stat().st_mode & 0o777 == 0o700
    page(memory).chmod(0o622)

    assert Seals(directory, memory).recall(path) is None


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"boot": 1}', b'{"boot": "x", "seals": {"a": [1]}}'])
def test_a_damaged_memory_is_no_memory(directory: Path, memory: Path, content: bytes) -> None:
    path = learned(directory, memory)
    page(memory).write_bytes(content)

    assert Seals(directory, memory).recall(path) is None
    assert Seals(directory, memory).digest(path).sha256 == sha256(CONTENT)


@pytest.mark.usefixtures("old")
def test_where_nothing_can_be_kept_everything_is_hashed(directory: Path, memory: Path) -> None:
    memory.write_text("a file where the directory should be")
    path = learned(directory, memory)

    assert Seals(directory, memory).recall(path) is None
    assert Seals(directory, None).digest(path).sha256 == sha256(CONTENT)


def test_a_file_that_is_gone_is_an_error_of_the_system(directory: Path, memory: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Seals(directory, memory).digest(directory / "no such file")
