"""cuBLAS of CUDA 12 for CTranslate2, from the package nvidia-cublas-cu12, with no variable that the loader would need.

CTranslate2 opens ``libcublas.so.12`` by its name when it first multiplies on a GPU, and the loader does not look where
pip has put it. But it does not look at all for what is in the process already: so both libraries are loaded before, by
their paths, the one that the other one needs first.
"""

import ctypes
import importlib.util
import sys
from pathlib import Path

LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")
"""In the order in which they need each other."""

INSTALL = "pip install 'nvidia-cublas-cu12>=12.4,<13'"
"""What brings them: it is what the extra ``cuda12`` of asrd is."""


def preload() -> list[Path]:
    """Load what the package has, if this interpreter has it; those that were loaded. One that does not load is told of,
    and left to the loader: the system may have another one."""
    loaded: list[Path] = []
    folder = _folder()
    for library in [folder / name for name in LIBRARIES] if folder else []:
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            sys.stderr.write(f"asrd: cuBLAS is left to the system: {error}\n")
            break
        loaded.append(library)
    return loaded


def _folder() -> Path | None:
    """Where pip has put both; packages of NVIDIA share a namespace, which may be spread over several directories."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except (ImportError, ValueError):
        return None
    places = [Path(place) / "cublas" / "lib" for place in (spec.submodule_search_locations or [])] if spec else []
    return next((place for place in places if all((place / name).is_file() for name in LIBRARIES)), None)


def hint() -> str:
    """How to get it, for somebody who has read that it is missing."""
    return f"{INSTALL} for {sys.executable}, or asrd with its extra [cuda12]"
