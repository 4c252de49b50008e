"""Hostile traffic: what real clients said, changed a little, in many messages a second; and bytes that are no ZMTP.

Frames are written by hand onto plain unix sockets, many in one write: so 100,000 of them take seconds, and what ZeroMQ
would never send can be sent too. What comes back is read and thrown away.
"""

import contextlib
import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from asrd_protocol import messages as msg
from asrd_protocol.codec import Codec, Unreadable
from support.opened import Opened
from support.wait import eventually

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
"""ZMTP 3.0, no security, 64 bytes."""

MORE, LONG, COMMAND = 1, 2, 4

BATCH = 500
"""Messages in one write."""

_QUESTIONS: dict[str, list[dict[str, Any]]] = {
    "jobs": [
        {"v": 1, "type": "submit", "ref": "1", "job": "talk-7", "audio": {"kind": "file", "name": "talk.mp3"}},
        {"type": "submit", "audio": {"kind": "pcm", "dtype": "int16", "rate": 8000}, "reply": "final", "pool": "no"},
        {"type": "submit", "audio": {"kind": "path", "path": "/no/such/file"}, "deadline": 2.5, "priority": "low"},
        {"type": "submit", "options": {"temperature": [0.0, 0.2]}, "retries": {"attempts": 1}, "client": "c"},
        {"type": "fetch", "job": "nobody", "partial": True},
        {"type": "wait", "job": "nobody", "timeout": 0.5, "stream": True, "since": 3},
        {"type": "cancel", "job": "nobody"},
        {"type": "release", "job": "nobody"},
        {"type": "retry", "job": "nobody"},
    ],
    "control": [
        {"type": "health", "ref": "h"},
        {"type": "stats"},
        {"type": "workers"},
        {"type": "pools", "v": 1},
        {"type": "jobs", "limit": 7, "states": ["queued", "failed"], "pool": "default", "client": "c"},
        {"type": "recycle", "seat": "default/9.9"},
        {"type": "drain", "resume": True},
    ],
}
RECORDED = {
    name: [encode(question) for question in questions for encode in (msgspec.json.encode, msgspec.msgpack.encode)]
    for name, questions in _QUESTIONS.items()
}
"""Headers as clients write them, none of which changes anything: no submit of theirs has a body."""

LAST = {"jobs": b'{"type":"fetch","job":"nobody","ref":"MARK"}', "control": b'{"type":"health","ref":"MARK"}'}
"""What is asked to see that everything before it has been read."""


BITS = (b"\xc1", b"\xff\xfe", b"[" * 50, b"\xdf\xff\xff\xff\xff", b"\x00", b"1e999")
"""Worth putting in."""


_control: Codec[msg.ControlQuestion] = Codec(msg.ControlQuestion)


class Fuzz:
    """An endless stream of messages for one socket; the same for the same seed."""

    def __init__(self, name: str, seed: int) -> None:
        self._chance = random.Random(seed)
        self._recorded = RECORDED[name]

    def messages(self) -> Iterator[list[bytes]]:
        """Messages of one frame or more; the header is mostly one that was recorded, with a few bytes wrong."""
        while True:
            header = self._mutated()
            frames = self._chance.choices([0, 1, 2, 9], [80, 12, 5, 3])[0]
            yield [header, *(self._chance.randbytes(self._chance.randrange(40)) for _ in range(frames))]

    def _mutated(self) -> bytes:
        chance, header = self._chance, bytearray(self._chance.choice(self._recorded))
        for _ in range(chance.randint(1, 4)):
            at, much = chance.randrange(len(header) + 1), chance.randrange(5)
            match chance.randrange(5):
                case 0:
                    header[at : at + much] = chance.randbytes(chance.randrange(5))
                case 1:
                    other = chance.choice(self._recorded)
                    start = chance.randrange(len(other))
                    header[at : at + much] = other[start : start + chance.randrange(20)]
                case 2:
                    del header[at : at + much]
                case 3:
                    header[at:at] = chance.choice(BITS)
                case _:
                    del header[at:]
        return bytes(header)


def changes_nothing(message: list[bytes]) -> bool:
    """False for what would rightly be obeyed: a submit with a body, and a good order to the daemon."""
    header = message[0]
    if b"submit" in header:
        return len(message) == 1
    if not any(word in header for word in (b"recycle", b"drain", b"stop")):
        return True
    try:
        order = _control.decode(header)
    except Unreadable:
        return True
    return isinstance(order, msg.Drain) and order.resume


def framed(message: list[bytes]) -> bytes:
    """A message as ZMTP frames."""
    last = len(message) - 1
    return b"".join(_frame(frame, 0 if index == last else MORE) for index, frame in enumerate(message))


def _frame(data: bytes, flags: int) -> bytes:
    if len(data) < 256:
        return bytes([flags, len(data)]) + data
    return struct.pack(">BQ", flags | LONG, len(data)) + data


class Line:
    """One connection of a DEALER, made by hand."""

    def __init__(self, path: Path) -> None:
        self._socket = connected(path)
        self._socket.setblocking(True)
        self._socket.settimeout(20)
        self.received = 0
        self._tail = b""
        ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
        self._socket.sendall(GREETING + _frame(ready, COMMAND))
        self._socket.recv(1 << 16)
        self._socket.setblocking(False)

    def send(self, data: bytes) -> None:
        """Write all of it, and read meanwhile what comes."""
        view = memoryview(data)
        while view:
            _, writable, _ = select.select([self._socket], [self._socket], [], 20)
            self._read()
            if writable:
                with contextlib.suppress(BlockingIOError):
                    view = view[self._socket.send(view) :]

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while got := self._socket.recv(1 << 20):
                self.received += len(got)
                self._tail = (self._tail + got)[-4096:]

    def drain(self, predicate: Callable[[], object], timeout: float = 20.0) -> None:
        """Read until the predicate is true."""

        def done() -> bool:
            self._read()
            return bool(predicate())

        eventually(done, timeout)

    def catch_up(self, question: bytes, timeout: float = 120.0) -> None:
        """Wait until all that was sent has been read: what is asked last is answered, or dropped and asked again."""
        for number in range(100):
            mark = b"mark-%d-%d" % (id(self), number)
            self.send(_frame(question.replace(b"MARK", mark), 0))
            with contextlib.suppress(AssertionError):
                self.drain(lambda mark=mark: mark in self._tail, timeout / 100)
                return
        raise AssertionError(f"no answer within {timeout} s")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def connected(path: Path) -> socket.socket:
    """A plain connection; the listener may be busy with others."""
    line = socket.socket(socket.AF_UNIX)
    Opened.note(line, line.close)
    line.setblocking(False)

    def _done() -> bool:
        try:
            line.connect(str(path))
        except BlockingIOError:
            return False
        return True

    eventually(_done, 20, step=0.001)
    return line


def throw(path: Path, name: str, count: int, seed: int) -> int:
    """Send so many changed messages over a few connections; how many frames there were."""
    messages, frames = Fuzz(name, seed).messages(), 0
    lines = [Line(path) for _ in range(4)]
    for number in range(0, count, BATCH):
        batch = [message for message in (next(messages) for _ in range(BATCH)) if changes_nothing(message)]
        frames += sum(map(len, batch))
        lines[number // BATCH % len(lines)].send(b"".join(map(framed, batch)))
    for line in lines:
        line.catch_up(LAST[name])
        line.close()
    return frames


def garbage(path: Path, count: int, seed: int) -> None:
    """So many connections that speak no ZMTP, or that speak it badly after a good beginning."""
    chance = random.Random(seed)
    good = GREETING + _frame(b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER", COMMAND)
    for _ in range(count):
        line = connected(path)
        begin = good[: chance.choice([0, 0, 1, 10, 12, 64, 70, len(good)])]
        flags = bytes([chance.randrange(256)])
        length = struct.pack(">Q", chance.choice([0, 1, 255, 1 << 20, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]))
        with contextlib.suppress(BrokenPipeError, BlockingIOError, ConnectionResetError):
            line.send(begin + flags + length + chance.randbytes(chance.randrange(300)))
        line.close()
