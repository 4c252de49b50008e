"""The parts of a job with several steps, as they are handed to the worker that makes one transcript of them."""

import msgspec

from asrd_protocol.faults import Fault


class Sheaf(msgspec.Struct, frozen=True, array_like=True):
    """All of them, in msgpack. What is bytes here was written by workers, and only they open it."""

    head: bytes
    """What the worker said of the whole when it was cut; empty when it was not."""
    parts: "list[Part]"
    """In the order of the audio."""
    diarization: bytes | Fault | None
    """Who speaks when, in JSON, or why that is not known; None when nobody asked."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One stretch: what its step has given, or why it has given nothing."""

    start: float
    end: float
    """0 for the end of the audio, when it was not cut."""
    content: bytes | Fault
    """A transcript in JSON."""
    segments: list[bytes] = []
    """Its segments in JSON; none when they are in the transcript."""


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Sheaf).decode
