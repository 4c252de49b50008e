"""Audio between a client's message and the disk: bounded in memory, and written on threads of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from asrd_supervisor.records import Record, fingerprint
from asrd_supervisor.sources import Body, Named, Spooled
from asrd_supervisor.spool import Spool

THREADS = 4
"""For files: a sync of one does not hold up the others."""

Outcome = bytes | Exception
"""The digest of a job, or why there is none."""


class Intake:
    """On the loop's thread, but for what blocks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, spool: Spool, at_once: int | None) -> None:
        """``at_once``: audio of so many bytes is written on the loop's thread, because nothing waits for the disk."""
        self._loop = loop
        self._spool = spool
        self._at_once = at_once
        self._bodies: dict[str, Body] = {}
        self._files = ThreadPoolExecutor(THREADS, "files")
        self._tapes = ThreadPoolExecutor(1, "tapes")  # hundreds of megabytes each: they hold up nobody's submit
        self._closing = False
        self.relieved: Callable[[], None] = lambda: None
        """Called whenever audio has left the memory."""
        self.storing = 0
        """Bytes of audio in memory."""

    async def close(self) -> None:
        """Wait for what is being written."""
        self._closing = True
        await asyncio.to_thread(self._tapes.shutdown)
        await asyncio.to_thread(self._files.shutdown)  # what the files have caused is done before this is known here

    def hold(self, job: str, body: Body | None) -> None:
        """The audio of a new job."""
        if body is not None:
            self._bodies[job] = body
            self.storing += len(body)

    def let_go(self, job: str) -> None:
        """It is stored, or is not going to be."""
        if (body := self._bodies.pop(job, None)) is not None:
            self.storing -= len(body)
            self.relieved()

    def store(self, record: Record, done: Callable[[Record, Outcome], None]) -> None:
        """Write the audio that is held for a job, if any; ``done`` is called now or later."""
        body = self._bodies.get(record.job)
        if self._at_once is not None and len(body or b"") <= self._at_once:
            done(record, self._stored(record, body))
            return

        def work() -> None:
            self._loop.call_soon_threadsafe(done, record, self._stored(record, body))

        self._files.submit(work)

    def _stored(self, record: Record, body: Body | None) -> Outcome:
        """May block. On a thread nobody would hear of an exception."""
        try:
            if body is not None:
                record.source = self._spool.store(record.job, body)
            return fingerprint(record.request, record.source, body)
        except Exception as error:
            return error

    def identify(self, request: bytes, body: Body | None, named: Named | None, done: Callable[[bytes], None]) -> None:
        """The digest of a submit that may be a repeat; its audio counts as long as that takes."""
        size = len(body or b"")
        self.storing += size

        def known(digest: bytes) -> None:
            self.storing -= size
            self.relieved()
            done(digest)

        def work() -> None:
            digest = b"unknown"
            try:
                digest = fingerprint(request, named, body)
            finally:
                self._loop.call_soon_threadsafe(known, digest)

        self._files.submit(work)

    def adopt(self, job: str, tape: int, done: Callable[[Spooled | Exception], None]) -> None:
        """Keep a file that a worker has written; ``done`` is called later."""

        def work() -> None:
            outcome: Spooled | Exception
            try:
                outcome = self._spool.adopt(job, tape)
            except Exception as error:
                outcome = error
            self._loop.call_soon_threadsafe(done, outcome)

        self._tapes.submit(work)

    def holds(self, source: Spooled) -> bool:
        """Whether the audio is there, whole."""
        return self._spool.size_of(source) == source.size

    def drop(self, source: Spooled) -> None:
        """Remove audio that nobody needs any more."""
        if self._closing or (self._at_once is not None and source.size <= self._at_once):
            self._spool.drop(source)
        else:
            self._files.submit(self._spool.drop, source)
