"""What the daemon tells systemd: sd_notify(3) in one datagram a message, with no library and without ever blocking.

Without ``NOTIFY_SOCKET`` (a terminal, a container without a manager) every method does nothing. No method raises: a
service manager that is slow or gone must not harm the jobs. What could not be sent goes out with the next message, in
order and the newest of each kind only: a lost ``READY=1`` would have the daemon killed although it serves.
"""

import os
import socket
from collections.abc import Mapping
from typing import Self

ENVIRONMENT = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)
"""What systemd says to the daemon alone; a worker's environment must not have it."""

MAX_STATUS = 1000
"""Characters: systemd drops a datagram of more than 4096 bytes, and a character has up to four."""


class Notifier:
    """The line to the service manager, or to nobody."""

    def __init__(self, address: bytes | None, watchdog_interval: float | None) -> None:
        """``address`` is that of a unix datagram socket (abstract ones start with a zero byte), None for nobody."""
        self._address = address
        self._watchdog_interval = watchdog_interval
        self._status = ""
        self._unsent: dict[str, bytes] = {}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """The notifier that the environment asks for; the environment is left as it is."""
        return cls(_address(environ.get("NOTIFY_SOCKET", "")), _watchdog_interval(environ))

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two calls of :meth:`watchdog`: half of the patience of systemd; None when nobody waits."""
        return self._watchdog_interval

    def ready(self) -> None:
        """The start is over."""
        self._send("READY", "READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent only when it is another one than before."""
        # A line break would start an assignment of its own: a text from a worker could then say READY=1.
        line = " ".join(text.replace("\0", " ").split())[:MAX_STATUS]
        if line != self._status:
            self._status = line
            self._send("STATUS", f"STATUS={line}")

    def stopping(self) -> None:
        """The daemon begins to stop."""
        self._send("STOPPING", "STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """The start or the stop under way takes up to this many seconds more, counted from now."""
        self._send("EXTEND", f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def watchdog(self) -> None:
        """The event loop turns."""
        self._send("WATCHDOG", "WATCHDOG=1")

    def _send(self, kind: str, message: str) -> None:
        if self._address is None:
            return
        self._unsent.pop(kind, None)  # so that the newer one takes its place at the end
        self._unsent[kind] = message.encode("utf-8", "replace")
        try:
            self._flush(self._address)
        except OSError:
            # The manager reads too slowly (EAGAIN) or is being replaced (ENOENT, ECONNREFUSED), or this process is out
            # of descriptors: nothing that the daemon could mend, and the next message brings this one along.
            return

    def _flush(self, address: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
            for kind, message in list(self._unsent.items()):
                sock.sendto(message, address)
                del self._unsent[kind]


def _address(given: str) -> bytes | None:
    """The socket's address, or None for one of another kind (``vsock:`` of a virtual machine's host)."""
    if given.startswith("@"):
        return b"\0" + os.fsencode(given[1:])
    return os.fsencode(given) if given.startswith("/") else None


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Half of ``WATCHDOG_USEC`` in seconds, unless it was meant for another process."""
    patience = environ.get("WATCHDOG_USEC", "")
    digits = patience.isascii() and patience.isdigit() and len(patience) < len(str(2**64))
    if not digits or int(patience) == 0:  # 20 digits are systemd's word for "infinity"
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(patience) / 2_000_000
