"""What is known of one job while it runs: changed by the session only, read by everybody."""

import msgspec

from asrd.errors import AsrdError
from asrd_protocol.messages import Submit
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
        self.progress = JobProgress()
        self.segments: list[Segment] = []
        """In order, each once, with no gap."""
        self.end: Finished | AsrdError | None = None
        self.refs: set[str] = set()
        """The open questions about this job."""

    def accept(self) -> None:
        """The daemon has it."""
        self.accepted = True
        self._drop_audio()

    def add(self, index: int, segment: Segment) -> bool:
        """Takes a segment; False when it is a repeat by another worker or comes after a gap.

        A gap (a client that attached late, or a push that the daemon dropped) is filled from the transcript at the end.
        """
        if index != len(self.segments):
            return False
        self.segments.append(segment)
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
