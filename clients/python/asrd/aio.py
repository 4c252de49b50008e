"""The client for asyncio. The blocking one in :mod:`asrd.sync` is a facade of it."""

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Literal, Self, overload

from asrd.answers import finished, so_far
from asrd.audio import AudioLike, Sound
from asrd.desk import Desk
from asrd.errors import JobFailed, ProtocolError, TimedOut
from asrd.feed import Event
from asrd.job import CANCEL_S, AsyncJob
from asrd.operations import ANSWER_S, Operations
from asrd.remote import Place, place
from asrd.session import LONG_POLL
from asrd.shell import Shell
from asrd.track import Finished, Receipt, SoFar
from asrd.wish import Wish, takes, wish
from asrd_protocol import messages as m
from asrd_protocol.faults import Code
from asrd_protocol.model import Transcript

PATIENCE_S = 30.0
"""Seconds to wait for a daemon that went away while a job is followed; a plain question waits for its answer only."""

RECHECK_S = 30.0
"""Seconds without news of a job after which the daemon is asked how it stands."""


class AsyncClient(Operations):
    """A client of the daemon in ``runtime_dir``, or of a :class:`~asrd.remote.Remote` one, or of the one that everybody
    finds by default.

    It connects when it is first asked something, and again when a daemon that went away is back. Jobs that it follows
    go on there as if nothing had happened.
    """

    def __init__(
        self,
        runtime_dir: Place | None = None,
        *,
        timeout: float = ANSWER_S,
        patience: float = PATIENCE_S,
        recheck: float = RECHECK_S,
    ) -> None:
        """``timeout``, ``patience`` and ``recheck`` are seconds: for an answer, for a lost daemon, without news."""
        shell = Shell(place(runtime_dir), patience, recheck)
        super().__init__(shell, timeout)
        self.desk = Desk(shell, self.health)
        """For callers that have built their wish already."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of the daemon; jobs that were accepted go on."""
        await self._shell.close()

    # --- new jobs: see asrd.wish for the parameters -------------------------------------------------------------------

    @takes(wish)
    async def submit(self, wish: Wish) -> AsyncJob:
        """Sends audio to be transcribed; returns when the daemon has accepted the job, within ``timeout`` seconds.

        Raises:
            AudioError, OptionError: nothing was sent.
            Overloaded, Refused, NoDaemon, TimedOut
        """
        return await self.desk.submit(wish)

    @takes(wish)
    async def enqueue(self, wish: Wish) -> str:
        """As :meth:`submit`, but for a result that is fetched later, perhaps by another process; returns the id."""
        return (await self.desk.deposit(wish)).job

    @takes(wish)
    async def deposit(self, wish: Wish) -> Receipt:
        """As :meth:`enqueue`, but tells when the result is expected, too."""
        return await self.desk.deposit(wish)

    @takes(wish)
    async def transcribe(self, wish: Wish) -> Transcript:
        """The transcript of audio. After ``timeout`` seconds, or when it is cancelled itself, it cancels the job.

        Raises:
            JobFailed, TimedOut, and what :meth:`submit` raises.
        """
        return await self.desk.transcribe(wish)

    async def load(self, audio: AudioLike | Sound, sample_rate: int = 16_000, *, by_path: bool = False) -> Sound:
        """Reads audio in a thread, no more of it than the daemon takes; of a file that goes ``by_path``, nothing.

        Raises:
            AudioError, NoDaemon
        """
        return await self.desk.load(Wish(audio, m.Submit(), sample_rate, by_path=by_path))

    # --- jobs that are there ------------------------------------------------------------------------------------------

    async def job(self, job: str) -> AsyncJob:
        """A job that was submitted before, to follow it; its result stays in the daemon until it is released.

        Raises:
            UnknownJob, NoDaemon, TimedOut
        """
        return await self.desk.known(self._shell.attach(job), self._timeout)

    @overload
    async def fetch(self, job: str) -> Finished | m.Pending: ...
    @overload
    async def fetch(self, job: str, *, partial: Literal[True]) -> Finished | SoFar: ...
    async def fetch(self, job: str, *, partial: bool = False) -> Finished | m.Pending | SoFar:
        """How a job stands now; a ``partial`` answer has the segments so far.

        Raises:
            JobFailed: when it ended without a result.
            UnknownJob, NoDaemon, TimedOut
        """
        return await self._state(m.Fetch(job=job, partial=partial), self._timeout)

    async def wait(self, job: str, timeout: float | None = None) -> Finished | m.Pending:
        """As :meth:`fetch`, but when the job has ended or after ``timeout`` seconds. It outlasts a restart.

        Raises:
            JobFailed: when it ended without a result.
            UnknownJob, NoDaemon, TimedOut
        """
        held = LONG_POLL if timeout is None else timeout
        while True:
            try:
                state = await self._state(m.Wait(job=job, timeout=held), held + self._timeout)
            except TimedOut:  # a restarted daemon has waited from the beginning
                state = await self.fetch(job)
            assert not isinstance(state, SoFar)
            if timeout is not None or isinstance(state, Finished):
                return state

    async def cancel(self, job: str) -> bool:
        """Stops a job: a queued one at once, a running one at its next segment. False when it had ended before.

        Raises:
            UnknownJob, NoDaemon, TimedOut
        """
        answer = (await self._shell.ask(m.Cancel(job=job), CANCEL_S)).answer
        return isinstance(answer, m.Failed) and answer.fault.code is Code.CANCELLED

    async def release(self, job: str) -> None:
        """Lets the daemon forget a result.

        Raises:
            UnknownJob, NoDaemon, TimedOut
        """
        await self._shell.ask(m.Release(job=job), self._timeout)

    async def retry(self, job: str) -> bool:
        """Lets a job that has failed, or is in quarantine, be tried again. False when it has not ended at all.

        Raises:
            Refused: when it was completed or cancelled, or no jobs are taken now.
            UnknownJob, NoDaemon, TimedOut
        """
        return isinstance((await self._shell.ask(m.Retry(job=job), self._timeout)).answer, m.Accepted)

    # --- what happens -------------------------------------------------------------------------------------------------

    async def events(self, *topics: str) -> AsyncGenerator[Event, None]:
        """What happens in the daemon, from when somebody asks for the first event: jobs, workers, the daemon itself.

        ``topics`` are beginnings of names, such as ``"job."`` or ``"worker.died"``; all events otherwise.

        Raises:
            NoDaemon: when there is none, or it went away and did not come back.
        """
        feed = self._shell.feed(topics)
        try:
            while True:
                yield await feed.next()
        finally:
            self._shell.end(feed)

    async def _state(self, question: m.Fetch | m.Wait, timeout: float) -> Finished | m.Pending | SoFar:
        reply = await self._shell.ask(question, timeout)
        match reply.answer:
            case m.Completed():
                return finished(reply.answer, reply.body)
            case m.Failed(fault=fault):
                raise JobFailed.of(fault)
            case m.Pending() if isinstance(question, m.Fetch) and question.partial:
                return so_far(reply.answer, reply.body)
            case m.Pending():
                return reply.answer
            case _:
                raise ProtocolError.unexpected(question, reply.answer)
