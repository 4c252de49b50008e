"""``demo``: a daemon of its own, a real recording through its workers, and nothing left afterwards."""

from typing import Annotated

import typer

from asrd.cli.app import command


@command("demo")
def demo(
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="How many workers.")] = 2,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="How often to transcribe.")] = 4,
) -> None:
    """Start a private daemon, transcribe a real recording through its workers, show what happened, stop it."""
    from asrd.cli.show import Show

    with Show(workers) as show:
        show.wait_until_warm()
        show.transcribe(jobs)
        show.tell_what_the_pool_did()
