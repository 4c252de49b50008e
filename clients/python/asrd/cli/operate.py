"""What an operator may command: ``recycle, load, unload, reload, drain, stop``."""

import os
import select
from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

if TYPE_CHECKING:
    from asrd import Client
    from asrd_protocol.messages import PoolReport

LOOK_UP_S = 0.5
"""Seconds after which a waiting command looks for Ctrl-C."""

LOOK_S = 0.1
"""Seconds from one look at a pool to the next."""

Seat = Annotated[str | None, typer.Option("--seat", metavar="SEAT", help="Only this worker, e.g. default/0.17.")]
Pool = Annotated[str, typer.Argument(metavar="POOL", help="As in `asrd pools`.")]
UntilReady = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until that is done.")]
OnlyPool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only this pool.")]


@command("recycle")
def recycle(pool: OnlyPool = None, seat: Seat = None, runtime_dir: opt.RuntimeDir = None) -> None:
    """Replace healthy workers, one after the other, each by one that is warm before."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        to_stdout(client.recycle(pool, seat).message)


@command("load")
def load(pool: Pool, wait: UntilReady = True, runtime_dir: opt.RuntimeDir = None) -> None:
    """Start the workers of a pool that rests, before there is a job for them."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        to_stdout(client.load_pool(pool).message)
        if wait:
            to_stdout(await_pool(client, pool, resting=False))


@command("unload")
def unload(pool: Pool, runtime_dir: opt.RuntimeDir = None) -> None:
    """Free the memory of a pool: its workers leave after their steps, and the next job starts them."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        to_stdout(client.unload_pool(pool).message)


@command("reload")
def reload(pool: Pool, wait: UntilReady = True, runtime_dir: opt.RuntimeDir = None) -> None:
    """Let a pool read its model again, as after `asrd models pull`, without losing a job."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        to_stdout(client.reload_pool(pool).message)
        if wait:
            to_stdout(await_pool(client, pool))


def await_pool(client: "Client", name: str, *, resting: bool = True) -> str:
    """Wait until all workers of a pool are ready with the settings it has now, or, if ``resting``, until it has none
    and wants none; in a sentence, how it is.

    Raises:
        AsrdError: when the change was taken back, or no worker can start.
    """
    from asrd import AsrdError

    while True:
        pool = next(one for one in client.pools() if one.name == name)
        if pool.change_fault:
            raise AsrdError(f"{name} goes on with what it had loaded before: {pool.change_fault}")
        if pool.status == "unavailable":
            raise AsrdError(f"{name} is unavailable; `asrd workers` tells why")
        if resting and pool.status == "standby" and not any(one.pool == name for one in client.workers()):
            return f"{name} rests"
        if pool.ready >= pool.workers and not pool.behind:
            return _ready(pool)
        select.select([], [], [], LOOK_S)


def _ready(pool: "PoolReport") -> str:
    """What it has loaded, as far as that is known."""
    threads = f"{pool.threads} thread{'' if pool.threads == 1 else 's'}" if pool.threads else ""
    known = ", ".join(part for part in (pool.model, pool.compute_type, threads) if part)
    return f"{pool.name} is ready: {known}" if known else f"{pool.name} is ready"


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
