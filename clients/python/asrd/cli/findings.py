"""What the daemon has found out about its workers and itself: ``recycles, insights``."""

from typing import Annotated

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="How many of the newest.")]
OnlyPool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only workers of this pool.")]


@command("recycles")
def recycles(
    limit: Limit = 50, pool: OnlyPool = None, as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None
) -> None:
    """The workers that were replaced on purpose: when, why, and whether it helped."""
    from asrd import Client
    from asrd.cli import screen, tables
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        reports = client.recycles(limit, pool)
    if as_json:
        screen.print_json(reports)
    elif reports:
        screen.show(tables.recycles_table(reports))
    else:
        to_stdout(f"No worker{f' of {pool}' if pool else ''} was replaced on purpose since the daemon started.")


@command("insights")
def insights(as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None) -> None:
    """What asks for attention, with the figures behind it and what to do; the most urgent first."""
    from asrd import Client
    from asrd.cli import screen, tables
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        found = client.insights()
    if as_json:
        screen.print_json(found)
    elif found:
        screen.show(tables.insights_lines(found))
    else:
        to_stdout("Nothing to report: nothing that the daemon has measured so far asks for attention.")
