"""The handle of one job."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence

from asrd.errors import AsrdError, Refused, TimedOut
from asrd.shell import Shell
from asrd.track import Finished, JobProgress, Receipt, Track
from asrd_protocol import messages as m
from asrd_protocol.model import Run, Segment, Transcript

CANCEL_S = 15.0
"""Seconds to wait until a cancelled job has ended: its worker may have to be killed first."""


class AsyncJob:
    """One job that was submitted or attached to."""

    def __init__(self, shell: Shell, track: Track) -> None:
        self._shell = shell
        self._track = track

    @property
    def id(self) -> str:
        """The name of the job in the daemon."""
        return self._track.job

    @property
    def receipt(self) -> Receipt:
        """How the queue was when the daemon accepted it."""
        return self._track.receipt

    @property
    def progress(self) -> JobProgress:
        """How far it has come."""
        return self._track.progress

    @property
    def run(self) -> Run | None:
        """Where and how it ran; None until it is completed."""
        return self._track.end.run if isinstance(self._track.end, Finished) else None

    @property
    def decoded(self) -> Sequence[Segment]:
        """The segments that are there by now."""
        return tuple(self._track.segments)

    async def updates(self) -> AsyncIterator[JobProgress]:
        """The progress, whenever it or the number of segments has changed; the last one when the job has ended."""
        track, seen = self._track, (JobProgress(), 0)
        ended = False
        while not ended:
            await self._shell.until(track, functools.partial(_has_news, track, seen))
            seen, ended = _standing(track), track.end is not None
            yield track.progress

    async def segments(self) -> AsyncIterator[Segment]:
        """The segments as they are decoded, each once, also when another worker takes the job over.

        With ``diarize`` all of them come at the end, because they are cut where the speaker changes.

        Raises:
            JobFailed, NoDaemon
        """
        index = 0
        while (segment := await self.segment(index)) is not None:
            yield segment
            index += 1

    async def segment(self, index: int) -> Segment | None:
        """One segment, as soon as it is there; None when the job is completed and has fewer.

        Raises:
            JobFailed, NoDaemon
        """
        track = self._track
        await self._shell.until(track, lambda: index < len(track.segments) or track.end is not None)
        if index < len(track.segments):
            return track.segments[index]
        _finished(track)
        return None

    async def result(self, timeout: float | None = None) -> Transcript:
        """The transcript.

        Raises:
            TimedOut: after ``timeout`` seconds; the job goes on.
            JobFailed, NoDaemon
        """
        track = self._track
        try:
            async with asyncio.timeout(timeout):
                await self._shell.until(track, lambda: track.end is not None)
        except TimeoutError:
            raise TimedOut(f"the job {self.id} has no result after {timeout:g} s") from None
        return _finished(track).transcript

    async def cancel(self) -> None:
        """Stops the job; :meth:`result` raises ``Cancelled`` then. A job that has ended stays as it is.

        Raises:
            NoDaemon, TimedOut, Refused
        """
        if self._track.end is not None:
            return
        try:
            await self._shell.ask(m.Cancel(job=self.id), CANCEL_S)
        except Refused:
            if self._track.end is None:
                raise

    def leave(self) -> None:
        """Follows the job no more; it goes on."""
        self._shell.leave(self._track)

    def abandon(self) -> None:
        """Stops the job and does not wait for the daemon to say so."""
        if self._track.end is None:
            self._shell.tell(m.Cancel(job=self.id))


def _standing(track: Track) -> tuple[JobProgress, int]:
    return track.progress, len(track.segments)


def _has_news(track: Track, seen: tuple[JobProgress, int]) -> bool:
    return track.end is not None or _standing(track) != seen


def _finished(track: Track) -> Finished:
    """The end of a track that has one, as a result or as an exception."""
    if isinstance(track.end, Finished):
        return track.end
    raise track.end or AsrdError(f"the job {track.job} has not ended")
