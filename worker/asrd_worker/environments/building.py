"""Makes an environment by its recipe, step by step, and tries it before it gets its name."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from asrd_worker.environments import inside
from asrd_worker.environments.faults import InstallFailed
from asrd_worker.environments.places import Places, Receipt, size_of
from asrd_worker.environments.recipe import Recipe, Step, Variant
from asrd_worker.environments.tools import Tools, clean

_NEWS = re.compile(r"^\s*(?:Downloading \S+ \([\d.]+ ?[MG]i?B\)|Building wheel|Installing collected packages)")
"""What somebody who waits wants to see of an installer's lines: large files, and what takes its time."""

_TRY_S = 300.0
"""Seconds for importing everything once; from a slow disk that is minutes."""


class Plan(msgspec.Struct, frozen=True):
    """All that is settled before anything is done."""

    recipe: Recipe
    variant: str
    python: str
    tools: Tools

    @property
    def way(self) -> Variant:
        """The steps and sizes."""
        return self.recipe.variant(cpu=self.variant == "cpu")[1]

    @property
    def steps(self) -> list[Step]:
        """Those that are for this machine."""
        return self.tools.steps(self.way.steps)

    @property
    def digest(self) -> str:
        """Of what is asked for: the same again is the same environment."""
        asked = msgspec.json.encode([self.way.steps, self.way.discard, self.recipe.modules, self.python])
        return hashlib.sha256(asked).hexdigest()


def install(plan: Plan, places: Places) -> tuple[Receipt, bool]:
    """The environment, and whether it was made now; one that was made alike and still works is left alone.

    Raises:
        InstallFailed: it cannot be made; nothing is left of it, and one that was there is as it was.
    """
    recipe, there = plan.recipe, places.receipt(plan.recipe.engine)
    if there and there.recipe == plan.digest and not trouble(recipe, places.python(recipe.engine)):
        return there, False
    folder = places.folder(recipe.engine)
    if folder.exists() and not folder.is_symlink():
        raise InstallFailed(f"{folder} was not made by `asrd engines install`; move it away, or use another --dir")
    with places.building(recipe.engine, plan.way.disk_mb * 10**6) as directory:
        receipt = _build(plan, directory)
        places.name(directory, receipt)
    return receipt, True


def look(recipe: Recipe, python: Path, *, really: bool) -> dict[str, Any]:
    """What an environment has: ``python``, ``versions``, and ``missing`` with a reason for each module.

    Raises:
        InstallFailed: its interpreter does not run.
    """
    answer: dict[str, Any] = _ask(python, {"modules": recipe.modules, "shown": recipe.shown, "really": really})
    return answer


def trouble(recipe: Recipe, python: Path) -> str:
    """What is wrong with an environment at a first glance; empty when nothing is."""
    try:
        missing = look(recipe, python, really=False)["missing"]
    except InstallFailed as error:
        return str(error)
    return ", ".join(missing) + " missing" if missing else ""


def say(line: str) -> None:
    """To whoever waits."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _build(plan: Plan, directory: Path) -> Receipt:
    recipe, tools, steps = plan.recipe, plan.tools, plan.steps
    python = directory / "bin" / "python"
    scratch = directory / "tmp"
    scratch.mkdir()
    env = clean(os.environ, scratch)
    say(f"[1/{len(steps) + 2}] an environment with {plan.python}")
    _run(tools.make(plan.python, directory), env)
    for number, step in enumerate(steps, 2):
        say(f"[{number}/{len(steps) + 2}] {tools.name} installs {', '.join(step.install)}")
        _run(tools.install(python, step), env)
    say(f"[{len(steps) + 2}/{len(steps) + 2}] tries whether it works")
    if plan.way.discard and (gone := _ask(python, {"discard": plan.way.discard})):
        say(f"  removed, for it cannot be loaded: {', '.join(gone)}")
    found = look(recipe, python, really=True)
    if missing := found["missing"]:
        name, why = next(iter(missing.items()))
        raise InstallFailed(f"everything is installed, but {name} cannot be imported ({why})")
    shutil.rmtree(scratch, ignore_errors=True)  # an installer may leave things there
    size = size_of(directory)
    return Receipt(recipe.engine, plan.variant, plan.digest, found["python"], found["versions"], size)


def _ask(python: Path, question: dict[str, Any]) -> Any:
    command = [str(python), "-I", inside.__file__, msgspec.json.encode(question).decode()]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRY_S, check=True, env=_quiet()
        )
        return msgspec.json.decode(done.stdout)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        why = error.strerror if isinstance(error, OSError) else _last(getattr(error, "stderr", b"") or b"")
        raise InstallFailed(f"the interpreter {python} does not work ({why or type(error).__name__})") from None


def _quiet() -> dict[str, str]:
    """Nobody is asked and nobody is told while packages are tried."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYANNOTE_METRICS_ENABLED": "0", "DO_NOT_TRACK": "1"}


def _last(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def _run(command: Sequence[str], env: Mapping[str, str]) -> None:
    """Run an installer, and pass on what is news.

    Raises:
        InstallFailed: one sentence from what it said.
    """
    said: list[str] = []
    try:
        with subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            try:
                _follow(process, said)
            except BaseException:  # we are told to leave, and so is it
                process.terminate()
                raise
    except OSError as error:
        raise InstallFailed(f"cannot run {command[0]}: {error.strerror}") from None
    if process.returncode:
        raise InstallFailed(_reason(said))


def _follow(process: "subprocess.Popen[str]", said: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        if found := _NEWS.match(line):
            say(f"  {found[0].strip()}")


def _reason(said: Sequence[str]) -> str:
    text = "\n".join(said)
    if "ensurepip" in text:
        return "this Python cannot make environments with pip; install python3-venv, or uv"
    if re.search(r"No space left|\[Errno (27|28|122)\]", text):
        return "there is no room on the disk for the packages"
    if re.search("NewConnectionError|Name or service|onnection broken|ConnectTimeout|ProxyError|dns error", text):
        return "the package index cannot be reached; see `pip config list`"
    if found := re.search(r"No matching distribution found for (\S+)", text):
        return f"no index that is configured has {found[1]} for this Python; see `pip config list`"
    errors = [line for line in said if line.lower().startswith("error")] or list(said[-1:])
    said_last = errors[-1] if errors else "it does not say why"
    return f"the installer failed: {re.sub('^(?i:error):? *', '', said_last)[:300]}"
