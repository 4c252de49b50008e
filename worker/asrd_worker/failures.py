"""What an exception out of an engine means: a fault, and whether the process is good for another step.

Native libraries have one exception for everything, so their errors are told apart by their texts. After an error of
CUDA the context is poisoned for the whole process: whatever is asked next fails too, or is wrong.
"""

import traceback
from typing import NamedTuple

from msgspec.structs import replace

from asrd_protocol.faults import Code, Fault
from asrd_worker.engines.base import EngineFault

_NO_MEMORY = ("out of memory", "mkl_malloc", "cublas_status_alloc_failed", "can't allocate memory")
_POISONED = ("cuda", "cublas", "cudnn")
_GPU = ("nvidia", "driver version", "device ordinal")


class Failure(NamedTuple):
    """What the supervisor is told; ``leave`` when the process is not to be trusted with another step."""

    fault: Fault
    leave: bool


def out_of_memory(said: str) -> bool:
    """Whether the text of a native error means that memory ran out, of the host or of the device."""
    return any(mark in said.lower() for mark in _NO_MEMORY)


def of_gpu(said: str) -> bool:
    """Whether the text of a native error is about a GPU, or about what is needed to compute on one."""
    return any(mark in said.lower() for mark in (*_POISONED, *_GPU))


def ran_out(error: Exception) -> bool:
    """Whether the exception means that memory ran out. CTranslate2's ``bad_alloc`` comes as Python's own."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and out_of_memory(str(error)))


def no_memory(error: Exception, **context: str | int) -> EngineFault:
    """The end of a step for which there is no memory; with what was tried last, so that less can be tried next.

    Another process has more: this one leaves, with all that it holds.
    """
    said = f": {error}" if str(error) else ""
    fault = Fault.of(Code.OUT_OF_MEMORY, f"the worker has no memory for this job{said}")
    return EngineFault(replace(fault, context=context), leave=True)


def failure_of(error: Exception) -> Failure:
    """What the exception carries, or one sentence on it; the traceback of a surprise goes to the log."""
    if isinstance(error, EngineFault):
        return Failure(error.fault, error.leave)
    carried = getattr(error, "fault", None)  # AudioFault has one; importing PyAV to name it here would cost 0.1 s
    if isinstance(carried, Fault):
        return Failure(carried, False)
    if isinstance(error, MemoryError):
        return Failure(Fault.of(Code.OUT_OF_MEMORY, "the worker has no memory for this job"), True)
    traceback.print_exception(error)
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, RuntimeError) and out_of_memory(said):
        return Failure(Fault.of(Code.OUT_OF_MEMORY, f"the worker has no memory for this job: {error}"), True)
    poisoned = isinstance(error, RuntimeError) and any(mark in said.lower() for mark in _POISONED)
    return Failure(Fault.of(Code.ENGINE_ERROR, f"the engine failed: {said}"), poisoned)
