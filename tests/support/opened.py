"""What tests open: what a failed one left open is closed before the next one, which Python would blame for it."""

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple


class _Thing(NamedTuple):
    end: Callable[[], object]
    owner: threading.Thread


class Opened:
    """All that is open at this moment, oldest first."""

    _things: ClassVar[dict[object, _Thing]] = {}

    @classmethod
    def note(cls, thing: object, end: Callable[[], object]) -> None:
        """It is open, and this ends it."""
        cls._things[thing] = _Thing(end, threading.current_thread())

    @classmethod
    def forget(cls, thing: object) -> None:
        """It was closed."""
        cls._things.pop(thing, None)

    @classmethod
    @contextlib.contextmanager
    def tidied(cls) -> Iterator[None]:
        """Close what is opened meanwhile, the newest first; but not what is in the hands of a thread that lives."""
        before = set(cls._things)
        try:
            yield
        finally:
            with contextlib.ExitStack() as stack:
                for thing, (end, owner) in list(cls._things.items()):
                    if thing not in before and (owner is threading.current_thread() or not owner.is_alive()):
                        stack.callback(end)
                        cls.forget(thing)


def begun(process: "subprocess.Popen[Any]") -> "subprocess.Popen[Any]":
    """The process, which does not outlive the test."""
    Opened.note(process, lambda: _end(process))
    return process


def _end(process: "subprocess.Popen[Any]") -> None:
    with process:
        process.kill()
