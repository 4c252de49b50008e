"""What the driver says of GPUs, through NVML: the memory of each worker, what is free, and who is throttled.

The driver counts processes by the ids of the host, so in a container that has ids of its own it may list none of the
workers, or nobody at all. A figure that cannot be had is unknown, never 0.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeVar

import msgspec

from asrd_supervisor.probes.binding import Binding, Handle, Process, load
from asrd_supervisor.probes.doubts import Doubts

T = TypeVar("T")

# The bits of the clocks' event reasons that mean: slower than it could be, by heat or for want of power. They are the
# same in all drivers; only their names have changed.
_SW_POWER_CAP = 0x04
_HW_SLOWDOWN = 0x08
_SW_THERMAL_SLOWDOWN = 0x20
_HW_THERMAL_SLOWDOWN = 0x40
_HW_POWER_BRAKE_SLOWDOWN = 0x80
THROTTLED = _SW_POWER_CAP | _HW_SLOWDOWN | _SW_THERMAL_SLOWDOWN | _HW_THERMAL_SLOWDOWN | _HW_POWER_BRAKE_SLOWDOWN
"""Any of them."""

RETRY_S = 60.0
"""Seconds between two attempts to open a library that was not there, or whose GPU was lost."""

PATIENCE = 24
"""Reads for which a worker may be without a CUDA context, or two on one GPU, before anything is said: loading and
replacing take their time."""

_WORKERS = "memory of each worker"
_FREE = "free memory"
_CLOCKS = "throttling"
_ALL = "all"


class Reading(msgspec.Struct, frozen=True):
    """What is known now; what is missing is unknown."""

    vram: dict[int, int] = {}
    """Bytes of GPU memory, by process id."""
    free: dict[str, int] = {}
    """Bytes, by device."""
    throttled: frozenset[str] = frozenset()
    """Devices."""


class Nvml:
    """The library, opened when it is first asked. Any call may hang in the driver. To be used from one thread."""

    def __init__(
        self,
        retry_s: float = RETRY_S,
        patience: int = PATIENCE,
        binding: Callable[[], Binding] = load,
        always: Collection[str] = (),
    ) -> None:
        """``always``: devices that are asked about even when no process is there."""
        self._always = frozenset(always)
        self._retry_s = retry_s
        self._patience = patience
        self._load = binding
        self._library: Binding | None = None
        self._handles: dict[str, Handle] = {}
        self._stale = False
        """A GPU was lost: it can come back only to a library that is opened again."""
        self._next_opening = 0.0
        self._doubts = Doubts()

    def read(self, workers: Mapping[int, str]) -> Reading:
        """Ask for the devices (as ``device_name`` calls them) of these processes, by process id."""
        library = self._opened()
        if library is None:
            return Reading()
        vram: dict[int, int] = {}
        free: dict[str, int] = {}
        throttled = set()
        for device in sorted(self._always.union(workers.values())):
            ours = {pid for pid, where in workers.items() if where == device}
            try:
                gpu = _Gpu(library, self._doubts, device, self._handle(library, device), self._patience)
                vram |= gpu.vram(ours) if ours else {}
                free |= gpu.free()
                throttled |= gpu.throttled()
            except (library.NVMLError, LookupError) as error:
                self._doubts.unknown(device, _ALL, str(error))
                self._stale = True
            else:
                self._doubts.known(device, _ALL)
        return Reading(vram, free, frozenset(throttled))

    def _opened(self) -> Binding | None:
        now = time.monotonic()
        if (self._library is None or self._stale) and now >= self._next_opening:
            self._next_opening = now + self._retry_s
            self._close()
            self._library = self._open()
        return self._library

    def _open(self) -> Binding | None:
        try:
            library = self._load()
        except ImportError as error:
            self._doubts.unknown("cuda", _ALL, f"nvidia-ml-py is not installed ({error})")
            return None
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            self._doubts.unknown("cuda", _ALL, str(error))
            return None
        self._doubts.known("cuda", _ALL)
        return library

    def _close(self) -> None:
        self._handles.clear()
        self._stale = False
        if self._library:
            with contextlib.suppress(self._library.NVMLError):
                self._library.nvmlShutdown()
        self._library = None

    def _handle(self, library: Binding, device: str) -> Handle:
        if device not in self._handles:
            self._handles[device] = _find(library, device.removeprefix("cuda:"))
        return self._handles[device]


def _find(library: Binding, which: str) -> Handle:
    """The GPU with this index or UUID; the start of a UUID is enough, as it is for CUDA."""
    if which.isdecimal():
        return library.nvmlDeviceGetHandleByIndex(int(which))
    if which.startswith("MIG-"):
        return library.nvmlDeviceGetHandleByUUID(which)
    gpus = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
    found = [gpu for gpu in gpus if library.nvmlDeviceGetUUID(gpu).startswith(which)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} GPUs are called {which}")
    return found[0]


class _Gpu:
    """One device in one reading. Raises ``NVMLError`` when nothing more can be had of it."""

    def __init__(self, library: Binding, doubts: Doubts, device: str, handle: Handle, patience: int) -> None:
        self._library = library
        self._doubts = doubts
        self._device = device
        self._handle = handle
        self._patience = patience
        self._lasting = (
            library.NVMLError_NotSupported,
            library.NVMLError_NoPermission,
            library.NVMLError_FunctionNotFound,
        )

    def free(self) -> dict[str, int]:
        """Its free memory."""
        memory = self._asked(_FREE, partial(self._library.nvmlDeviceGetMemoryInfo, self._handle))
        return {self._device: memory.free} if memory else {}

    def throttled(self) -> set[str]:
        """Itself, if it is slowed down by heat or for want of power."""
        reasons = self._asked(_CLOCKS, self._clock_reasons)
        return {self._device} if reasons and reasons & THROTTLED else set()

    def vram(self, ours: set[int]) -> dict[int, int]:
        """Memory of our processes on it."""
        listed = self._asked(_WORKERS, self._listed, settled=False)
        if listed is None:
            return {}
        if not ours & listed.keys():
            why = "the driver lists none of the workers; in a container, they need the process ids of the host"
            self._doubts.unknown(self._device, _WORKERS, why, self._patience)
            return {}
        figures = {pid: listed.get(pid, 0) for pid in ours}
        told = {pid: used for pid, used in figures.items() if used is not None}
        if len(told) < len(figures):
            told |= self._all_of_it(ours, set(listed))
        if len(told) == len(figures):
            self._doubts.known(self._device, _WORKERS)
        else:
            why = "the driver does not tell it for each process, and the GPU is not one worker's alone"
            self._doubts.unknown(self._device, _WORKERS, why, self._patience)
        return told

    def _all_of_it(self, ours: set[int], listed: set[int]) -> dict[int, int]:
        """All memory that is used, if a single worker is there and nobody else."""
        if len(ours) != 1 or listed != ours:
            return {}
        draw = partial(self._library.nvmlDeviceGetGraphicsRunningProcesses_v3, self._handle)
        drawing = self._asked(_WORKERS, draw, settled=False)
        if drawing is None or any(process.pid not in ours for process in drawing):
            return {}
        memory = self._asked(_FREE, partial(self._library.nvmlDeviceGetMemoryInfo, self._handle))
        return dict.fromkeys(ours, memory.used) if memory else {}

    def _listed(self) -> dict[int, int | None]:
        """Memory of every process with a CUDA context; one that is in several parts of a GPU is listed for each."""
        used: dict[int, int | None] = {}
        for process in self._processes():
            before, more = used.get(process.pid, 0), process.usedGpuMemory
            used[process.pid] = None if before is None or more is None else before + more
        return used

    def _processes(self) -> list[Process]:
        try:
            return self._library.nvmlDeviceGetComputeRunningProcesses_v3(self._handle)
        except self._library.NVMLError_FunctionNotFound:
            return self._library.nvmlDeviceGetComputeRunningProcesses_v2(self._handle)

    def _clock_reasons(self) -> int:
        gpu = self._handle
        if self._device.startswith("cuda:MIG-"):  # its clocks are those of the whole
            gpu = self._library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(gpu)
        try:
            return self._library.nvmlDeviceGetCurrentClocksEventReasons(gpu)
        except (AttributeError, self._library.NVMLError_FunctionNotFound):
            return self._library.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)

    def _asked(self, figure: str, question: Callable[[], T], *, settled: bool = True) -> T | None:
        """The answer; None where this driver never has one. ``settled``: with an answer, the figure is known."""
        try:
            answer = question()
        except self._lasting as error:
            self._doubts.unknown(self._device, figure, str(error))
            return None
        if settled:
            self._doubts.known(self._device, figure)
        return answer
