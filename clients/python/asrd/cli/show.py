"""The private daemon of ``demo`` and what is shown of it."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.table import Table
from rich.text import Text

from asrd.cli.ending import stop
from asrd.cli.output import to_stdout
from asrd.cli.screen import console, show, table
from asrd.cli.tables import stats_lines, workers_table
from asrd.errors import AsrdError, NoDaemon, TimedOut
from asrd.sync import Client
from asrd.track import Finished

WARM_WITHIN_S = 180.0
LOOK_EVERY_S = 0.1


class DemoFailed(AsrdError):
    """The private daemon did not do what it should."""


class Show:
    """A context: a daemon in a temporary directory, stopped and removed at the end, whatever happens."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._root = Path(tempfile.mkdtemp(prefix="asrd-demo-"))
        self._log = self._root / "log"
        self._client = Client(self._root / "run", patience=2.0)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._clean_up)
            self._process = self._start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean_up()

    # --- the three acts -----------------------------------------------------------------------------------------------

    def wait_until_warm(self) -> None:
        """Waits until every worker has decoded something.

        Raises:
            DemoFailed: with the end of the daemon's log.
        """
        began = time.monotonic()
        with console().status(f"starting a daemon with {self._workers} workers ..."):
            while not self._warm():
                self._check_alive()
                if time.monotonic() - began > WARM_WITHIN_S:
                    raise DemoFailed(f"the workers were not warm within {WARM_WITHIN_S:g} s\n{self._log_tail()}")
        show(Text(f"{self._workers} workers are warm after {time.monotonic() - began:.1f} s", style="green"))

    def transcribe(self, jobs: int) -> None:
        """Sends the recording several times at once and shows the text and how the jobs ran."""
        recording = files("asrd").joinpath("data/demo.wav").read_bytes()
        began = time.monotonic()
        with console().status("transcribing ..."), ThreadPoolExecutor(jobs) as pool:
            finished = list(pool.map(lambda _: self._one(recording), range(jobs)))
        took = time.monotonic() - began
        audio_s = sum(one.transcript.duration for one in finished)
        to_stdout(f"\n{finished[0].transcript.text.strip()}\n")
        show(_phases(finished))
        show(Text(f"\n{jobs} jobs, {audio_s:.1f} s of audio in {took:.1f} s: {audio_s / took:.1f} times real time"))

    def tell_what_the_pool_did(self) -> None:
        """Shows the workers and the counters."""
        show(Text("\nworkers", style="bold underline"))
        show(workers_table(self._client.workers()))
        show(Text("\ncounters", style="bold underline"))
        show(stats_lines(self._client.stats()))

    # --- how ----------------------------------------------------------------------------------------------------------

    def _start(self) -> "subprocess.Popen[bytes]":
        """Starts it in a session of its own: Ctrl-C reaches this process only, which then stops it in good order."""
        command = [sys.executable, "-P", "-m", "asrd_supervisor", "serve", "--workers", str(self._workers)]
        command += ["--runtime-dir", str(self._root / "run"), "--state-dir", str(self._root / "state")]
        command += ["--log-format", "json"]
        with self._log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def _one(self, recording: bytes) -> Finished:
        job = self._client.submit(recording)
        transcript = job.result(timeout=WARM_WITHIN_S)
        assert job.run is not None
        return Finished(job.id, transcript, job.run)

    def _warm(self) -> bool:
        with contextlib.suppress(NoDaemon, TimedOut):
            workers = self._client.stats().workers
            return workers.ready >= self._workers
        return False

    def _check_alive(self) -> None:
        """Waits a moment for the daemon to die.

        Raises:
            DemoFailed: when it does.
        """
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(LOOK_EVERY_S)
            raise DemoFailed(f"the daemon ended with the exit code {code}\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])

    def _clean_up(self) -> None:
        self._client.close()
        try:
            if self._process:
                stop(self._process)
        finally:
            shutil.rmtree(self._root, ignore_errors=True)


def _phases(finished: Sequence[Finished]) -> Table:
    """Where the jobs ran, their phases in seconds, and their work."""
    some = ("align", "diarize")
    used = [phase for phase in some if any(getattr(one.run.timings, phase) for one in finished)]
    phases = ("queue", "decode", "vad", "transcribe", *used, "post", "write", "total")
    columns = ("SEAT", *(phase.upper() for phase in phases), "WINDOWS", "STEPS", "SEGMENTS", "CPU")
    rows = []
    for one in finished:
        timings, work = one.run.timings, one.run.work
        steps = work.beam_steps + work.sample_steps
        times = (f"{getattr(timings, phase):.3f}" for phase in phases)
        rows.append((one.run.seat, *times, work.windows, steps, work.segments, f"{work.cpu_s:.2f}"))
    return table(columns, rows)
