"""What a worker says to the supervisor, and hears from it while it computes."""

from collections import deque

import msgspec
import zmq

from asrd_protocol import link
from asrd_protocol.faults import Code, Fault
from asrd_worker.engines.base import EngineFault

_encode = msgspec.msgpack.Encoder().encode


class Line:
    """One link. Everything on it is said by the thread that computes."""

    def __init__(self, link_socket: "zmq.Socket[bytes]") -> None:
        self._link = link_socket
        self._inbox: deque[list[zmq.Frame]] = deque()

    def hear(self) -> link.ToWorker:
        """The next message; waits for it."""
        frames = self._inbox.popleft() if self._inbox else self._link.recv_multipart(copy=False)
        message: link.ToWorker = link.to_worker.decode(frames[0].buffer)
        return message

    def say(self, message: link.FromWorker, *body: bytes) -> None:
        """A message, with its body if it has one."""
        self.say_raw([_encode(message), *body])

    def say_raw(self, frames: list[bytes]) -> None:
        """Any frames at all."""
        self._link.send_multipart(frames)

    def heed_cancel(self, attempt: int) -> None:
        """See whether somebody does not want the attempt any more.

        Raises:
            EngineFault: ``cancelled``.
        """
        while self._link.poll(0):
            self._inbox.append(self._link.recv_multipart(copy=False))
        if any(_cancels(frames, attempt) for frames in self._inbox):
            raise EngineFault(Fault.of(Code.CANCELLED, "the job was cancelled"))


def _cancels(frames: list[zmq.Frame], attempt: int) -> bool:
    message = link.to_worker.decode(frames[0].buffer)
    return isinstance(message, link.CancelStep) and message.attempt == attempt
