"""What is written to the journal, and what is read back from it."""

import zlib
from typing import Literal

import msgspec

from asrd_protocol.faults import Fault

State = Literal["queued", "running", "completed", "failed", "cancelled", "quarantined"]

ENDED: frozenset[State] = frozenset({"completed", "failed", "cancelled", "quarantined"})


class Entry(msgspec.Struct, frozen=True):
    """One job as it was accepted. Nothing of this changes any more, but the time, when somebody wants it tried anew."""

    job: str
    owner: str
    request: bytes
    """The submit, in msgpack."""
    source: bytes
    """Where its audio is, in msgpack."""
    digest: bytes
    """SHA-256 of request and audio: what makes a repeated submit the same job."""
    accepted_at: float
    """Wall clock: a journal outlives every other one."""

    @property
    def checksum(self) -> int:
        """CRC-32 of all but the time: a flipped bit must not become another job."""
        head = f"{self.job}\0{self.owner}\0".encode()
        return zlib.crc32(self.digest, zlib.crc32(self.source, zlib.crc32(self.request, zlib.crc32(head))))


class StoredStep(msgspec.Struct, frozen=True):
    """One of several steps of a job."""

    step: int
    attempts: int = 0
    deaths: int = 0
    part: bytes = b""
    """What it has given, if it has ended."""


class Standing(msgspec.Struct, frozen=True):
    """One job as it stands."""

    entry: Entry
    state: State
    attempts: int = 0
    deaths: int = 0
    interrupted: int = 0
    """Attempts that ended with the daemon."""
    ended_at: float = 0.0
    report: bytes = b""
    """The line of an ended job in a list, in msgpack."""
    size: int = 0
    """Bytes of its answer and its body."""
    plan: bytes = b""
    """Where its audio was cut, and its samples are; empty when it was not."""
    steps: tuple[StoredStep, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """The one end of a job, as it is told to whoever asks."""

    header: bytes
    """In msgpack, with no ref."""
    body: bytes | None

    @property
    def checksum(self) -> int:
        """CRC-32 of both."""
        return zlib.crc32(self.body or b"", zlib.crc32(self.header))


# --- operations: what is done in one transaction with others ----------------------------------------------------------


class Accept(msgspec.Struct, frozen=True):
    """A job is taken."""

    entry: Entry


class Attempt(msgspec.Struct, frozen=True):
    """A worker is about to try a step."""

    job: str
    attempts: int
    deaths: int
    step: int = 0


class Divide(msgspec.Struct, frozen=True):
    """The audio of the job was cut."""

    job: str
    plan: bytes


class Keep(msgspec.Struct, frozen=True):
    """A step has given something, or is done without. However often the daemon was killed before: the job gets on."""

    job: str
    step: int
    part: bytes
    failed: bool = False
    """It has given nothing, and is tried again when the job is."""


class Gather(msgspec.Struct, frozen=True):
    """The steps of a job that have several, as :class:`Steps`."""

    job: str


class End(msgspec.Struct, frozen=True):
    """The job has ended; the first end counts."""

    job: str
    state: State
    answer: Answer
    report: bytes
    ended_at: float
    again: bool = False
    """Somebody may want it tried again: what its steps have given is kept."""


class Wait(msgspec.Struct, frozen=True):
    """A step waits for its next attempt."""

    job: str
    attempts: int
    deaths: int
    step: int = 0


class Renew(msgspec.Struct, frozen=True):
    """The job waits as if it had been accepted now and never tried."""

    job: str
    accepted_at: float


class Forget(msgspec.Struct, frozen=True):
    """Nobody needs the job any more."""

    job: str


class Read(msgspec.Struct, frozen=True):
    """The answer of an ended job, as an :class:`Answer`; None when there is none."""

    job: str


class Look(msgspec.Struct, frozen=True):
    """A job as it stands, as a :class:`Standing`; None when it is not known."""

    job: str


class Steps(msgspec.Struct, frozen=True):
    """What :class:`Gather` gives."""

    steps: tuple[StoredStep, ...]


Result = Answer | Standing | Steps | Fault | None
"""What an operation gives; a fault when the disk is full, or the answer is not what was written."""

Operation = Accept | Attempt | Wait | Divide | Keep | End | Renew | Forget | Read | Look | Gather
