"""One job as the ledger knows it: what was asked, where its audio is, what became of it."""

import time
from collections.abc import Callable

import msgspec
import zmq

from asrd_protocol import messages as msg
from asrd_protocol.faults import BLAME, Blame
from asrd_supervisor import sources
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import FIRST_CHUNK
from asrd_supervisor.reel import Reel
from asrd_supervisor.sources import Body, Source, Spooled
from asrd_supervisor.spool import digest_of

pack = msgspec.msgpack.Encoder(order="deterministic").encode
_submit = msgspec.msgpack.Decoder(msg.Submit).decode
read_report = msgspec.msgpack.Decoder(msg.JobReport).decode
read_answer = msgspec.msgpack.Decoder(msg.Completed | msg.Failed).decode

_OWN_FAULTS = {str(code) for code, blame in BLAME.items() if blame is Blame.CALLER}
"""As words: another release may have written codes that this one does not know."""


def keeps_audio(report: msg.JobReport) -> bool:
    """Whether somebody may want an ended job tried again: not when it is the caller's own fault."""
    if report.state == "quarantined":
        return True
    return report.state == "failed" and report.code not in _OWN_FAULTS


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """How the audio of a job was cut."""

    tape: Spooled
    """Its samples: 16 kHz, mono, int16."""
    chunks: list[ev.Stretch]
    head: bytes
    """What the worker said of the whole."""

    @property
    def steps(self) -> range:
        """The steps of the chunks."""
        return range(FIRST_CHUNK, FIRST_CHUNK + len(self.chunks))


class Record(msgspec.Struct):
    """One job, as much as is kept in memory."""

    job: str
    owner: str
    request: bytes
    """The submit; empty when the job has ended."""
    connection: str = ""
    """By which it came; empty after a restart of the daemon."""
    streams: bool = True
    """Whether its segments are those of its result: where speakers are wanted, they will be cut anew."""
    digest: bytes = b""
    """Empty until the audio is stored."""
    source: Source | None = None
    accepted_at: float = 0.0
    report: msg.JobReport | None = None
    """Set when it has ended, and that is stored."""
    ended_at: float = 0.0
    size: int = 0
    attempt: int = 0
    """Which try it is, from 1; 0 before the first."""
    plan: Plan | None = None
    """None when its audio was not cut."""
    reel: Reel | None = None
    """Its segments; None before the first attempt."""
    waiting: list[Callable[[], None]] = []
    """To be called when something can be said of it."""

    @property
    def submit(self) -> msg.Submit:
        """What was asked."""
        return _submit(self.request)

    @property
    def unsettled(self) -> bool:
        """Whether it is being stored, or made to wait again: nothing can be said of it yet."""
        return not self.digest or not (self.request or self.report)

    def go_on(self) -> None:
        """Something can be said of it now."""
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()

    def aged(self) -> msg.JobReport:
        """Its line in a list, with its present age."""
        assert self.report
        return msgspec.structs.replace(self.report, age_s=round(max(0.0, time.time() - self.accepted_at), 3))

    @property
    def spooled(self) -> list[Spooled]:
        """Its files in our spool."""
        own = [self.source] if isinstance(self.source, Spooled) else []
        return [*own, self.plan.tape] if self.plan else own

    @property
    def segments(self) -> list[Body]:
        """Those that may be seen."""
        return self.reel.shown if self.reel else []

    def so_far(self) -> bytes:
        """The segments that may be seen, as a JSON array."""
        return b"[" + b",".join(bytes(buffer_of(segment)) for segment in self.segments) + b"]"


class Ended(msgspec.Struct, frozen=True):
    """The end of a job, as it is told."""

    answer: msg.Completed | msg.Failed
    body: Body | None


def submitted(record: Record, size: int) -> ev.JobSubmitted:
    """What the core has to know of a new job."""
    submit = record.submit
    return ev.JobSubmitted(
        job=record.job,
        pool=submit.pool,
        size=size,
        owner=record.owner,
        client=submit.client,
        connection=record.connection,
        lane=submit.priority,
        audio_s=_length(submit.audio, size),
        deadline=submit.deadline,
        retries=submit.retries,
        diarize=submit.diarize is not None,
        diarize_pool=submit.diarize.pool if submit.diarize else None,
        report_missing=submit.on_chunk_error == "report",
    )


def submitted_again(record: Record, deadline: float | None) -> ev.JobSubmitted:
    """The same of a job that was accepted before; ``deadline`` is what is left of it."""
    assert record.source
    return msgspec.structs.replace(submitted(record, record.source.size), deadline=deadline)


def _length(audio: msg.Audio, size: int) -> float | None:
    match audio:
        case msg.Pcm(dtype=dtype, rate=rate):
            return size / rate / (2 if dtype == "int16" else 4)
        case _:
            return None


def request_of(submit: msg.Submit) -> bytes:
    """A submit as it is kept and compared: how it is answered is another matter."""
    return pack(msgspec.structs.replace(submit, ref="", reply="stream"))


def fingerprint(request: bytes, source: Source | None, body: Body | None) -> bytes:
    """What tells one submit from another: what is asked, and the audio itself or the very file that was named."""
    return digest_of(request, body if body is not None else sources.encode(source))


def buffer_of(body: Body) -> "bytes | memoryview":
    """The bytes, without a copy of them."""
    return body.buffer if isinstance(body, zmq.Frame) else body
