"""TCP with keys: who may connect from another host, and the proof of who we are.

A directory holds the daemon's own pair, ``server.key`` and ``server.key_secret``, and in ``clients/`` the public key of
each client that is let in (``asrd keys new`` makes them). There is no TCP without it: ZeroMQ itself lets anybody in.
"""

from pathlib import Path

import msgspec
import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator

DOMAIN = "asrd"


class KeysError(Exception):
    """One sentence on what is wrong with the keys."""


class Keys(msgspec.Struct, frozen=True):
    """The pair of the daemon, and where those of its clients are."""

    public: bytes
    secret: bytes
    clients: Path

    @classmethod
    def load(cls, directory: str) -> "Keys":
        """Read them.

        Raises:
            KeysError: they are not there, or somebody else can read the secret one.
        """
        path = Path(directory) / "server.key_secret"
        if not directory or not path.is_file():
            where = f"there is no {path}" if directory else "listen.keys is not set"
            raise KeysError(f"listening on TCP needs keys, and {where}; make them with `asrd keys new server`")
        if path.stat().st_mode & 0o077:
            raise KeysError(f"others can read {path}; chmod 600 {path}")
        clients = Path(directory) / "clients"
        if not clients.is_dir():
            raise KeysError(f"there is no {clients} with the public keys of the clients that are let in")
        try:
            public, secret = load_certificate(path)
        except (OSError, ValueError) as error:
            raise KeysError(f"{path} is no key file: {error}") from None
        if secret is None:
            raise KeysError(f"{path} has no secret key in it")
        return cls(public, secret, clients)

    def protect(self, socket: "zmq.Socket[bytes]") -> None:
        """Make a socket that is not bound yet one for known clients only."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN.encode())
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)  # a host that is gone says nothing


class Gate:
    """Asks for every new connection whether its key is known. A thread of pyzmq's; it sees no message of ours."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", keys: Keys) -> None:
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve(domain=DOMAIN, location=str(keys.clients))

    def close(self) -> None:
        """Let nobody in any more."""
        self._authenticator.stop()
