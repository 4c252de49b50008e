"""What happens, told twice: as a log line and as a message on the events socket."""

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
    "job.retried": "warning",
    "daemon.hurrying": "warning",
}
_UNPUBLISHED = {"log_tail"}


class Publisher:
    """One PUB socket: frames ``[topic, map in msgpack]``. A subscriber that does not read misses messages."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> None:
        self._socket = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, 1_000)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._path = Path(address.removeprefix("ipc://"))
        self._socket.bind(address)
        self._path.chmod(0o660)

    def announce(self, topic: str, fields: dict[str, Any]) -> None:
        """Log and publish."""
        getattr(_log, _LEVEL.get(topic, "info"))(topic, **fields)
        public = {key: value for key, value in fields.items() if key not in _UNPUBLISHED}
        message = {"type": topic, "at": time.time(), **public}
        self._socket.send_multipart([topic.encode(), _encode(message)], zmq.NOBLOCK)

    def close(self) -> None:
        """Stop publishing."""
        self._socket.close()
        self._path.unlink(missing_ok=True)
