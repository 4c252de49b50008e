"""The jobs sockets: questions of clients become events, what becomes of jobs is told to whoever follows them."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

import msgspec
import zmq

from asrd_protocol import messages as msg
from asrd_protocol.codec import Codec, Encoding, Unreadable, encode
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.admission import Admission
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.supervisor import Supervisor
from asrd_supervisor.followers import Caller, Follower, Followers
from asrd_supervisor.ledger import Ledger
from asrd_supervisor.named_files import InputFault, NamedFiles
from asrd_supervisor.peers import Access
from asrd_supervisor.records import Ended, Record, submitted
from asrd_supervisor.report.snapshot import pending
from asrd_supervisor.sockets import Parcel, Router
from asrd_supervisor.sources import Body, Named

MAX_WAITING = 64
"""Questions that wait until a job is stored, and callers that follow one."""

MAX_STORING = 64 << 20
"""Bytes of audio on their way to the disk; while there are more, clients have to wait."""


class Frontend:
    """What becomes of a job is decided in the core; here it is only asked and told."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        core: Supervisor,
        ledger: Ledger,
        files: NamedFiles,
        threads: Executor,
        access: Access,
        admission: Admission,
        post: Callable[[ev.Event], None],
    ) -> None:
        self._loop = loop
        self._core = core
        self._ledger = ledger
        self._files = files
        self._threads = threads
        self._access = access
        self._admission = admission
        self._post = post
        self._codec: Codec[msg.JobQuestion] = Codec(msg.JobQuestion)
        self._routers: list[Router] = []
        self._closing = False
        self._followers = Followers(loop, self._send)

    def listen(self, routers: Sequence[Router]) -> None:
        """Answer on these sockets; their parcels come to :meth:`on_parcel`."""
        self._routers = list(routers)

    def lost(self) -> bool:
        """Whether somebody has taken our place."""
        return any(router.lost() for router in self._routers)

    def close(self) -> None:
        """Stop listening; last answers get a second to leave."""
        for router in self._routers:
            router.close(linger_ms=1_000)

    # --- questions ----------------------------------------------------------------------------------------------------

    def on_parcel(self, router: Router, parcel: Parcel) -> None:
        """One message of a client."""
        caller = Caller(router, parcel.identity, parcel.delimiter, Encoding.of(parcel.header), parcel.peer)
        try:
            question = self._codec.decode(parcel.header)
        except Unreadable as error:
            self._refuse(msgspec.structs.replace(caller, ref=error.ref), error.fault)
            return
        caller = msgspec.structs.replace(caller, ref=question.ref)
        if fault := self._access.objection(parcel.peer) or self._admission.too_much(parcel):
            self._refuse(caller, fault, getattr(question, "job", None))
        elif isinstance(question, msg.Submit):
            self._submit(caller, question, parcel.body)
        else:
            self._ask(caller, question)

    # --- a new job ----------------------------------------------------------------------------------------------------

    def _submit(self, caller: Caller, submit: msg.Submit, body: zmq.Frame | None) -> None:
        if fault := self._admission.unusable(caller.peer, submit, body):
            self._refuse(caller, fault, submit.job)
            return
        submit = msgspec.structs.replace(submit, job=submit.job or uuid.uuid4().hex)
        if not isinstance(submit.audio, msg.LocalFile):
            self._take(caller, submit, body, None)
            return
        identify = partial(self._files.identify, submit.audio.path, caller.peer)
        future = self._loop.run_in_executor(self._threads, identify)
        future.add_done_callback(lambda found: self._take_named(caller, submit, found))

    def _take_named(self, caller: Caller, submit: msg.Submit, found: "asyncio.Future[Named]") -> None:
        if found.cancelled():
            return  # the daemon leaves
        record = self._ledger.find(submit.job or "")
        try:
            named = found.result()
        except InputFault as error:
            if record is None or not isinstance(record.source, Named):
                self._refuse(caller, error.fault, submit.job)
                return
            named = record.source  # the file is gone, but the job may be known, and even have ended
        self._take(caller, submit, None, named)

    def _take(self, caller: Caller, submit: msg.Submit, body: zmq.Frame | None, named: Named | None) -> None:
        assert submit.job
        follower = Follower.of(caller, submit.reply)
        if record := self._ledger.find(submit.job):
            self._resubmit(record, follower, submit, body, named)
            return
        if fault := self._admission.impossible(submit) or self._admission.no_room():
            self._refuse(caller, fault, submit.job)
            return
        self._followers.add(submit.job, follower)
        record = self._ledger.begin(caller.peer.owner, submit, body, named, caller.identity.hex())
        size = named.size if named else len(body or b"")
        self._post(submitted(record, size))
        self._hold_back()

    def pause(self) -> None:
        """Take no more questions, for good; what was taken is still answered."""
        self._closing = True
        for router in self._routers:
            router.pause()

    def _hold_back(self) -> None:
        """Clients have to wait while too much of theirs is in memory."""
        if self._ledger.intake.storing > MAX_STORING:
            for router in self._routers:
                router.pause()

    def relieve(self) -> None:
        """Audio has left the memory."""
        if self._ledger.intake.storing <= MAX_STORING // 2 and not self._closing:
            for router in self._routers:
                router.resume()

    def _resubmit(
        self, record: Record, follower: Follower, submit: msg.Submit, body: zmq.Frame | None, named: Named | None
    ) -> None:
        """The same submit again is the same job; another one under the same id is a mistake."""

        def compared(same: bool | None) -> None:
            if same is None:
                said = "the first submit of this job could not be stored; submit it again"
                self._refuse(follower.caller, Fault.of(Code.OVERLOADED, said, retry_after=1.0), record.job)
            elif same and self._visible(follower.caller, record):
                self._follow_again(record, follower)
            else:
                fault = Fault.of(Code.ID_CONFLICT, f"there is another job with the id {record.job!r}")
                self._refuse(follower.caller, fault, record.job)

        self._ledger.compare(record, submit, body, named, compared)
        self._hold_back()

    def _follow_again(self, record: Record, follower: Follower) -> None:
        if record.report and follower.final:
            self._ledger.archive.answer(record.job, partial(self._send_end, follower.caller))
            return
        if follower.stream or not follower.final:
            self._send(follower.caller, msg.Accepted(job=record.job))
        if follower.final:
            self._followers.add(record.job, follower)

    # --- a job that is known ------------------------------------------------------------------------------------------

    def _ask(self, caller: Caller, question: msg.Cancel | msg.Fetch | msg.Wait | msg.Release | msg.Retry) -> None:
        record = self._ledger.find(question.job)
        if record is None or not self._visible(caller, record):
            said = f"there is no job {question.job!r}; it may have been released"
            self._refuse(caller, Fault.of(Code.UNKNOWN_JOB, said), question.job)
            return
        if record.unsettled and len(record.waiting) < MAX_WAITING:
            record.waiting.append(partial(self._ask, caller, question))
            return
        match question:
            case msg.Release():
                self._release(caller, record)
            case msg.Retry():
                self._retry(caller, record)
            case _ if record.report:
                self._ledger.archive.answer(record.job, partial(self._send_end, caller))
            case msg.Cancel():
                self._followers.add(record.job, Follower(caller, stream=False, final=True))
                self._post(ev.CancelRequested(record.job))
            case msg.Fetch(partial=wanted):
                self._tell_state(caller, record, record.so_far() if wanted else None)
            case msg.Wait():
                self._wait(caller, record, question)

    @staticmethod
    def _visible(caller: Caller, record: Record) -> bool:
        return caller.peer.trusted or caller.peer.owner == record.owner

    def _tell_state(self, caller: Caller, record: Record, body: bytes | None = None) -> bool:
        return self._send(caller, pending(self._core, record), body)

    def _wait(self, caller: Caller, record: Record, wait: msg.Wait) -> None:
        follower = Follower(caller, stream=wait.stream and not caller.delimiter, final=True, since=wait.since)
        give_up = partial(self._tell_state, caller, record)
        self._followers.add_for(record.job, follower, wait.timeout, give_up)
        self.show(record)

    def _release(self, caller: Caller, record: Record) -> None:
        if record.report:
            self._ledger.archive.forget(record.job, partial(self._send, caller, msg.Released(job=record.job)))
        else:
            self._tell_state(caller, record)

    def _retry(self, caller: Caller, record: Record) -> None:
        if record.report is None:
            self._tell_state(caller, record)
        elif fault := self._admission.no_use(record, record.report):
            self._refuse(caller, fault, record.job)
        else:
            self._ledger.revive(record.job, partial(self._send, caller, msg.Accepted(job=record.job)))

    # --- answers ------------------------------------------------------------------------------------------------------

    def accept(self, job: str, ahead: int, eta: float) -> None:
        """The job is stored."""
        self._followers.accept(msg.Accepted(job=job, ahead=ahead, eta_s=eta))

    def refuse(self, job: str, fault: Fault) -> None:
        """The job is not taken."""
        for caller in self._followers.drop(job):
            self._refuse(caller, fault, job)
        self._ledger.abandon(job)

    def relay(self, job: str, done: float, duration: float) -> None:
        """How far a job is."""
        self._followers.relay(msg.Progress(job=job, done=done, duration=duration))

    def show(self, record: Record) -> None:
        """Which segments of a job may be seen has changed."""
        if record.streams:
            self._followers.show(record.job, record.segments, record.attempt)

    def settle(self, ended: Ended) -> None:
        """The job has ended, and that is stored."""
        self._followers.settle(ended)

    def _send_end(self, caller: Caller, ended: Ended) -> None:
        self._send(caller, ended.answer, ended.body)

    def _refuse(self, caller: Caller, fault: Fault, job: str | None = None) -> None:
        self._send(caller, msg.Refused(fault=fault, job=job))

    @staticmethod
    def _send(caller: Caller, answer: msg.JobAnswer, body: Body | None = None) -> bool:
        header = encode(msgspec.structs.replace(answer, ref=caller.ref), caller.encoding)
        frames = [header] if body is None else [header, body]
        return caller.router.send(caller.identity, frames, delimiter=caller.delimiter)
