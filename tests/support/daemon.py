"""A real daemon in a directory of its own, which leaves nothing behind, or the test fails."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.wait import eventually
from support.wire import Wire

MARK = "ASRD_TEST_MARK"
"""In the environment of the daemon and so of everything that it starts: how leftovers are found."""


class Daemon:
    """One running daemon."""

    def __init__(self, directory: Path, command: list[str], environ: dict[str, str]) -> None:
        self.root = directory
        self.directory = directory / "run"
        self.mark = uuid.uuid4().hex
        self.log = directory / "log"
        self._log = self.log.open("ab")
        self._command = command
        self._environ = {**os.environ, **environ, MARK: self.mark}
        self._wires: list[Wire] = []
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environ, stderr=self._log, stdout=self._log)

    def restart(self) -> None:
        """Start another one in the same place, after this one is gone."""
        self.process = self._start()

    def wire(self, kind: str = "dealer", encoding: str = "msgpack") -> Wire:
        """A new bare connection, closed with the daemon."""
        wire = Wire(self.directory, kind, encoding)
        self._wires.append(wire)
        return wire

    def ask(self, question: str, **fields: Any) -> dict[str, Any]:
        """One question on the control socket."""
        wire = Wire(self.directory, "req", "json", socket="control")
        try:
            return wire.ask(question, **fields)
        finally:
            wire.close()

    def workers(self) -> list[dict[str, Any]]:
        """The seats that are taken."""
        return list(self.ask("workers")["workers"])

    def ready(self, count: int | None = None, timeout: float = 60.0) -> "Daemon":
        """Wait until so many workers are warm; all by default."""

        def enough() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon left with {self.process.returncode}: {self.log.read_text()[-3000:]}")
            if not (self.directory / "control.sock").exists():
                return False
            workers = self.ask("stats")["workers"]
            return bool(workers["ready"] >= (workers["total"] if count is None else count))

        eventually(enough, timeout)
        return self

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to the supervisor alone."""
        self.process.kill()
        self.process.wait(10)

    def leftovers(self) -> list[str]:
        """Processes and files of this daemon that are still there."""
        files = [str(Path(folder) / name) for folder, _, names in os.walk(self.directory) for name in names]
        return files + [f"process {pid}" for pid in self.processes()]

    def processes(self) -> list[int]:
        """Every process that this daemon has started, and itself."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """End everything, then check that nothing is left."""
        for wire in self._wires:
            wire.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
            eventually(lambda: not self.leftovers(), 10)
        except (subprocess.TimeoutExpired, AssertionError) as error:
            left = self.leftovers()
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left behind: {left}; log: {self.log.read_text()[-3000:]}") from error
        finally:
            self._log.close()


@contextlib.contextmanager
def running(*arguments: str, config: str | None = None, environ: dict[str, str] | None = None) -> Iterator[Daemon]:
    """A daemon with these arguments, or with this TOML text as its configuration."""
    root = Path(tempfile.mkdtemp(prefix="asrd-"))
    command = [sys.executable, "-P", "-m", "asrd_supervisor", "serve", "--runtime-dir", str(root / "run")]
    command += ["--state-dir", str(root / "state"), "--log-format", "json", *arguments]
    if config is not None:
        (root / "asrd.toml").write_text(config)
        command += ["--config", str(root / "asrd.toml")]
    daemon = Daemon(root, command, environ or {})
    try:
        yield daemon
    finally:
        try:
            daemon.close()
        finally:
            shutil.rmtree(root, ignore_errors=True)
