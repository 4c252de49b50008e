"""What /proc says of processes and of the host: of this very machine, and of kernels that say less."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd_supervisor.probes import proc
from asrd_supervisor.probes.pressure import some_avg10
from support.wait import eventually

MB = 1 << 20

HOLDER = """
import sys
held = bytearray(int(sys.argv[1]))
held[::4096] = b"x" * len(held[::4096])
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds 64 MiB."""
    command = [sys.executable, "-S", "-c", HOLDER, str(64 * MB)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.send_signal(signal.SIGCONT)


def _process(root: Path, pid: int, **files: str) -> Path:
    (root / str(pid)).mkdir()
    for name, text in files.items():
        (root / str(pid) / name).write_text(text)
    return root


def test_memory_of_a_process_in_bytes(child: subprocess.Popen[bytes]) -> None:
    rss, pss = proc.rss_bytes(child.pid), proc.pss_bytes(child.pid)

    assert rss and pss
    assert 64 * MB < pss <= rss < 128 * MB


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # from Python 3.12 on
def test_pages_that_two_share_count_half_for_each() -> None:
    """A fork has all pages in common with its parent."""
    held = bytearray(os.urandom(MB)) * 64
    alone = proc.pss_bytes(os.getpid())
    reader, writer = os.pipe()
    forked = os.fork()
    if not forked:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        together, rss = proc.pss_bytes(os.getpid()), proc.rss_bytes(os.getpid())
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(forked, 0)
    assert alone and together and rss
    assert len(held) / 3 < alone - together
    assert rss > together + len(held) / 3


def test_a_process_that_is_gone() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    assert (proc.rss_bytes(gone.pid), proc.pss_bytes(gone.pid), proc.stopped(gone.pid)) == (None, None, None)


def test_a_process_that_nobody_has_reaped_has_no_memory() -> None:
    with subprocess.Popen(["true"]) as zombie:
        assert eventually(lambda: proc.pss_bytes(zombie.pid) is None)
        assert eventually(lambda: proc.rss_bytes(zombie.pid) is None)
        assert proc.stopped(zombie.pid) is False


def test_stopped_by_a_signal_and_going_on(child: subprocess.Popen[bytes]) -> None:
    assert proc.stopped(child.pid) is False
    child.send_signal(signal.SIGSTOP)
    assert eventually(lambda: proc.stopped(child.pid))
    child.send_signal(signal.SIGCONT)
    assert eventually(lambda: proc.stopped(child.pid) is False)


@pytest.mark.parametrize("name", ["python", "a) T (b", ") T 1", "T", "((", "two\nlines) T"])
@pytest.mark.parametrize(
    ("state", "stopped"), [("R", False), ("S", False), ("D", False), ("Z", False), ("T", True), ("t", False)]
)
def test_the_state_is_behind_the_name(tmp_path: Path, name: str, state: str, stopped: bool) -> None:
    """A name may hold brackets, blanks and newlines; a process can choose it."""
    root = _process(tmp_path, 11, stat=f"11 ({name}) {state} 1 11 11 0 -1 4194304\n")

    assert proc.stopped(11, root) is stopped


@pytest.mark.parametrize("text", ["", "11 (name", "11 (name)"])
def test_a_state_that_was_cut_off(tmp_path: Path, text: str) -> None:
    assert proc.stopped(11, _process(tmp_path, 11, stat=text)) in (None, False)


def test_a_kernel_without_a_sum_of_shares(tmp_path: Path) -> None:
    root = _process(tmp_path, 11, smaps_rollup="00400000-7fff [rollup]\nRss:  12 kB\nPss_Dirty:   3 kB\n")

    assert proc.pss_bytes(11, root) is None


def test_kilobytes_have_1024_bytes(tmp_path: Path) -> None:
    root = _process(tmp_path, 11, smaps_rollup="00400000-7fff [rollup]\nRss:  99 kB\nPss:  12 kB\n")
    (tmp_path / "meminfo").write_text("MemFree:  8 kB\nMemAvailable:  10 kB\n")

    assert (proc.pss_bytes(11, root), proc.available_bytes(tmp_path / "meminfo")) == (12288, 10240)


def test_what_the_host_has_left() -> None:
    available = proc.available_bytes()

    assert available
    assert 16 * MB < available <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_host_that_does_not_say_what_it_has_left(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  16 kB\nMemFree:  8 kB\n")

    assert proc.available_bytes(tmp_path / "meminfo") is None
    assert proc.available_bytes(tmp_path / "nothing") is None


def test_pressure(tmp_path: Path) -> None:
    """Of the two lines and four figures that one is meant."""
    (tmp_path / "cpu").write_text(
        "some avg10=12.34 avg60=56.78 avg300=9.00 total=4711\nfull avg10=1.00 avg60=2.00 avg300=3.00 total=42\n"
    )

    assert some_avg10("cpu", tmp_path) == 12.34


def test_a_kernel_that_does_not_tell_pressure(tmp_path: Path) -> None:
    """There is no such file with ``ProcSubset=pid``; with ``psi=0`` there is one that cannot be read."""
    (tmp_path / "cpu").mkdir()
    (tmp_path / "io").write_text("full avg10=1.00 avg60=2.00 avg300=3.00 total=42\n")

    assert [some_avg10(resource, tmp_path) for resource in ("cpu", "memory", "io")] == [None, None, None]


@pytest.mark.skipif(not Path("/proc/pressure/cpu").exists(), reason="this kernel does not tell pressure")
def test_pressure_of_this_host() -> None:
    told = some_avg10("cpu"), some_avg10("memory")

    assert all(percent is None or 0 <= percent <= 100 for percent in told)
