"""Run by the interpreter of an environment, whatever that has: looks at its packages. Needs nothing but Python.

Reads a question from its first argument, as JSON, and writes the answer to stdout, as JSON. Libraries talk a lot while
they are imported; none of that gets there.
"""

import ctypes
import importlib
import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any


def look(modules: Iterable[str], shown: Iterable[str], really: bool = False) -> dict[str, Any]:
    """Which modules are missing and why, and the versions of packages. ``really``: import them, which takes long."""
    missing = {name: why for name in modules if (why := _trouble(name, really))}
    return {"python": sys.version.split()[0], "versions": _versions(shown), "missing": missing}


def discard(patterns: Iterable[str]) -> list[str]:
    """Remove shared libraries that cannot be loaded where torch can; their names."""
    site = Path(sysconfig.get_path("platlib"))
    suspects = [path for pattern in patterns for path in sorted(site.glob(pattern))]
    if suspects:
        importlib.import_module("torch")  # they are linked against its libraries
    gone = [path for path in suspects if not _loadable(path)]
    for path in gone:
        path.unlink()
    return [path.name for path in gone]


def _trouble(name: str, really: bool) -> str:
    try:
        if really:
            importlib.import_module(name)
        elif importlib.util.find_spec(name.partition(".")[0]) is None:
            return "it is not installed"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def _versions(shown: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in shown:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _loadable(path: Path) -> bool:
    try:
        ctypes.CDLL(str(path))
    except OSError:
        return False
    return True


def main() -> None:
    """Answer one question."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    question = json.loads(sys.argv[1])
    patterns = question.pop("discard", None)
    json.dump(look(**question) if patterns is None else discard(patterns), answer)
    answer.flush()
    os._exit(0)  # libraries may wait for each other at their end


if __name__ == "__main__":
    main()
