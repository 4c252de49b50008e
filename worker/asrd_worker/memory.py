"""How much memory the worker keeps, and how it gives back what it does not need."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

TIDY_EVERY = 20
"""Steps from one time of tidying up to the next. An idle worker's memory tells something only when nothing lies around
in it, but the step after it is a few per cent slower: it has to ask the kernel for its memory again."""

KEPT_VRAM = 256 << 20
"""Bytes on GPUs that an idle worker may keep besides its models."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


def rss_bytes() -> int:
    """Resident memory of this process now, in bytes; 0 where the kernel does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


class Tidy:
    """Collects garbage and trims the heap, once the model is there and then every so many steps."""

    def __init__(self, every: int = TIDY_EVERY) -> None:
        self._every = every
        self._steps = 0
        self._trim = _trimmer()

    def settle(self) -> None:
        """The model is loaded: what is there now stays, and collections from here on need not look at it again."""
        self._tidy_up()
        gc.freeze()

    def step_done(self) -> None:
        """One more step: tidy up when it is time to."""
        self._steps += 1
        give_back_vram()
        if self._steps % self._every == 0:
            self._tidy_up()

    def _tidy_up(self) -> None:
        gc.collect()
        self._trim(0)


def give_back_vram(most: int = KEPT_VRAM) -> None:
    """Memory of GPUs that torch keeps at hand, if it is more than ``most`` bytes. Others could not use it meanwhile;
    CTranslate2 keeps 200 MB at most by itself."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)  # a worker without torch must not import it for this
    if cuda is None or not cuda.is_initialized():
        return
    idle = sum(cuda.memory_reserved(i) - cuda.memory_allocated(i) for i in range(cuda.device_count()))
    if idle > most:
        cuda.empty_cache()


def _trimmer() -> Callable[[int], object]:
    """The function of glibc that gives free memory back; nothing happens with another C library."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return lambda _: None
    trim.argtypes = [ctypes.c_size_t]
    return trim
