"""How many windows a graphics card has room for, beside the models that are on it.

The free memory is measured, by the driver that CTranslate2 computes with: a card has the same number for both. What a
window needs is guessed from the width of the model: a bound for a long text, above what is usual.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from asrd_worker.counters import CountedModel

MOST = 16
"""Windows at once that ``auto`` chooses at most; more gain little."""

SHARE = 0.8
"""Of the free memory that is used; the rest is for whoever else is on the card."""

UNKNOWN = 4
"""Windows at once when the driver does not say what is free."""

_DRIVER = "libcuda.so.1"
_LAYERS = {384: 4, 512: 6, 768: 12, 1024: 24, 1280: 32}
"""Decoder layers by width. Distilled and turbo models have fewer, and need less than is guessed."""
_FRAMES = 1500
_TOKENS = 224
"""Half of what a window can have; few have so many."""
_HEAD = 64
_HALVES = ("float16", "bfloat16")


def free_bytes(device_index: int, driver: Any = None) -> int | None:
    """Free memory of the card in bytes; None where the driver does not say."""
    try:
        cuda = driver or ctypes.CDLL(_DRIVER)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        asked: tuple[Callable[[], int], ...] = (
            lambda: cuda.cuInit(0),
            lambda: cuda.cuDeviceGet(ctypes.byref(device), device_index),
            # CTranslate2 has made this context already: it is shared by all that runs in the process
            lambda: cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
            lambda: cuda.cuCtxSetCurrent(context),
            lambda: cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)),
        )
        return None if any(question() for question in asked) else int(free.value)
    except (OSError, AttributeError):
        return None


def window_bytes(width: int, beam_size: int, compute_type: str) -> int:
    """What one window more needs, in bytes: a guess that is rather too large."""
    each = 2 if compute_type.endswith(_HALVES) else 4
    layers = _LAYERS.get(width, -(-width // 40))
    heard = layers * 2 * _FRAMES * width * each
    said = layers * 2 * _TOKENS * width * each * beam_size
    attention = (width // _HEAD) * _FRAMES * _FRAMES * each * 2
    hidden = _FRAMES * 4 * width * each * 2
    return heard + said + attention + hidden


def fitting(free: int | None, width: int, beam_size: int, compute_type: str) -> int:
    """Windows at once, 1 to ``MOST``. The width is 0 of a model that has not computed anything yet."""
    if free is None or not width:
        return UNKNOWN
    return max(1, min(MOST, int(SHARE * free) // window_bytes(width, beam_size, compute_type)))


class Room:
    """What the batch size ``auto`` comes to: the memory is asked for once, when all models are loaded and warm."""

    def __init__(self, model: CountedModel, device_index: int) -> None:
        self._model = model
        self._on_card = model.device == "cuda"
        self._free = free_bytes(device_index) if self._on_card else None

    def windows(self, beam_size: int) -> int:
        """At once; 0 without a card, for one after the other."""
        if not self._on_card:
            return 0
        return fitting(self._free, self._model.width, beam_size, self._model.compute_type)
