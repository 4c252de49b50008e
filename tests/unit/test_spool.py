"""The spool: audio in files that are whole or not there."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from asrd_supervisor.sources import NO_ROOM, Identity, Named, Spooled, decode, encode
from asrd_supervisor.spool import Spool, digest_of


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the files are."""
    return tmp_path / "spool"


@pytest.fixture(params=[True, False], ids=["synced", "not synced"])
def spool(directory: Path, request: pytest.FixtureRequest) -> Iterator[Spool]:
    """An empty spool."""
    spool = Spool(directory, sync=request.param)
    yield spool
    spool.close()


def _read(spool: Spool, source: Spooled) -> bytes:
    with os.fdopen(spool.open(source), "rb") as file:
        return file.read()


@pytest.mark.parametrize("size", [1, 4096, 3_000_001])
def test_audio_is_there_until_it_is_dropped(spool: Spool, directory: Path, size: int) -> None:
    audio = os.urandom(size)
    source = spool.store("a", audio)
    assert (source.size, _read(spool, source)) == (size, audio)
    spool.drop(source)
    with pytest.raises(FileNotFoundError):
        spool.open(source)
    assert list(directory.iterdir()) == []
    spool.drop(source)


def test_a_frame_of_a_socket_is_audio(spool: Spool) -> None:
    assert _read(spool, spool.store("a", zmq.Frame(b"12345"))) == b"12345"


def test_only_the_daemon_can_read_it(spool: Spool, directory: Path) -> None:
    source = spool.store("a", b"audio")

    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / source.name).stat().st_mode & 0o777 == 0o600


def test_a_descriptor_is_for_reading_and_stays_here(spool: Spool) -> None:
    fd = spool.open(spool.store("a", b"audio"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_job_that_comes_again_has_a_file_of_its_own(spool: Spool) -> None:
    first, second = spool.store("a", b"first"), spool.store("a", b"second")
    assert (_read(spool, first), _read(spool, second)) == (b"first", b"second")
    spool.drop(first)
    assert _read(spool, second) == b"second"


@pytest.mark.parametrize("job", ["a" * 64, ".", "..", "-rf", "a.part", ".part"])
def test_every_job_id_makes_a_file_in_the_directory(spool: Spool, directory: Path, job: str) -> None:
    source = spool.store(job, b"audio")

    assert [path.name for path in directory.iterdir()] == [source.name]
    assert source.name.startswith(f"{job}-")


def test_a_link_in_the_spool_is_not_followed(spool: Spool, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (directory / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link") as caught:
        spool.open(Spooled("link", 6))
    assert caught.value.errno == errno.ELOOP


def test_after_a_restart_only_what_is_known_stays(directory: Path) -> None:
    first = Spool(directory, sync=False)
    known, ended = first.store("known", b"1"), first.store("ended", b"2")
    (directory / "never-0123.part").write_bytes(b"half")
    first.close()

    second = Spool(directory, sync=False)
    assert second.sweep([known.name, "gone-4567"]) == 2
    assert [path.name for path in directory.iterdir()] == [known.name]
    with pytest.raises(FileNotFoundError):
        second.open(ended)
    second.close()


def test_a_directory_in_the_spool_is_left_alone(spool: Spool, directory: Path) -> None:
    """As on a disk of its own, which has ``lost+found``."""
    (directory / "lost+found").mkdir()
    spool.sweep([])


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file of this process may have more than 100,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_nothing_is_left_of_audio_that_could_not_be_written(spool: Spool, directory: Path, short_files: None) -> None:
    """The first part of it is written before the disk refuses the rest."""
    with pytest.raises(OSError, match="File too large"):
        spool.store("a", bytes(1_000_000))
    assert list(directory.iterdir()) == []
    assert _read(spool, spool.store("a", b"small")) == b"small"


def test_a_spool_that_is_gone_is_an_error_and_no_silent_loss(spool: Spool, directory: Path) -> None:
    directory.rmdir()
    with pytest.raises(FileNotFoundError):
        spool.store("a", b"audio")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_gives_the_descriptor_back(directory: Path) -> None:
    before = _descriptors()
    spool = Spool(directory, sync=True)
    for number in range(20):
        spool.drop(spool.store(f"job-{number}", b"audio"))
    assert _descriptors() == before + 1
    spool.close()
    assert _descriptors() == before


def test_the_digest_tells_requests_and_audio_apart() -> None:
    digests = [digest_of(b"request", b"audio"), digest_of(b"request", b"audiO"), digest_of(b"Request", b"audio")]

    assert len(set(digests)) == 3
    assert digest_of(b"request", zmq.Frame(b"audio")) == digests[0]
    assert {len(digest) for digest in digests} == {32}


def test_where_audio_is_can_be_written_and_read_back() -> None:
    named = Named("/a/b.wav", Identity(1, 2, 3, 1_700_000_000_123_456_789))
    for source in (Spooled("a-0123", 5), named):
        assert decode(encode(source)) == source
    assert named.size == 3
    assert {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE} == set(NO_ROOM)
