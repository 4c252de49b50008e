"""The client for asyncio. The blocking one in :mod:`asrd.sync` is a facade of it."""

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from asrd.audio import UNCHECKED, AudioLike, Sound, load, size
from asrd.errors import AsrdError, JobFailed, ProtocolError, TimedOut
from asrd.job import CANCEL_S, AsyncJob
from asrd.questions import Question
from asrd.session import LONG_POLL, finished
from asrd.shell import Shell
from asrd.track import Finished, Track
from asrd_protocol import messages as m
from asrd_protocol.addresses import Addresses, daemon_dir
from asrd_protocol.faults import Code
from asrd_protocol.model import Transcript

ANSWER_S = 5.0
"""Seconds to wait for the answer to a plain question."""

ACCEPT_S = 60.0
"""Seconds to wait until the daemon has taken a job: its audio has to get there."""

PATIENCE_S = 4.0
"""Seconds to wait for a daemon that went away."""

RECHECK_S = 30.0
"""Seconds without news of a job after which the daemon is asked how it stands."""

A = TypeVar("A", bound=m.Answer)


class AsyncClient:
    """A client of the daemon in ``runtime_dir``, or of the one that everybody finds by default.

    It connects when it is first asked something, and again when a daemon that went away is back.
    """

    def __init__(
        self,
        runtime_dir: str | os.PathLike[str] | None = None,
        *,
        timeout: float = ANSWER_S,
        patience: float = PATIENCE_S,
        recheck: float = RECHECK_S,
    ) -> None:
        """``timeout``, ``patience`` and ``recheck`` are seconds: for an answer, for a lost daemon, without news."""
        self._shell = Shell(Addresses(_directory(runtime_dir)), patience, recheck)
        self._timeout = timeout
        self._max_body: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of the daemon; jobs that were accepted go on."""
        await self._shell.close()

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        audio: AudioLike | Sound,
        /,
        *,
        pool: str | None = None,
        job: str | None = None,
        sample_rate: int = 16_000,
        timeout: float = ACCEPT_S,
        **options: Any,
    ) -> AsyncJob:
        """Sends audio to be transcribed; returns when the daemon has accepted the job.

        ``job`` is an id of your own; ``sample_rate`` in Hz that of an array; ``timeout`` seconds for the acceptance.
        All other keywords are options of the pool's engine, such as ``language="en"`` or ``word_timestamps=True``.

        Raises:
            AudioError, OptionError: nothing was sent.
            Overloaded, Refused, NoDaemon, TimedOut
        """
        question = m.Submit(job=job, pool=pool, options=options)
        return await self._accepted(await self.load(audio, sample_rate), question, timeout)

    async def enqueue(
        self,
        audio: AudioLike | Sound,
        /,
        *,
        pool: str | None = None,
        job: str | None = None,
        sample_rate: int = 16_000,
        timeout: float = ACCEPT_S,
        **options: Any,
    ) -> str:
        """As :meth:`submit`, but for a result that is fetched later, perhaps by another process; returns the id."""
        question = m.Submit(job=job, pool=pool, options=options, reply="accepted")
        handle = await self._accepted(await self.load(audio, sample_rate), question, timeout)
        handle.leave()
        return handle.id

    async def transcribe(
        self,
        audio: AudioLike | Sound,
        /,
        *,
        pool: str | None = None,
        job: str | None = None,
        sample_rate: int = 16_000,
        timeout: float | None = None,
        **options: Any,
    ) -> Transcript:
        """The transcript of audio. After ``timeout`` seconds, or when it is cancelled itself, it cancels the job.

        Raises:
            JobFailed, TimedOut, and what :meth:`submit` raises.
        """
        handle: AsyncJob | None = None
        try:
            async with asyncio.timeout(timeout):
                handle = await self.submit(audio, pool=pool, job=job, sample_rate=sample_rate, **options)
                return await handle.result()
        except TimeoutError as error:
            if isinstance(error, AsrdError):
                raise
            raise TimedOut(f"there is no transcript after {timeout:g} s; the job is cancelled") from None
        finally:
            if handle:
                handle.abandon()

    async def job(self, job: str) -> AsyncJob:
        """A job that was submitted before, to follow it; its result stays in the daemon until it is released.

        Raises:
            UnknownJob, NoDaemon, TimedOut
        """
        return await self._known(self._shell.attach(job), self._timeout)

    async def fetch(self, job: str) -> Finished | m.Pending:
        """How a job stands now.

        Raises:
            JobFailed: when it ended without a result.
            UnknownJob, NoDaemon, TimedOut
        """
        return await self._state(m.Fetch(job=job), self._timeout)

    async def wait(self, job: str, timeout: float | None = None) -> Finished | m.Pending:
        """As :meth:`fetch`, but when the job has ended or after ``timeout`` seconds."""
        while True:
            held = LONG_POLL if timeout is None else timeout
            state = await self._state(m.Wait(job=job, timeout=held), held + self._timeout)
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

    async def load(self, audio: AudioLike | Sound, sample_rate: int = 16_000) -> Sound:
        """Reads audio in a thread, no more of it than the daemon takes.

        Raises:
            AudioError, NoDaemon
        """
        limit = await self.limit(audio)
        if isinstance(audio, bytes | Sound):
            return load(audio, sample_rate, limit)
        return await asyncio.to_thread(load, audio, sample_rate, limit)

    async def limit(self, audio: AudioLike | Sound) -> int | None:
        """The most bytes that may be sent, or None where the audio is too small to ask for it."""
        held = size(audio)
        if held is not None and held <= UNCHECKED:
            return None
        if self._max_body is None:
            self._max_body = (await self.health()).max_body
        return self._max_body or None

    # --- the daemon ---------------------------------------------------------------------------------------------------

    async def health(self) -> m.HealthReport:
        """Whether work may be sent."""
        return await self._control(m.Health(), m.HealthReport)

    async def stats(self) -> m.StatsReport:
        """Counters since the daemon started."""
        return await self._control(m.Stats(), m.StatsReport)

    async def workers(self) -> list[m.WorkerReport]:
        """Every seat with its worker."""
        return (await self._control(m.Workers(), m.WorkersReport)).workers

    async def jobs(self, limit: int = 100) -> list[m.JobReport]:
        """The newest jobs that the daemon knows."""
        return (await self._control(m.Jobs(limit=limit), m.JobsReport)).jobs

    async def pools(self) -> list[m.PoolReport]:
        """Every pool with what it runs."""
        return (await self._control(m.Pools(), m.PoolsReport)).pools

    async def recycle(self, pool: str | None = None, seat: str | None = None) -> m.Done:
        """Replaces healthy workers by fresh ones, of one pool or one seat or all."""
        return await self._control(m.Recycle(pool=pool, seat=seat), m.Done)

    async def drain(self, resume: bool = False) -> m.Done:
        """Lets the daemon refuse new jobs, or take them again."""
        return await self._control(m.Drain(resume=resume), m.Done)

    async def stop(self, now: bool = False) -> m.Done:
        """Ends the daemon, after its accepted jobs or at once."""
        return await self._control(m.Stop(now=now), m.Done)

    # --- how ----------------------------------------------------------------------------------------------------------

    async def _accepted(self, sound: Sound, question: m.Submit, timeout: float) -> AsyncJob:
        track = self._shell.submit(msgspec.structs.replace(question, audio=sound.audio), sound.body)
        return await self._known(track, timeout)

    async def _known(self, track: Track, timeout: float) -> AsyncJob:
        """The handle of a job, once the daemon has said that it knows it."""
        try:
            async with asyncio.timeout(timeout):
                await self._shell.until(track, lambda: track.accepted or track.end is not None)
        except TimeoutError:
            self._give_up(track)
            raise TimedOut(f"the daemon did not answer for the job {track.job} within {timeout:g} s") from None
        except asyncio.CancelledError:
            self._give_up(track)
            raise
        if isinstance(track.end, AsrdError) and not isinstance(track.end, JobFailed):
            raise track.end
        return AsyncJob(self._shell, track)

    def _give_up(self, track: Track) -> None:
        """Nobody will hold the handle of this job: one of ours shall not run."""
        if track.submit:
            self._shell.tell(m.Cancel(job=track.job))
        self._shell.leave(track)

    async def _state(self, question: m.Fetch | m.Wait, timeout: float) -> Finished | m.Pending:
        reply = await self._shell.ask(question, timeout)
        match reply.answer:
            case m.Completed():
                return finished(reply.answer, reply.body)
            case m.Failed(fault=fault):
                raise JobFailed.of(fault)
            case m.Pending():
                return reply.answer
            case _:
                raise _unexpected(question, reply.answer)

    async def _control(self, question: Question, kind: type[A]) -> A:
        answer = (await self._shell.ask(question, self._timeout)).answer
        if not isinstance(answer, kind):
            raise _unexpected(question, answer)
        return answer


def _unexpected(question: Question, answer: object) -> ProtocolError:
    return ProtocolError(f"the daemon answered {type(question).__name__} with {type(answer).__name__}")


def _directory(given: str | os.PathLike[str] | None) -> Path:
    return daemon_dir() if given is None else Path(given)
