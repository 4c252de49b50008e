"""Libraries that pip has put where the loader does not look: found by path first, then by name.

The two of the real package have some 800 MB; these here are made from a line of C each, with the same names and the
same need of each other. What a process has loaded it never forgets, so each test asks another one.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asrd_worker.engines import cublas
from support.fake_nvml import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

LIGHT, WHOLE = cublas.LIBRARIES

ASK = """
import ctypes, json, sys
from asrd_worker.engines import cublas

def by_name():
    try:
        return ctypes.CDLL("libcublas.so.12").answer()
    except OSError:
        return None

before = by_name()
found = [str(path) for path in cublas.preload()]
with open("/proc/self/maps") as maps:
    mapped = sorted({line.split()[-1] for line in maps if "cublas" in line})
print(json.dumps({"before": before, "found": found, "mapped": mapped, "after": by_name()}))
"""


def place(site: Path, answer: int = 42) -> Path:
    """What the package has, in this directory; the folder of the libraries."""
    folder = site / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    _make(folder, LIGHT, f"int light(void) {{ return {answer}; }}")
    _make(folder, WHOLE, "int light(void); int answer(void) { return light(); }", "-L", str(folder), f"-l:{LIGHT}")
    return folder


def _make(folder: Path, name: str, source: str, *options: str) -> None:
    command = [compiler() or "cc", "-shared", "-fPIC", "-x", "c", "-", "-x", "none", *options, f"-Wl,-soname,{name}"]
    made = subprocess.run(
        [*command, "-o", str(folder / name)], input=source, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def ask(*sites: Path) -> tuple[dict[str, Any], str]:
    """What a process with these directories of packages says, and its stderr."""
    environ = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "LD_PRELOAD")}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*map(str, sites), environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout), done.stderr


@pytest.fixture(autouse=True)
def nowhere_else() -> None:
    """A machine that has it for everybody has nothing to find."""
    try:
        ctypes.CDLL(WHOLE)
    except OSError:
        return
    pytest.skip("the loader of this machine finds a cuBLAS by itself")


def test_what_is_loaded_by_path_is_found_by_name(tmp_path: Path) -> None:
    folder = place(tmp_path)
    told, said = ask(tmp_path)

    assert told["found"] == [str(folder / LIGHT), str(folder / WHOLE)]
    assert told["mapped"] == sorted(told["found"])
    assert (told["before"], told["after"]) == (None, 42)
    assert said == ""


def test_packages_of_nvidia_may_be_in_several_directories(tmp_path: Path) -> None:
    (tmp_path / "one" / "nvidia" / "cudnn" / "lib").mkdir(parents=True)
    folder = place(tmp_path / "two")
    place(tmp_path / "three", answer=7)
    told, _ = ask(tmp_path / "one", tmp_path / "two", tmp_path / "three")

    assert told["found"] == [str(folder / LIGHT), str(folder / WHOLE)]
    assert told["after"] == 42, "the first one that has them"


@pytest.mark.parametrize("lost", cublas.LIBRARIES)
def test_half_a_package_is_none(tmp_path: Path, lost: str) -> None:
    (place(tmp_path) / lost).unlink()
    (tmp_path / "nvidia" / "__init__.py").touch()  # or a real one beside it would count as well

    assert ask(tmp_path) == ({"before": None, "found": [], "mapped": [], "after": None}, "")


def test_no_package(tmp_path: Path) -> None:
    (tmp_path / "nvidia").mkdir()
    (tmp_path / "nvidia" / "__init__.py").touch()

    assert ask(tmp_path) == ({"before": None, "found": [], "mapped": [], "after": None}, "")


@pytest.mark.parametrize(("damaged", "loaded"), [(LIGHT, []), (WHOLE, [LIGHT])])
def test_what_cannot_be_loaded_is_told_of_and_left_to_the_system(
    tmp_path: Path, damaged: str, loaded: list[str]
) -> None:
    folder = place(tmp_path)
    (folder / damaged).write_bytes(b"a file that was cut off")
    told, said = ask(tmp_path)

    assert told["found"] == [str(folder / name) for name in loaded]
    assert told["after"] is None
    assert said.startswith("asrd: cuBLAS is left to the system: ")
    assert str(folder / damaged) in said
    assert said.count("\n") == 1


def test_who_misses_it_is_told_for_which_interpreter() -> None:
    assert cublas.INSTALL in cublas.hint()
    assert sys.executable in cublas.hint()
