"""What an exception means for whoever typed the command: one sentence and an exit code."""

import os
import sys
import traceback

from asrd.errors import AsrdError, NoDaemon, OptionError
from asrd_protocol.exits import Exit

INTERRUPTED = 130
"""What shells report for a program that was ended by Ctrl-C."""

PIPE_CLOSED = 141
"""What shells report for a program whose reader went away."""


class UsageError(AsrdError):
    """The command line asks for what does not exist or does not fit together."""


def complain(sentence: str) -> None:
    """Says one sentence on stderr."""
    sys.stderr.write(f"asrd: {sentence}\n")


def code_of(error: AsrdError) -> Exit:
    """The exit code for an error that was foreseen."""
    return Exit.USAGE if isinstance(error, NoDaemon | UsageError | OptionError) else Exit.FAILED


def report(error: BaseException) -> int:
    """Says what is wrong and gives the exit code. ``ASRD_TRACEBACK`` in the environment shows where it happened."""
    if os.environ.get("ASRD_TRACEBACK"):
        traceback.print_exception(error)
    match error:
        case AsrdError():
            complain(str(error))
            return code_of(error)
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():
            _silence_stdout()
            return PIPE_CLOSED
        case SystemExit(code=int(code)):
            return code
        case OSError():
            complain(str(error))
            return Exit.FAILED
        case _:
            complain(f"a defect in asrd itself: {type(error).__name__}: {error} (ASRD_TRACEBACK=1 shows where)")
            return Exit.SOFTWARE


def _silence_stdout() -> None:
    """Else the interpreter complains when it flushes what nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
