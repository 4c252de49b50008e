"""Speech recognition behind four methods, and how an engine is found by its name."""

from importlib import metadata

from asrd_protocol.codec import did_you_mean
from asrd_worker.engines.base import Engine, LoadError

_EXTRAS = {"faster-whisper": "whisper"}
"""Which extra of asrd brings what an engine needs."""


def find(name: str) -> type[Engine]:
    """The engine that is registered under this name in the entry points ``asrd.engines``.

    Raises:
        LoadError: there is none, or a package that it needs is not installed.
    """
    points = {point.name: point for point in metadata.entry_points(group="asrd.engines")}
    if name not in points:
        raise LoadError(f"there is no engine {name!r}{did_you_mean(name, points)} (known: {', '.join(sorted(points))})")
    try:
        engine: type[Engine] = points[name].load()
    except ImportError as error:
        extra = f"; pip install 'asrd[{_EXTRAS[name]}]'" if name in _EXTRAS else ""
        raise LoadError(f"the engine {name!r} needs a package that is not installed ({error}){extra}") from None
    return engine
