"""The part of pynvml (of the package nvidia-ml-py) that asrd uses, with types: pynvml has none of its own."""

import importlib
from typing import Protocol, cast

Handle = object
"""A GPU, or a part of one."""


class Memory(Protocol):
    """Memory of a GPU, in bytes."""

    free: int
    used: int


class Process(Protocol):
    """A process that uses a GPU."""

    pid: int
    usedGpuMemory: int | None
    """Bytes; None where the driver does not say."""


class Binding(Protocol):
    """The module. Every function raises ``NVMLError``.

    Functions that have versions are called with theirs: without, pynvml raises something else on older drivers.
    """

    NVMLError: type[Exception]
    NVMLError_NotSupported: type[Exception]
    NVMLError_NoPermission: type[Exception]
    NVMLError_FunctionNotFound: type[Exception]

    def nvmlInit(self) -> None:
        """Open the driver's library; each call wants a shutdown."""

    def nvmlShutdown(self) -> None:
        """Close it; no handle is good any more."""

    def nvmlDeviceGetCount(self) -> int:
        """GPUs of this host."""

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Handle:
        """The GPU at this place on the bus."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str, /) -> Handle:
        """The GPU, or part of one, with exactly this UUID."""

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, part: Handle, /) -> Handle:
        """The GPU that this is a part of."""

    def nvmlDeviceGetUUID(self, gpu: Handle, /) -> str:
        """``GPU-5f6e...``."""

    def nvmlDeviceGetMemoryInfo(self, gpu: Handle, /) -> Memory:
        """Of all processes."""

    def nvmlDeviceGetComputeRunningProcesses_v3(self, gpu: Handle, /) -> list[Process]:
        """Those with a CUDA context."""

    def nvmlDeviceGetComputeRunningProcesses_v2(self, gpu: Handle, /) -> list[Process]:
        """The same for drivers before 510."""

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, gpu: Handle, /) -> list[Process]:
        """Those that draw."""

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: Handle, /) -> int:
        """Why the clocks are as they are, in bits."""

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: Handle, /) -> int:
        """The same for drivers before 535."""


def load() -> Binding:
    """The module; needs no driver.

    Raises:
        ImportError: nvidia-ml-py is not installed.
    """
    return cast(Binding, importlib.import_module("pynvml"))
