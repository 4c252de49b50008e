"""One socket to a daemon, and the knowledge whether anybody is behind it."""

import asyncio
import socket
from enum import Enum, auto
from pathlib import Path

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from asrd.errors import NoDaemon

LINGER_MS = 500
"""How long closing waits for what is not sent yet."""

_WATCHED = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED


class Link(Enum):
    """What becomes of a connection."""

    UP = auto()
    BACK = auto()


class Connection:
    """A DEALER socket and its monitor.

    Raises:
        NoDaemon: at once, when nobody listens.
    """

    def __init__(self, context: zmq.asyncio.Context, address: str, patience: float) -> None:
        self._path = Path(address.removeprefix("ipc://"))
        self._patience = patience
        probe(self._path)
        self._socket = context.socket(zmq.DEALER)
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._monitor = self._socket.get_monitor_socket(_WATCHED)
        self._socket.connect(address)
        self._was_up = False

    def send(self, frames: list[bytes]) -> None:
        """Queues a message; with no high-water mark that never waits."""
        self._socket.send_multipart(frames, copy=False)

    async def receive(self) -> list[bytes]:
        """The frames of the next message."""
        return await self._socket.recv_multipart()

    async def change(self) -> Link:
        """Waits until the other side is there, at first or again.

        Raises:
            NoDaemon: when it does not come, or went and does not come back.
        """
        if self._was_up:
            await self._next(zmq.Event.DISCONNECTED)
        try:
            async with asyncio.timeout(self._patience):
                await self._next(zmq.Event.HANDSHAKE_SUCCEEDED)
        except TimeoutError:
            raise NoDaemon(self._absence()) from None
        link = Link.BACK if self._was_up else Link.UP
        self._was_up = True
        return link

    def close(self, *, flush: bool) -> None:
        """Closes the socket; ``flush`` allows ``LINGER_MS`` for what is not sent yet."""
        self._monitor.close(linger=0)
        self._socket.disable_monitor()
        self._socket.close(linger=LINGER_MS if flush else 0)

    async def _next(self, wanted: zmq.Event) -> None:
        while (await recv_monitor_message(self._monitor))["event"] != wanted:
            pass

    def _absence(self) -> str:
        if self._was_up:
            return f"the daemon went away and did not come back within {self._patience:g} s"
        return f"something listens on {self._path} but does not answer as a daemon does"


def probe(path: Path) -> None:
    """Finds out whether somebody listens on a unix socket; libzmq would try for ever.

    Raises:
        NoDaemon: with the reason and the way out.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(str(path))
        except BlockingIOError:
            return  # its backlog is full: somebody is there
        except FileNotFoundError:
            raise NoDaemon(f"no daemon is running (there is no {path}); start one with `asrd serve`") from None
        except ConnectionRefusedError:
            raise NoDaemon(f"the daemon of {path} is gone; start one with `asrd serve`") from None
        except PermissionError:
            raise NoDaemon(f"this user may not connect to {path}") from None
        except OSError as error:
            raise NoDaemon(f"{path} cannot be connected to: {error}") from None
