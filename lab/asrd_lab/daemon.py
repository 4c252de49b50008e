"""A daemon of the lab's own: started with one pool, stopped and removed whatever happens."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from asrd import Client
from asrd.cli.ending import stop
from asrd.errors import NoDaemon, TimedOut
from asrd_lab.errors import LabError
from asrd_protocol.exits import Exit
from asrd_protocol.messages import WorkerReport

WARM_WITHIN_S = 900.0
LOOK_EVERY_S = 0.05

_PROGRAM = [sys.executable, "-P", "-m", "asrd_supervisor"]


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """The one pool of the daemon."""

    engine: str
    model: str = ""
    device: str = "auto"
    compute_type: str = "default"
    workers: int | str = "auto"
    threads: int = 0
    options: dict[str, Any] = {}
    recycle: dict[str, Any] = {}
    drift: dict[str, Any] = {}
    canary: dict[str, Any] = {}


def unwatched(pool: Pool, workers: int, max_jobs: int) -> Pool:
    """The pool with so many workers, each replaced after so many jobs (0: never) and for nothing else: the lab wants to
    see how bad they get."""
    vast = "1000GB"
    recycle = {"max_age": 0, "rss_growth": 0, "vram_growth_mb": 0, "max_rss": vast, "kill_rss": vast}
    off = {"enabled": False}
    return msgspec.structs.replace(
        pool, workers=workers, recycle={"max_jobs": max_jobs, **recycle}, drift=off, canary=off
    )


class _Shown(msgspec.Struct, frozen=True):
    pools: dict[str, Pool]


def resolved(pool: Pool) -> Pool:
    """The pool with every "auto" replaced, as the daemon would do it.

    Raises:
        LabError: with the daemon's own sentence.
    """
    with tempfile.TemporaryDirectory(prefix="asrd-lab-") as folder:
        config = _written(pool, Path(folder))
        shown = subprocess.run(
            [*_PROGRAM, "config", "show", "--config", str(config)], capture_output=True, text=True, check=False
        )
    if shown.returncode:
        said = shown.stderr.strip().removeprefix("asrd: ").replace(f"{config}: ", "")
        raise LabError(said or "the daemon does not understand its configuration", _exit_of(shown.returncode))
    return next(iter(msgspec.json.decode(shown.stdout, type=_Shown).pools.values()))


class Daemon:
    """A context: the daemon in a temporary directory, all of its workers warm."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._root = Path(tempfile.mkdtemp(prefix="asrd-lab-"))
        self._log = self._root / "log"
        self.client = Client(self._root / "run", patience=5.0)
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._clean_up)
            self._process = self._start()
            self._wait_until_warm()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean_up()

    def workers(self) -> dict[str, WorkerReport]:
        """The workers by their seats."""
        return {worker.seat: worker for worker in self.client.workers()}

    def ready(self) -> list[Mapping[str, Any]]:
        """What the log says of workers that became ready since this was asked last."""
        whole = self._log.read_bytes()
        end = whole.rfind(b"\n") + 1
        new, self._told = whole[self._told : end], end
        lines = [msgspec.json.decode(line) for line in new.splitlines() if line.startswith(b"{")]
        return [line for line in lines if line.get("event") == "worker.ready"]

    def fresh(self) -> None:
        """Waits until a worker is there that has done nothing yet, and no other.

        Raises:
            LabError: there is none, and none comes.
        """
        self._wait(_all_fresh)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _start(self) -> "subprocess.Popen[bytes]":
        """In a session of its own: Ctrl-C reaches the lab only, which then stops it in good order."""
        command = [*_PROGRAM, "serve", "--config", str(_written(self._pool, self._root))]
        command += ["--runtime-dir", str(self._root / "run"), "--state-dir", str(self._root / "state")]
        command += ["--log-format", "json"]
        with self._log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def _wait_until_warm(self) -> None:
        self._wait(lambda workers: sum(worker.state == "idle" for worker in workers) >= int(self._pool.workers))

    def _wait(self, enough: Callable[[list[WorkerReport]], bool]) -> None:
        deadline = time.monotonic() + WARM_WITHIN_S
        while True:
            with contextlib.suppress(NoDaemon, TimedOut):
                workers = self.client.workers()
                if enough(workers):
                    return
                _check(workers)
            self._look()
            if time.monotonic() > deadline:
                raise LabError(f"no worker was warm within {WARM_WITHIN_S:g} s\n{self._log_tail()}")

    def _look(self) -> None:
        """Waits a moment for the daemon to die.

        Raises:
            LabError: when it does.
        """
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(LOOK_EVERY_S)
            raise LabError(f"the daemon ended with the exit code {code}\n{self._log_tail()}", _exit_of(code))

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-6:])

    def _clean_up(self) -> None:
        self.client.close()
        try:
            if self._process:
                stop(self._process)
        finally:
            shutil.rmtree(self._root, ignore_errors=True)


def _all_fresh(workers: list[WorkerReport]) -> bool:
    here = [worker for worker in workers if worker.state in ("idle", "busy")]
    return bool(here) and all(worker.state == "idle" and not worker.jobs_done for worker in here)


def _check(workers: list[WorkerReport]) -> None:
    """Raises the daemon's own sentence when a worker cannot be had."""
    for worker in workers:
        if worker.state == "failed":
            raise LabError(worker.last_fault or f"the worker {worker.seat} cannot be started", Exit.CONFIG)


def _exit_of(code: int) -> Exit:
    return Exit(code) if code in list(Exit) else Exit.FAILED


# --- configuration ----------------------------------------------------------------------------------------------------


def _written(pool: Pool, directory: Path) -> Path:
    path = directory / "asrd.toml"
    path.write_text(toml_of(pool))
    return path


def toml_of(pool: Pool) -> str:
    """The configuration of a daemon with this pool. Nothing is kept: no write shall wait for a disk."""
    tables = {name: getattr(pool, name) for name in ("options", "recycle", "drift", "canary")}
    plain = {name: getattr(pool, name) for name in Pool.__struct_fields__ if name not in tables}
    lines = ["[journal]", 'durability = "none"', "[pools.default]", *_lines(plain)]
    for name, table in tables.items():
        lines += [f"[pools.default.{name}]", *_lines(table)]
    return "\n".join(lines) + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    """Text and numbers look the same in TOML and in JSON."""
    return [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in table.items()]
