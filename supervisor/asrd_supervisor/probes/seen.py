"""Whether there are GPUs that really work: the driver is asked, with the variables that workers will have."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 60.0
"""Seconds: a driver that nobody else uses wakes each GPU up first."""

_ASK = Path(__file__).with_name("ask_cuda.py")


class Seen(NamedTuple):
    """GPUs that CUDA counts, from 0 on; ``why`` there are none."""

    gpus: int
    why: str = ""


def seen(environ: Mapping[str, str], timeout: float = TIMEOUT_S) -> Seen:
    """What a worker with this environment would see. Nothing of the driver stays in this process."""
    command = [sys.executable, "-I", "-S", str(_ASK)]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Seen(0, f"the driver has not answered within {timeout:g} s")
    except OSError as error:
        return Seen(0, f"the driver cannot be asked ({error.strerror})")
    said = done.stdout.strip()
    if said.isdecimal():
        return Seen(int(said))
    return Seen(0, said or f"the driver has ended the process that asked it ({done.returncode})")
