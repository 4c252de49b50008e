"""A driver without a GPU: a ``libnvidia-ml.so.1`` made from C, and the file that it answers from.

The real pynvml loads the library by its name, so it has to run in a process that was started with ``environ()``.
"""

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")


def compiler() -> str | None:
    """Of this machine, if it has one."""
    return shutil.which("gcc") or shutil.which("cc")


def gpu(uuid: str, free: int = 0, used: int = 0, reasons: int = 0) -> str:
    """The next GPU: bytes, bytes, bits of the clocks' event reasons."""
    return f"gpu {uuid} {free} {used} {reasons}"


def part(uuid: str, whole: int, free: int = 0, used: int = 0) -> str:
    """A MIG instance of the GPU with this index."""
    return f"part {uuid} {whole} {free} {used}"


def process(uuid: str, pid: int, used: int | None, kind: str = "compute") -> str:
    """A process on a GPU, and its bytes; ``kind`` can be ``graphics``."""
    return f"process {uuid} {pid} {'none' if used is None else used} {kind}"


def error(function: str, code: int, uuid: str = "any") -> str:
    """What a function returns from now on, for this GPU."""
    return f"error {function} {uuid} {code}"


def hang(function: str, seconds: float) -> str:
    """How long a function takes from now on, or until this line is gone."""
    return f"hang {function} {seconds}"


class FakeNvml:
    """The library in this directory, and its file."""

    def __init__(self, directory: Path, *, old: bool = False) -> None:
        """Make it; ``old``: without the functions that a driver of 2021 does not have.

        Raises:
            AssertionError: the compiler does not take the source.
            OSError: there is no C compiler.
        """
        self._directory = directory
        self._file = directory / "nvml.txt"
        self.says()
        command = [compiler() or "cc", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
        command += ["-DOLD_DRIVER"] if old else []
        command += ["-o", str(directory / "libnvidia-ml.so.1"), str(SOURCE)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr

    def says(self, *lines: str) -> None:
        """What the driver answers from now on, all at once."""
        new = self._file.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.rename(self._file)  # in one step: somebody may be reading it

    def environ(self) -> dict[str, str]:
        """For a process that shall see it."""
        others = os.environ.get("LD_LIBRARY_PATH", "")
        path = f"{self._directory}:{others}" if others else str(self._directory)
        return {**os.environ, "LD_LIBRARY_PATH": path, "FAKE_NVML": str(self._file)}
