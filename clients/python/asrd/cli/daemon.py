"""``serve`` and ``config``: handed over to the daemon's own program, which parses its options itself."""

import os
import sys
from typing import Annotated

import typer

from asrd.cli.app import command

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[OPTIONS]...", show_default=False)]


def become_daemon(*arguments: str) -> None:
    """Replaces this process by the daemon's. The client never imports the supervisor: it knows a command line."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "asrd_supervisor", *arguments])


@command("serve", unparsed=True)
def serve(arguments: Arguments = None) -> None:
    """Run the daemon in the foreground; --help there shows its options."""
    become_daemon("serve", *(arguments or ()))


@command("config", unparsed=True)
def config(arguments: Arguments = None) -> None:
    """Look at the daemon's configuration: check, or show with everything resolved."""
    become_daemon("config", *(arguments or ("--help",)))
