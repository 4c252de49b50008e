"""``python -P -m asrd_worker.environments``: what ``asrd engines`` runs. JSON on stdout, sentences on stderr."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from asrd_protocol.exits import Exit
from asrd_worker.environments import building, inventory, pool_table, recipe, tools
from asrd_worker.environments.building import Plan, say
from asrd_worker.environments.faults import InstallFailed, Misasked
from asrd_worker.environments.places import Places, engines_dir
from asrd_worker.environments.recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    options = _parser().parse_args(arguments)
    places = Places(options.dir or engines_dir())
    try:
        answer = _answer(recipe.load(), places, options)
    except (Misasked, InstallFailed, OSError) as error:
        sys.stderr.write(f"asrd: {error}\n")
        return Exit.USAGE if isinstance(error, Misasked) else Exit.FAILED
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
    return Exit.OK


def _answer(recipes: Mapping[str, Recipe], places: Places, options: argparse.Namespace) -> Any:
    match options.command:
        case "list":
            return inventory.entries(recipes, places)
        case "install":
            return _install(recipe.find(recipes, options.engine), places, options)
        case _:
            return _remove(recipe.find(recipes, options.engine), places)


def _install(wanted: Recipe, places: Places, options: argparse.Namespace) -> dict[str, Any]:
    variant, way = wanted.variant(cpu=options.cpu)
    pool = options.pool or wanted.engine
    keys = {"engine": wanted.engine, "python": str(places.python(wanted.engine)), **wanted.pool}
    text = pool_table.edited(options.config, pool, keys) if options.config else None
    plan = Plan(wanted, variant, tools.interpreter(wanted, options.python), tools.choose(os.environ))
    answer = {
        "engine": wanted.engine,
        "folder": str(places.folder(wanted.engine)),
        "variant": variant,
        "pool": pool,
        "table": pool_table.table(pool, keys),
        "config": str(options.config) if options.config else None,
        "edited": text is not None,
    }
    if options.dry_run:
        return {**answer, **_forecast(plan)}
    say(f"{wanted.engine}: about {way.download_mb} MB to download, {way.disk_mb} MB on the disk in {places.root}")
    receipt, changed = building.install(plan, places)
    if text is not None:
        pool_table.write(options.config, text)
    return {**answer, "changed": changed, "receipt": receipt}


def _forecast(plan: Plan) -> dict[str, Any]:
    """What would be done."""
    return {
        "python": plan.python,
        "tool": plan.tools.name,
        "steps": [step.install for step in plan.steps],
        "download_mb": plan.way.download_mb,
        "disk_mb": plan.way.disk_mb,
    }


def _remove(unwanted: Recipe, places: Places) -> dict[str, Any]:
    """What was removed.

    Raises:
        Misasked: it is not there, or was not made here.
    """
    folder = places.folder(unwanted.engine)
    if not folder.is_symlink():
        raise Misasked(f"{unwanted.engine} is not installed in {places.root}")
    receipt = places.receipt(unwanted.engine)
    places.remove(unwanted.engine)
    return {"engine": unwanted.engine, "folder": str(folder), "size": receipt.size if receipt else None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asrd engines", description="Environments of engines.")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="default $ASRD_ENGINES_DIR, STATE/engines")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="those that can run here, and those that can be had")
    install = commands.add_parser("install", help="make one")
    install.add_argument("engine")
    install.add_argument("--cpu", action="store_true", help="without the libraries for a GPU")
    install.add_argument("--python", metavar="PY", help="the interpreter to make it with")
    install.add_argument("--config", type=Path, metavar="FILE", help="write a pool into this file")
    install.add_argument("--pool", metavar="NAME", help="the pool's name; default the engine's")
    install.add_argument("--dry-run", action="store_true", help="only say what would be done")
    commands.add_parser("remove", help="remove one").add_argument("engine")
    return parser


def _leave(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: what was being made is removed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
