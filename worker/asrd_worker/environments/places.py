"""The directory of the environments: one appears in it complete and tried, or not at all.

Environments cannot be moved: their programs have absolute paths inside. So each is made in the hidden directory where
it stays, ``.NAME-…``, and gets its name, a link to that directory, when it has proved to work. The process at work
holds a lock on the directory; one without a name that nobody holds is what a killed process has left, and the next one
removes it.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from asrd_protocol.addresses import state_dir
from asrd_worker.environments.faults import InstallFailed
from asrd_worker.held import held

RECEIPT = "asrd.engine.json"
"""In the directory of an environment that works: what it is."""


class Receipt(msgspec.Struct, frozen=True):
    """What was installed."""

    engine: str
    variant: str
    recipe: str
    """Digest of what was asked for."""
    python: str
    """Version."""
    versions: dict[str, str]
    size: int
    """Bytes."""


def engines_dir(environ: Mapping[str, str] | None = None) -> Path:
    """``$ASRD_ENGINES_DIR``, else ``engines`` in the state directory; it need not exist."""
    given = (os.environ if environ is None else environ).get("ASRD_ENGINES_DIR")
    return Path(given) if given else state_dir(environ) / "engines"


class Places:
    """One directory of environments."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def folder(self, engine: str) -> Path:
        """Where an environment is or would be."""
        return self.root / engine

    def python(self, engine: str) -> Path:
        """Its interpreter. The path stays the same when the environment is made anew."""
        return self.folder(engine) / "bin" / "python"

    def receipt(self, engine: str) -> Receipt | None:
        """Of an environment that is installed; None when there is none."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self.folder(engine) / RECEIPT).read_bytes(), type=Receipt)
        return None

    @contextlib.contextmanager
    def building(self, engine: str, needed: int) -> Iterator[Path]:
        """A new hidden directory; removed at the end unless it has got its name by then.

        Raises:
            InstallFailed: the directory cannot be written, or has not that many bytes of room.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.sweep()
            directory = Path(tempfile.mkdtemp(prefix=f".{engine}-", dir=self.root))
            directory.chmod(0o755)
        except OSError as error:
            raise InstallFailed(f"cannot write to {self.root}: {error.strerror}") from None
        with held(directory):
            try:
                self._expect(needed)
                yield directory
            finally:
                if not self._named(directory):
                    shutil.rmtree(directory, ignore_errors=True)

    def name(self, directory: Path, receipt: Receipt) -> None:
        """The environment works: it takes the place of the one before in an instant, which is removed."""
        (directory / RECEIPT).write_bytes(msgspec.json.format(msgspec.json.encode(receipt), indent=2))
        link = self.root / f"{directory.name}.link"
        link.symlink_to(directory.name)
        link.replace(self.folder(receipt.engine))
        self.sweep()

    def remove(self, engine: str) -> None:
        """First its name, then its files.

        Raises:
            OSError: it is not ours to remove.
        """
        self.folder(engine).unlink()
        self.sweep()

    def sweep(self) -> None:
        """Remove what has no name and nobody at work in it."""
        for left in self.root.glob(".*-*"):
            if left.is_symlink():
                left.unlink(missing_ok=True)
            elif left.is_dir() and not self._named(left):
                with contextlib.suppress(BlockingIOError, FileNotFoundError), held(left):
                    shutil.rmtree(left, ignore_errors=True)

    def _named(self, directory: Path) -> bool:
        links = (path for path in self.root.iterdir() if path.is_symlink() and not path.name.startswith("."))
        return any(link.readlink() == Path(directory.name) for link in links)

    def _expect(self, needed: int) -> None:
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise InstallFailed(
                f"about {needed / 1e6:.0f} MB are needed in {self.root}, and {free / 1e6:.0f} MB are free"
            )


def size_of(directory: Path) -> int:
    """Bytes on the disk in it."""
    return sum(
        (Path(folder) / name).lstat().st_blocks * 512 for folder, _, names in os.walk(directory) for name in names
    )
