"""The audio of a step on its way to a worker: opened, then handed over as a descriptor.

A file that a job has named is opened while its attempt is being stored: its file system may take its time, and a step
that is not sent yet can still be withdrawn, and has no deadline. A file of our own spool is opened when it is sent.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.backend import Backend
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.launcher import Launcher
from asrd_supervisor.named_files import InputFault, NamedFiles
from asrd_supervisor.records import Record
from asrd_supervisor.sources import Named, Spooled
from asrd_supervisor.spool import Spool

THREADS = 8
"""For files of callers: a file system that hangs may hold up so many of them."""

Opened = int | Fault


class HandOver:
    """From the supervisor's hands into a worker's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spool: Spool,
        files: NamedFiles,
        launcher: Launcher,
        backend: Backend,
        post: Callable[[ev.Event], None],
    ) -> None:
        self._loop = loop
        self._spool = spool
        self._files = files
        self._launcher = launcher
        self._backend = backend
        self._post = post
        self.threads = ThreadPoolExecutor(THREADS, "named")
        """For whatever touches files of callers."""
        self._opened: dict[tuple[Seat, int], Opened] = {}

    def close(self) -> None:
        """Nobody waits for a file system that hangs."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    def prepare(self, record: Record, seat: Seat, attempt: int, ready: Callable[[], None]) -> None:
        """Open what takes its time, for an attempt that is being stored; ``ready`` is called now or later."""
        source = record.source
        if not isinstance(source, Named):
            ready()
            return

        def opened(audio: Opened) -> None:
            self._opened[seat, attempt] = audio
            ready()

        def work() -> None:
            self._loop.call_soon_threadsafe(opened, self._reopened(source))

        self.threads.submit(work)

    def _reopened(self, named: Named) -> Opened:
        try:
            return self._files.reopen(named)
        except InputFault as error:
            return error.fault

    def offer(self, stored: ev.AttemptPersisted) -> None:
        """All is ready. If the step is still wanted, the core sends it now; else its file is closed again."""
        self._post(stored)
        self._loop.call_soon(self._discard, stored.seat, stored.attempt)

    def _discard(self, seat: Seat, attempt: int) -> None:
        left = self._opened.pop((seat, attempt), None)
        if isinstance(left, int):
            os.close(left)

    def send(self, record: Record, step: do.SendStep) -> None:
        """Hand the audio over, then say what to do with it."""
        opened = self._opened.pop((step.seat, step.attempt), None)
        if isinstance(record.source, Spooled):
            opened = self._open(record.source)
        if not isinstance(opened, int):
            gone = Fault.of(Code.INTERNAL, "the audio of the job was not opened")
            self._post(ev.StepFaulted(step.seat, step.attempt, opened or gone))
            return
        try:
            fault = self._launcher.hand_over(step.seat, step.attempt, opened)
        finally:
            os.close(opened)
        if fault:
            self._post(ev.StepFaulted(step.seat, step.attempt, fault))
        else:
            self._backend.run(step.seat, step.attempt, record.submit)

    def _open(self, source: Spooled) -> Opened:
        try:
            return self._spool.open(source)
        except OSError as error:
            said = f"the stored audio cannot be opened ({error.strerror}); submit it again"
            return Fault.of(Code.STORAGE_FAILED, said)
