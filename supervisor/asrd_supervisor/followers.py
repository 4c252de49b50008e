"""Who wants to hear of a job, and what each of them is told."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from asrd_protocol import messages as msg
from asrd_protocol.codec import Encoding
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.feed import Feed
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
    feed: Feed | None = None
    timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, caller: Caller, reply: str) -> "Follower":
        """As the submit has asked."""
        return cls(caller, stream=reply == "stream" and not caller.delimiter, final=reply != "accepted")

    def leave(self) -> None:
        """It follows the job no more."""
        if self.timer:
            self.timer.cancel()
        if self.feed:
            self.feed.close()


Send = Callable[[Caller, msg.JobAnswer, Body | None], bool]


class Followers:
    """By job. A caller that does not read misses the progress, and gets the segments when it reads again."""

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
            dropped.leave()
            fault = Fault.of(Code.OVERLOADED, f"more than {MOST} follow this job; ask again", retry_after=1.0)
            self._send(dropped.caller, msg.Refused(fault=fault, job=job), None)

    def add_for(self, job: str, follower: Follower, timeout: float, give_up: Callable[[], object]) -> None:
        """One more, for so many seconds; ``give_up`` is called when the job has not ended by then."""
        self.add(job, follower)

        def over() -> None:
            followers = self._of.get(job, [])
            if follower in followers:
                followers.remove(follower)
                if follower.feed:
                    follower.feed.finish(give_up)
                else:
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

    def relay(self, answer: msg.Progress) -> None:
        """Pass on how far the job is."""
        for follower in self._of.get(answer.job, []):
            if follower.stream:
                self._send(follower.caller, answer, None)

    def show(self, job: str, segments: list[Body], attempt: int) -> None:
        """These segments of a job may be seen."""
        for follower in self._of.get(job, []):
            if follower.stream:
                follower.feed = follower.feed or self._feed(job, follower)
                follower.feed.show(segments, attempt)

    def _feed(self, job: str, follower: Follower) -> Feed:
        def send(index: int, attempt: int, body: Body) -> bool:
            return self._send(follower.caller, msg.SegmentDecoded(job=job, index=index, attempt=attempt), body)

        return Feed(self._loop, send, follower.since)

    def settle(self, ended: Ended) -> None:
        """The job has ended: tell whoever waits, after its segments."""
        for follower in self._of.pop(ended.answer.job, []):
            if follower.timer:
                follower.timer.cancel()
            tell = partial(self._send, follower.caller, ended.answer, ended.body)
            if follower.feed:
                follower.feed.finish(tell)
            else:
                tell()
