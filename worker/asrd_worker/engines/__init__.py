"""Speech recognition behind four methods, and how an engine is found by its name.

A worker may live in an environment where asrd is not installed and has no entry points, so its own engines are in a
table; those of others are in the entry points ``asrd.engines`` of the environment that the worker lives in.
"""

import sys
from importlib import metadata

from asrd_protocol.codec import did_you_mean
from asrd_worker.engines.base import Engine, LoadError

OWN = {
    "diarize": "asrd_worker.engines.diarize:Pyannote",
    "diarize-lite": "asrd_worker.engines.diarize_lite:DiarizeLite",
    "diarize-scripted": "asrd_worker.engines.diarize_scripted:DiarizeScripted",
    "faster-whisper": "asrd_worker.engines.faster_whisper:FasterWhisper",
    "scripted": "asrd_worker.engines.scripted:Scripted",
    "whisperx": "asrd_worker.engines.whisperx:WhisperX",
}
"""Where asrd's engines are. Nobody else can take their names."""

FOR_TESTS = frozenset({"diarize-scripted", "scripted"})
"""Those of them that play a script in place of a model: of no use to anybody who has something to be transcribed."""

_EXTRAS = {"faster-whisper": "whisper", "diarize-lite": "speakers"}
"""Which extra of asrd brings what an engine needs."""


def names() -> list[str]:
    """The engines that a worker of this interpreter knows, whether or not their packages are installed."""
    return sorted({*OWN, *_registered()})


def find(name: str) -> type[Engine]:
    """The engine of this name: one of asrd's own, or one that is registered in the entry points ``asrd.engines``.

    Raises:
        LoadError: there is none, or a package that it needs is not installed.
    """
    point = _own(name) or _registered().get(name)
    if point is None:
        known = [one for one in names() if one not in FOR_TESTS]
        raise LoadError(f"there is no engine {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    try:
        engine: type[Engine] = point.load()
    except ImportError as error:
        raise missing(name, error) from None
    return engine


def missing(name: str, error: ImportError) -> LoadError:
    """What to say of an engine that cannot import what it needs."""
    what = f"the engine {name!r} needs a package that {sys.executable} lacks ({error})"
    if name in _EXTRAS:
        return LoadError(f"{what}; `pip install 'asrd[{_EXTRAS[name]}]'` there, or `asrd engines install {name}`")
    if name in OWN:
        return LoadError(f"{what}; `asrd engines install {name}` makes an environment for it")
    return LoadError(what)


def _own(name: str) -> metadata.EntryPoint | None:
    return metadata.EntryPoint(name, OWN[name], "asrd.engines") if name in OWN else None


def _registered() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group="asrd.engines")}
