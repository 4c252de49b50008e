"""What is said on the pipes of ``python -m asrd_worker.bare``: a line of JSON for each question and each answer.

Memory is in bytes, times are in seconds.
"""

import msgspec

from asrd_protocol.faults import Fault
from asrd_protocol.model import Timings, Work


class Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A question or an answer."""


class Transcribe(Line, frozen=True, kw_only=True, tag="transcribe"):
    """Transcribe a file; none for engines that listen to nothing."""

    number: int
    path: str = ""
    options: dict[str, object] = {}


class Decode(Line, frozen=True, kw_only=True, tag="decode"):
    """Write the samples of a file, as a worker hears them, to another one: 16 kHz, mono, 16 bit, little-endian."""

    path: str
    into: str


class Loaded(Line, frozen=True, kw_only=True, tag="loaded"):
    """The engine is warm; the first line."""

    load_s: float
    warm_up_s: float
    rss: int


class Done(Line, frozen=True, kw_only=True, tag="done"):
    """A file was transcribed."""

    number: int
    timings: Timings
    work: Work
    rss_before: int
    rss_after: int
    spans: list[tuple[float, float]]
    """Start and end of each segment."""
    text: str


class Decoded(Line, frozen=True, kw_only=True, tag="decoded"):
    """The samples are written."""

    seconds: float


class Failed(Line, frozen=True, kw_only=True, tag="failed"):
    """What was asked has no result. The process goes on, unless the engine could not be loaded."""

    fault: Fault
