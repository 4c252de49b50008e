"""A real event loop that turns only while the test wants it to."""

from collections.abc import Callable
from typing import TypeVar

import uvloop

from support.wait import eventually

T = TypeVar("T")


class Turning:
    """The loop of the daemon; between two turns the test looks on."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()

    def turn(self) -> None:
        """Everything that is due now, once."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def until(self, predicate: Callable[[], T], timeout: float = 10.0) -> T:
        """Turn until the predicate is true; its value."""

        def _turned() -> T:
            self.turn()
            return predicate()

        return eventually(_turned, timeout, step=0.0)

    def close(self) -> None:
        """The end of the loop."""
        self.loop.close()
