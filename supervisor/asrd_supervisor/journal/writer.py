"""The thread that writes the journal.

Group commit without timers: while one transaction waits for the disk, requests queue, and the next transaction takes
them all. Whoever asked is told after the commit, never before. The loop never waits.

A full disk is weather: new jobs are refused, and jobs that are here can still end in the room that the ballast gives.
Any other error of the disk is the end: after an fsync that failed nobody knows what is stored, so nothing more is said.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.journal.ballast import Ballast
from asrd_supervisor.journal.entries import Accept, Operation, Result
from asrd_supervisor.journal.store import DiskFull, Store

_log = structlog.get_logger("asrd")

BATCH = 1_000
"""Operations in one transaction at most."""

PAUSE = 0.5
"""Seconds between two looks whether a full disk has room again."""

Done = Callable[[Result], None]


class Journal(Protocol):
    """What is done with a journal."""

    @property
    def full(self) -> bool:
        """Whether jobs are refused for want of room."""
        ...

    @property
    def busy_s(self) -> float:
        """Seconds for which the present transaction has waited for the disk; 0 when there is none."""
        ...

    def write(self, operation: Operation, done: Done) -> None:
        """Have it done; ``done`` is called on the loop's thread with what it gives, now or later."""
        ...

    async def close(self) -> None:
        """Write what is queued, and answer it; then close the journal."""
        ...


class Immediate:
    """A journal in memory: no disk to wait for, so everything is done at once."""

    full = False
    busy_s = 0.0

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, operation: Operation, done: Done) -> None:
        """Do it, and answer."""
        done(self._store.apply([operation])[0])

    async def close(self) -> None:
        """Forget everything."""
        self._store.close()


class Writer:
    """Takes operations on the loop's thread, and answers there."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, store: Store, ballast: Ballast, broken: Callable[[Exception], None]
    ) -> None:
        self._loop = loop
        self._store = store
        self._ballast = ballast
        self._broken = broken
        self._queue: queue.SimpleQueue[tuple[Operation, Done] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._looked_at = 0.0
        self._began = 0.0
        self.full = False
        """Whether jobs are refused for want of room."""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, operation: Operation, done: Done) -> None:
        """Have it done; ``done`` is called on the loop after the commit, with what it gives."""
        self._queue.put((operation, done))

    @property
    def busy_s(self) -> float:
        """Seconds for which the present transaction has waited for the disk; 0 when there is none."""
        began = self._began
        return time.monotonic() - began if began else 0.0

    async def close(self) -> None:
        """Write what is queued, and answer it; then close the journal."""
        self._closing.set()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)  # the last answers are given before this is known here
        with contextlib.suppress(sqlite3.Error):  # the disk is broken, and that was told
            self._store.close()

    # --- on its own thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.full = not self._ballast.restore()
            while batch := self._batch():
                self._began = time.monotonic()
                results = self._commit([operation for operation, _ in batch])
                self._began = 0.0
                self._loop.call_soon_threadsafe(self._answer, batch, results)
        except Exception as error:
            self._loop.call_soon_threadsafe(self._broken, error)

    def _batch(self) -> list[tuple[Operation, Done]]:
        """Waits for one, takes all that are there; empty at the end."""
        batch = []
        item = self._next()
        while item is not None:
            batch.append(item)
            if len(batch) == BATCH:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        else:
            if batch:
                self._queue.put(None)  # the end comes after these
        return batch

    def _next(self) -> tuple[Operation, Done] | None:
        """Waits; while the disk is full it looks now and then whether there is room, because nobody else does."""
        while self.full:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=PAUSE)
            self._room_again()
        return self._queue.get()

    @staticmethod
    def _answer(batch: list[tuple[Operation, Done]], results: list[Result]) -> None:
        for (operation, done), result in zip(batch, results, strict=True):
            try:
                done(result)
            except Exception:
                _log.exception("an answer of the journal failed", operation=type(operation).__name__)

    # --- a disk that may be full --------------------------------------------------------------------------------------

    def _commit(self, operations: list[Operation]) -> list[Result]:
        if self.full and not self._room_again():
            return self._without_new_jobs(operations)
        try:
            return self._store.apply(operations)
        except DiskFull:
            self._ballast.free()
            self.full = True
            _log.error("the disk is full; new jobs are refused until there is room")
            return self._without_new_jobs(operations)

    def _room_again(self) -> bool:
        if time.monotonic() < self._looked_at + PAUSE:
            return False
        self._looked_at = time.monotonic()
        if not self._ballast.restore():
            return False
        self.full = False
        _log.info("there is room on the disk again; new jobs are taken")
        return True

    def _without_new_jobs(self, operations: list[Operation]) -> list[Result]:
        """Refuse new jobs; everything else waits until it is written, however long that takes."""
        others = [operation for operation in operations if not isinstance(operation, Accept)]
        results = iter(self._insist(others))
        said = "the disk of the daemon is full; nothing can be accepted until there is room"
        fault = Fault.of(Code.INSUFFICIENT_STORAGE, said, retry_after=10.0)
        return [fault if isinstance(operation, Accept) else next(results) for operation in operations]

    def _insist(self, operations: Sequence[Operation]) -> list[Result]:
        while True:
            try:
                self._began = time.monotonic()
                return self._store.apply(operations) if operations else []
            except DiskFull:
                self._began = 0.0  # a full disk is no disk that hangs
                self._ballast.free()
                if self._closing.wait(PAUSE):
                    raise OSError("the disk is full, and the last results could not be written") from None
