"""The only place in the tests that sleeps: everything else waits for an event or for a predicate."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(predicate: Callable[[], T], timeout: float = 10.0, step: float = 0.02) -> T:
    """The first truthy value of the predicate.

    Raises:
        AssertionError: when there is none within ``timeout`` seconds; the predicate's last value is in the message.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout} s")
        time.sleep(step)
    return value
