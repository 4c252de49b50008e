"""Workers that cannot be started, for want of file descriptors."""

import asyncio
import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd_supervisor.core.events import WorkerExited
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.launcher import Launcher, LaunchSpec

SEAT = Seat("p", 0, 1)


def open_files() -> set[int]:
    """The descriptors of this process."""
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


@contextlib.contextmanager
def descriptors(free: int) -> Iterator[None]:
    """This process may open so many more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + 10, hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(2))
        for _ in range(free):
            os.close(taken.pop())
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def children() -> set[str]:
    """Processes of this one, dead ones that nobody has buried included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("free", range(8))
def test_a_worker_is_watched_or_is_not_there(free: int, tmp_path: Path) -> None:
    asyncio.run(start_one(free, tmp_path))


async def start_one(free: int, tmp_path: Path) -> None:
    """With so many descriptors free."""
    told: list[WorkerExited] = []
    spec = LaunchSpec(sys.executable, dict(os.environ))
    launcher = Launcher(asyncio.get_running_loop(), f"ipc://{tmp_path}/link", {"p": spec}, told.append)
    files, processes = open_files(), children()
    with descriptors(free):
        launcher.spawn(SEAT)
    running = launcher.pid(SEAT) is not None
    assert (len(children() - processes), len(told)) == ((1, 0) if running else (0, 1))
    assert running or ("Too many open files" in told[0].how and not told[0].hopeless)
    launcher.close()
    assert (children(), open_files()) == (processes, files)
