"""An event loop on a thread of its own, for callers who have none."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from asrd.errors import AsrdError

JOIN_S = 5.0
"""Seconds that closing waits for the thread at most."""

LOOK_UP_S = 0.5
"""Seconds after which a waiting thread looks for signals."""

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for any thread. ``cleanup`` is awaited when it is stopped."""

    def __init__(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        self._cleanup = cleanup
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._main, name="asrd-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine; an interrupt of the calling thread cancels it.

        Raises:
            AsrdError: when the loop is stopped, before or meanwhile.
        """
        future = self._scheduled(coroutine)
        try:
            return _outcome(future)
        except concurrent.futures.CancelledError:
            raise AsrdError("the client is closed") from None
        except BaseException:
            future.cancel()
            raise

    def launch(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Runs a coroutine that nobody waits for; on a loop that is stopped, nothing."""
        with contextlib.suppress(AsrdError):
            self._scheduled(coroutine)

    def stop(self) -> None:
        """Cancels what runs, cleans up and ends the thread; a second call does nothing."""
        with self._lock:
            if self._stopping or os.getpid() != self._pid:
                return
            self._stopping = True
            self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_S)

    def _scheduled(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Under the lock, so that nothing is scheduled on a loop that turns no more."""
        with self._lock:
            if self._stopping or os.getpid() != self._pid:
                coroutine.close()
                raise AsrdError("the client is closed" if self._stopping else "a client does not survive a fork")
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self._stop.wait()
        await self._cleanup()


def _outcome(future: "concurrent.futures.Future[T]") -> T:
    """Waits in steps: a signal that comes just before an endless wait begins would not end it."""
    while True:
        try:
            return future.result(LOOK_UP_S)
        except TimeoutError:
            if future.done():
                break
    return future.result()
