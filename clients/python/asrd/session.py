"""The protocol as a client sees it, with no I/O: which questions are open, and what an arriving message means.

Theory of operation. Every question has a ``ref`` of its own, which each answer to it carries. A ref belongs either to a
plain question (one answer: ``Settled``) or to a :class:`~asrd.track.Track`, the state of one job (many answers, and
``Moved`` for each that changed it). The methods return what the shell has to do, in order; nothing else comes out:

    ask, submit, attach, recheck ----> [Send]
    receive(frames) -----------------> [Settled | Moved | Send]
    back(channel), gone(channel) ----> [Settled | Moved | Send]

When a connection has come back, the daemon behind it may be another one. What may be asked twice is asked again; an
open job is asked for with ``wait``. A daemon that does not know the job is given it again if it was never accepted; if
it was, it is lost. (A daemon that keeps a journal knows the job, so nothing changes here then.)
"""

from typing import TypeAlias, TypeVar

import msgspec

from asrd.errors import AsrdError, JobFailed, JobLost, NoDaemon, ProtocolError, Refused
from asrd.questions import Channel, Once, Question, encoded, new_id
from asrd.track import Finished, JobProgress, Track
from asrd_protocol import messages as m
from asrd_protocol.codec import Codec, Unreadable, encode
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Segment, Transcript

LONG_POLL = 600.0
"""Seconds after which the daemon says that a job still runs, and is asked again."""

MAX_SENT = 3
"""How often the audio of one job is sent to daemons that hang up on it."""

T = TypeVar("T")


class Send(msgspec.Struct, frozen=True):
    """To do: send these frames."""

    channel: Channel
    frames: list[bytes]


class Reply(msgspec.Struct, frozen=True):
    """The answer to a plain question."""

    answer: m.AnyAnswer
    body: bytes = b""


class Settled(msgspec.Struct, frozen=True):
    """Happened: a plain question has its answer, or will never have one."""

    ref: str
    outcome: Reply | AsrdError


class Moved(msgspec.Struct, frozen=True):
    """Happened: there is news in a track."""

    track: Track


Output: TypeAlias = Send | Settled | Moved


class _Open(msgspec.Struct, frozen=True):
    question: Question
    track: Track | None = None


class Session:
    """The open questions and jobs of one client."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._codec: Codec[m.AnyAnswer] = Codec(m.AnyAnswer)

    # --- questions ----------------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> tuple[str, list[Output]]:
        """Opens a plain question: its ref and what to send."""
        ref, send = self._opened(question)
        return ref, [send]

    def submit(self, question: m.Submit, body: bytes) -> tuple[Track, list[Output]]:
        """Opens a job of ours.

        Raises:
            OptionError: when an option cannot be written in a message.
        """
        job = question.job or new_id()
        track = Track(job, msgspec.structs.replace(question, job=job), body)
        return track, self._send_audio(track)

    def attach(self, job: str) -> tuple[Track, list[Output]]:
        """Opens a job that was submitted before, by anybody; ``fetch`` says at once how it stands."""
        track = Track(job)
        return track, self._enquire(track)

    def recheck(self, track: Track) -> list[Output]:
        """Asks how an open job stands: a push that was dropped on the way must not make anybody wait for ever."""
        asked = any(isinstance(self._open[ref].question, m.Fetch) for ref in track.refs)
        return [] if asked or track.end else [self._opened(m.Fetch(job=track.job), track)[1]]

    def forget(self, ref: str) -> None:
        """Nobody waits for the answer any more."""
        self._close(ref)

    def leave(self, track: Track) -> None:
        """Nobody follows the job any more; it goes on in the daemon."""
        for ref in list(track.refs):
            self._close(ref)

    # --- what happened ------------------------------------------------------------------------------------------------

    def receive(self, frames: list[bytes]) -> list[Output]:
        """What a message means; late answers and those of unknown refs mean nothing."""
        header, body = _split(frames)
        try:
            answer = self._codec.decode(header)
        except Unreadable as unreadable:
            return self._fail(unreadable.ref, ProtocolError(f"the daemon's answer is not understood: {unreadable}"))
        if (asked := self._open.get(answer.ref)) is None:
            return []
        if asked.track:
            return self._job(asked.track, asked.question, answer, body)
        self._close(answer.ref)
        return [Settled(answer.ref, Reply(answer, body))]

    def back(self, channel: Channel) -> list[Output]:
        """The connection was lost and is there again, perhaps to another daemon."""
        outputs: list[Output] = []
        for ref, asked in list(self._open.items()):
            if Channel.of(asked.question) is not channel or ref not in self._open:
                continue
            if asked.track is None:
                outputs += self._again(ref, asked.question)
            else:
                self.leave(asked.track)
                outputs += self._enquire(asked.track)
        return outputs

    def gone(self, channel: Channel, error: NoDaemon) -> list[Output]:
        """The connection is lost for good: everything that is open on it ends with the error."""
        refs = [ref for ref, asked in self._open.items() if Channel.of(asked.question) is channel]
        return [output for ref in refs for output in self._fail(ref, error)]

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def _job(self, track: Track, question: Question, answer: m.AnyAnswer, body: bytes) -> list[Output]:
        """One answer about a job."""
        match answer:
            case m.Completed() | m.Failed():
                return self._ended(track, answer, body)
            case m.Refused():
                return self._refused(track, question, answer)
            case m.Pending():
                return self._pending(track, question, answer.ref)
            case m.Accepted():
                track.accept()
            case m.Progress(done=done, duration=duration):
                track.accept()
                track.progress = JobProgress(done, duration)
            case m.SegmentDecoded(index=index):
                track.accept()
                if (segment := _parsed(body, Segment)) is None or not track.add(index, segment):
                    return []
            case _:
                return []
        return [Moved(track)]

    def _ended(self, track: Track, answer: m.Completed | m.Failed, body: bytes) -> list[Output]:
        self._end(track, _outcome(answer, body))
        release: list[Output] = [Send(Channel.JOBS, [encode(m.Release(job=track.job))])] if track.ours else []
        return [Moved(track), *release]

    def _refused(self, track: Track, question: Question, answer: m.Refused) -> list[Output]:
        """A refusal ends the track, but for a job that a restarted daemon was never given: that is submitted again."""
        unknown = answer.fault.code is Code.UNKNOWN_JOB and not isinstance(question, m.Submit)
        if unknown and track.submit and track.sent < MAX_SENT:
            self.leave(track)
            return self._send_audio(track)
        if unknown and track.submit:
            said = f"the daemon hangs up whenever it is sent these {len(track.body)} bytes of audio"
            self._end(track, Refused.of(Fault.of(Code.FRAME_TOO_LARGE, said)))
        elif unknown and track.accepted:
            self._end(track, JobLost.named(track.job))
        else:
            self._end(track, Refused.of(answer.fault))
        return [Moved(track)]

    def _pending(self, track: Track, question: Question, ref: str) -> list[Output]:
        """The job is known; a ``wait`` that has run out is asked again."""
        self._close(ref)
        track.accept()
        again = self._follow(track) if isinstance(question, m.Wait) else []
        return [Moved(track), *again]

    def _send_audio(self, track: Track) -> list[Output]:
        assert track.submit is not None
        _, send = self._opened(track.submit, track)
        track.sent += 1
        return [Send(send.channel, [*send.frames, track.body])]

    def _follow(self, track: Track) -> list[Output]:
        return [self._opened(m.Wait(job=track.job, timeout=LONG_POLL, stream=True), track)[1]]

    def _enquire(self, track: Track) -> list[Output]:
        """``wait`` is silent while there is no news, so ``fetch`` asks whether the job is known at all."""
        return [*self._follow(track), *self.recheck(track)]

    # --- the table of open questions ----------------------------------------------------------------------------------

    def _opened(self, question: Question, track: Track | None = None) -> tuple[str, Send]:
        ref = new_id()
        asked = msgspec.structs.replace(question, ref=ref)
        send = Send(Channel.of(question), [encoded(asked)])
        self._open[ref] = _Open(asked, track)
        if track:
            track.refs.add(ref)
        return ref, send

    def _again(self, ref: str, question: Question) -> list[Output]:
        if isinstance(question, Once):
            return self._fail(ref, NoDaemon("the daemon was restarted before it answered"))
        return [Send(Channel.of(question), [encoded(question)])]

    def _close(self, ref: str) -> None:
        asked = self._open.pop(ref, None)
        if asked and asked.track:
            asked.track.refs.discard(ref)

    def _fail(self, ref: str, error: AsrdError) -> list[Output]:
        if (asked := self._open.get(ref)) is None:
            return []
        if asked.track is None:
            self._close(ref)
            return [Settled(ref, error)]
        self._end(asked.track, error)
        return [Moved(asked.track)]

    def _end(self, track: Track, outcome: Finished | AsrdError) -> None:
        self.leave(track)
        if isinstance(outcome, Finished):
            track.finish(outcome)
        else:
            track.fail(outcome)


def finished(answer: m.Completed, body: bytes) -> Finished:
    """The result in an answer.

    Raises:
        ProtocolError: when the body is no transcript.
    """
    if (transcript := _parsed(body, Transcript)) is None:
        raise ProtocolError(f"the transcript of the job {answer.job} is not readable")
    return Finished(answer.job, transcript, answer.run)


def _outcome(answer: m.Completed | m.Failed, body: bytes) -> Finished | AsrdError:
    if isinstance(answer, m.Failed):
        return JobFailed.of(answer.fault)
    try:
        return finished(answer, body)
    except ProtocolError as error:
        return error


def _split(frames: list[bytes]) -> tuple[bytes, bytes]:
    """Header and body; an empty delimiter before them is skipped."""
    header, *rest = frames[1:] if len(frames) > 1 and not frames[0] else frames
    return header, rest[0] if rest else b""


def _parsed(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
