"""The load generator: one DEALER socket, the same code against the daemon and against the raw brokers."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import zmq

from asrd_protocol.codec import encode
from asrd_protocol.messages import Submit

PATIENCE_MS = 120_000


class Answer(msgspec.Struct, frozen=True):
    """What the load generator reads of an answer; the rest of the header is skipped."""

    type: str
    ref: str
    fault: Any = None
    run: Any = None


class Ended(msgspec.Struct, frozen=True):
    """One job that has ended."""

    seconds: float
    """From before the submit was written to after the answer was read."""
    answer: Answer
    body: bytes


class Flood(msgspec.Struct, frozen=True):
    """Many jobs, a fixed number of them in flight."""

    wall: float
    """Seconds from the first submit to the last answer."""
    ended: list[Ended]
    """In the order of the bodies."""

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return len(self.ended) / self.wall


class Caller:
    """Submits jobs and reads one final answer for each.

    Raises, in all methods:
        TimeoutError: no answer for two minutes.
        RuntimeError: an answer that is not ``expected``, such as ``failed`` or ``refused``.
    """

    def __init__(self, address: str, options: dict[str, Any], expected: str = "completed") -> None:
        self._options = options
        self._expected = expected
        self._decoder = msgspec.msgpack.Decoder(Answer)
        self._socket = zmq.Socket[bytes](zmq.Context.instance(), zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        self._socket.connect(address)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def round_trips(self, body: bytes, jobs: int) -> list[float]:
        """Seconds of each of ``jobs`` round trips, one after the other."""
        return [self.flood([body], 1).ended[0].seconds for _ in range(jobs)]

    def flood(self, bodies: Sequence[bytes], concurrency: int) -> Flood:
        """Submit all bodies in their order, ``concurrency`` of them in flight."""
        sent = [0.0] * len(bodies)
        ended: list[Ended | None] = [None] * len(bodies)
        start = time.perf_counter()
        for index in range(min(concurrency, len(bodies))):
            sent[index] = self._submit(index, bodies[index])
        following = iter(range(min(concurrency, len(bodies)), len(bodies)))
        for _ in bodies:
            answer, body = self._answer()
            index = int(answer.ref)
            ended[index] = Ended(time.perf_counter() - sent[index], answer, body)
            if (index := next(following, -1)) >= 0:
                sent[index] = self._submit(index, bodies[index])
        wall = time.perf_counter() - start
        return Flood(wall, [e for e in ended if e is not None])

    def _submit(self, index: int, body: bytes) -> float:
        now = time.perf_counter()
        header = encode(Submit(ref=str(index), options=self._options, reply="final"))
        self._socket.send(header, zmq.SNDMORE)
        self._socket.send(body, copy=False)
        return now

    def _answer(self) -> tuple[Answer, bytes]:
        try:
            header, *rest = self._socket.recv_multipart()
        except zmq.Again:
            raise TimeoutError(f"no answer within {PATIENCE_MS // 1000} s") from None
        answer = self._decoder.decode(header)
        if answer.type != self._expected:
            raise RuntimeError(f"expected {self._expected}, got {answer.type}: {answer.fault}")
        return answer, rest[0] if rest else b""
