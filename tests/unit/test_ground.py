"""The runtime directory: one daemon in it at a time, and nothing in it afterwards."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd_protocol.addresses import Addresses
from asrd_supervisor import ground as module
from asrd_supervisor.ground import Ground, GroundError, Taken, leads_to

SOCKETS = ("jobs.sock", "control.sock", "events.sock", "workers/link.sock")


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    """Those of a directory that does not exist yet."""
    return Addresses(tmp_path / "deep" / "run")


@pytest.fixture
def ground(addresses: Addresses) -> Iterator[Ground]:
    taken = Ground(addresses)
    yield taken
    taken.leave()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _bind(path: Path) -> None:
    """Leave a socket behind, as a killed daemon does."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()


# --- a daemon comes and goes ------------------------------------------------------------------------------------------


def test_the_directory_is_made_for_us_and_the_workers_part_for_us_alone(ground: Ground, addresses: Addresses) -> None:
    assert ground.made
    assert _mode(addresses.directory) & 0o007 == 0
    assert _mode(addresses.directory / "workers") == 0o700


def test_the_lock_says_who_holds_it(ground: Ground, addresses: Addresses) -> None:
    assert addresses.lock.read_text() == f"{os.getpid()}\n"
    assert leads_to(addresses.lock, ground.lock_fd)
    assert not os.get_inheritable(ground.lock_fd)


def test_nothing_is_left(addresses: Addresses) -> None:
    ground = Ground(addresses)
    for name in SOCKETS:
        _bind(addresses.directory / name)

    ground.leave()
    assert not addresses.directory.exists()
    assert addresses.directory.parent.exists()


def test_what_is_not_ours_stays(addresses: Addresses) -> None:
    ground = Ground(addresses)
    other = addresses.directory / "somebody's"
    other.write_text("x")

    ground.leave()
    assert list(addresses.directory.iterdir()) == [other]


def test_a_directory_that_was_there_before_stays(addresses: Addresses) -> None:
    addresses.directory.mkdir(parents=True)
    ground = Ground(addresses)

    assert not ground.made
    ground.leave()
    assert list(addresses.directory.iterdir()) == []


def test_what_a_killed_daemon_left_is_swept(addresses: Addresses) -> None:
    workers = addresses.directory / "workers"
    workers.mkdir(parents=True, mode=0o777)
    for name in SOCKETS:
        _bind(addresses.directory / name)
    addresses.lock.write_text("1234567890 and something\n")

    ground = Ground(addresses)
    assert sorted(path.name for path in addresses.directory.iterdir()) == ["asrd.lock", "workers"]
    assert list(workers.iterdir()) == []
    assert _mode(workers) == 0o700
    assert addresses.lock.read_text() == f"{os.getpid()}\n"
    ground.leave()


def test_it_can_be_taken_again(addresses: Addresses) -> None:
    for _ in range(3):
        Ground(addresses).leave()


# --- two at once ------------------------------------------------------------------------------------------------------


def test_the_second_one_is_told_of_the_first(ground: Ground, addresses: Addresses) -> None:
    _bind(addresses.directory / "jobs.sock")

    with pytest.raises(Taken, match=rf"\(process {os.getpid()}\) serves .*/run; stop it with `asrd stop`, or use"):
        Ground(addresses)
    assert (addresses.directory / "jobs.sock").exists(), "the first one's sockets are left alone"
    assert addresses.lock.read_text() == f"{os.getpid()}\n"


def test_a_file_that_was_unlinked_while_we_locked_it_is_no_lock(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last holder unlinks its file and the next one makes another, between our open and our lock."""
    real, times = fcntl.flock, iter(range(3))

    def _late(fd: int, how: int) -> None:
        if next(times, None) is not None:
            addresses.lock.unlink()
            addresses.lock.write_text("")
        real(fd, how)

    monkeypatch.setattr(module.fcntl, "flock", _late)
    ground = Ground(addresses)
    assert leads_to(addresses.lock, ground.lock_fd)
    with pytest.raises(Taken):
        Ground(addresses)
    ground.leave()


def test_a_directory_that_the_last_daemon_takes_away_under_our_feet_is_made_again(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = module._check_owner, iter(range(3))

    def _taken_away(directory: Path) -> None:
        real(directory)
        if next(times, None) is not None:
            directory.rmdir()

    monkeypatch.setattr(module, "_check_owner", _taken_away)
    ground = Ground(addresses)
    assert ground.made
    assert leads_to(addresses.lock, ground.lock_fd)
    ground.leave()
    assert not addresses.directory.exists()


def test_many_come_and_go_and_none_ever_meets_another(addresses: Addresses) -> None:
    inside: list[int] = []
    wrong: list[object] = []
    turns = [0] * 4

    def _live(me: int) -> None:
        while turns[me] < 60 and not wrong:
            try:
                ground = Ground(addresses)
            except Taken:
                continue
            except Exception as error:
                wrong.append(error)
                return
            inside.append(me)
            if len(inside) > 1 or not leads_to(addresses.lock, ground.lock_fd):
                wrong.append(list(inside))
            inside.remove(me)
            ground.leave()
            turns[me] += 1

    threads = [threading.Thread(target=_live, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert turns == [60] * 4


# --- where no daemon can be -------------------------------------------------------------------------------------------


def test_somebody_elses_directory(addresses: Addresses) -> None:
    addresses.directory.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(addresses.directory, 12_345, -1)
        foreign, owner = addresses, 12_345
    else:
        foreign, owner = Addresses(Path("/usr")), 0

    with pytest.raises(GroundError, match=f"{foreign.directory} belongs to user {owner}, not to us"):
        Ground(foreign)
    assert not foreign.lock.exists()


def test_a_directory_that_everybody_may_write_to(addresses: Addresses) -> None:
    addresses.directory.mkdir(parents=True)
    addresses.directory.chmod(0o1777)

    with pytest.raises(GroundError, match="everybody may write to the runtime directory"):
        Ground(addresses)
    assert list(addresses.directory.iterdir()) == []


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("/proc/asrd", "cannot use the runtime directory /proc/asrd: No such file or directory"),
        ("/dev/null", "cannot use the runtime directory /dev/null: File exists"),
        ("/dev/null/run", "cannot use the runtime directory /dev/null/run: Not a directory"),
        (f"/tmp/{'x' * 100}", "a unix socket takes 107; choose a shorter runtime directory with --runtime-dir"),
        ("/tmp/asrd-\udcff", r"the name of the runtime directory '/tmp/asrd-\udcff' is no UTF-8; choose another one"),
    ],
)
def test_a_place_where_no_directory_can_be(directory: str, said: str) -> None:
    with pytest.raises(GroundError) as caught:
        Ground(Addresses(Path(directory)))

    assert said in str(caught.value)
    assert not isinstance(caught.value, Taken)


def test_a_workers_part_that_is_a_file(addresses: Addresses) -> None:
    addresses.directory.mkdir(parents=True)
    (addresses.directory / "workers").write_text("")

    with pytest.raises(GroundError, match="File exists"):
        Ground(addresses)


@pytest.mark.parametrize(("soft", "hard"), [(100, 2_000), (100, 100)])
def test_as_many_files_as_the_host_lets_us_have(soft: int, hard: int) -> None:
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from asrd_supervisor.ground import allow_connections
print(allow_connections(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(hard)] * 3


def test_few_files_are_worth_a_warning(tmp_path: Path) -> None:
    serve = f"{sys.executable} -P -m asrd_supervisor serve --engine scripted --workers 1 --runtime-dir {tmp_path}/run"
    daemon = subprocess.Popen(
        ["sh", "-c", f"ulimit -n 512; exec {serve}"], stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        assert daemon.stderr
        assert any("few open files are allowed" in line for line in daemon.stderr)
    finally:
        daemon.terminate()
        daemon.communicate(timeout=20)
