"""Why an engine could not be loaded, in one line."""

from asrd_worker.engines.base import DeviceError, LoadError
from asrd_worker.failures import of_gpu, out_of_memory


def first_line(error: BaseException) -> str:
    """Of what an exception says, or its kind if it says nothing: some libraries say pages."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def load_error(error: Exception, what: str, device: str, index: int = 0, *, hint: str = "") -> Exception:
    """What to raise instead of a library's error. Memory may be free again later; nothing else of this mends itself.

    Args:
        error: of the library.
        what: could not be loaded.
        device: that the pool has set.
        index: which one, if it is a GPU.
        hint: what to do, with what separates it from the error.
    """
    if isinstance(error, MemoryError) or out_of_memory(str(error)):
        return error
    cause = first_line(error)
    said = f"cannot load {what}: {cause}{hint}"
    return DeviceError(said, f"cuda:{index}") if device != "cpu" and of_gpu(cause) else LoadError(said)
