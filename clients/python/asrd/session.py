"""The protocol as a client sees it, with no I/O: which questions are open, and what an arriving message means.

Theory of operation. Every question has a ``ref`` of its own, which each answer to it carries. A ref belongs either to a
plain question (one answer: ``Settled``) or to a :class:`~asrd.track.Track`, the state of one job (many answers, and
``Moved`` for each that changed it). The methods return what the shell has to do, in order; nothing else comes out:

    ask, submit, attach, recheck ----> [Send]
    receive(frames) -----------------> [Settled | Moved | Send]
    back(channel), gone(channel) ----> [Settled | Moved | Send]

When a connection has come back, the daemon behind it may be another one, and nobody knows which message was the last to
arrive. So everything is asked again that may be asked twice, wherever the connection was lost:

    before ``accepted`` was read    the same submit with the same id: it is the same job, stored or not
    between the segments            ``wait`` from the first segment that is missing, and ``fetch``
    after ``completed`` was sent    the same; the daemon keeps the result until it is released
    during ``release``              ``release``; that it was done already is as good

``wait`` is silent while there is no news, so ``fetch`` tells whether the job is known at all. An accepted job is lost
only when the daemon does not know it any more. A segment that comes after a gap makes us ask for those in between;
repeats, by another worker or another daemon, are dropped. So each segment is there once, and in order.
"""

from typing import TypeAlias

import msgspec

from asrd.answers import outcome_of, parsed, settled, split
from asrd.errors import AsrdError, JobLost, NoDaemon, ProtocolError, Refused
from asrd.questions import Channel, Once, Question, encoded, new_id
from asrd.track import Finished, JobProgress, Receipt, Track
from asrd_protocol import messages as m
from asrd_protocol.codec import Codec, Unreadable
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Segment

LONG_POLL = 600.0
"""Seconds after which the daemon says that a job still runs, and is asked again."""

MAX_SENT = 3
"""How often a job is sent to daemons that go away before they accept it."""


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
        if track.end:
            return []
        asked = [self._open[ref].question for ref in track.refs]
        if waiting := [question for question in asked if isinstance(question, m.Fetch)]:
            return [Send(Channel.JOBS, [encoded(waiting[0])])]
        return [self._opened(m.Fetch(job=track.job), track)[1]]

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
        header, body = split(frames)
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
                outputs += self._send_audio(asked.track) if asked.track.submit else self._enquire(asked.track)
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
                return self._pending(track, question, answer)
            case m.Accepted():
                return self._accepted(track, answer)
            case m.Progress(done=done, duration=duration):
                track.accept()
                track.progress = JobProgress(done, duration)
            case m.SegmentDecoded(index=index):
                track.accept()
                if (segment := parsed(body, Segment)) is None:
                    return []
                if not track.add(index, segment):
                    return self._catch_up(track, index)
            case _:
                return []
        return [Moved(track)]

    def _ended(self, track: Track, answer: m.Completed | m.Failed, body: bytes) -> list[Output]:
        self._end(track, outcome_of(answer, body))
        release = track.ours and settled(answer)
        return [Moved(track), *([self._opened(m.Release(job=track.job))[1]] if release else [])]

    def _refused(self, track: Track, question: Question, answer: m.Refused) -> list[Output]:
        """A refusal ends the track, but for a job that the daemon was never given: that is submitted again."""
        unknown = answer.fault.code is Code.UNKNOWN_JOB and not isinstance(question, m.Submit)
        if unknown and track.submit:
            self.leave(track)
            return self._send_audio(track)
        lost = unknown and track.accepted
        self._end(track, JobLost.named(track.job) if lost else Refused.of(answer.fault))
        return [Moved(track)]

    def _accepted(self, track: Track, answer: m.Accepted) -> list[Output]:
        """A submit that was repeated joins a job that may have come far already."""
        joined = track.sent > 1 and track.follows
        track.receipt = Receipt(track.job, answer.ahead, answer.eta_s)
        track.accept()
        return [Moved(track), *(self._follow(track) if joined else [])]

    def _pending(self, track: Track, question: Question, answer: m.Pending) -> list[Output]:
        """The job is known; a ``wait`` that has run out is asked again."""
        self._close(answer.ref)
        track.accept()
        if answer.duration:
            track.progress = JobProgress(answer.done, answer.duration)
        return [Moved(track), *(self._follow(track) if isinstance(question, m.Wait) else [])]

    def _catch_up(self, track: Track, index: int) -> list[Output]:
        """Asks for the segments that are missing before this one; a repeat is no reason to."""
        have = len(track.segments)
        if index < have or track.caught_up == have:
            return []
        track.caught_up = have
        for ref in [ref for ref in track.refs if isinstance(self._open[ref].question, m.Wait)]:
            self._close(ref)
        return self._follow(track)

    def _send_audio(self, track: Track) -> list[Output]:
        assert track.submit is not None
        if track.sent == MAX_SENT:
            size = sum(len(frame) for frame in track.frames)
            said = f"the daemon went away {MAX_SENT} times when it was sent this job with {size} bytes of audio"
            self._end(track, Refused.of(Fault.of(Code.FRAME_TOO_LARGE, said)))
            return [Moved(track)]
        _, send = self._opened(track.submit, track)
        track.sent += 1
        return [Send(send.channel, [*send.frames, *track.frames])]

    def _follow(self, track: Track) -> list[Output]:
        wait = m.Wait(job=track.job, timeout=LONG_POLL, stream=True, since=len(track.segments))
        return [self._opened(wait, track)[1]]

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
