"""A call that may never come back, such as one into a driver: it runs on a thread of its own."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Late(Exception):
    """The call has not come back in time, or is still away from an earlier time."""


class Errand(Generic[A, R]):
    """One thread that makes the calls, one after the other. It is a daemon thread: nobody waits for it at the end.

    To be used from one thread.
    """

    def __init__(self, call: Callable[[A], R], name: str) -> None:
        self._call = call
        self._given: queue.SimpleQueue[A] = queue.SimpleQueue()
        self._brought: queue.SimpleQueue[R | Exception] = queue.SimpleQueue()
        self._away = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def send(self, argument: A, timeout: float) -> R:
        """What the call gives for this argument; what an earlier call brings late is dropped.

        Raises:
            Late: it takes longer than this many seconds.
            Exception: whatever the call raises.
        """
        if self._away and self._brought.empty():
            raise Late
        if self._away:
            self._brought.get()
        self._given.put(argument)
        self._away = True
        try:
            brought = self._brought.get(timeout=timeout)
        except queue.Empty:
            raise Late from None
        self._away = False
        if isinstance(brought, Exception):
            raise brought
        return brought

    def _run(self) -> None:
        while True:
            argument = self._given.get()
            try:
                self._brought.put(self._call(argument))
            except Exception as error:
                self._brought.put(error)
