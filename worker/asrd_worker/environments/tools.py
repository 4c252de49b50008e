"""The programs that make an environment: a Python that fits, and uv, or venv and pip.

Indexes, mirrors, proxies and certificates are the tools' own configuration; nothing of that is asrd's. uv does not read
that of pip, so where pip has been told of an index, pip it is.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from asrd_worker.environments.faults import InstallFailed, Misasked
from asrd_worker.environments.recipe import Recipe, Release, Step

_INDEX = re.compile(r"\b(index-url|extra-index-url|find-links|no-index)=")
_UV_INDEX = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")
_LEADS_ASTRAY = frozenset(
    {
        *("PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON"),
        *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "UV_TARGET", "UV_PREFIX", "UV_PYTHON"),
    }
)
_OTHERS = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")


class Tools(msgspec.Struct, frozen=True):
    """What works on this machine."""

    uv: str
    """The program; empty where venv and pip do it."""
    mirrored: bool
    """Whether the tool has been told of an index of its own."""

    @property
    def name(self) -> str:
        """For people."""
        return "uv" if self.uv else "pip"

    def make(self, python: str, folder: Path) -> list[str]:
        """The command that makes an empty environment."""
        if self.uv:
            return [self.uv, "venv", "--quiet", "--allow-existing", "--python", python, str(folder)]
        return [python, "-I", "-m", "venv", str(folder)]

    def steps(self, steps: list[Step]) -> list[Step]:
        """Those that are for this machine."""
        return [step for step in steps if not (step.index and self.mirrored)]

    def install(self, python: Path, step: Step) -> list[str]:
        """The command that installs packages into an environment."""
        if self.uv:
            command = [self.uv, "pip", "install", "--python", str(python)]
        else:
            command = [str(python), "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            command += ["--progress-bar=off"]
        command += ["--index-url", step.index] if step.index else []
        return [*command, *(() if step.deps else ("--no-deps",)), *step.install]


def choose(environ: Mapping[str, str]) -> Tools:
    """uv where it is at hand, unless pip alone knows where packages are."""
    pip_told = _pip_told(environ)
    uv = "" if pip_told else shutil.which("uv", path=environ.get("PATH")) or ""
    return Tools(uv, any(name in environ for name in _UV_INDEX) if uv else pip_told)


def clean(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """An environment for the tools: nothing that is about another interpreter; temporary files where there is room."""
    kept = {name: value for name, value in environ.items() if name not in _LEADS_ASTRAY}
    return {**kept, "TMPDIR": str(scratch)}


def interpreter(recipe: Recipe, given: str | None) -> str:
    """A Python for the environment: the one that was named, else asrd's own, else another one in the path.

    Raises:
        Misasked: the named one does not fit.
        InstallFailed: none fits.
    """
    if given:
        found = shutil.which(Path(given).expanduser()) or ""
        release = release_of(found) if found else None
        if release is None:
            raise Misasked(f"--python {given}: that is no Python interpreter")
        if not recipe.fits(release):
            raise Misasked(f"--python {given} is {_words(release)}, and {recipe.engine} needs {recipe.pythons}")
        return found
    for name in (sys.executable, *_OTHERS):
        found = shutil.which(name) or ""
        if found and (release := release_of(found)) and recipe.fits(release):
            return found
    raise InstallFailed(
        f"{recipe.engine} needs {recipe.pythons}, and there is none in the path; --python PATH names one"
    )


def release_of(python: str) -> Release | None:
    """Major and minor number of an interpreter; None when it is not one."""
    asked = [python, "-I", "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        said = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True)
        major, minor = said.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _words(release: Release) -> str:
    return "Python " + ".".join(map(str, release))


def _pip_told(environ: Mapping[str, str]) -> bool:
    """Whether pip, by its files or by variables, knows an index besides the public one."""
    asked = [sys.executable, "-P", "-m", "pip", "config", "list"]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:  # there is no pip here, but there will be one in the environment
        return any(
            name in environ for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX")
        )
    return bool(_INDEX.search(done.stdout))
