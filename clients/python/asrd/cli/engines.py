"""``asrd engines``: run by the worker's own program, which speaks JSON; here its answers are put into words."""

from pathlib import Path
from typing import Annotated, Any

import typer

from asrd.cli import options as opt
from asrd.cli.app import command, group
from asrd.cli.program import ask

_group = group("engines", "Engines and the virtual environments that some need for themselves.")

Name = Annotated[str, typer.Argument(metavar="ENGINE", help="As in `asrd engines list`.")]
Dir = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="Where the environments are; default $ASRD_ENGINES_DIR, else engines in the state directory.",
        show_default=False,
    ),
]


@command("list", of=_group)
def list_engines(
    everything: Annotated[bool, typer.Option("--all", help="Those for tests, too; JSON has them anyway.")] = False,
    as_json: opt.Json = False,
    folder: Dir = None,
    runtime_dir: opt.RuntimeDir = None,
) -> int:
    """What can run here, and what can be installed; POOLS are those of the running daemon that have the engine."""
    from asrd.cli import screen

    code, engines = _ask(folder, "list")
    if code:
        return code
    running = _pools(runtime_dir)
    for engine in engines:
        engine["pools"] = None if running is None else [pool for pool, used in running if used == engine["engine"]]
    if as_json:
        screen.print_json(engines)
    else:
        columns = ("ENGINE", "STATE", "SIZE", "PYTHON", "VERSIONS", "WHAT", "POOLS")
        rows = [_row(engine) for engine in engines if everything or not engine["for_tests"]]
        screen.show(screen.table(columns, rows, flowing=("VERSIONS", "WHAT", "PYTHON")))
    return 0


@command("install", of=_group)
def install(
    name: Name,
    cpu: Annotated[bool, typer.Option("--cpu", help="Without the libraries for a GPU: a quarter of the size.")] = False,
    python: Annotated[
        str | None, typer.Option("--python", metavar="PY", help="The Python to make it with; one that fits by default.")
    ] = None,
    folder: Dir = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Write a pool with this engine into this file.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="NAME", help="The pool's name; the engine's by default.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: opt.Json = False,
) -> int:
    """Make a virtual environment for an engine, and a pool that lives in it: all of it, tried, or nothing."""
    from asrd.cli import screen

    flags = (*(("--cpu",) if cpu else ()), *(("--dry-run",) if dry_run else ()))
    named = (("--python", python), ("--config", config), ("--pool", pool))
    given = [part for option, value in named if value is not None for part in (option, str(value))]
    code, answer = _ask(folder, "install", name, *flags, *given)
    if code:
        return code
    if as_json:
        screen.print_json(answer)
    else:
        typer.echo("\n".join(_forecast(answer) if dry_run else _report(answer)))
    return 0


@command("remove", of=_group)
def remove(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Although a pool has it: no worker could start again.")
    ] = False,
    as_json: opt.Json = False,
    folder: Dir = None,
    runtime_dir: opt.RuntimeDir = None,
) -> int:
    """Remove the environment of an engine; refused while a pool of the running daemon has that engine."""
    from asrd import AsrdError
    from asrd.cli import screen

    users = [pool for pool, used in _pools(runtime_dir) or () if used == name]
    if users and not force:
        pools = f"pool{'s' if users[1:] else ''} {', '.join(users)}"
        raise AsrdError(f"{name} is the engine of the {pools} of the running daemon; --force removes it")
    code, answer = _ask(folder, "remove", name)
    if code:
        return code
    if as_json:
        screen.print_json(answer)
    else:
        size = f": {screen.megabytes(answer['size'])}" if answer["size"] else ""
        typer.echo(f"{name} is removed{size} in {answer['folder']}")
    return 0


def _ask(folder: Path | None, *arguments: str) -> tuple[int, Any]:
    where = () if folder is None else ("--dir", str(folder))
    return ask("environments", *where, *arguments)


def _pools(runtime_dir: Path | None) -> list[tuple[str, str]] | None:
    """Name and engine of each pool of the running daemon; None when there is none."""
    from asrd import AsrdError, Client

    try:
        with Client(runtime_dir) as client:
            return [(pool.name, pool.engine) for pool in client.pools()]
    except AsrdError:
        return None


def _row(engine: dict[str, Any]) -> tuple[object, ...]:
    from asrd.cli import screen

    return (
        engine["engine"],
        engine["state"],
        screen.megabytes(engine["size"]),
        engine["python"] or ("asrd's own" if engine["state"] == "here" else None),
        _versions(engine["versions"]),
        _what(engine),
        ", ".join(engine["pools"] or ()),
    )


def _what(engine: dict[str, Any]) -> str:
    """What is wrong or what it would take; else what it is."""
    match engine["state"]:
        case "damaged":
            lacks = ", ".join(engine["missing"])
            return f"lacks {lacks}; `asrd engines install {engine['engine']}` mends it"
        case "available":
            sizes = " or ".join(f"{size} MB{' with --cpu' if way == 'cpu' else ''}" for way, size in
                                engine["disk_mb"].items())  # fmt: skip
            return f"{engine['about']}; `asrd engines install {engine['engine']}` takes {sizes}"
        case _:
            return str(engine["about"])


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _forecast(answer: dict[str, Any]) -> list[str]:
    steps = [f"  {answer['tool']} installs {', '.join(step)}" for step in answer["steps"]]
    return [
        f"{answer['engine']} would be installed in {answer['folder']}, with {answer['python']}:",
        *steps,
        f"about {answer['download_mb']} MB to download, {answer['disk_mb']} MB on the disk",
        *_pool(answer, "would be"),
    ]


def _report(answer: dict[str, Any]) -> list[str]:
    from asrd.cli import screen

    receipt = answer["receipt"]
    done = "is installed" if answer["changed"] else "is here already"
    versions = _versions(receipt["versions"])
    return [
        f"{answer['engine']} {done}: {screen.megabytes(receipt['size'])} in {answer['folder']}"
        f" (Python {receipt['python']}{', ' if versions else ''}{versions})",
        *_pool(answer, "is"),
    ]


_HEADING = (
    "A pool for the configuration file, ~/.config/asrd/asrd.toml or /etc/asrd/asrd.toml (--config FILE writes it):"
)


def _pool(answer: dict[str, Any], verb: str) -> list[str]:
    """Where the pool is, or how to write one."""
    if answer["config"] is None:
        return ["", _HEADING, "", answer["table"].rstrip()]
    if not answer["edited"]:
        return [f"the pool {answer['pool']} is in {answer['config']} already"]
    return [
        f"the pool {answer['pool']} {verb} written into {answer['config']}; a running daemon reads it when it restarts"
    ]
