"""What the worker's own programs answer: they do the work of `asrd models` and `asrd engines`, and speak JSON."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def ask(module: str, *arguments: str, expected: Sequence[int] = (0,)) -> tuple[int, Any]:
    """The exit code of ``asrd_worker.MODULE``, and its answer if the code is one of these. What it complains of, it
    says itself.

    Raises:
        UsageError: it is not installed.
    """
    import msgspec

    from asrd.cli.verdict import UsageError

    if importlib.util.find_spec("asrd_worker") is None:
        raise UsageError("this is the worker's, and it is not installed beside the client: pip install asrd")
    code, said = _run([sys.executable, "-P", "-m", f"asrd_worker.{module}", *arguments])
    return (code, msgspec.json.decode(said)) if code in expected and said else (code, None)


def _run(command_line: Sequence[str]) -> tuple[int, bytes]:
    """When this process is told to leave, the other one is told as well, and has time to clear away its files."""
    with subprocess.Popen(command_line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return process.returncode, said
