"""One worker process without a supervisor: a test binds the link, and says to the worker what it wants."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zmq

from asrd_protocol import link
from asrd_protocol.messages import Audio, Pcm
from support.wait import eventually

SEAT = "default/0.1"
PATIENCE_S = 20.0


class Said(NamedTuple):
    """What a worker has said."""

    message: link.FromWorker
    body: bytes


class BareWorker:
    """A worker, started as the supervisor's launcher starts it, and the other end of its link."""

    def __init__(self, directory: Path, parent: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link = self._context.socket(zmq.ROUTER)
        self._link.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._link.bind(f"ipc://{directory}/link")
        self._log = directory / "log"
        command = [sys.executable, "-P", "-m", "asrd_worker", "--seat", SEAT]
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command += ["--link", f"ipc://{directory}/link", "--parent", str(parent), "--door", str(theirs.fileno())]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                pass_fds=(theirs.fileno(),),
            )
        theirs.close()

    @property
    def log(self) -> str:
        """What the process has printed."""
        return self._log.read_text()

    def say(self, message: link.ToWorker, *body: bytes) -> None:
        """A message of ours, with its body if it has one."""
        self.send(msgspec.msgpack.encode(message), *body)

    def send(self, *frames: bytes) -> None:
        """Any frames at all."""
        self._link.send_multipart([SEAT.encode(), *frames])

    def hears(self) -> Said:
        """The next message of the worker."""
        eventually(lambda: self._link.poll(50) or self.process.poll() is not None, PATIENCE_S, 0.0)
        if not self._link.poll(500):
            raise AssertionError(f"the worker left with {self.process.poll()} and no word: {self.log[-3000:]}")
        identity, header, *body = self._link.recv_multipart()
        assert identity == SEAT.encode()
        assert len(body) <= 1
        return Said(link.from_worker.decode(header), b"".join(body))

    def load(self, engine: str = "scripted", max_audio_s: float = 60.0, **settings: Any) -> link.FromWorker:
        """The answer to a load, after the greeting."""
        assert isinstance(self.hears().message, link.Hello)
        self.say(link.Load(engine, settings, max_audio_s))
        return self.hears().message

    def ready(self, engine: str = "scripted", max_audio_s: float = 60.0, **settings: Any) -> "BareWorker":
        """The worker, loaded and warm."""
        answer = self.load(engine, max_audio_s, **settings)
        assert isinstance(answer, link.Ready), answer
        return self

    def start(self, attempt: int, *, audio: Audio | None = None, body: bytes = b"audio", **options: Any) -> None:
        """Give it a step."""
        self.hand_over(attempt, body)
        self.say(link.RunStep(attempt, audio or Pcm(), options, None))

    def hand_over(self, attempt: int, body: bytes) -> None:
        """Give it an open file for a step."""
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            socket.send_fds(self._door, [attempt.to_bytes(8, "big")], [file.fileno()])

    def ends(self, attempt: int) -> list[Said]:
        """All that is said about the step, to its end; nothing may be said about another one meanwhile."""
        said = [self.hears()]
        while not isinstance(said[-1].message, link.StepDone | link.StepFailed):
            said.append(self.hears())
        assert {getattr(one.message, "attempt", None) for one in said} == {attempt}, said
        return said

    def run(self, attempt: int, *, audio: Audio | None = None, body: bytes = b"audio", **options: Any) -> list[Said]:
        """Give it a step, and all that it says about it."""
        self.start(attempt, audio=audio, body=body, **options)
        return self.ends(attempt)

    def canary(self, attempt: int, runs: int = 1) -> link.FromWorker:
        """The answer to being asked for the built-in clip."""
        self.say(link.RunCanary(attempt, runs))
        return self.hears().message

    def vanish(self) -> None:
        """Close our end of the link; our process stays."""
        self._link.close(linger=0)

    def leaves(self) -> tuple[int, list[link.FromWorker]]:
        """The exit code, and all that was still to be heard."""
        code = self.process.wait(PATIENCE_S)
        rest = []
        while not self._link.closed and self._link.poll(200):
            rest.append(self.hears().message)
        return code, rest

    def close(self) -> None:
        """End it, and whatever it has started."""
        # While it is not waited for, its group cannot belong to anybody else.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self._door.close()
        self._context.destroy(linger=0)


@contextlib.contextmanager
def working(parent: int | None = None) -> Iterator[BareWorker]:
    """A bare worker in a directory of its own, whose path is short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="asrd-"))
    try:
        worker = BareWorker(directory, os.getpid() if parent is None else parent)
        try:
            yield worker
        finally:
            worker.close()
    finally:
        shutil.rmtree(directory)
