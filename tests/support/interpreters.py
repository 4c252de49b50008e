"""Virtual environments for workers, made in a moment and without a network from what the tests themselves run on."""

import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

NEEDED = ("msgspec", "pyzmq")
"""All that another environment has to have."""


def bare(folder: Path, *packages: str) -> str:
    """The interpreter of a new environment with these packages of ours and no others, not even pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    for name in packages:
        with zipfile.ZipFile(repacked(name, folder / "wheels")) as wheel:
            wheel.extractall(site)
    return str(python)


def repacked(package: str, folder: Path) -> Path:
    """A wheel of a package as it is installed here."""
    here = metadata.distribution(package)
    tag = next(line for line in str(here.read_text("WHEEL")).splitlines() if line.startswith("Tag: "))[5:]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{here.name.replace('-', '_')}-{here.version}-{tag}.whl"
    members = {
        str(file): Path(str(here.locate_file(file)))
        for file in here.files or ()
        if ".." not in file.parts and "__pycache__" not in file.parts and file.name not in ("INSTALLER", "REQUESTED")
    }
    with zipfile.ZipFile(target, "w") as wheel:
        for name, path in members.items():
            wheel.write(path, name)
    return target
