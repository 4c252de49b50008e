"""``lab``: handed over to the lab's own program, which parses its options itself."""

import importlib.util
import os
import sys
from typing import Annotated

import typer

from asrd.cli.app import command

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[AUDIO]...", show_default=False)]


@command("lab", unparsed=True)
def lab(arguments: Arguments = None) -> int:
    """Find out whether a model degrades on this machine, with your own recordings; --help there shows its options."""
    from asrd.cli.verdict import UsageError

    if importlib.util.find_spec("asrd_lab") is None:
        raise UsageError("the lab is not installed beside the client; it comes with the daemon: pip install asrd")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "asrd_lab", *(arguments or ())])
