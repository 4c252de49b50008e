"""A bare connection: ZeroMQ and JSON or msgpack, nothing of the asrd client."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from support.opened import Opened

Answer = dict[str, Any]
Prepare = Callable[["zmq.Socket[bytes]"], None]


class Wire:
    """One socket to the jobs or the control socket of a daemon."""

    def __init__(
        self,
        directory: Path,
        kind: str = "dealer",
        encoding: str = "msgpack",
        socket: str = "jobs",
        timeout: float = 60.0,
    ) -> None:
        self._open(f"ipc://{directory / socket}.sock", kind, encoding, timeout, None)

    @classmethod
    def to(cls, address: str, *, prepare: Prepare | None = None, timeout: float = 60.0) -> "Wire":
        """To any address; ``prepare`` is called with the socket before it connects."""
        wire = cls.__new__(cls)
        wire._open(address, "dealer", "msgpack", timeout, prepare)
        return wire

    def _open(self, address: str, kind: str, encoding: str, timeout: float, prepare: Prepare | None) -> None:
        self._json = encoding == "json"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        Opened.note(self, self.close)
        self._socket = self._context.socket(zmq.REQ if kind == "req" else zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, int(timeout * 1000))
        if prepare:
            prepare(self._socket)
        self._socket.connect(address)

    def close(self) -> None:
        """Let go."""
        Opened.forget(self)
        self._context.destroy(linger=0)

    def send(self, question: str, body: bytes | None = None, **fields: Any) -> None:
        """Ask."""
        message = {"type": question, **fields}
        header = json.dumps(message).encode() if self._json else msgspec.msgpack.encode(message)
        self.send_raw([header] if body is None else [header, body])

    def send_raw(self, frames: list[bytes]) -> None:
        """Send what no client would."""
        self._socket.send_multipart(frames)

    def receive(self) -> tuple[Answer, bytes]:
        """The next answer and its body."""
        header, *body = self._socket.recv_multipart()
        answer: Answer = json.loads(header) if header[:1] == b"{" else msgspec.msgpack.decode(header)
        return answer, b"".join(body)

    def ask(self, question: str, body: bytes | None = None, **fields: Any) -> Answer:
        """Ask, and the next answer."""
        self.send(question, body, **fields)
        return self.receive()[0]

    def end_of(self, job: str | None = None) -> tuple[Answer, bytes]:
        """The answer that ends the job, those before it thrown away."""
        while True:
            answer, body = self.receive()
            if answer["type"] in ("completed", "failed", "refused") and job in (None, answer.get("job")):
                return answer, body

    def run(self, body: bytes = b"audio", **fields: Any) -> tuple[Answer, bytes]:
        """Submit, and the end of it."""
        self.send("submit", body, reply="final", **fields)
        return self.end_of()

    def play(self, *script: dict[str, Any], **fields: Any) -> tuple[Answer, bytes]:
        """Submit a script to the scripted engine, and the end of it."""
        return self.run(options={"script": list(script)}, **fields)
