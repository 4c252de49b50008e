"""What goes on in the daemon: ``health, stats, workers, jobs, pools``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

if TYPE_CHECKING:
    from asrd import Client

SET = "compute_type, threads, model, offline, options.NAME; until the daemon ends."

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
def pools(
    words: Annotated[list[str] | None, typer.Argument(metavar="[set POOL KEY=VALUE...]", help=SET)] = None,
    as_json: opt.Json = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="With set: wait until that is done.")] = True,
    runtime_dir: opt.RuntimeDir = None,
) -> None:
    """Every pool with what it runs. With set: change settings of its engine, without losing a job."""
    from asrd import Client
    from asrd.cli import screen, tables

    with Client(runtime_dir) as client:
        if words:
            _set(client, words, wait=wait)
            return
        reports = client.pools()
    if as_json:
        screen.print_json(reports)
    else:
        screen.show(tables.pools_table(reports))


def _set(client: "Client", words: list[str], *, wait: bool) -> None:
    from asrd.cli.operate import await_pool
    from asrd.cli.output import to_stdout
    from asrd.cli.verdict import UsageError

    verb, pool, *pairs = [*words, ""] if len(words) == 1 else words
    if verb != "set" or not pairs or not all("=" in pair for pair in pairs):
        raise UsageError("expected `asrd pools`, or `asrd pools set POOL KEY=VALUE...`")
    settings = {key: _value(text) for key, _, text in (pair.partition("=") for pair in pairs)}
    to_stdout(client.set_pool(pool, settings).message)
    if wait:
        to_stdout(f"{await_pool(client, pool)}; change its configuration too, which counts again when the daemon ends")


def _value(text: str) -> Any:
    """As in the configuration file, but words need no quotes."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
