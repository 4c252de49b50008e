"""The private link between supervisor and worker: array-like msgpack, because both ends are of one release.

An ``attempt`` is a number that the supervisor never uses twice. Whatever a worker says about an attempt that is not
the one it was last given is stale, and is dropped.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from asrd_protocol.faults import Fault
from asrd_protocol.messages import Audio, Speakers
from asrd_protocol.model import Timings, Work

Span = Annotated[float, Meta(ge=0, le=1e9)]
"""Seconds, as a worker can mean them."""

Bytes = Annotated[int, Meta(ge=0, le=1 << 50)]
"""Resident memory of a worker; 0 where it is not known."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


# --- supervisor to worker ---------------------------------------------------------------------------------------------


class Load(_Message, frozen=True):
    """The answer to ``Hello``: which engine to load and how. Nothing of it is on the command line."""

    engine: str
    settings: dict[str, Any]
    max_audio_s: float


class Chunking(msgspec.Struct, frozen=True, array_like=True):
    """What to do with long audio: write it to the open file that comes with it, and say where to cut it."""

    longer_than: Span
    """Audio of so many seconds or less is transcribed at once."""
    chunk: Span
    """About so many seconds to a chunk."""
    ways: Annotated[int, Meta(ge=1)]
    """So many workers could share it."""


class RunStep(_Message, frozen=True):
    """Transcribe a recording, or cut it. It is an open file, which comes by the worker's other socket before this."""

    attempt: int
    audio: Audio
    options: dict[str, Any]
    chunking: Chunking | None


class RunChunk(_Message, frozen=True):
    """Transcribe a stretch of a recording that was cut. The open file holds its samples: 16 kHz, mono, int16."""

    attempt: int
    start: Span
    end: Span
    options: dict[str, Any]
    head: bytes
    """What the worker said of the whole when it was cut."""


class RunSpeakers(_Message, frozen=True):
    """Find out who speaks when in a recording, which is an open file as above."""

    attempt: int
    audio: Audio
    wanted: Speakers


class RunMerge(_Message, frozen=True):
    """Make one transcript out of the parts of a job. The open file is a :class:`~asrd_protocol.sheaf.Sheaf`."""

    attempt: int


class RunCanary(_Message, frozen=True):
    """Transcribe the built-in clip so many times."""

    attempt: int
    runs: Annotated[int, Meta(ge=1, le=10)]


class CancelStep(_Message, frozen=True):
    """Give the attempt up at the next segment."""

    attempt: int


class StopWorker(_Message, frozen=True):
    """Leave."""


Step = RunStep | RunChunk | RunSpeakers | RunMerge
"""What a worker does for a job."""

ToWorker = Load | RunStep | RunChunk | RunSpeakers | RunMerge | RunCanary | CancelStep | StopWorker

# --- worker to supervisor ---------------------------------------------------------------------------------------------


class Hello(_Message, frozen=True):
    """The process is up and imports work."""

    pid: int
    version: int


class CanaryRun(msgspec.Struct, frozen=True, array_like=True):
    """How the built-in clip was transcribed: greedily, so that a healthy engine always gives the same text."""

    took: Annotated[list[Span], Meta(min_length=1, max_length=10)]
    """Seconds of each run."""
    text: Annotated[str, Meta(max_length=4096)]
    """Of the last run."""


Name = Annotated[str, Meta(max_length=64)]


class Offers(msgspec.Struct, frozen=True):
    """What an engine can do for a job, so that what it cannot do is refused before it waits for its turn."""

    options: Annotated[list[Name], Meta(max_length=1_000)] = []
    """Names of the options, and of those within one as ``vad_parameters.threshold``; empty where they are not known."""
    languages: Annotated[list[Name], Meta(max_length=1_000)] = []
    """What ``language`` may be; empty where that is not known."""
    aligned: Annotated[list[Name], Meta(max_length=1_000)] | None = None
    """For which languages a job may ask ``align``; None where that is not known, or for all."""


class Ready(_Message, frozen=True):
    """The model is loaded and has decoded something."""

    load_s: Span
    warm_up_s: Span
    offers: Offers
    canary: CanaryRun
    rss: Bytes


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
    """The step is done; the body is what it has given, in JSON: a transcript, or who speaks when.

    What a chunk says by its segments is not repeated there.
    """

    attempt: int
    timings: Timings
    work: Work
    language: str
    rss: Bytes


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of a recording, in seconds."""

    start: Span
    end: Span


class StepSplit(_Message, frozen=True):
    """The recording is long; it was written to the open file that came with it, and is to be transcribed in chunks.

    The body is for the workers that do it. What was asked is done with that: no other answer follows.
    """

    attempt: int
    chunks: Annotated[list[Cut], Meta(min_length=1, max_length=100_000)]
    """From the start to the end of the recording, with no gap between them."""
    timings: Timings


class StepFailed(_Message, frozen=True):
    """The step has no result. ``leave``: the process is not to be trusted with another one."""

    attempt: int
    fault: Fault
    leave: bool = False


class CanaryDone(_Message, frozen=True):
    """The built-in clip was transcribed."""

    attempt: int
    run: CanaryRun
    rss: Bytes


FromWorker = Hello | Ready | LoadFailed | StepProgress | StepSegment | StepDone | StepSplit | StepFailed | CanaryDone

to_worker = msgspec.msgpack.Decoder(ToWorker)
from_worker = msgspec.msgpack.Decoder(FromWorker)
