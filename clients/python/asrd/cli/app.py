"""The command and how a theme adds to it."""

import functools
from collections.abc import Callable
from typing import Annotated, ParamSpec

import typer

P = ParamSpec("P")

# openai-whisper writes options with underscores, everybody else with hyphens: both are taken.
_SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda token: token.replace("_", "-")}
_UNPARSED = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}

app = typer.Typer(
    name="asrd",
    help="Speech recognition by a daemon with pools of mortal workers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)


def command(
    name: str, *, unparsed: bool = False, of: typer.Typer = app
) -> Callable[[Callable[P, int | None]], Callable[P, None]]:
    """Adds a function as a command, of a group or by itself.

    Its result is the exit code; an exception becomes a sentence and an exit code.

    An ``unparsed`` command gets everything that follows its name as arguments, ``--help`` included.
    """

    def add(function: Callable[P, int | None]) -> Callable[P, None]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                code = function(*args, **kwargs)
            except (typer.Exit, typer.Abort):
                raise
            except BaseException as error:
                from asrd.cli.verdict import report

                code = report(error)
            raise typer.Exit(code or 0)

        settings = _UNPARSED if unparsed else _SETTINGS
        of.command(name, context_settings=settings, add_help_option=not unparsed)(guarded)
        return guarded

    return add


def group(name: str, about: str) -> typer.Typer:
    """A command that has commands of its own."""
    made = typer.Typer(help=about, no_args_is_help=True, context_settings=_SETTINGS)
    app.add_typer(made, name=name)
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from asrd_protocol import VERSION

        typer.echo(f"asrd {version('asrd')} (protocol {VERSION})")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Speech recognition by a daemon with pools of mortal workers."""
