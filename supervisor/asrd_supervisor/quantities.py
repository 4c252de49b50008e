"""Times and sizes as people write them."""

import math
import re
from typing import Any

from asrd_supervisor.core.policy import ChunkTime, Duration, IdleTime, PositiveDuration, PositiveSize, Size

_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_ENOUGH = 1e18
"""No time and no size is as large as that; an infinite one could not be computed with."""


def quantity(kind: type, value: object) -> object:
    """A time or a size, from a number or from text such as ``30s`` and ``512MB``."""
    if not issubclass(kind, Duration | Size):
        raise NotImplementedError  # that is how msgspec is told that a type is none of ours
    if issubclass(kind, IdleTime) and value in (-1, "-1"):
        return kind(-1)
    timely = issubclass(kind, Duration)
    units: dict[str, Any] = dict(_UNITS) if timely else dict(_SIZES)
    amount = value
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)):
        amount = float(found[1]) * units.get(found[2], math.nan)
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < _ENOUGH:
        also = ", or -1" if issubclass(kind, IdleTime) else ""
        raise ValueError("Expected a number or text such as " + ("'30s'" if timely else "'512MB'") + also)
    if not amount and issubclass(kind, PositiveDuration | PositiveSize):
        raise ValueError("Expected more than 0")
    if issubclass(kind, ChunkTime) and amount < ChunkTime.LEAST:
        raise ValueError(f"Expected {ChunkTime.LEAST} s or more")
    return kind(amount)
