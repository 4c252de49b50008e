"""Who wants to hear of a job, and what each of them is told."""

import asyncio
from collections.abc import Callable

import msgspec

from asrd_protocol import messages as msg
from asrd_protocol.codec import Encoding
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.peers import Peer
from asrd_supervisor.records import Ended
from asrd_supervisor.sockets import Router
from asrd_supervisor.sources import Body

MOST = 64
"""Callers that follow one job."""


class Caller(msgspec.Struct, frozen=True):
    """Who asked, and how it wants its answers."""

    router: Router
    identity: bytes
    delimiter: bool
    """One answer is due: it is a REQ socket."""
    encoding: Encoding
    peer: Peer
    ref: str = ""


class Follower(msgspec.Struct):
    """A caller that wants to hear of a job."""

    caller: Caller
    stream: bool
    final: bool
    since: int = 0
    """The first segment that it has not got."""
    timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, caller: Caller, reply: str) -> "Follower":
        """As the submit has asked."""
        return cls(caller, stream=reply == "stream" and not caller.delimiter, final=reply != "accepted")


Send = Callable[[Caller, msg.JobAnswer, Body | None], None]


class Followers:
    """By job. A caller that does not read misses what it is sent, and fetches it when it likes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self._loop = loop
        self._send = send
        self._of: dict[str, list[Follower]] = {}

    def add(self, job: str, follower: Follower) -> None:
        """One more. Of too many the first is told to ask again: it is most likely gone."""
        followers = self._of.setdefault(job, [])
        followers.append(follower)
        if len(followers) > MOST:
            dropped = followers.pop(0)
            if dropped.timer:
                dropped.timer.cancel()
            fault = Fault.of(Code.OVERLOADED, f"more than {MOST} follow this job; ask again", retry_after=1.0)
            self._send(dropped.caller, msg.Refused(fault=fault, job=job), None)

    def add_for(self, job: str, follower: Follower, timeout: float, give_up: Callable[[], None]) -> None:
        """One more, for so many seconds; ``give_up`` is called when the job has not ended by then."""
        self.add(job, follower)

        def over() -> None:
            followers = self._of.get(job, [])
            if follower in followers:
                followers.remove(follower)
                give_up()

        follower.timer = self._loop.call_later(timeout, over)

    def accept(self, answer: msg.Accepted) -> None:
        """The job is stored."""
        for follower in self._of.get(answer.job, []):
            if follower.stream or not follower.final:
                self._send(follower.caller, answer, None)
        self._of[answer.job] = [follower for follower in self._of.get(answer.job, []) if follower.final]

    def drop(self, job: str) -> list[Caller]:
        """The job is not taken: who has to be told."""
        return [follower.caller for follower in self._of.pop(job, [])]

    def relay(self, answer: msg.Progress | msg.SegmentDecoded, body: Body | None = None) -> None:
        """Pass on how far the job is."""
        for follower in self._of.get(answer.job, []):
            if follower.stream and not (isinstance(answer, msg.SegmentDecoded) and answer.index < follower.since):
                self._send(follower.caller, answer, body)

    def settle(self, ended: Ended) -> None:
        """The job has ended: tell whoever waits."""
        for follower in self._of.pop(ended.answer.job, []):
            if follower.timer:
                follower.timer.cancel()
            self._send(follower.caller, ended.answer, ended.body)
