"""An engine that is no engine, the recipe for it, and a folder of wheels instead of an index."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.interpreters import NEEDED, repacked
from support.models import Ran, write_wheel

ENGINE = "toy"

_TOY = {
    "toy_engine.py": b"SPEECH = True\n",
    "toy_worker.py": b"from asrd_worker.engines.scripted import Scripted\nclass Toy(Scripted): ...\n",
    "toy_engine-1.0.dist-info/entry_points.txt": b"[asrd.engines]\ntoy = toy_worker:Toy\n",
}
"""An engine as somebody else would write one."""


def write_recipe(folder: Path, **changes: Any) -> dict[str, str]:
    """A recipe ``toy`` and the wheels that it needs; returns what the environment needs. ``changes`` go over it."""
    recipes, wheels = folder / "recipes", folder / "shop"
    recipes.mkdir(parents=True, exist_ok=True)
    for name in NEEDED:
        repacked(name, wheels)
    write_wheel(wheels, "toy-engine", _TOY)
    write_wheel(wheels, "toy-noise", {"toy_noise.py": b"print('hear me')\n"})
    recipe = {
        "engine": ENGINE,
        "about": "a toy",
        "modules": ["msgspec", "zmq", "toy_engine", "toy_noise"],
        "shown": ["toy-engine", "msgspec"],
        "pool": {"model": "", "workers": 1},
        "default": {
            "disk_mb": 5,
            "download_mb": 1,
            "steps": [{"install": ["toy-engine==1.0", *NEEDED]}, {"install": ["toy-noise"], "deps": False}],
        },
        **changes,
    }
    lines = [f"{name} = {json.dumps(value, separators=(', ', ' = '))}" for name, value in recipe.items()]
    (recipes / "toy.toml").write_text("\n".join(lines))
    return {
        "ASRD_ENGINE_RECIPES": str(recipes),
        "ASRD_ENGINES_DIR": str(folder / "engines"),
        "ASRD_RUNTIME_DIR": str(folder / "nobody"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
    }


def run(*arguments: str, environ: dict[str, str]) -> Ran:
    """Run ``asrd engines``."""
    command = [str(Path(sys.executable).parent / "asrd"), "engines", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "COLUMNS": "200", **environ},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)
