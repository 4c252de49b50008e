"""A daemon on another host: where it listens, and the keys by which both ends know each other."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import zmq
import zmq.asyncio
from zmq.auth import load_certificate

from asrd.errors import NoDaemon
from asrd_protocol.addresses import Addresses, daemon_dir


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """For ``Client(Remote(...))``, or in the environment for everybody: see :meth:`from_environ`."""

    jobs: str
    """As in ``tcp://host:7788``."""
    control: str = ""
    """As in ``tcp://host:7789``; without it, questions other than those about jobs have no answer."""
    key: Path
    """This client's secret file, ``NAME.key_secret``."""
    server_key: Path
    """The daemon's public file, ``server.key``."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> "Remote | None":
        """What ``$ASRD_JOBS``, ``$ASRD_CONTROL``, ``$ASRD_KEY`` and ``$ASRD_SERVER_KEY`` say; None without the first.

        Raises:
            NoDaemon: a key is missing.
        """
        env = os.environ if environ is None else environ
        if not (jobs := env.get("ASRD_JOBS")):
            return None
        try:
            key, server_key = Path(env["ASRD_KEY"]), Path(env["ASRD_SERVER_KEY"])
        except KeyError as missing:
            raise NoDaemon(f"{jobs} needs keys: ${missing.args[0]} is not set") from None
        return cls(jobs=jobs, control=env.get("ASRD_CONTROL", ""), key=key, server_key=server_key)

    def prepare(self, socket: zmq.asyncio.Socket) -> None:
        """Give a socket its keys.

        Raises:
            NoDaemon: a file is missing, or holds no key.
        """
        try:
            public, secret = load_certificate(self.key)
            server, _ = load_certificate(self.server_key)
        except (OSError, ValueError) as error:
            raise NoDaemon(f"the keys for {self.jobs} cannot be read: {error}") from None
        if secret is None:
            raise NoDaemon(f"{self.key} has no secret key in it; it is the file NAME.key_secret that is needed")
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, server)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)


Place = str | os.PathLike[str] | Remote
"""Where a daemon is: its runtime directory, or another host."""


def place(given: Place | None) -> Addresses | Remote:
    """Where the client shall look: what was given, else what the environment says, else where everybody looks.

    Raises:
        NoDaemon: the environment says half of it.
    """
    if isinstance(given, Remote):
        return given
    if given is None and (remote := Remote.from_environ()):
        return remote
    return Addresses(daemon_dir() if given is None else Path(given))
