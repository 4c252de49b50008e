"""The bare model in one process: what E3 runs, and what measures and decodes the clips of E2."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from asrd_lab.errors import LabError
from asrd_protocol.bare import Decode, Decoded, Done, Failed, Line, Loaded, Transcribe
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code

STOP_WITHIN_S = 10.0


T = TypeVar("T", Loaded, Done, Decoded)

_answer = msgspec.json.Decoder(Loaded | Done | Decoded | Failed).decode


class Alone:
    """A context: the process is there and warm, and gone afterwards."""

    def __init__(self, engine: str, settings: Mapping[str, Any], log: Path) -> None:
        self._engine = engine
        self._settings = settings
        self._log = log
        self.start_s = 0.0
        """From spawn to ready."""

    def __enter__(self) -> Self:
        began = time.monotonic()
        self._process = self._start()
        try:
            self.loaded = self._hear(Loaded)
        except BaseException:
            self._stop(at_once=True)
            raise
        self.start_s = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(at_once=error is not None)

    def transcribe(self, number: int, path: str, options: Mapping[str, Any]) -> Done:
        """Transcribes a file.

        Raises:
            LabError: it cannot be transcribed, or the process has died.
        """
        self._say(Transcribe(number=number, path=path, options=dict(options)))
        return self._hear(Done)

    def decode(self, path: str, into: Path) -> float:
        """Writes the samples of a file (16 kHz, mono, 16 bit, no header); gives the seconds.

        Raises:
            LabError: it is no audio, or the process has died.
        """
        self._say(Decode(path=path, into=str(into)))
        return self._hear(Decoded).seconds

    def _start(self) -> "subprocess.Popen[bytes]":
        """In a session of its own: Ctrl-C reaches the lab only, which then ends it."""
        command = [sys.executable, "-P", "-m", "asrd_worker.bare", "--engine", self._engine]
        command += ["--settings", msgspec.json.encode(self._settings).decode()]
        environ = {**os.environ, "OMP_NUM_THREADS": str(self._settings.get("threads") or 1), "HF_HUB_OFFLINE": "1"}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environ, start_new_session=True
            )

    def _say(self, question: Line) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(msgspec.json.encode(question) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _hear(self, kind: type[T]) -> T:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._died()
        answer = _answer(line)
        if isinstance(answer, Failed):
            fault = answer.fault
            raise LabError(fault.message, Exit.CONFIG if fault.code is Code.MODEL_UNAVAILABLE else Exit.FAILED)
        if not isinstance(answer, kind):
            raise LabError(f"the bare model answered with {type(answer).__name__}", Exit.SOFTWARE)
        return answer

    def _died(self) -> LabError:
        code = self._process.wait()
        last = self._log.read_text(errors="replace").splitlines()[-1:]
        return LabError(f"the bare model died ({code}){': ' if last else ''}{''.join(last)}")

    def _stop(self, *, at_once: bool) -> None:
        """The end of its stdin, and SIGKILL where that does not help or nobody wants to wait."""
        process = self._process
        assert process.stdin and process.stdout
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            if not at_once:
                process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
