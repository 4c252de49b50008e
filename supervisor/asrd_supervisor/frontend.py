"""The jobs socket: questions of clients become events, the ends of jobs become answers to whoever waits for them."""

import asyncio
import uuid
from collections.abc import Callable

import msgspec
import zmq

from asrd_protocol import messages as msg
from asrd_protocol.codec import Codec, Encoding, Unreadable, encode
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import events as ev
from asrd_supervisor.sockets import Limits, Parcel, Router
from asrd_supervisor.spool import Ended, Spool


class Peer(msgspec.Struct, frozen=True):
    """Who asked, and how it wants its answers."""

    identity: bytes
    delimiter: bool
    encoding: Encoding
    ref: str = ""


class Follower(msgspec.Struct):
    """A peer that wants to hear of a job."""

    peer: Peer
    stream: bool
    final: bool
    timer: asyncio.TimerHandle | None = None


class Frontend:
    """One ROUTER socket. Who follows a job is known here; what becomes of it is decided in the core."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        loop: asyncio.AbstractEventLoop,
        address: str,
        spool: Spool,
        max_body: int,
        post: Callable[[ev.Event], None],
        state_of: Callable[[str], str | None],
    ) -> None:
        self._loop = loop
        self._spool = spool
        self._max_body = max_body
        self._post = post
        self._state_of = state_of
        self._codec: Codec[msg.JobQuestion] = Codec(msg.JobQuestion)
        self._followers: dict[str, list[Follower]] = {}
        # Twice what is allowed still comes in and gets an answer; libzmq cuts off what is longer.
        self._router = Router(context, loop, address, self._on_parcel, Limits(max_frame=2 * max_body))

    def close(self) -> None:
        """Stop listening; last answers get a second to leave."""
        self._router.close(linger_ms=1_000)

    # --- questions ----------------------------------------------------------------------------------------------------

    def _on_parcel(self, parcel: Parcel) -> None:
        peer = Peer(parcel.identity, parcel.delimiter, Encoding.of(parcel.header))
        try:
            question = self._codec.decode(parcel.header)
        except Unreadable as error:
            self._refuse(msgspec.structs.replace(peer, ref=error.ref), error.fault)
            return
        peer = msgspec.structs.replace(peer, ref=question.ref)
        if fault := self._too_much(parcel):
            self._refuse(peer, fault, getattr(question, "job", None))
            return
        self._answer(peer, question, parcel.body)

    def _too_much(self, parcel: Parcel) -> Fault | None:
        if parcel.surplus:
            said = f"a message has a header and at most one body; this one has {parcel.surplus} frames more"
            return Fault.of(Code.TOO_MANY_FRAMES, said)
        if parcel.body is not None and len(parcel.body) > self._max_body:
            said = f"the body has {len(parcel.body)} bytes, this daemon takes {self._max_body} (audio.max_body)"
            return Fault.of(Code.FRAME_TOO_LARGE, said)
        return None

    def _answer(self, peer: Peer, question: msg.JobQuestion, body: zmq.Frame | None) -> None:
        match question:
            case msg.Submit():
                self._submit(peer, question, body)
            case msg.Cancel(job=job):
                self._cancel(peer, job)
            case msg.Fetch(job=job):
                self._fetch(peer, job)
            case msg.Wait():
                self._wait(peer, question)
            case msg.Release(job=job):
                self._release(peer, job)

    def _submit(self, peer: Peer, submit: msg.Submit, body: zmq.Frame | None) -> None:
        if body is None or len(body) == 0:
            self._refuse(peer, Fault.of(Code.NO_AUDIO, "the submit has no body: send the audio as a second frame"))
            return
        job = submit.job or uuid.uuid4().hex
        bare = msgspec.structs.replace(submit, ref="", reply="stream", job=job)
        follower = self._follower(peer, submit.reply)
        if (known := self._known(job)) is not None:
            self._resubmit(peer, follower, known == (bare, len(body)), job)
            return
        self._followers[job] = [follower]
        self._spool.put(job, bare, body)
        self._post(ev.JobSubmitted(job, submit.pool, len(body)))

    @staticmethod
    def _follower(peer: Peer, reply: str) -> Follower:
        if peer.delimiter:
            return Follower(peer, stream=False, final=reply != "accepted")
        return Follower(peer, stream=reply == "stream", final=reply != "accepted")

    def _known(self, job: str) -> tuple[msg.Submit, int] | None:
        """What was submitted under this id, and with how many bytes of audio."""
        if audio := self._spool.audio(job):
            return audio.submit, len(audio.body)
        ended = self._spool.ended(job)
        return (ended.submit, ended.size) if ended else None

    def _resubmit(self, peer: Peer, follower: Follower, same: bool, job: str) -> None:
        """The same submit again is the same job; another one under the same id is a mistake."""
        if not same:
            self._refuse(peer, Fault.of(Code.ID_CONFLICT, f"there is another job with the id {job!r}"), job)
        elif follower.final and (ended := self._spool.ended(job)):
            self._send_end(peer, ended)
        else:
            if follower.stream or not follower.final:
                self._send(peer, msg.Accepted(job=job))
            if follower.final:
                self._followers.setdefault(job, []).append(follower)

    def _cancel(self, peer: Peer, job: str) -> None:
        if ended := self._spool.ended(job):
            self._send_end(peer, ended)
        elif self._state_of(job) is None:
            self._refuse(peer, _unknown(job), job)
        else:
            self._followers.setdefault(job, []).append(Follower(peer, stream=False, final=True))
            self._post(ev.CancelRequested(job))

    def _fetch(self, peer: Peer, job: str) -> None:
        if ended := self._spool.ended(job):
            self._send_end(peer, ended)
        elif (state := self._state_of(job)) is None:
            self._refuse(peer, _unknown(job), job)
        else:
            self._send(peer, _pending(job, state))

    def _wait(self, peer: Peer, wait: msg.Wait) -> None:
        if self._spool.ended(wait.job) or self._state_of(wait.job) is None:
            self._fetch(peer, wait.job)
            return
        follower = Follower(peer, stream=wait.stream and not peer.delimiter, final=True)
        self._followers.setdefault(wait.job, []).append(follower)
        follower.timer = self._loop.call_later(wait.timeout, self._give_up_waiting, wait.job, follower)

    def _give_up_waiting(self, job: str, follower: Follower) -> None:
        followers = self._followers.get(job, [])
        if follower in followers:
            followers.remove(follower)
            self._send(follower.peer, _pending(job, self._state_of(job) or "queued"))

    def _release(self, peer: Peer, job: str) -> None:
        if self._spool.release(job):
            self._send(peer, msg.Released(job=job))
        elif state := self._state_of(job):
            self._send(peer, _pending(job, state))
        else:
            self._refuse(peer, _unknown(job), job)

    # --- answers ------------------------------------------------------------------------------------------------------

    def accept(self, job: str, ahead: int) -> None:
        """The job is stored."""
        for follower in self._followers.get(job, []):
            if follower.stream or not follower.final:
                self._send(follower.peer, msg.Accepted(job=job, ahead=ahead))
        self._followers[job] = [f for f in self._followers.get(job, []) if f.final]

    def refuse(self, job: str, fault: Fault) -> None:
        """The job is not taken."""
        self._spool.drop(job)
        for follower in self._followers.pop(job, []):
            self._refuse(follower.peer, fault, job)

    def relay(self, answer: msg.Progress | msg.SegmentDecoded, body: "zmq.Frame | None" = None) -> None:
        """Pass on how far the job is. A peer that does not read misses it, and gets the result all the same."""
        for follower in self._followers.get(answer.job, []):
            if follower.stream:
                self._send(follower.peer, answer, body)

    def settle(self, ended: Ended) -> None:
        """The job has ended: tell whoever waits."""
        for follower in self._followers.pop(ended.answer.job, []):
            if follower.timer:
                follower.timer.cancel()
            self._send_end(follower.peer, ended)

    def _send_end(self, peer: Peer, ended: Ended) -> None:
        self._send(peer, ended.answer, ended.body)

    def _refuse(self, peer: Peer, fault: Fault, job: str | None = None) -> None:
        self._send(peer, msg.Refused(fault=fault, job=job))

    def _send(self, peer: Peer, answer: msg.JobAnswer, body: "zmq.Frame | bytes | None" = None) -> None:
        header = encode(msgspec.structs.replace(answer, ref=peer.ref), peer.encoding)
        frames = [header] if body is None else [header, body]
        self._router.send(peer.identity, frames, delimiter=peer.delimiter)


def _unknown(job: str) -> Fault:
    return Fault.of(Code.UNKNOWN_JOB, f"there is no job {job!r}; it may have been released")


def _pending(job: str, state: str) -> msg.Pending:
    return msg.Pending(job=job, state="running" if state == "running" else "queued")
