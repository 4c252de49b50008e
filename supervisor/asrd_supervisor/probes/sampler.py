"""What the host says of itself and of the workers, every few seconds, asked on a thread of its own.

    loop:    timer ──> who works where ──> queue                       post(HostSampled)
                                             │                              ▲
    thread:                                  └──> /proc, pressure, GPUs ────┘ call_soon_threadsafe

The pages of a large process take the kernel a while to count, and a driver may hang. So the loop never waits for the
thread, and a sample that is still in work when the next one is due takes its place.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from asrd_supervisor.core.events import HostSampled, WorkerSample
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.probes.gpus import Gpus
from asrd_supervisor.probes.pressure import some_avg10
from asrd_supervisor.probes.proc import available_bytes, memory_left, pss_bytes, rss_bytes, stopped

_log = structlog.get_logger("asrd")

INTERVAL_S = 5.0

NAP_S = 1.0
"""Seconds of suspension from which on the host has slept."""

PSS_EVERY = 6
"""Samples from one look at the shared memory to the next: it costs the kernel 20 ms for each GiB."""

Workers = Mapping[Seat, tuple[int, str]]
"""The process id of each worker, and its device: ``cpu``, or a GPU as ``device_name`` calls it."""


def suspended_s() -> float:
    """Seconds that this host has been suspended since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Host:
    """Takes samples; remembers from one to the next what has to be compared."""

    def __init__(self, suspended: Callable[[], float] = suspended_s, gpus: Gpus | None = None) -> None:
        self._suspended = suspended
        self._gpus = gpus or Gpus()
        self._slept = suspended()
        self._count = 0
        self._pss: dict[int, int | None] = {}

    def sample(self, workers: Workers) -> HostSampled:
        """Ask the kernel and the driver; takes its time."""
        available = available_bytes()
        gpus = self._gpus.read(dict(workers.values()))
        if self._count % PSS_EVERY == 0:
            self._pss = {pid: pss_bytes(pid) for pid, _ in workers.values()}
        self._count += 1
        return HostSampled(
            cpu_pressure=some_avg10("cpu"),
            memory_pressure=some_avg10("memory"),
            memory_left=memory_left(),
            slept=self._has_slept(),
            throttled=gpus.throttled,
            free=gpus.free if available is None else {"cpu": available, **gpus.free},
            workers=tuple(self._worker(seat, pid, gpus.vram.get(pid)) for seat, (pid, _) in workers.items()),
        )

    def _has_slept(self) -> bool:
        before, self._slept = self._slept, self._suspended()
        return self._slept - before > NAP_S

    def _worker(self, seat: Seat, pid: int, vram: int | None) -> WorkerSample:
        return WorkerSample(seat, rss_bytes(pid), self._pss.get(pid), vram, bool(stopped(pid)))


class Sampler:
    """Posts a ``HostSampled`` at the start and then every ``interval`` seconds; belongs to the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        workers: Callable[[], Workers],
        post: Callable[[HostSampled], None],
        interval: float = INTERVAL_S,
        sample: Callable[[Workers], HostSampled] | None = None,
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._post = post
        self._interval = interval
        self._sample = sample or Host().sample
        self._orders: queue.SimpleQueue[Workers | None] = queue.SimpleQueue()
        self._in_work = False
        self._defective = False
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Sample from now on."""
        self._thread.start()
        self._tick()

    def close(self) -> None:
        """Post nothing more. Does not wait for the thread, which may hang."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        self._orders.put(None)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._tick)
        if not self._in_work:
            self._in_work = True
            self._orders.put(dict(self._workers()))

    def _done(self, sampled: HostSampled | Exception) -> None:
        self._in_work = False
        if isinstance(sampled, Exception):
            if not self._defective:
                _log.error("defect in a probe of the host", exc_info=sampled)
            self._defective = True
        elif self._timer:
            self._defective = False
            self._post(sampled)

    def _run(self) -> None:
        while (workers := self._orders.get()) is not None:
            sampled: HostSampled | Exception
            try:
                sampled = self._sample(workers)
            except Exception as error:
                sampled = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._done, sampled)
