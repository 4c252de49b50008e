"""Samples at rest: in memory where the audio is short, in an open file where it is long.

Everything is mono at SAMPLE_RATE. A long recording is a raw file of int16, little-endian, without a header: its size
tells its length, any stretch of it is one read, and two workers can share it without a word.
"""

import errno
import math
import os
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Samples a second, of everything that is decoded."""

Samples = npt.NDArray[np.float32]

FULL_SCALE = np.float32(32_768)

MOVED_S = 60.0
"""Seconds of audio between two reports of how far it is."""

_WIDTH = 2
"""Bytes to a sample in the file."""

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class NoRoom(Exception):
    """The file of a recording cannot grow: the disk, the quota or the limit for files is full."""


class Decoded(msgspec.Struct, frozen=True, eq=False):
    """What an engine listens to."""

    samples: Samples
    """Mono, at SAMPLE_RATE, in -1..1, of shape (n,), n > 0."""
    duration: float
    """Seconds."""
    warnings: list[str]
    """What was odd, but no reason to fail."""


class Recording:
    """A long recording in an open file that somebody else closes; only what is asked for is read."""

    def __init__(self, fd: int, warnings: list[str] | None = None) -> None:
        self._fd = fd
        self._count = os.fstat(fd).st_size // _WIDTH
        self.warnings = list(warnings or [])
        """What was odd, but no reason to fail."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return self._count / SAMPLE_RATE

    def samples(self, start: float = 0.0, end: float | None = None) -> Samples:
        """The samples from ``start`` to ``end`` seconds, as far as there are any: in -1..1, of shape (n,).

        Raises:
            OSError: the file cannot be read, or is shorter than it was.
        """
        first = _clamped(start, self._count)
        last = self._count if end is None else _clamped(end, self._count)
        raw = np.empty(max(0, last - first) * _WIDTH, np.uint8)
        room, at = raw.data, first * _WIDTH
        while room:
            got = os.preadv(self._fd, [room], at)
            if not got:
                raise OSError(errno.EIO, "the recording is shorter than it was")
            room, at = room[got:], at + got
        return np.divide(raw.view(np.dtype("<i2")), FULL_SCALE, dtype=np.float32)


def _clamped(seconds: float, count: int) -> int:
    return min(max(0, round(seconds * SAMPLE_RATE)), count)


class Sink:
    """Takes samples as they are decoded: up to ``keep_s`` seconds are held in memory, anything longer goes to the file.

    Held are 2 bytes a sample in one piece, where as many small pieces would leave as many holes in the heap. Without a
    file everything is held. The file has to be open for reading and writing.
    """

    def __init__(
        self, fd: int | None = None, keep_s: float = math.inf, moved: Callable[[float], None] | None = None
    ) -> None:
        self.keep_s = math.inf if fd is None else keep_s
        """The most seconds that are held in memory."""
        self._fd = fd
        self._moved = moved
        self._next_s = MOVED_S
        self._held = bytearray()
        self._written = 0

    @property
    def count(self) -> int:
        """Samples so far."""
        return (self._written + len(self._held)) // _WIDTH

    def holds(self, count: int) -> bool:
        """Whether a recording of so many samples stays in memory."""
        return count <= self.keep_s * SAMPLE_RATE

    def add(self, pcm: bytes) -> None:
        """Append int16 samples, little-endian.

        Raises:
            NoRoom: the file cannot grow.
        """
        self._held += pcm
        if not self.holds(self.count):
            self._spill()
        seconds = self.count / SAMPLE_RATE
        if self._moved and seconds >= self._next_s:
            self._next_s = seconds + MOVED_S
            self._moved(seconds)

    def finish(self, warnings: list[str]) -> Decoded | Recording:
        """What was added, of zero samples too."""
        if self._fd is not None and self._written:
            return Recording(self._fd, warnings)
        samples = np.divide(np.frombuffer(self._held, np.dtype("<i2")), FULL_SCALE, dtype=np.float32)
        return Decoded(samples=samples, duration=samples.size / SAMPLE_RATE, warnings=warnings)

    def _spill(self) -> None:
        """Write what is held; ``holds`` says no only where there is a file."""
        assert self._fd is not None
        held, self._held = memoryview(self._held), bytearray()
        while held:
            try:
                done = os.pwrite(self._fd, held, self._written)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                said = f"no room for the decoded audio after {self._written >> 20} MiB of it ({error.strerror})"
                raise NoRoom(said) from error
            held, self._written = held[done:], self._written + done
