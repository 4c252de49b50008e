"""What a driver is understood to say of its GPUs. It is one made from C, under the name of the real one."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from asrd_supervisor.probes.seen import Seen, seen
from support.fake_nvml import compiler

Asked = Callable[..., Seen]

DRIVER = """
#include <stdlib.h>
#include <unistd.h>

static int told(const char *name) { const char *said = getenv(name); return said ? atoi(said) : 0; }

int cuInit(unsigned flags) {
    if (told("FAKE_CRASH")) abort();
    if (told("FAKE_HANG")) sleep(60);
    return (int)flags + told("FAKE_INIT");
}

int cuDeviceGetCount(int *count) { *count = told("FAKE_GPUS"); return told("FAKE_COUNT"); }
"""

WORDS = """
int cuGetErrorString(int code, const char **said) {
    *said = code == 100 ? "no CUDA-capable device is detected" : 0;
    return code != 100;
}
"""


def _make(folder: Path, source: str) -> None:
    command = [compiler() or "cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / "libcuda.so.1")]
    made = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    """Asks a driver that is told what to say by variables."""
    if compiler() is None:
        pytest.skip("needs a C compiler")

    def _ask(*, timeout: float = 60.0, words: str = WORDS, **told: int) -> Seen:
        _make(tmp_path, DRIVER + words)
        environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
        return seen(environ | {f"FAKE_{name.upper()}": str(value) for name, value in told.items()}, timeout)

    return _ask


@pytest.mark.parametrize("gpus", [1, 2, 16])
def test_gpus_are_counted(ask: Asked, gpus: int) -> None:
    assert ask(gpus=gpus) == Seen(gpus)


def test_a_driver_that_shows_none(ask: Asked) -> None:
    assert ask() == Seen(0, "the driver shows no GPU")


@pytest.mark.parametrize("where", ["init", "count"])
def test_an_error_is_told_in_the_words_of_the_driver(ask: Asked, where: str) -> None:
    assert ask(gpus=1, **{where: 100}) == Seen(0, "the driver has no GPU for us: no CUDA-capable device is detected")


@pytest.mark.parametrize("words", [WORDS, ""])
def test_or_by_its_number(ask: Asked, words: str) -> None:
    assert ask(init=999, words=words) == Seen(0, "the driver has no GPU for us: error 999")


def test_a_driver_that_hangs_is_not_waited_for(ask: Asked) -> None:
    assert ask(gpus=1, hang=1, timeout=1.5) == Seen(0, "the driver has not answered within 1.5 s")


def test_a_driver_that_ends_the_process_ends_that_one_only(ask: Asked) -> None:
    assert ask(gpus=1, crash=1) == Seen(0, "the driver has ended the process that asked it (-6)")


def test_no_driver(tmp_path: Path) -> None:
    """One that is no library hides any that this machine may have."""
    (tmp_path / "libcuda.so.1").write_text("nothing of the kind")
    told = seen({**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})

    assert told.gpus == 0
    assert told.why.startswith("there is no driver of NVIDIA (")
