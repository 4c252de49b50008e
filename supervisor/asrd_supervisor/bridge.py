"""How workers in another virtual environment find asrd: by links to its two packages, and to nothing else of ours.

The other environment is another one because its packages would conflict with those here. So the daemon's directory of
packages must not be on the worker's path, asrd need not be installed over there, and one that is cannot be of another
version than the daemon: the links come first. What has to be there is what workers import: msgspec and pyzmq.
"""

import contextlib
import errno
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from asrd_protocol.addresses import Addresses

PACKAGES = ("asrd_protocol", "asrd_worker")
"""All that a worker needs of asrd."""

INSTALLABLE = ("diarize", "diarize-lite", "faster-whisper", "whisperx")
"""Engines that ``asrd engines install`` makes an environment for."""

OF_ONE_INTERPRETER = frozenset(
    {
        *("PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"),
        *("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT"),
    }
)
"""Variables that say where an interpreter has its packages: the daemon's would lead another one astray."""

ENGINE = "ASRD_ENGINE"
"""Tells the engine of the pool, for what has to be said before a worker can be spoken to."""

NO_INTERPRETER = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENOEXEC, errno.ELOOP, errno.EINVAL}
)
"""Errors of a start that no other start will mend; a process too many or memory too little pass by."""


def interpreter(python: str) -> str:
    """The program that a pool's ``python`` means; empty is the daemon's own."""
    return os.path.expanduser(python) or sys.executable  # noqa: PTH111 - a name without a slash is looked for in PATH


def foreign(python: str) -> bool:
    """Whether that is another environment than the daemon's. Links in the path are not followed: they are what makes
    a virtual environment.
    """
    named = interpreter(python)
    return Path(shutil.which(named) or named).absolute() != Path(sys.executable).absolute()


def way_out(environ: Mapping[str, str]) -> str:
    """What helps a pool whose interpreter cannot run a worker, from the environment of its workers."""
    engine = environ.get(ENGINE, "")
    if engine in INSTALLABLE:
        return f"`asrd engines install {engine}` makes an environment that can"
    return "set `python` of the pool to one with msgspec and pyzmq"


class Bridge:
    """The folder of the links, in that part of the runtime directory that goes with the daemon whatever ends it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written before a worker needs it."""
        self.folder = folder

    @classmethod
    def beside(cls, link: str) -> "Bridge":
        """The bridge of the daemon whose workers meet it at this address."""
        directory = Path(link.removeprefix("ipc://")).parent.parent
        return cls(Addresses(directory).spool / "bridge")

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """That of a worker over there. The links are made, or made anew if somebody has cleared them away.

        Raises:
            OSError: they cannot be made, or their folder cannot be on a path.
        """
        if os.pathsep in str(self.folder):
            raise OSError(errno.EINVAL, f"a runtime directory with {os.pathsep!r} in its name cannot be on its path")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in PACKAGES:
            self._link(name)
        path = os.pathsep.join(filter(None, (str(self.folder), environ.get("PYTHONPATH"))))
        # The option -P says the same, but an interpreter that is too old would stumble over it and not say why.
        return {**environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

    def close(self) -> None:
        """Remove the links; no worker is there any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _link(self, name: str) -> None:
        spec = importlib.util.find_spec(name)
        places = (spec.submodule_search_locations if spec else None) or ()
        for place in list(places)[:1]:
            with contextlib.suppress(FileExistsError):
                (self.folder / name).symlink_to(Path(place).absolute())
