"""A private daemon in a directory of its own, for the length of a ``with`` block."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec
import zmq

from asrd_protocol.addresses import Addresses
from asrd_protocol.codec import Codec, encode
from asrd_protocol.messages import (
    ControlAnswer,
    ControlQuestion,
    Stats,
    StatsReport,
    WorkerReport,
    Workers,
    WorkersReport,
)
from children import dies_with_parent, end

A = TypeVar("A")

PATIENCE = 60.0
"""Seconds for all workers to become ready."""


class Control:
    """Asks on the control socket, one question at a time. Not for use by two threads."""

    def __init__(self, address: str) -> None:
        self._socket = zmq.Socket[bytes](zmq.Context.instance(), zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(address)
        self._codec: Codec[ControlAnswer] = Codec(ControlAnswer)
        self._asked = 0

    def ask(self, question: ControlQuestion, kind: type[A], patience: float = 5.0) -> A:
        """The answer to a question.

        Raises:
            TimeoutError: no answer within ``patience`` seconds.
            RuntimeError: an answer of another kind, such as ``refused``.
        """
        self._asked += 1
        ref = str(self._asked)
        self._socket.send(encode(msgspec.structs.replace(question, ref=ref)))
        deadline = time.monotonic() + patience
        answer = self._receive(deadline)
        while answer.ref != ref:  # the late answer to a question that was given up
            answer = self._receive(deadline)
        if not isinstance(answer, kind):
            raise RuntimeError(f"asked {question!r}, got {answer!r}")
        return answer

    def _receive(self, deadline: float) -> ControlAnswer:
        if not self._socket.poll(max(0, round(1000 * (deadline - time.monotonic())))):
            raise TimeoutError("no answer on the control socket in time")
        return self._codec.decode(self._socket.recv_multipart()[0])

    def stats(self) -> StatsReport:
        """The counters."""
        return self.ask(Stats(), StatsReport)

    def workers(self) -> list[WorkerReport]:
        """The seats."""
        return self.ask(Workers(), WorkersReport).workers

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Daemon:
    """``with Daemon(toml, workers=2) as daemon``: starts it, waits until all workers are warm, stops it."""

    def __init__(self, config: str, workers: int) -> None:
        self._config = config
        self._workers = workers

    def __enter__(self) -> "Daemon":
        self._directory = tempfile.TemporaryDirectory(prefix="asrd-bench-", ignore_cleanup_errors=True)
        self._root = Path(self._directory.name)
        self.addresses = Addresses(directory=self._root / "run")
        self._process = self._start()
        try:
            self.control = Control(self.addresses.control)
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.control.close()
        if not end(self._process, patience=30.0):
            print(f"the daemon ignored SIGTERM and was killed; its log ended:\n{self.log_tail()}", file=sys.stderr)
        self._directory.cleanup()

    @property
    def pid(self) -> int:
        """The process id of the supervisor."""
        return self._process.pid

    def log_tail(self, lines: int = 25) -> str:
        """The end of what the daemon wrote."""
        return "\n".join((self._root / "log").read_text(errors="replace").splitlines()[-lines:])

    def _start(self) -> "subprocess.Popen[bytes]":
        (self._root / "config.toml").write_text(self._config)
        for name in ("run", "state"):
            (self._root / name).mkdir(mode=0o700)
        command = [sys.executable, "-P", "-m", "asrd_supervisor", "serve", "--config", str(self._root / "config.toml")]
        command += ["--runtime-dir", str(self._root / "run"), "--state-dir", str(self._root / "state")]
        with (self._root / "log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--log-format", "json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._root,
                preexec_fn=dies_with_parent(signal.SIGTERM),
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"the daemon left with exit code {self._process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the daemon was not ready within {PATIENCE:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            count = self.control.ask(Stats(), StatsReport, patience=0.5).workers
        except TimeoutError:
            return False
        return count.ready >= self._workers
