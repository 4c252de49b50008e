"""Ctrl-C and SIGTERM while jobs of this command are under way: they are cancelled first, however often it is said."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Let either signal cancel the task in this context, once: ``timeout`` sends SIGTERM twice, and the second one must
    not end what the first one has begun. Once the context is left after that, a signal ends the process at once.

    Raises:
        SystemExit: with 130 or 143, when one came.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task
    came: list[signal.Signals] = []

    def come(number: signal.Signals) -> None:
        if not came:
            came.append(number)
            task.cancel()

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, come, number)
    try:
        yield
    except asyncio.CancelledError:
        if not came:
            raise
        sys.exit(128 + came[0])
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if came else before[number])
