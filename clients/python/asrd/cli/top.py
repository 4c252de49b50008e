"""``top``: what the daemon does, live."""

import contextlib
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

if TYPE_CHECKING:
    from asrd import Client
    from asrd.cli.frame import Sample

REFRESH_S = 1.0


@command("top")
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave.")] = False,
    runtime_dir: opt.RuntimeDir = None,
) -> None:
    """Watch workers, queue and throughput; q leaves."""
    from asrd import Client
    from asrd.cli import screen
    from asrd.cli.frame import Rate, frame, sample

    with Client(runtime_dir) as client:
        if once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            screen.show(frame(sample(client), Rate()))
        else:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(client)


def _watch(client: "Client") -> None:
    from rich.live import Live

    from asrd.cli import screen
    from asrd.cli.frame import Rate, frame

    rate = Rate()
    with _keys(), Live(console=screen.console(), screen=True, auto_refresh=False) as live:
        while True:
            shot, began = _try_sample(client), time.monotonic()
            live.update(shot if isinstance(shot, str) else frame(shot, rate.next(shot)), refresh=True)
            if _key_within(REFRESH_S - (time.monotonic() - began)) in ("q", "Q"):
                return


def _try_sample(client: "Client") -> "Sample | str":
    """What the daemon says; a sentence while there is none: it may come back."""
    from asrd import AsrdError
    from asrd.cli.frame import sample

    try:
        return sample(client)
    except AsrdError as error:
        return f"asrd: {error}"


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Keys arrive one by one, without Enter."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key_within(seconds: float) -> str:
    readable, _, _ = select.select([sys.stdin], [], [], max(0.0, seconds))
    return sys.stdin.read(1) if readable else ""
