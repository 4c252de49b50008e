"""``events``: what happens in the daemon, as it happens."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

if TYPE_CHECKING:
    from asrd.feed import Event

Topics = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TOPIC]...", help="Beginnings of names, such as job. or worker.died; all else."),
]


@command("events")
def events(
    topics: Topics = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
    patience: opt.Patience = None,
    runtime_dir: opt.RuntimeDir = None,
) -> None:
    """Print events as they happen, until Ctrl-C; a daemon that is restarted meanwhile is waited for."""
    from asrd import Client

    with Client(**opt.connection(runtime_dir, patience)) as client:
        for event in client.events(*(topics or ())):
            sys.stdout.write((_as_json(event) if as_json else _as_text(event)) + "\n")
            sys.stdout.flush()


def _as_json(event: "Event") -> str:
    import msgspec

    return msgspec.json.encode(event).decode()


def _as_text(event: "Event") -> str:
    """The time of day, the topic, then the rest in the order in which the daemon says it."""
    at = time.strftime("%H:%M:%S", time.localtime(event.get("at", 0.0)))
    rest = (f"{name}={_word(value)}" for name, value in event.items() if name not in ("type", "at"))
    return " ".join((at, str(event.get("type", "?")), *rest))


def _word(value: Any) -> str:
    """A value in one word, in quotes where it is more."""
    text = str(value)
    return repr(text) if not text or " " in text else text
