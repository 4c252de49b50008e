"""What a worker prints: read at once, whatever it is, and logged at a bounded rate."""

import asyncio
import os
from collections import deque

import structlog

TURN = 65_536
"""Bytes read before everybody else on the loop gets a turn."""

LINE = 500
"""Characters of a line that are kept."""

RATE = 100
"""Lines a second that are logged; the others are read, counted and dropped."""

TAIL = 60
"""Lines that are kept as evidence for when the worker dies."""

_log = structlog.get_logger("asrd.worker")


class Output:
    """Reads one pipe on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, seat: str, pid: int) -> None:
        self._loop = loop
        self._fd = fd
        self._log = _log.bind(seat=seat, pid=pid)
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._second = 0.0
        self._lines = 0
        self._dropped = 0
        self._open = True
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._read)

    def finish(self) -> tuple[str, ...]:
        """Read what is left, stop reading, and give the last lines. May be called again."""
        for _ in range(16):
            if not self._open or not self._read():
                break
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        self._close()
        return tuple(self._tail)

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._report_dropped()

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, TURN)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close()
            return False
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-TURN:]
        for line in lines:
            self._line(line)
        return True

    def _line(self, raw: bytes) -> None:
        line = raw[:LINE].decode("utf-8", "replace").rstrip()
        if not line:
            return
        self._tail.append(line)
        now = self._loop.time()
        if now - self._second > 1.0:
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines > RATE:
            self._dropped += 1
            if self._dropped == 1:
                self._loop.call_later(1.0, self._report_dropped)
            return
        self._log.info("worker output", line=line)

    def _report_dropped(self) -> None:
        if self._dropped:
            self._log.warning("worker output dropped", lines=self._dropped)
            self._dropped = 0
