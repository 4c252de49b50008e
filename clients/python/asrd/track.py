"""What is known of one job while it runs: changed by the session only, read by everybody."""

import msgspec

from asrd.errors import AsrdError
from asrd_protocol.messages import LocalFile, Submit
from asrd_protocol.model import Run, Segment, Transcript


class JobProgress(msgspec.Struct, frozen=True):
    """How far a job has come, in seconds of its audio."""

    done: float = 0.0
    duration: float = 0.0
    """0 until a worker has opened the audio."""

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.done / self.duration) if self.duration else 0.0


class Finished(msgspec.Struct, frozen=True):
    """A job that went well."""

    job: str
    transcript: Transcript
    run: Run


class SoFar(msgspec.Struct, frozen=True):
    """A job that has not ended, with what is decoded of it."""

    job: str
    state: str
    """``queued`` or ``running``."""
    segments: list[Segment]
    progress: JobProgress
    attempt: int = 0
    """Which try it is, from 1; 0 before the first."""
    eta_s: float = 0.0
    """Seconds until the result is expected; 0 where that is not known."""


class Receipt(msgspec.Struct, frozen=True):
    """The daemon has a job."""

    job: str
    ahead: int = 0
    """Steps that were queued in its pool before it."""
    eta_s: float = 0.0
    """Seconds until the result is expected; 0 where that is not known."""


class Track:
    """One job as this client sees it."""

    def __init__(self, job: str, submit: Submit | None = None, body: bytes = b"") -> None:
        self.job = job
        self.submit = submit
        """Held with its audio until the daemon has accepted the job: it may have to be sent again."""
        self.body = body
        self.sent = 0
        """How often the audio was sent."""
        self.ours = submit is not None and submit.reply == "stream"
        """Whether the result comes to us alone, so that we release it."""
        self.accepted = False
        self.receipt = Receipt(job)
        self.progress = JobProgress()
        self.segments: list[Segment] = []
        """In order, each once, with no gap."""
        self.caught_up: int | None = None
        """How many segments there were when a gap after them was asked for: once is enough."""
        self.end: Finished | AsrdError | None = None
        self.refs: set[str] = set()
        """The open questions about this job."""

    @property
    def follows(self) -> bool:
        """Whether news of the job are wanted, beyond that it is accepted."""
        return self.submit is None or self.submit.reply == "stream"

    @property
    def frames(self) -> list[bytes]:
        """The body of the submit, if it has one."""
        by_path = self.submit is not None and isinstance(self.submit.audio, LocalFile)
        return [] if by_path else [self.body]

    def accept(self) -> None:
        """The daemon has it."""
        self.accepted = True
        self._drop_audio()

    def add(self, index: int, segment: Segment) -> bool:
        """Takes a segment; False when it is a repeat by another worker or comes after a gap.

        In long audio the worker of each stretch counts its own segments, so that only the index tells the place.
        """
        if index != len(self.segments):
            return False
        self.segments.append(msgspec.structs.replace(segment, id=index))
        return True

    def finish(self, finished: Finished) -> None:
        """The job went well."""
        self.segments += finished.transcript.segments[len(self.segments) :]
        length = finished.transcript.duration
        self.progress = JobProgress(length, length)
        self.accept()
        self.end = finished

    def fail(self, error: AsrdError) -> None:
        """The job has no result, or it cannot be had."""
        self._drop_audio()
        self.end = error

    def _drop_audio(self) -> None:
        self.submit, self.body = None, b""
