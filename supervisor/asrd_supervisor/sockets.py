"""A ROUTER socket that the event loop reads.

pyzmq's asyncio sockets make a future for each message. Here the loop watches the socket's descriptor and a callback
takes what is there: 1.3 times the messages per second (``docs/adr/0003-plain-sockets.md``). The descriptor is
edge-triggered, so it is read until nothing is left, and looked at again after every send.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import zmq

from asrd_supervisor.curve import Keys
from asrd_supervisor.peers import Peer

_log = structlog.get_logger("asrd")

MAX_UNREAD = 16 << 20
"""Bytes of large frames that wait for a peer that does not read; what is more is not sent."""

ZERO_COPY = 65_536
"""Bytes from which handing a frame over beats copying it."""

TURN = 64
"""Messages taken before everybody else on the loop gets a turn."""

# pyzmq's own are enum members; for them each `&` and each option runs Python code.
_EVENTS, _RCVMORE, _POLLIN = int(zmq.EVENTS), int(zmq.RCVMORE), int(zmq.POLLIN)
_NOBLOCK, _SNDMORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)


class Limits(msgspec.Struct, frozen=True):
    """What one peer may send."""

    max_frame: int
    """Bytes. libzmq disconnects a peer that sends a longer frame."""
    backlog: int = 1_000
    """Messages kept for a peer that does not read."""
    inbox: int = 1_000
    """Messages of a peer that libzmq takes before we do."""
    identify: bool = False
    """Whether it matters who sends."""


class Parcel(msgspec.Struct, frozen=True):
    """One message as it came."""

    identity: bytes
    delimiter: bool
    """It comes from a REQ socket: one answer is due, behind an empty frame."""
    header: bytes
    body: zmq.Frame | None
    surplus: int
    """Frames beyond the limit."""
    peer: Peer
    """Who sent it, if that was to be found out."""


_NOBODY = Peer()


class Router:
    """One bound ROUTER socket."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        loop: asyncio.AbstractEventLoop,
        address: str,
        on_parcel: Callable[[Parcel], None],
        limits: Limits,
        keys: Keys | None = None,
    ) -> None:
        self._loop = loop
        self._on_parcel = on_parcel
        self._limits = limits
        self._keyed = keys is not None
        self._again = False
        self._paused = False
        self._unread: dict[bytes, list[tuple[zmq.MessageTracker, int]]] = {}
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, limits.max_frame)
        self._socket.setsockopt(zmq.RCVHWM, limits.inbox)
        self._socket.setsockopt(zmq.SNDHWM, limits.backlog)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, 2_000)
        self._socket.setsockopt(zmq.LINGER, 0)
        if keys:
            keys.protect(self._socket)
        self._socket.bind(address)
        self._path = Path(address.removeprefix("ipc://")) if address.startswith("ipc://") else None
        if self._path:
            self._path.chmod(0o660)
            self._inode = self._path.stat().st_ino
        self._fd = int(self._socket.getsockopt(zmq.FD))
        loop.add_reader(self._fd, self._read)
        loop.call_soon(self._read)

    def close(self, linger_ms: int = 0) -> None:
        """Stop reading; what is still to be sent gets so long."""
        self._loop.remove_reader(self._fd)
        self._socket.close(linger=linger_ms)
        if self._path:
            self._path.unlink(missing_ok=True)

    def lost(self) -> bool:
        """Whether the path of a unix socket leads somewhere else by now: nobody new can find us there."""
        try:
            return self._path is not None and self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def pause(self) -> None:
        """Take no more messages for now: what comes waits in libzmq, and then with the peers."""
        self._paused = True

    def resume(self) -> None:
        """Take messages again."""
        self._paused = False
        self._read_again()

    def send(self, identity: bytes, frames: Sequence["bytes | zmq.Frame"], *, delimiter: bool = False) -> bool:
        """Send one message; False when the peer is gone or does not read."""
        if self._socket.closed:
            return False
        send = self._socket.send
        *rest, last = [b"", *frames] if delimiter else frames
        large = len(last) >= ZERO_COPY
        if large and self._reads_not(identity, len(last)):
            return False
        try:
            send(identity, _NOBLOCK | _SNDMORE)  # the first frame alone can fail: then there is no such peer
            for frame in rest:
                send(frame, _NOBLOCK | _SNDMORE)
            data = last.buffer if isinstance(last, zmq.Frame) else last  # a frame that came in cannot be tracked
            tracker = send(data, _NOBLOCK, copy=not large, track=large)
            if tracker:
                self._unread.setdefault(identity, []).append((tracker, len(last)))
        except zmq.ZMQError:
            return False
        finally:
            self._read_again()
        return True

    def _reads_not(self, identity: bytes, size: int) -> bool:
        """Whether too much waits for a peer already. libzmq counts messages; a few of ours can be a whole memory."""
        self._unread = {
            peer: left
            for peer, sent in self._unread.items()
            if (left := [(tracker, size) for tracker, size in sent if not tracker.done])
        }
        waiting = sum(size for _, size in self._unread.get(identity, ()))
        return waiting > 0 and waiting + size > MAX_UNREAD

    def _read_again(self) -> None:
        """The edge of a message that came during a send is lost: look once more."""
        if not self._again and not self._paused and self._waiting():
            self._again = True
            self._loop.call_soon(self._read)

    def _waiting(self) -> bool:
        """Whether there is a message; asking is cheaper than being told by an exception that there is none."""
        return bool(int(self._socket.getsockopt(_EVENTS)) & _POLLIN)

    def _read(self) -> None:
        self._again = False
        for _ in range(TURN):
            if self._paused or self._socket.closed or not self._waiting():
                return
            parcel = self._receive()
            try:
                self._on_parcel(parcel)
            except Exception:  # one message must not make the socket deaf for all others
                _log.exception("defect while reading a message", size=len(parcel.header))
        self._read_again()

    def _receive(self) -> Parcel:
        """Identity and header are small and copied; the body is taken as it lies in libzmq's memory."""
        socket = self._socket
        first = socket.recv(_NOBLOCK, copy=False)
        peer = _peer_of(first, keyed=self._keyed) if self._limits.identify else _NOBODY
        header = self._next()
        delimiter = header == b"" and self._more()
        if delimiter:
            header = self._next()
        body = socket.recv(_NOBLOCK, copy=False) if self._more() else None
        surplus = 0
        while self._more():
            socket.recv(_NOBLOCK, copy=False)
            surplus += 1
        return Parcel(first.bytes, delimiter, header, body, surplus, peer)

    def _next(self) -> bytes:
        return self._socket.recv(_NOBLOCK) if self._more() else b""

    def _more(self) -> bool:
        return bool(self._socket.getsockopt(_RCVMORE))


def _peer_of(frame: zmq.Frame, *, keyed: bool) -> Peer:
    """libzmq notes on every message where it comes from: on a unix socket, what the kernel says of the peer.

    A peer may put any property into its greeting, so a key counts only where the authenticator has seen it.
    """
    try:
        return Peer(key=str(frame.get("User-Id"))) if keyed else Peer.parse(str(frame.get("Peer-Address")))
    except zmq.ZMQError:
        return _NOBODY
