"""What the daemon's answers about a job say, with no regard to who asked."""

from typing import TypeVar

import msgspec

from asrd.errors import AsrdError, JobFailed, ProtocolError
from asrd.track import Finished, JobProgress, SoFar
from asrd_protocol import messages as m
from asrd_protocol.faults import Blame, Code
from asrd_protocol.model import Segment, Transcript

T = TypeVar("T")


def split(frames: list[bytes]) -> tuple[bytes, bytes]:
    """Header and body; an empty delimiter before them is skipped."""
    header, *rest = frames[1:] if len(frames) > 1 and not frames[0] else frames
    return header, rest[0] if rest else b""


def parsed(body: bytes, kind: type[T]) -> T | None:
    """A body in JSON, or None when it is none of this kind."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def finished(answer: m.Completed, body: bytes) -> Finished:
    """The result in an answer.

    Raises:
        ProtocolError: when the body is no transcript.
    """
    if (transcript := parsed(body, Transcript)) is None:
        raise ProtocolError(f"the transcript of the job {answer.job} is not readable")
    return Finished(answer.job, transcript, answer.run)


def so_far(answer: m.Pending, body: bytes) -> SoFar:
    """How a job stands that has not ended.

    Raises:
        ProtocolError: when the body is no list of segments.
    """
    if (segments := parsed(body, list[Segment])) is None:
        raise ProtocolError(f"the segments of the job {answer.job} are not readable")
    progress = JobProgress(answer.done, answer.duration)
    return SoFar(answer.job, answer.state, segments, progress, answer.attempt, answer.eta_s)


def outcome_of(answer: m.Completed | m.Failed, body: bytes) -> Finished | AsrdError:
    """The end of a job, as a result or as an exception."""
    if isinstance(answer, m.Failed):
        return JobFailed.of(answer.fault)
    try:
        return finished(answer, body)
    except ProtocolError as error:
        return error


def settled(answer: m.Completed | m.Failed) -> bool:
    """Whether nothing is left to be done about the job; what may be tried again or looked into stays in the daemon."""
    if isinstance(answer, m.Completed):
        return True
    return answer.fault.blame is Blame.CALLER and answer.fault.code is not Code.POISON
