"""What a step is about, on its way to a worker: opened, then handed over as a descriptor.

A file that a job has named is opened while its attempt is being stored: its file system may take its time, and a step
that is not sent yet can still be withdrawn, and has no deadline. The parts of a job are gathered then, too. A file of
our own spool is opened when it is sent.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from asrd_protocol import link
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.backend import Backend
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE
from asrd_supervisor.launcher import Launcher
from asrd_supervisor.ledger import Ledger
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
        ledger: Ledger,
        files: NamedFiles,
        launcher: Launcher,
        backend: Backend,
        chunking: Mapping[str, link.Chunking],
        post: Callable[[ev.Event], None],
    ) -> None:
        """``chunking``: of the pools that cut long audio."""
        self._loop = loop
        self._spool = spool
        self._ledger = ledger
        self._files = files
        self._launcher = launcher
        self._backend = backend
        self._chunking = chunking
        self._post = post
        self.threads = ThreadPoolExecutor(THREADS, "named")
        """For whatever touches files of callers."""
        self._opened: dict[tuple[Seat, int], Opened] = {}
        self._tapes: dict[Seat, tuple[int, int]] = {}
        """The attempt that was last given a file to write samples to, and that file."""

    def close(self) -> None:
        """Nobody waits for a file system that hangs."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        for _, tape in self._tapes.values():
            os.close(tape)
        self._tapes.clear()

    # --- what takes its time ------------------------------------------------------------------------------------------

    def prepare(self, record: Record, step: do.PersistAttempt, ready: Callable[[], None]) -> None:
        """Open what takes its time, for an attempt that is being stored; ``ready`` is called now or later."""

        def opened(found: Opened) -> None:
            self._opened[step.seat, step.attempt] = found
            ready()

        if step.step == MERGE:
            self._ledger.gather(record, lambda gathered: opened(_in_memory(gathered)))
        elif step.step in (WHOLE, SPEAKERS) and isinstance(named := record.source, Named):
            self.threads.submit(lambda: self._loop.call_soon_threadsafe(opened, self._reopened(named)))
        else:
            ready()

    def _reopened(self, named: Named) -> Opened:
        try:
            return self._files.reopen(named)
        except InputFault as error:
            return error.fault
        except Exception as error:  # nobody hears of it on this thread, and the worker would wait for ever
            return Fault.of(Code.INPUT_MISSING, f"{named.path} cannot be read ({error})")

    def offer(self, stored: ev.AttemptPersisted) -> None:
        """All is ready. If the step is still wanted, the core sends it now; else its file is closed again."""
        self._post(stored)
        self._loop.call_soon(self._discard, stored.seat, stored.attempt)

    def _discard(self, seat: Seat, attempt: int) -> None:
        left = self._opened.pop((seat, attempt), None)
        if isinstance(left, int):
            os.close(left)

    # --- to the worker ------------------------------------------------------------------------------------------------

    def send(self, record: Record, step: do.SendStep) -> None:
        """Hand over what the step is about, then say what to do with it."""
        opened = self._opened.pop((step.seat, step.attempt), None)
        if opened is None:
            opened = self._open(record, step.step)
        if isinstance(opened, Fault):
            self._post(ev.StepFaulted(step.seat, step.attempt, opened))
            return
        order = self._order(record, step)
        self.forget(step.seat)
        tape = self._new_tape(step) if isinstance(order, link.RunStep) and order.chunking else []
        try:
            fault = self._launcher.hand_over(step.seat, step.attempt, opened, *tape)
        finally:
            os.close(opened)
        if fault:
            self._post(ev.StepFaulted(step.seat, step.attempt, fault))
        else:
            self._backend.run(step.seat, order)

    def _open(self, record: Record, step: int) -> Opened:
        source = record.plan.tape if record.plan and step >= FIRST_CHUNK else record.source
        if not isinstance(source, Spooled):
            return Fault.of(Code.INTERNAL, "the audio of the job was not opened")
        try:
            return self._spool.open(source)
        except OSError as error:
            said = f"the stored audio cannot be opened ({error.strerror}); submit it again"
            return Fault.of(Code.STORAGE_FAILED, said)

    def _order(self, record: Record, step: do.SendStep) -> link.Step:
        submit = record.submit
        if step.step == MERGE:
            return link.RunMerge(step.attempt)
        if step.step == SPEAKERS:
            assert submit.diarize
            return link.RunSpeakers(step.attempt, submit.audio, submit.diarize)
        if step.step >= FIRST_CHUNK:
            assert record.plan
            start, end = record.plan.chunks[step.step - FIRST_CHUNK]
            return link.RunChunk(step.attempt, start, end, submit.options, record.plan.head)
        chunking = self._chunking.get(step.seat.pool) if submit.split else None
        return link.RunStep(step.attempt, submit.audio, submit.options, chunking)

    # --- samples of long audio ----------------------------------------------------------------------------------------

    def _new_tape(self, step: do.SendStep) -> list[int]:
        """A file for the worker to write to, if it turns out to be needed; none where that is not possible."""
        tape = self._spool.tape()
        if tape is None:
            return []
        self._tapes[step.seat] = (step.attempt, tape)
        return [tape]

    def take_tape(self, seat: Seat, attempt: int) -> int | None:
        """The file that a worker has written to in an attempt; it is the caller's to close."""
        if self._tapes.get(seat, (0, 0))[0] != attempt:
            return None
        return self._tapes.pop(seat)[1]

    def forget(self, seat: Seat) -> None:
        """Nobody needs what a worker may have written."""
        if seat not in self._tapes:
            return
        _, tape = self._tapes.pop(seat)
        if os.fstat(tape).st_size:
            self._loop.run_in_executor(None, os.close, tape)  # that frees its room, which takes its time
        else:
            os.close(tape)


def _in_memory(gathered: bytes | Fault) -> Opened:
    """A file that is nowhere."""
    if isinstance(gathered, Fault):
        return gathered
    try:
        fd = os.memfd_create("parts", os.MFD_CLOEXEC)
    except OSError as error:
        return _no_room(error)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(gathered)
    except OSError as error:
        os.close(fd)
        return _no_room(error)
    return fd


def _no_room(error: OSError) -> Fault:
    return Fault.of(Code.STORAGE_FAILED, f"the parts of the job cannot be put together ({error.strerror})")
