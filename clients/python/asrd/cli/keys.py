"""``asrd keys``: pairs for the daemon and for clients on other hosts."""

import re
from pathlib import Path
from typing import Annotated

import typer

from asrd.cli.app import command, group

_group = group("keys", "Keys for daemons and clients on different hosts.")


@command("new", of=_group)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="server, or the name of a client.")],
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the files go.")] = Path(),
) -> None:
    """Make a pair: NAME.key for the other side, NAME.key_secret for nobody else."""
    from zmq.auth import create_certificates

    from asrd.cli.verdict import UsageError

    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise UsageError(f"{name!r} is no name: 1 to 64 letters, digits, '-' or '_'")
    if (directory / f"{name}.key_secret").exists():
        raise UsageError(f"there is a key {directory / name}.key_secret already; move it away first")
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        public, secret = create_certificates(directory, name)
        Path(secret).chmod(0o600)
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror}") from None
    typer.echo(f"{public}\n{secret}")
