"""Where wishes become jobs: the audio is read, the question sent, its acceptance awaited."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from asrd.audio import UNCHECKED, AudioLike, Sound, load, named, size
from asrd.errors import AsrdError, JobFailed, TimedOut
from asrd.job import AsyncJob
from asrd.shell import Shell
from asrd.track import Receipt, Track
from asrd.wish import Wish
from asrd_protocol import messages as m
from asrd_protocol.model import Transcript

ACCEPT_S = 60.0
"""Seconds to wait until the daemon has taken a job: its audio has to get there."""


class Desk:
    """Takes wishes. ``ask_health`` is asked once for the largest body that the daemon takes."""

    def __init__(self, shell: Shell, ask_health: Callable[[], Awaitable[m.HealthReport]]) -> None:
        self._shell = shell
        self._ask_health = ask_health
        self._max_body: int | None = None

    async def submit(self, wish: Wish) -> AsyncJob:
        """See :meth:`asrd.AsyncClient.submit`."""
        return await self._accepted(wish, wish.question)

    async def deposit(self, wish: Wish) -> Receipt:
        """See :meth:`asrd.AsyncClient.deposit`."""
        handle = await self._accepted(wish, msgspec.structs.replace(wish.question, reply="accepted"))
        handle.leave()
        return handle.receipt

    async def transcribe(self, wish: Wish) -> Transcript:
        """See :meth:`asrd.AsyncClient.transcribe`."""
        handle: AsyncJob | None = None
        try:
            async with asyncio.timeout(wish.timeout):
                handle = await self.submit(msgspec.structs.replace(wish, timeout=None))
                return await handle.result()
        except TimeoutError as error:
            if isinstance(error, AsrdError):
                raise
            raise TimedOut(f"there is no transcript after {wish.timeout:g} s; the job is cancelled") from None
        finally:
            if handle:
                handle.abandon()

    async def load(self, wish: Wish) -> Sound:
        """Reads audio in a thread, no more of it than the daemon takes.

        Raises:
            AudioError, NoDaemon
        """
        if wish.by_path:
            return named(wish.audio)
        limit = await self.limit(wish.audio)
        if isinstance(wish.audio, bytes | Sound):
            return load(wish.audio, wish.sample_rate, limit)
        return await asyncio.to_thread(load, wish.audio, wish.sample_rate, limit)

    async def limit(self, audio: AudioLike | Sound) -> int | None:
        """The most bytes that may be sent, or None where the audio is too small to ask for it."""
        held = size(audio)
        if held is not None and held <= UNCHECKED:
            return None
        if self._max_body is None:
            self._max_body = (await self._ask_health()).max_body
        return self._max_body or None

    async def known(self, track: Track, timeout: float) -> AsyncJob:
        """The handle of a job, once the daemon has said that it knows it.

        Raises:
            Refused, NoDaemon, TimedOut
        """
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

    async def _accepted(self, wish: Wish, question: m.Submit) -> AsyncJob:
        sound = await self.load(wish)
        track = self._shell.submit(msgspec.structs.replace(question, audio=sound.audio), sound.body)
        return await self.known(track, ACCEPT_S if wish.timeout is None else wish.timeout)

    def _give_up(self, track: Track) -> None:
        """Nobody will hold the handle of this job: one of ours shall not run."""
        if track.submit:
            self._shell.tell(m.Cancel(job=track.job))
        self._shell.leave(track)
