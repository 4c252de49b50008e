"""What goes on in the daemon: ``health, stats, workers, jobs, pools``."""

from typing import Annotated

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

States = Annotated[
    list[str] | None, typer.Option("--state", metavar="STATE", help="Only jobs in this state; may be repeated.")
]
OnlyPool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only jobs of this pool.")]
OnlyClient = Annotated[str | None, typer.Option("--client", metavar="NAME", help="Only jobs of this client.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="How many of the newest.")]


@command("health")
def health(as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None) -> int:
    """Whether work may be sent; the exit code is 0 if so, 1 if not, 2 without a daemon."""
    from asrd import AsrdError, Client
    from asrd.cli import screen, tables
    from asrd.cli.verdict import code_of
    from asrd_protocol.exits import Exit

    try:
        with Client(runtime_dir) as client:
            report = client.health()
    except AsrdError as error:
        if not as_json:
            raise
        screen.print_json({"status": "unavailable", "reason": str(error)})
        return code_of(error)
    if as_json:
        screen.print_json(screen.fields(report))
    else:
        screen.show(tables.health_lines(report))
    return Exit.OK if report.status in ("ready", "degraded") else Exit.FAILED


@command("stats")
def stats(as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None) -> None:
    """Counters since the daemon started."""
    from asrd import Client
    from asrd.cli import screen, tables

    with Client(runtime_dir) as client:
        report = client.stats()
    if as_json:
        screen.print_json(screen.fields(report))
    else:
        screen.show(tables.stats_lines(report))


@command("workers")
def workers(as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None) -> None:
    """Every seat with its worker."""
    from asrd import Client
    from asrd.cli import screen, tables

    with Client(runtime_dir) as client:
        reports = client.workers()
    if as_json:
        screen.print_json(reports)
    else:
        screen.show(tables.workers_table(reports))


@command("jobs")
def jobs(
    as_json: opt.Json = False,
    limit: Limit = 100,
    states: States = None,
    pool: OnlyPool = None,
    client: OnlyClient = None,
    runtime_dir: opt.RuntimeDir = None,
) -> None:
    """The jobs that the daemon knows: queued, running, and ended ones whose result was not released."""
    from asrd import Client
    from asrd.cli import screen, tables

    wanted = opt.states_of(states)
    with Client(runtime_dir) as daemon:
        reports = daemon.jobs(limit, states=wanted, pool=pool, client=client)
    if as_json:
        screen.print_json(reports)
    else:
        screen.show(tables.jobs_table(reports))


@command("pools")
def pools(as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None) -> None:
    """Every pool with what it runs."""
    from asrd import Client
    from asrd.cli import screen, tables

    with Client(runtime_dir) as client:
        reports = client.pools()
    if as_json:
        screen.print_json(reports)
    else:
        screen.show(tables.pools_table(reports))
