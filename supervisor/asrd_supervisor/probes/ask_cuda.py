"""Prints how many GPUs this process sees through CUDA, or why it sees none.

Run as a file by an interpreter without any packages: the driver may hang, and what it maps is not for the daemon.
"""

import ctypes
import sys


def main() -> str:
    """The number, or a reason."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"there is no driver of NVIDIA ({error})"
    count = ctypes.c_int()
    failed = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if failed:
        return f"the driver has no GPU for us: {_words(cuda, failed)}"
    return str(count.value) if count.value else "the driver shows no GPU"


def _words(cuda: ctypes.CDLL, code: int) -> str:
    said = ctypes.c_char_p()
    try:
        cuda.cuGetErrorString(code, ctypes.byref(said))
    except AttributeError:
        pass
    return (said.value or b"").decode("utf-8", "replace") or f"error {code}"


if __name__ == "__main__":
    sys.stdout.write(main())
