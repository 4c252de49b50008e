"""The sampler on a real loop with real processes: what it posts, and that nothing it waits for holds up the loop."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from structlog.testing import capture_logs

from asrd_supervisor.core.events import HostSampled, WorkerSample
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.probes.errand import Errand, Late
from asrd_supervisor.probes.gpus import Gpus
from asrd_supervisor.probes.nvml import Reading
from asrd_supervisor.probes.sampler import Host, Sampler, Workers
from support.turning import Turning
from support.wait import eventually

SEAT = Seat("default", 0, 1)
SOON = 0.01


@pytest.fixture
def turning() -> Iterator[Turning]:
    turning = Turning()
    yield turning
    turning.close()


class Gate:
    """A call that hangs until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.calls: list[object] = []

    def __call__(self, argument: object) -> HostSampled:
        """Hang."""
        self.calls.append(argument)
        self.open.wait(60)
        return HostSampled()


Start = Callable[..., list[HostSampled]]


@pytest.fixture
def sampling(turning: Turning) -> Iterator[Start]:
    """Starts a sampler; what it has posted grows in the list."""
    started: list[Sampler] = []

    def _start(workers: Workers, **arguments: object) -> list[HostSampled]:
        posted: list[HostSampled] = []
        sampler = Sampler(turning.loop, lambda: workers, posted.append, **{"interval": SOON, **arguments})
        sampler.start()
        started.append(sampler)
        return posted

    yield _start
    for sampler in started:
        sampler.close()


def test_a_sample_of_this_process_and_this_host(turning: Turning, sampling: Start) -> None:
    posted = sampling({SEAT: (os.getpid(), "cpu")})
    first = turning.until(lambda: posted)[0]

    (worker,) = first.workers
    assert worker.seat == SEAT
    assert worker.rss and worker.pss and 1e6 < worker.pss <= worker.rss * 1.1 < 1e10
    assert (worker.vram, worker.stopped) == (None, False)
    assert first.free["cpu"] > 1e6
    assert (first.throttled, first.slept) == (frozenset(), False)
    assert first.cpu_pressure is None or 0 <= first.cpu_pressure <= 100


def test_again_and_again(turning: Turning, sampling: Start) -> None:
    """Whoever works then: the workers are asked for on the loop each time."""
    workers: dict[Seat, tuple[int, str]] = {}
    posted = sampling(workers)
    turning.until(lambda: posted)
    workers[SEAT] = (os.getpid(), "cpu")

    turning.until(lambda: len(posted) > 5)
    assert posted[0].workers == ()
    assert [worker.seat for worker in posted[-1].workers] == [SEAT]


def test_a_stopped_worker_and_one_that_is_gone(turning: Turning, sampling: Start) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as held:
        held.send_signal(signal.SIGSTOP)
        posted = sampling({SEAT: (held.pid, "cpu"), Seat("default", 1, 1): (gone.pid, "cpu")})
        turning.until(lambda: posted and posted[-1].workers[0].stopped)
        held.send_signal(signal.SIGCONT)
        turning.until(lambda: not posted[-1].workers[0].stopped)

    assert posted[0].workers[1] == WorkerSample(Seat("default", 1, 1))


def test_nothing_piles_up_behind_a_probe_that_hangs(turning: Turning) -> None:
    """The loop turns on, and asks nobody who works before the last answer is there."""
    gate = Gate()
    asked: list[None] = []
    posted: list[HostSampled] = []

    def _workers() -> Workers:
        asked.append(None)
        return {}

    sampler = Sampler(turning.loop, _workers, posted.append, SOON, sample=gate)
    sampler.start()
    turns = 0
    until = time.monotonic() + 20 * SOON
    while time.monotonic() < until:
        turning.turn()
        turns += 1
    assert (len(asked), len(gate.calls), posted) == (1, 1, [])
    assert turns > 20

    gate.open.set()
    turning.until(lambda: len(posted) > 1)
    sampler.close()


def test_what_comes_after_the_end_is_dropped(turning: Turning) -> None:
    gate = Gate()
    posted: list[HostSampled] = []
    sampler = Sampler(turning.loop, dict, posted.append, SOON, sample=gate)
    sampler.start()
    turning.until(lambda: gate.calls)

    sampler.close()
    gate.open.set()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "sampler"])
    for _ in range(10):
        turning.turn()
    assert (len(gate.calls), posted) == (1, [])


def test_a_loop_that_is_closed_is_no_defect() -> None:
    """The daemon leaves while the thread still counts pages; pytest turns what a thread raises into an error."""
    turning, gate = Turning(), Gate()
    sampler = Sampler(turning.loop, dict, lambda _event: None, SOON, sample=gate)
    sampler.start()
    turning.until(lambda: gate.calls)
    sampler.close()
    turning.close()

    gate.open.set()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "sampler"])


def test_a_defect_of_a_probe_is_said_once_and_sampling_goes_on(turning: Turning, sampling: Start) -> None:
    broken = True
    asked = 0

    def _sample(_workers: Workers) -> HostSampled:
        nonlocal asked
        asked += 1
        if broken:
            raise ValueError("what the kernel says makes no sense")
        return HostSampled()

    with capture_logs() as said:
        posted = sampling({}, sample=_sample)
        turning.until(lambda: asked > 4)
        broken = False
        turning.until(lambda: posted)
    assert [entry["event"] for entry in said] == ["defect in a probe of the host"]


@pytest.mark.parametrize(("jump", "slept"), [(0.0, False), (0.9, False), (1.1, True), (3600.0, True)])
def test_a_host_that_was_suspended(jump: float, slept: bool) -> None:
    """Once for each time."""
    suspended = [100.0]
    host = Host(lambda: suspended[0])
    assert not host.sample({}).slept

    suspended[0] += jump
    assert [host.sample({}).slept for _ in range(3)] == [slept, False, False]


def test_figures_of_gpus_are_those_of_their_workers() -> None:
    asked: list[Mapping[int, str]] = []

    def _read(workers: Mapping[int, str]) -> Reading:
        asked.append(workers)
        return Reading({11: 5, 12: 0}, {"cuda:0": 7}, frozenset({"cuda:0"}))

    seats = [Seat("default", slot, 1) for slot in range(4)]
    pids = {11: "cuda:0", 12: "cuda:0", 13: "cuda:1", 14: "cpu"}
    sampled = Host(gpus=Gpus(10, _read)).sample(dict(zip(seats, pids.items(), strict=True)))

    assert asked == [{11: "cuda:0", 12: "cuda:0", 13: "cuda:1"}]
    assert [worker.vram for worker in sampled.workers] == [5, 0, None, None]
    assert sampled.free["cuda:0"] == 7 and sampled.free["cpu"] > 0
    assert sampled.throttled == {"cuda:0"}


def test_a_driver_that_hangs_costs_the_figures_of_gpus_only(turning: Turning, sampling: Start) -> None:
    driver = Gate()
    gpus = Gpus(SOON, lambda workers: driver(workers) and Reading())
    with capture_logs() as said:
        posted = sampling({SEAT: (os.getpid(), "cuda:0")}, sample=Host(gpus=gpus).sample)
        turning.until(lambda: len(posted) > 8)
        driver.open.set()
        turning.until(lambda: len(said) > 1)

    assert all(sample.workers[0].rss and not sample.workers[0].vram for sample in posted)
    assert len(driver.calls) < len(posted)
    assert [entry["event"] for entry in said] == ["a figure is unknown", "a figure is known again"]


def test_a_defect_in_pynvml_costs_the_figures_of_gpus_only() -> None:
    def _read(_workers: Mapping[int, str]) -> Reading:
        raise AttributeError("no such function")

    host = Host(gpus=Gpus(10, _read))
    with capture_logs() as said:
        sampled = [host.sample({SEAT: (os.getpid(), "cuda:0")}) for _ in range(3)]

    assert all(sample.workers[0].rss and sample.free["cpu"] for sample in sampled)
    assert [entry["reason"] for entry in said] == ["AttributeError: no such function"]


def test_an_errand_brings_what_was_asked_for_and_nothing_older() -> None:
    gates = {name: threading.Event() for name in "abc"}

    def _call(name: str) -> str:
        gates[name].wait(60)
        return name.upper()

    errand = Errand(_call, "errand")
    for _ in range(3):
        with pytest.raises(Late):
            errand.send("a", SOON)
    gates["c"].set()
    gates["a"].set()
    answer = eventually(lambda: _answer(errand, "c"))
    assert answer == "C"


def _answer(errand: Errand[str, str], argument: str) -> str | None:
    try:
        return errand.send(argument, 10)
    except Late:
        return None


def test_an_errand_that_fails_can_be_run_again() -> None:
    errand = Errand(lambda number: 1 // number, "errand")

    with pytest.raises(ZeroDivisionError):
        errand.send(0, 10)
    assert errand.send(1, 10) == 1
