"""A process that works on a disk which fails, or that dies, at the n-th call which changes a file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

SOURCE = Path(__file__).with_name("faulty_disk.c")
CHILD = Path(__file__).with_name("journal_child.py")


def compiled(directory: Path) -> Path:
    """The shim to preload, made in this directory.

    Raises:
        AssertionError: there is no C compiler, or it does not take the source.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "these tests need a C compiler (gcc or cc) to make the disk that fails"
    shim = directory / "faulty_disk.so"
    command = [compiler, "-O1", "-Wall", "-fPIC", "-shared", "-o", str(shim), str(SOURCE), "-ldl"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return shim


class Life(msgspec.Struct):
    """What one process has said before it ended, in this order."""

    said: list[list[str]]
    """``["call", NAME, PATH, SIZE, RESULT]`` for a call, or what the script has printed."""
    status: int
    """Its exit code, or the negative number of the signal that ended it."""

    def only(self, word: str) -> list[list[str]]:
        """What was said with this word in front, without it."""
        return [rest for first, *rest in self.said if first == word]


class Zygote:
    """An interpreter with the shim and all modules loaded; each life is a fork of it, so that it costs little."""

    def __init__(self, shim: Path) -> None:
        environ = {**os.environ, "LD_PRELOAD": str(shim)}
        command = [sys.executable, str(CHILD)]
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def live(self, directory: Path, script: str, **faults: object) -> Life:
        """One life; ``faults`` are the variables of the shim without ``FAULTY_DISK_``, in small letters."""
        assert self._process.stdin
        assert self._process.stdout
        variables = {f"FAULTY_DISK_{name.upper()}": str(value) for name, value in faults.items()}
        order = {"directory": str(directory), "script": script, "environ": variables}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the child is gone"
        return msgspec.json.decode(line, type=Life)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)
