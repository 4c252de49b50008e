"""``python -P -m asrd_supervisor serve | config check | config show``: the command line of the daemon."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from asrd_protocol.addresses import Addresses, runtime_dir, state_dir
from asrd_protocol.exits import Exit
from asrd_supervisor import sizing
from asrd_supervisor.config import Config, ConfigError, decode, load
from asrd_supervisor.ground import Ground, GroundError, Taken
from asrd_supervisor.janitor import Janitor
from asrd_supervisor.journal.opening import InUse, JournalError, NoRoom

FEW = 4_096
"""Open files; a local user who may connect can have as many connections open at a time."""

ENGINES = ("faster-whisper", "whisperx")
SCRIPTED = ("scripted", "diarize-scripted")
"""Engines that have no model: they do what a job says."""
"""Those of the workers' own engines that transcribe, for the help: the workers' table cannot be asked from here."""


class UsageError(Exception):
    """One sentence on what is wrong with an option of the command line."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the result is the exit code."""
    options = _parser().parse_args(arguments)
    try:
        resolved = _resolved(options)
        if options.command == "serve":
            return _serve(resolved, Addresses(_directory(options.runtime_dir)), options)
        return _show(resolved.config) if options.what == "show" else _check(resolved)
    except ConfigError as error:
        return _complain(str(error), Exit.CONFIG)
    except (Taken, InUse, NoRoom) as error:
        return _complain(str(error), Exit.TEMPFAIL)
    except JournalError as error:
        return _complain(str(error), Exit.CONFIG)
    except (GroundError, UsageError) as error:
        return _complain(str(error), Exit.USAGE)


def configure(options: argparse.Namespace) -> Config:
    """The configuration file with the command line's options over it, every "auto" resolved.

    Raises:
        ConfigError: something in the file is wrong.
        UsageError: an option is wrong.
    """
    return _resolved(options).config


def _resolved(options: argparse.Namespace) -> sizing.Resolved:
    config = load(_config_file(options.config))
    name = config.default_pool or next(iter(config.pools))
    given = {key: getattr(options, key) for key in ("engine", "model", "workers", "device", "compute_type")}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if options.max_jobs is not None:
        changes["recycle"] = {"max_jobs": options.max_jobs}
    if options.engine in SCRIPTED and options.model is None:
        changes["model"] = ""
    pool = msgspec.structs.replace(config.pools[name], **_checked(changes, config.pools[name].recycle))
    log = msgspec.structs.replace(config.log, **({"format": options.log_format} if options.log_format else {}))
    kept = {"durability": options.durability} if options.durability else {}
    journal = msgspec.structs.replace(config.journal, **kept)
    pools = {**config.pools, name: pool}
    return sizing.resolution(msgspec.structs.replace(config, pools=pools, log=log, journal=journal))


def _checked(changes: dict[str, Any], recycle: msgspec.Struct) -> dict[str, Any]:
    """The same checks as for the file."""
    if isinstance(changes.get("workers"), str) and changes["workers"] != "auto":
        try:
            changes["workers"] = int(changes["workers"])
        except ValueError:
            raise UsageError(f"--workers: expected a number or 'auto', got {changes['workers']!r}") from None
    try:
        pool = decode({"pools": {"default": changes}}).pools["default"]
    except ConfigError as error:
        key, _, said = str(error).removeprefix("pools.default.").removeprefix("recycle.").partition(":")
        raise UsageError(f"--{key.replace('_', '-')}:{said}") from None
    checked = {key: getattr(pool, key) for key in changes}
    if "recycle" in changes:
        checked["recycle"] = msgspec.structs.replace(recycle, max_jobs=pool.recycle.max_jobs)
    return checked


def _serve(resolved: sizing.Resolved, addresses: Addresses, options: argparse.Namespace) -> int:
    ground = Ground(addresses)
    janitor = Janitor(ground, addresses)
    state = Path(options.state_dir).absolute() if options.state_dir else state_dir()
    try:
        return _run(resolved, addresses, state, accept_empty=options.accept_empty_journal)
    finally:
        ground.leave()
        janitor.dismiss()


def _run(resolved: sizing.Resolved, addresses: Addresses, state: Path, *, accept_empty: bool) -> int:
    """Everything large is imported here, after the janitor has split off."""
    config = resolved.config
    import structlog
    import uvloop
    import zmq

    from asrd_supervisor.curve import Keys, KeysError
    from asrd_supervisor.daemon import Daemon
    from asrd_supervisor.ground import allow_connections
    from asrd_supervisor.report.log import configure as configure_log
    from asrd_supervisor.storage import Storage
    from asrd_supervisor.systemd import Notifier

    try:
        keys = Keys.load(config.listen.keys) if config.listen.jobs or config.listen.control else None
    except KeysError as error:
        raise ConfigError(str(error)) from None
    connections = allow_connections()
    os.environ["ASRD_STATE_DIR"] = str(state)  # workers look for models there, too
    storage = Storage(state, addresses.spool, config.journal, accept_empty=accept_empty)

    async def serve() -> Exit:
        return await Daemon(config, addresses, Notifier.from_environ(os.environ), storage, keys).run()

    writer = configure_log(config.log.format, config.log.level)
    for note in resolved.notes:
        structlog.get_logger("asrd").info(note)
    for warning in resolved.warnings + sizing.warnings(config):
        structlog.get_logger("asrd").warning(warning)
    if connections < FEW:
        structlog.get_logger("asrd").warning(
            "few open files are allowed; more connections end the daemon", files=connections
        )
    try:
        return int(uvloop.run(serve()))
    except zmq.ZMQError as error:
        raise GroundError(f"cannot open the sockets in {addresses.directory}: {error}") from None
    finally:
        writer.close()


def _show(config: Config) -> int:
    shown = msgspec.json.format(msgspec.json.encode(config, enc_hook=float), indent=2)
    sys.stdout.write(shown.decode() + "\n")
    return Exit.OK


def _check(resolved: sizing.Resolved) -> int:
    config = resolved.config
    for warning in resolved.warnings + sizing.warnings(config):
        sys.stderr.write(f"asrd: warning: {warning}\n")
    sys.stdout.write(f"the configuration is good: {len(config.pools)} pool(s), default {config.default_pool!r}\n")
    return Exit.OK


def _complain(message: str, code: Exit) -> int:
    sys.stderr.write(f"asrd: {message}\n")
    return int(code)


def _directory(given: str | None) -> Path:
    return Path(given).absolute() if given else runtime_dir()


def _config_file(given: str | None) -> Path | None:
    """The file that was named, else the user's, else the machine's, else none."""
    if named := given or os.environ.get("ASRD_CONFIG"):
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path(os.environ.get("HOME") or "/") / ".config")
    return next((path for path in (Path(home) / "asrd/asrd.toml", Path("/etc/asrd/asrd.toml")) if path.is_file()), None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asrd", description="The asrd daemon.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the daemon in the foreground")
    config = commands.add_parser("config", help="look at the configuration")
    config.add_argument("what", choices=["check", "show"])
    for command in (serve, config):
        _add_options(command)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--config",
        metavar="FILE",
        help="TOML file; default $ASRD_CONFIG, ~/.config/asrd/asrd.toml, /etc/asrd/asrd.toml",
    )
    add("--engine", help=f"engine of the default pool: {', '.join(ENGINES)}; asrd engines list shows all")
    add("--model", help="model name or directory (default tiny.en)")
    add("--workers", help="number of workers, or auto")
    add("--device", choices=["auto", "cpu", "cuda"])
    add("--compute-type", metavar="TYPE", help="as in CTranslate2: int8, float16, ...")
    add("--max-jobs", type=int, metavar="N", help="recycle a worker after N jobs; 0 never")
    add("--runtime-dir", metavar="DIR", help="where the sockets are")
    add("--state-dir", metavar="DIR", help=f"where what must survive is kept (default {state_dir()})")
    add(
        "--accept-empty-journal",
        action="store_true",
        help="when the journal is damaged, move it aside and begin with an empty one",
    )
    add("--durability", choices=["full", "process", "none"], help="what an accepted job survives (default full)")
    add("--log-format", choices=["auto", "console", "json", "journal"])


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread may wait for ever for somebody's file system; nothing is left to be done
