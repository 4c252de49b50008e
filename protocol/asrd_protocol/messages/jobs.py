"""The jobs socket: audio in, transcripts out."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from asrd_protocol.faults import Fault
from asrd_protocol.messages.base import Answer, JobId, Message, PoolName, Refused, Seconds
from asrd_protocol.model import Run

Scalar = bool | Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | float | str | None
Item = Scalar | list[Scalar] | dict[str, Scalar]
OptionValue = Scalar | list[Item] | dict[str, Item]
"""As wide and as deep as engines need and no more: whatever is taken here can be written to a worker in msgpack."""

# --- the audio of a job -----------------------------------------------------------------------------------------------


class MediaFile(msgspec.Struct, frozen=True, kw_only=True, tag="file", tag_field="kind", forbid_unknown_fields=True):
    """The body is a media file: any container and codec on the daemon's white-list."""

    name: Annotated[str, Meta(max_length=255)] = ""
    """Shown in messages; never opened."""


class Pcm(msgspec.Struct, frozen=True, kw_only=True, tag="pcm", tag_field="kind", forbid_unknown_fields=True):
    """The body is raw mono samples, little-endian: float32 in -1..1, or int16."""

    dtype: Literal["float32", "int16"] = "float32"
    rate: Annotated[int, Meta(ge=4_000, le=384_000)] = 16_000


class LocalFile(msgspec.Struct, frozen=True, kw_only=True, tag="path", tag_field="kind", forbid_unknown_fields=True):
    """There is no body: the audio is in a media file of the daemon's host that the caller may read."""

    path: Annotated[str, Meta(pattern=r"^/[^\x00]*(?!\n)$", max_length=4_096)]
    """Absolute, with no symbolic link in it. It must stay as it is until the job has ended."""


Audio = MediaFile | Pcm | LocalFile


class Retries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often and when a job is tried again; what is not given is the pool's affair."""

    attempts: Annotated[int, Meta(ge=1, le=10)] | None = None
    """Tries in all."""
    backoff: Literal["fixed", "linear", "exponential", "fibonacci"] | None = None
    delay: Seconds | None = None
    """Before the second try."""
    delay_max: Seconds | None = None
    jitter: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Up to this share is added to each delay."""


MOST_SPEAKERS = 64


class Speakers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be found out about who speaks."""

    pool: PoolName | None = None
    """Which pool tells speakers apart; the daemon's own choice otherwise."""
    num_speakers: Annotated[int, Meta(ge=1, le=MOST_SPEAKERS)] | None = None
    """How many there are, where that is known."""
    min_speakers: Annotated[int, Meta(ge=1, le=MOST_SPEAKERS)] | None = None
    max_speakers: Annotated[int, Meta(ge=1, le=MOST_SPEAKERS)] | None = None
    embeddings: bool = False
    """Whether the result shall have the voice of each speaker as a vector."""

    def contradiction(self) -> str:
        """Why no number of speakers is what is asked for, with the way out; empty when one is."""
        least, most, count = self.min_speakers or 1, self.max_speakers or MOST_SPEAKERS, self.num_speakers
        if least > most:
            return f"min_speakers is {least} and max_speakers is {most}; swap them, or leave one out"
        if count is not None and not least <= count <= most:
            return f"num_speakers is {count}, which min_speakers and max_speakers rule out; leave those out"
        return ""


Priority = Literal["high", "normal", "low"]

# --- questions --------------------------------------------------------------------------------------------------------


class Submit(Message, frozen=True, kw_only=True):
    """Transcribe the body. Answered by ``accepted``, ``progress`` and ``segment``, then ``completed`` or ``failed``."""

    job: JobId | None = None
    """The caller's own id, so that a repeated submit is the same job. The daemon makes one up otherwise."""
    pool: PoolName | None = None
    """Which pool; the daemon's default pool otherwise."""
    audio: Audio = MediaFile()
    options: dict[Annotated[str, Meta(max_length=64)], OptionValue] = {}
    """Options of the pool's engine, e.g. ``{"language": "en", "beam_size": 5}``; checked by the engine itself."""
    priority: Priority = "normal"
    """A lane with its own share of the workers: 16, 4 and 1 parts while all of them are wanted."""
    client: Annotated[str, Meta(max_length=64)] = ""
    """Jobs of one client wait for each other; clients get equal shares. Empty: this connection is a client."""
    deadline: Annotated[float, Meta(gt=0, le=604_800)] | None = None
    """Seconds from now; a job that has not ended by then fails with ``deadline``, wherever it is."""
    retries: Retries | None = None
    diarize: Speakers | None = None
    """Tell who speaks, too. Segments are not streamed then: they are cut anew where the speaker changes."""
    split: bool = True
    """Whether long audio may be cut at silences, to be transcribed by several workers at once."""
    on_chunk_error: Literal["fail", "report"] = "fail"
    """What one stretch of long audio that cannot be transcribed means: no result, or one that says what is missing."""
    reply: Literal["stream", "final", "accepted"] = "stream"
    """Which answers to send: all of them, only the last, or only ``accepted``. A REQ socket gets one in any case."""


class Cancel(Message, frozen=True, kw_only=True):
    """Stop a job: a queued one at once, a running one at its next segment, by force after a grace of 2 s."""

    job: JobId


class Fetch(Message, frozen=True, kw_only=True):
    """The state of a job now: ``pending``, ``completed`` or ``failed``."""

    job: JobId
    partial: bool = False
    """Whether ``pending`` shall have a body: the segments so far, a JSON array."""


class Wait(Message, frozen=True, kw_only=True):
    """As ``fetch``, but held back until the job has ended or ``timeout`` seconds are over (then ``pending``)."""

    job: JobId
    timeout: Seconds = 60.0
    stream: bool = False
    """Send ``progress`` and ``segment`` of the running job too (not to a REQ socket)."""
    since: Annotated[int, Meta(ge=0)] = 0
    """Segments from this index on that are decoded already are sent first, if they are streamed at all."""


class Release(Message, frozen=True, kw_only=True):
    """The result has arrived: the daemon may forget it."""

    job: JobId


class Retry(Message, frozen=True, kw_only=True):
    """Try a job again that has failed or is in quarantine, with all its attempts. Answered by ``accepted``."""

    job: JobId


JobQuestion = Submit | Cancel | Fetch | Wait | Release | Retry

# --- answers ----------------------------------------------------------------------------------------------------------


class Accepted(Answer, frozen=True, kw_only=True):
    """The job is stored and will end in exactly one of ``completed`` and ``failed``."""

    job: str
    ahead: int = 0
    """Steps queued in its pool before it."""
    eta_s: float = 0.0
    """Seconds until its result is expected, by what the pool has measured so far."""


class Progress(Answer, frozen=True, kw_only=True):
    """How far the decoding of a running job has come, in seconds of its audio."""

    job: str
    done: float
    duration: float
    """Seconds of audio in all."""


class SegmentDecoded(Answer, frozen=True, kw_only=True, tag="segment"):
    """One segment, as soon as it is decoded; the body is a :class:`~asrd_protocol.model.Segment` in JSON."""

    job: str
    index: int
    """From 0; starts again from 0 when the job is tried on another worker (``attempt`` grows then)."""
    attempt: int = 1


class Completed(Answer, frozen=True, kw_only=True):
    """The end of a job that went well; the body is a :class:`~asrd_protocol.model.Transcript` in JSON."""

    job: str
    run: Run


class Failed(Answer, frozen=True, kw_only=True):
    """The end of a job that has no result."""

    job: str
    fault: Fault
    attempts: int = 0
    seat: str = ""


class Pending(Answer, frozen=True, kw_only=True):
    """The job is known and has not ended. The body, if it was asked for, is an array of segments in JSON."""

    job: str
    state: Literal["queued", "running"]
    attempt: int = 0
    """Which try it is, from 1; 0 before the first."""
    done: float = 0.0
    """Seconds of its audio that are decoded."""
    duration: float = 0.0
    eta_s: float = 0.0
    """Seconds until its result is expected."""


class Released(Answer, frozen=True, kw_only=True):
    """The result is forgotten."""

    job: str


JobAnswer = Accepted | Progress | SegmentDecoded | Completed | Failed | Refused | Pending | Released
