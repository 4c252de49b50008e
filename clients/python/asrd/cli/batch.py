"""Many files at once through one daemon, bounded, each with its own fate."""

import asyncio
import errno
from collections.abc import Sequence
from typing import Any

import msgspec

from asrd.aio import AsyncClient
from asrd.cli.output import Rendering, caveats
from asrd.cli.progress import Display
from asrd.cli.source import Source
from asrd.cli.verdict import complain
from asrd.errors import AsrdError, NoDaemon, Overloaded, TimedOut
from asrd.job import AsyncJob
from asrd.track import Finished
from asrd_protocol.exits import Exit

AHEAD = 2
"""Jobs under way for each worker: one being decoded, one waiting so that no worker idles."""


NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Why nothing can be written into a directory."""


class Order(msgspec.Struct, frozen=True):
    """What shall be done with each file."""

    options: dict[str, Any]
    """Of the engine."""
    wishes: dict[str, Any]
    """The parameters that all ways to submit share."""
    timeout: float | None = None
    """Seconds for one file, the wait for room in the queue included."""

    @property
    def diarizes(self) -> bool:
        """Whether speakers are told apart: no text is final before all of it is there."""
        return "diarize" in self.wishes


class Batch:
    """Transcribes sources; prints the results in the order of the sources, or writes each when it is there."""

    def __init__(self, client: AsyncClient, order: Order, rendering: Rendering, display: Display) -> None:
        self._client = client
        self._order = order
        self._rendering = rendering
        self._display = display
        self._freed = asyncio.Event()
        self._left: list[str] = []
        """Jobs whose daemon went away for good."""

    async def run(self, sources: Sequence[Source]) -> Exit:
        """All of them; the exit code is bad when one failed.

        Raises:
            NoDaemon: when there is none, or none any more; with the jobs that it has.
        """
        workers = (await self._client.stats()).workers.total
        room = asyncio.Semaphore(max(AHEAD, AHEAD * workers))
        streams = self._rendering.streams and not self._order.diarizes and len(sources) == 1
        tasks = [asyncio.create_task(self._one(source, room, streams)) for source in sources]
        code = Exit.OK
        try:
            for source, task in zip(sources, tasks, strict=True):
                if not self._deliver(source, await task, printed=streams):
                    code = Exit.FAILED
        except NoDaemon as error:
            raise NoDaemon(f"{error}{_kept(self._left)}") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return code

    def _deliver(self, source: Source, outcome: Finished | AsrdError, *, printed: bool) -> bool:
        """Prints or complains."""
        if isinstance(outcome, NoDaemon):
            raise outcome
        if isinstance(outcome, AsrdError):
            complain(str(outcome) if source.name in str(outcome) else f"{source.name}: {outcome}")
            return False
        if self._rendering.directory is None:
            self._warn(source, outcome)
            if not printed:
                text = self._rendering.text(outcome, self._rendering.formats[0], source.stem)
                self._display.emit(text if text.endswith("\n") or not text else text + "\n")
        return True

    async def _one(self, source: Source, room: asyncio.Semaphore, streams: bool) -> Finished | AsrdError:
        """One file from its bytes to its transcript."""
        outcome: Finished | AsrdError
        async with room:
            try:
                async with asyncio.timeout(self._order.timeout):
                    outcome = await self._transcribe(source, streams)
            except AsrdError as error:
                outcome = error
            except TimeoutError:
                outcome = TimedOut(f"there is no transcript after {self._order.timeout:g} s; the job is cancelled")
            self._freed.set()
            self._freed.clear()
        if isinstance(outcome, Finished):
            outcome = self._written(source, outcome)
        self._display.ended(source.name, outcome if isinstance(outcome, Finished) else None)
        return outcome

    def _written(self, source: Source, finished: Finished) -> Finished | AsrdError:
        """The transcript, as soon as it is there: the daemon does not keep it, and others may take long.

        Raises:
            OSError: and the next one cannot be written either.
        """
        if self._rendering.directory is None:
            return finished
        try:
            self._rendering.write(finished, source.stem)
        except OSError as error:
            if error.errno in NO_PLACE:
                raise
            return AsrdError(f"{source.name}: its transcript cannot be written: {error}")
        self._warn(source, finished)
        return finished

    @staticmethod
    def _warn(source: Source, finished: Finished) -> None:
        for warning in caveats(finished.transcript):
            complain(f"{source.name}: warning: {warning}")

    async def _transcribe(self, source: Source, streams: bool) -> Finished:
        job = await self._submit(source)
        try:
            return await self._follow(source, job, streams)
        except NoDaemon:
            self._left.append(job.id)
            raise
        finally:
            job.abandon()

    async def _submit(self, source: Source) -> AsyncJob:
        """Sends the job; where the queue is full, waits for one of ours to end or for as long as the daemon says."""
        if isinstance(source.audio, AsrdError):
            raise source.audio
        wishes = {**self._order.wishes}
        sound = await self._client.load(source.audio, by_path=wishes.pop("by_path", False))
        while True:
            try:
                return await self._client.submit(sound, **wishes, **self._order.options)
            except Overloaded as overloaded:
                await self._pause(overloaded.retry_after)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._freed.wait()
        except TimeoutError:
            return

    async def _follow(self, source: Source, job: AsyncJob, streams: bool) -> Finished:
        printed = 0
        async for progress in job.updates():
            self._display.moved(source.name, progress)
            if streams:
                fresh = job.decoded[printed:]
                self._display.emit("".join(f"{segment.text.strip()}\n" for segment in fresh))
                printed += len(fresh)
        transcript = await job.result()
        assert job.run is not None
        return Finished(job.id, transcript, job.run)


def _kept(jobs: Sequence[str]) -> str:
    """How to come to the text of jobs whose daemon is gone."""
    if not jobs:
        return ""
    said = f"the job {jobs[0]} is" if len(jobs) == 1 else f"the jobs {', '.join(jobs)} are"
    one = jobs[0] if len(jobs) == 1 else "ID"
    return f"; {said} kept: `asrd wait {one}` when it is back, then `asrd result {one}`"
