"""The audio of a job as it reaches a worker: an open file, handed over by the supervisor.

It is read, not mapped: whoever cuts a mapped file short kills its reader.
"""

import os
import socket
from types import TracebackType
from typing import Protocol, Self


class Body(Protocol):
    """Bytes that can be cut: ``bytes``, a ``memoryview``, or a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> "bytes | memoryview": ...


class Blob:
    """An open file as bytes; a part is read when it is asked for. Somebody else closes it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._size)
        pieces = []
        while start < stop and (piece := os.pread(self._fd, min(stop - start, 1 << 30), start)):
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Files:
    """The open files of one step."""

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds
        self.body = Blob(fds[0])
        """What the step is about."""
        self.tape = fds[1] if len(fds) > 1 else None
        """An empty file for the samples of long audio; None where there is none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._fds:
            os.close(fd)

    def wipe_tape(self) -> None:
        """Nobody needs what was written: the supervisor keeps the file open for a while."""
        if self.tape is not None:
            os.ftruncate(self.tape, 0)


class Door:
    """The socket on which the supervisor hands over the open files of each step."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def take(self, attempt: int) -> Files:
        """The files of an attempt. They were sent before the step itself; those of steps that never came are closed.

        Raises:
            OSError: the supervisor is gone.
        """
        while True:
            number, fds, _, _ = socket.recv_fds(self._socket, 8, 2)
            if not fds:
                raise ConnectionError("no file was handed over")
            if int.from_bytes(number, "big") == attempt:
                return Files(fds)
            for fd in fds:
                os.close(fd)
