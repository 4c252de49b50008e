"""The ``asrd`` command: one file a theme. What a command needs is imported when it runs, so that help is quick."""

import importlib
import signal
import sys
from types import FrameType

_THEMES = (
    *("daemon", "transcribe", "jobs", "quarantine", "status", "findings", "events"),
    *("models", "engines", "operate", "keys", "top", "demo", "lab"),
)
"""In the order of the help."""


def main() -> None:
    """The entry point of the console script. No traceback reaches the user; see :mod:`asrd.cli.verdict`."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        from asrd.cli.app import app

        for theme in _THEMES:
            importlib.import_module(f"asrd.cli.{theme}")
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(number: int, frame: FrameType | None) -> None:
    """Leaves as Ctrl-C does: jobs are cancelled, a private daemon is stopped."""
    sys.exit(128 + number)
