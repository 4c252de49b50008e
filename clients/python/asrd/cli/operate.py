"""What an operator may command: ``recycle, drain, stop``."""

import os
import select
from typing import Annotated

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

LOOK_UP_S = 0.5
"""Seconds after which a waiting command looks for Ctrl-C."""

Seat = Annotated[str | None, typer.Option("--seat", metavar="SEAT", help="Only this worker, e.g. default/0.17.")]
OnlyPool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only this pool.")]


@command("recycle")
def recycle(pool: OnlyPool = None, seat: Seat = None, runtime_dir: opt.RuntimeDir = None) -> None:
    """Replace healthy workers, one after the other, each by one that is warm before."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        to_stdout(client.recycle(pool, seat).message)


@command("drain")
def drain(
    resume: Annotated[bool, typer.Option("--resume", help="Take new jobs again.")] = False,
    runtime_dir: opt.RuntimeDir = None,
) -> None:
    """Refuse new jobs and finish the accepted ones; the daemon stays."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        to_stdout(client.drain(resume).message)


@command("stop")
def stop(
    now: Annotated[bool, typer.Option("--now", help="Give up what is running.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the daemon has gone.")] = True,
    runtime_dir: opt.RuntimeDir = None,
) -> None:
    """Stop the daemon after its accepted jobs, and wait for that."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        process = _watch(client.health().pid) if wait else None
        message = client.stop(now).message
    to_stdout(message)
    if process is not None:
        _await_exit(process)
        to_stdout("stopped")


def _watch(pid: int) -> int | None:
    """A descriptor that becomes readable when the process has ended; None where it cannot be seen from here."""
    try:
        return os.pidfd_open(pid) if pid > 0 else None
    except OSError:
        return None


def _await_exit(process: int) -> None:
    try:
        while not select.select([process], [], [], LOOK_UP_S)[0]:
            pass
    finally:
        os.close(process)
