"""The private link between supervisor and worker: array-like msgpack, because both ends are of one release.

An ``attempt`` is a number that the supervisor never uses twice. Whatever a worker says about an attempt that is not
the one it was last given is stale, and is dropped.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from asrd_protocol.faults import Fault
from asrd_protocol.messages import Audio
from asrd_protocol.model import Timings, Work

Span = Annotated[float, Meta(ge=0, le=1e9)]
"""Seconds, as a worker can mean them."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


# --- supervisor to worker ---------------------------------------------------------------------------------------------


class Load(_Message, frozen=True):
    """The answer to ``Hello``: which engine to load and how. Nothing of it is on the command line."""

    engine: str
    settings: dict[str, Any]
    max_audio_s: float


class RunStep(_Message, frozen=True):
    """Do one step. Its audio is an open file, which comes by the worker's other socket, before this message."""

    attempt: int
    audio: Audio
    options: dict[str, Any]


class CancelStep(_Message, frozen=True):
    """Give the attempt up at the next segment."""

    attempt: int


class StopWorker(_Message, frozen=True):
    """Leave."""


ToWorker = Load | RunStep | CancelStep | StopWorker

# --- worker to supervisor ---------------------------------------------------------------------------------------------


class Hello(_Message, frozen=True):
    """The process is up and imports work."""

    pid: int
    version: int


class Ready(_Message, frozen=True):
    """The model is loaded and has decoded something."""

    load_s: Span
    warm_up_s: Span
    facts: dict[str, Any]


class LoadFailed(_Message, frozen=True):
    """The engine cannot be loaded; the process leaves next, with ``Exit.CONFIG`` when another try cannot help."""

    fault: Fault


class StepProgress(_Message, frozen=True):
    """The compute thread has come this far; the first one tells the length of the audio."""

    attempt: int
    done: Span
    duration: Span


class StepSegment(_Message, frozen=True):
    """One segment; the body is its JSON."""

    attempt: int
    index: Annotated[int, Meta(ge=0)]
    done: Span


class StepDone(_Message, frozen=True):
    """The step is done; the body is the transcript in JSON."""

    attempt: int
    timings: Timings
    work: Work
    language: str


class StepFailed(_Message, frozen=True):
    """The step has no result. ``leave``: the process is not to be trusted with another one."""

    attempt: int
    fault: Fault
    leave: bool = False


FromWorker = Hello | Ready | LoadFailed | StepProgress | StepSegment | StepDone | StepFailed

to_worker = msgspec.msgpack.Decoder(ToWorker)
from_worker = msgspec.msgpack.Decoder(FromWorker)
