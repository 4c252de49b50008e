"""What happens, told twice: as a log line and as a message on the events socket."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog
import zmq

_log = structlog.get_logger("asrd")
_encode = msgspec.msgpack.Encoder().encode

_LEVEL = {
    "worker.died": "warning",
    "worker.failed": "error",
    "job.accepted": "debug",  # one line for each job: the one on its end
    "worker.degraded": "warning",
    "worker.wrong": "warning",
    "pool.slow": "warning",
    "pool.fell_back": "warning",
    "pool.change_failed": "warning",
    "job.part_failed": "warning",
    "job.quarantined": "warning",
    "recycle.ineffective": "warning",
    "job.retried": "warning",
    "job.stranded": "error",
    "daemon.hurrying": "warning",
}
_UNPUBLISHED = {"log_tail"}
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)


class Publisher:
    """One XPUB socket: frames ``[topic, map in msgpack]``. A subscriber that does not read misses messages.

    To subscribers it is a PUB socket; to us it tells what they want, so that nothing is written for nobody.
    """

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", loop: asyncio.AbstractEventLoop, address: str
    ) -> None:
        self._loop = loop
        self._wanted: set[bytes] = set()
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, 1_000)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._path = Path(address.removeprefix("ipc://"))
        self._socket.bind(address)
        self._path.chmod(0o660)
        self._fd = int(self._socket.getsockopt(zmq.FD))
        loop.add_reader(self._fd, self._note_subscriptions)
        self._note_subscriptions()

    def announce(self, topic: str, fields: dict[str, Any]) -> None:
        """Log and publish."""
        getattr(_log, _LEVEL.get(topic, "info"))(topic, **fields)
        name = topic.encode()
        self._note_subscriptions()
        if not any(name.startswith(prefix) for prefix in self._wanted):
            return
        public = {key: value for key, value in fields.items() if key not in _UNPUBLISHED}
        message = {"type": topic, "at": time.time(), **public}
        self._socket.send_multipart([name, _encode(message)], zmq.NOBLOCK)

    def _note_subscriptions(self) -> None:
        """A byte 1 and a topic that somebody wants now, or a byte 0 and one that nobody wants any more."""
        while self._socket.getsockopt(_EVENTS) & _POLLIN:  # type: ignore[operator]
            message = self._socket.recv(zmq.NOBLOCK)
            if message[:1] == b"\x01":
                self._wanted.add(message[1:])
            else:
                self._wanted.discard(message[1:])

    def close(self) -> None:
        """Stop publishing."""
        self._loop.remove_reader(self._fd)
        self._socket.close()
        self._path.unlink(missing_ok=True)
