"""Where the sockets are. Client and daemon use the same rule, so that they meet with no option at all.

The runtime directory is ``$ASRD_RUNTIME_DIR``, else systemd's ``$RUNTIME_DIRECTORY``, else ``$XDG_RUNTIME_DIR/asrd``,
else ``/run/user/UID/asrd`` where that parent exists, else ``asrd-UID`` in the temp directory.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

MAX_SOCKET_PATH = 107
"""Bytes: ``sun_path`` of a unix socket less its closing zero."""


SYSTEM = Path("/run/asrd")
"""The runtime directory of the systemd service."""


class Addresses(msgspec.Struct, frozen=True):
    """The sockets of one daemon, all in one runtime directory."""

    directory: Path

    @property
    def jobs(self) -> str:
        """Clients submit and fetch here (ROUTER)."""
        return f"ipc://{self.directory / 'jobs.sock'}"

    @property
    def control(self) -> str:
        """Operators ask and command here (ROUTER)."""
        return f"ipc://{self.directory / 'control.sock'}"

    @property
    def events(self) -> str:
        """What happens is published here (PUB)."""
        return f"ipc://{self.directory / 'events.sock'}"

    @property
    def workers(self) -> str:
        """Private: workers meet their supervisor here, in a directory that nobody else may enter."""
        return f"ipc://{self.directory / 'workers' / 'link.sock'}"

    @property
    def spool(self) -> Path:
        """Audio that need not survive the daemon."""
        return self.directory / "spool"

    @property
    def lock(self) -> Path:
        """Held for the life of the daemon."""
        return self.directory / "asrd.lock"

    def too_long(self) -> str | None:
        """A sentence when some socket path does not fit, else None."""
        longest = max((a.removeprefix("ipc://") for a in (self.jobs, self.control, self.events, self.workers)), key=len)
        if len(os.fsencode(longest)) <= MAX_SOCKET_PATH:
            return None
        return (
            f"the socket path {longest} has {len(os.fsencode(longest))} bytes, a unix socket takes {MAX_SOCKET_PATH}; "
            "choose a shorter runtime directory with --runtime-dir or $ASRD_RUNTIME_DIR"
        )


def runtime_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The runtime directory by the rule above; it need not exist."""
    env = os.environ if environ is None else environ
    if given := env.get("ASRD_RUNTIME_DIR"):
        return Path(given)
    if given := env.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])
    if given := env.get("XDG_RUNTIME_DIR"):
        return Path(given) / "asrd"
    user = Path(f"/run/user/{os.getuid()}")
    return user / "asrd" if user.is_dir() else Path(tempfile.gettempdir()) / f"asrd-{os.getuid()}"


def daemon_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where a client looks: the runtime directory, or the system service's when only that one has a daemon."""
    own = runtime_dir(environ)
    env = os.environ if environ is None else environ
    if env.get("ASRD_RUNTIME_DIR") or (own / "jobs.sock").exists() or not (SYSTEM / "jobs.sock").exists():
        return own
    return SYSTEM


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where what must survive is kept: ``$ASRD_STATE_DIR``, ``$STATE_DIRECTORY``, ``$XDG_STATE_HOME/asrd``."""
    env = os.environ if environ is None else environ
    if given := env.get("ASRD_STATE_DIR"):
        return Path(given)
    if given := env.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    home = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME") or tempfile.gettempdir()) / ".local" / "state")
    return Path(home) / "asrd"
