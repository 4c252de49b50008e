"""The memory of a worker: what it says of it, and that it gives back what it does not need."""

import ctypes
import gc
import itertools
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrd_protocol import link
from asrd_worker.memory import TIDY_EVERY, Tidy, rss_bytes
from support.bare_worker import BareWorker, working

MIB = 1 << 20
ONE: dict[str, Any] = {"do": "speak", "text": " one"}
HOARDING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_ARENA_MAX": "1"}
"""The heap keeps what is freed, as that of a worker does by default: allocating it anew costs time."""


class Ring:
    """Something that only a collection frees."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing is collected by chance."""
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[BareWorker]:
    """A worker whose heap keeps what is freed."""
    for name, value in HOARDING.items():
        monkeypatch.setenv(name, value)
    with working() as worker:
        yield worker


def _rss(worker: BareWorker, attempt: int, *script: dict[str, Any]) -> int:
    """What the worker says of its memory after a job."""
    done = worker.run(attempt, script=list(script))[-1].message
    assert isinstance(done, link.StepDone), done
    return done.rss


# --- how much it is ---------------------------------------------------------------------------------------------------


def test_it_is_what_the_kernel_says() -> None:
    status = Path("/proc/self/status").read_text()
    (known,) = (int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS"))

    assert abs(rss_bytes() - known) < 8 * MIB


def test_it_is_what_is_there_now_and_not_the_most_there_ever_was() -> None:
    before = rss_bytes()
    kept = b"x" * (200 * MIB)
    full = rss_bytes()
    del kept

    assert full - before > 190 * MIB
    assert full - rss_bytes() > 190 * MIB


def test_a_worker_says_it_when_it_is_ready_and_after_each_job_and_each_clip(worker: BareWorker) -> None:
    ready = worker.load()
    assert isinstance(ready, link.Ready)
    first, second = _rss(worker, 1, ONE), _rss(worker, 2, {"do": "leak", "mb": 30})
    proof = worker.canary(3)
    assert isinstance(proof, link.CanaryDone)

    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    assert abs(proof.rss - pages * os.sysconf("SC_PAGE_SIZE")) < 4 * MIB
    assert abs(first - ready.rss) < 8 * MIB
    assert 29 * MIB < second - first < 40 * MIB
    assert abs(proof.rss - second) < 4 * MIB


def test_memory_that_leaks_with_each_job_shows(worker: BareWorker) -> None:
    worker.ready(leak_mb_per_job=3)
    used = [_rss(worker, attempt) for attempt in range(1, 6)]

    grown = [after - before for before, after in itertools.pairwise(used)]
    assert all(2 * MIB < one < 6 * MIB for one in grown), grown


# --- tidying up -------------------------------------------------------------------------------------------------------


def test_garbage_is_collected_every_so_many_steps(no_collector: None) -> None:
    tidy = Tidy(every=3)
    for _ in range(2):
        left = weakref.ref(Ring())
        tidy.step_done()
        tidy.step_done()
        assert left() is not None
        tidy.step_done()
        assert left() is None


def test_what_is_there_when_the_model_is_loaded_is_not_looked_at_again(no_collector: None) -> None:
    gone, kept = weakref.ref(Ring()), Ring()
    Tidy().settle()

    assert gone() is None
    assert gc.get_freeze_count() > 1_000
    assert all(one is not kept for one in gc.get_objects())


def test_free_memory_goes_back_to_the_system() -> None:
    """In a process of its own, because the settings of its heap are read when it starts."""
    script = """
from asrd_worker.memory import Tidy, rss_bytes
low = [b"x" * (1 << 20) for _ in range(100)]
pin = b"y" * (1 << 20)
del low
before = rss_bytes()
Tidy(every=1).step_done()
print(before - rss_bytes())
"""
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, **HOARDING}, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80 * MIB


def test_a_c_library_that_cannot_trim_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    tidy = Tidy(every=1)

    tidy.settle()
    tidy.step_done()
    gc.unfreeze()


def test_a_worker_tidies_up_after_every_twentieth_step_when_its_answer_is_out(worker: BareWorker) -> None:
    assert TIDY_EVERY == 20
    worker.ready()
    large = {"do": "speak", "text": "x" * (30 * MIB)}
    fresh = _rss(worker, 1, ONE)
    used = {2: _rss(worker, 2, large)}
    assert used[2] - fresh > 20 * MIB, "freed, but not given back"
    for attempt in range(3, TIDY_EVERY + 2):
        used[attempt] = _rss(worker, attempt, ONE)

    assert min(used[attempt] for attempt in range(3, TIDY_EVERY + 1)) - fresh > 20 * MIB
    assert used[TIDY_EVERY + 1] - fresh < 20 * MIB


def test_steps_that_fail_count(worker: BareWorker) -> None:
    worker.ready()
    _rss(worker, 1, {"do": "speak", "text": "x" * (30 * MIB)})
    for attempt in range(2, TIDY_EVERY):
        worker.run(attempt, script=[{"do": "fail", "code": "engine_error"}])
    full = _rss(worker, TIDY_EVERY, ONE)

    assert full - _rss(worker, TIDY_EVERY + 1, ONE) > 20 * MIB
