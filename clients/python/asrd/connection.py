"""One socket to a daemon, and the knowledge whether anybody is behind it."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from asrd.errors import NoDaemon

LINGER_MS = 500
"""How long closing waits for what is not sent yet."""

GREET_S = 4.0
"""Seconds that whoever listens may take to show that it is a daemon."""

_WATCHED = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED


Prepare = Callable[[zmq.asyncio.Socket], None]


class Link(Enum):
    """What becomes of a connection."""

    UP = auto()
    BACK = auto()


class Connection:
    """A DEALER socket, or a SUB socket for topics, and its monitor.

    Raises:
        NoDaemon: at once, when nobody listens.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        address: str,
        patience: float,
        topics: Sequence[str] | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        """``prepare`` is called with the socket before it connects."""
        self._address = address.removeprefix("ipc://")
        self._patience = patience
        if address.startswith("ipc://"):
            probe(Path(self._address))
        self._socket = context.socket(zmq.DEALER if topics is None else zmq.SUB)
        if topics is None:
            self._socket.set_hwm(0)
        for topic in topics or ():
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        if prepare:
            prepare(self._socket)
        self._monitor = self._socket.get_monitor_socket(_WATCHED)
        self._socket.connect(address)
        self._was_up = False
        self.lost = False
        """Whether the other side went away and is not back."""

    def send(self, frames: list[bytes]) -> None:
        """Queues a message; with no high-water mark that never waits.

        Nothing is queued for a daemon that is away: whoever comes back is asked everything again that is open.
        """
        if not self.lost:
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
            self.lost = True
        try:
            async with asyncio.timeout(self._patience if self._was_up else min(self._patience, GREET_S)):
                await self._next(zmq.Event.HANDSHAKE_SUCCEEDED)
        except TimeoutError:
            raise NoDaemon(self._absence()) from None
        link = Link.BACK if self._was_up else Link.UP
        self._was_up, self.lost = True, False
        return link

    def close(self, *, flush: bool) -> None:
        """Closes the socket; ``flush`` allows ``LINGER_MS`` for what is not sent yet."""
        self._socket.disable_monitor()  # says so to the monitor, and would wait for ever if that one were closed
        self._monitor.close(linger=0)
        self._socket.close(linger=LINGER_MS if flush else 0)

    async def _next(self, wanted: zmq.Event) -> None:
        while (await recv_monitor_message(self._monitor))["event"] != wanted:
            pass

    def _absence(self) -> str:
        if self._was_up:
            return f"the daemon went away and did not come back within {self._patience:g} s"
        if self._address.startswith("tcp://"):
            return f"no daemon answers at {self._address}, or it does not know this key"
        return f"something listens on {self._address} but does not answer as a daemon does"


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
