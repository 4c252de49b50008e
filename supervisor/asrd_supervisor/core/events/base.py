"""The base of all events, and what several of them carry."""

import msgspec

Stretch = tuple[float, float]
"""From when to when, in seconds of a job's audio."""


class Event(msgspec.Struct, frozen=True):
    """The base of all events."""


class StepRef(msgspec.Struct, frozen=True):
    """A step as the pool sees it."""

    job: str
    index: int
    pool: str
    size: int = 0
    avoid: str = ""
    """The seat that failed it the last time."""
    suspect: bool = False
    """A worker died of it: it may hold one slot of the pool at a time."""
    client: str = ""
    lane: str = "normal"
    audio_s: float | None = None
    since: float = 0.0
    """When its job came."""
