"""Long audio: cut and shared by two workers, cut for one, at a stretch, in batches, and by bare faster-whisper.

A file of five minutes is transcribed in all ways, in interleaved rounds, and a file of an hour in three of them, once.
Texts are held against the one of the uncut file and against what was read. Then everything is killed at 90 %.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import asrd
import msgspec

from batched import wer
from children import cpu_seconds
from daemon import Control
from figures import Aim, Run, Table, command_line, over_rounds, spread
from long_reference import Bare, Difference, Heard, Recorded, cuts_of, differences, record, words_of
from recovery import Mortal

CUT = "cut, 2 workers"
CUT_ONE = "cut, 1 worker"
WHOLE = "not cut, 1 of 2 workers"
BATCHED = "cut, 2 workers, batch 4"
BARE = "bare faster-whisper, 2 threads, as installed"
SHORT_WAYS = (CUT, CUT_ONE, WHOLE, BATCHED, BARE)
LONG_WAYS = (CUT, WHOLE, CUT_ONE)
SHORT_MIN, LONG_MIN = 5.0, 60.0
CHUNK_S, QUICK_CHUNK_S = 120, 20
"""The daemon's default, and chunks that are as small a share of five minutes as those are of an hour."""
KILL_AT = 0.9
SEED = 5
PATIENCE = 1800.0
MIB = 1 << 20
LISTED = 12


def config(workers: int, chunk_s: int = CHUNK_S) -> str:
    """Workers of one thread each, which nobody replaces meanwhile."""
    return f"""
[pools.default]
engine = "faster-whisper"
model = "tiny.en"
device = "cpu"
compute_type = "int8"
workers = {workers}
threads = 1
[pools.default.split]
longer_than = {min(180, 3 * chunk_s)}
chunk = {chunk_s}
[pools.default.recycle]
max_jobs = 0
rss_growth = 0
"""


class Station(Mortal):
    """A daemon, with what its processes take."""

    def __enter__(self) -> "Station":
        super().__enter__()
        return self

    def pids(self) -> list[int]:
        """Those of the workers."""
        return [worker.pid for worker in self.control.workers() if worker.pid is not None]

    def cpu_s(self) -> float:
        """CPU time of all workers since they were started."""
        return sum(map(cpu_seconds, self.pids()))

    def forget_peaks(self) -> None:
        """From now on ``VmHWM`` counts anew, where the system allows that."""
        for pid in (self.pid, *self.pids()):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mib(self, pid: int) -> float:
        """The most memory that a process has taken since."""
        return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

    def tape_mib(self) -> float:
        """Disk space of decoded audio now."""
        found = 0
        for path in (self._root / "state").rglob("*.tape"):
            with contextlib.suppress(FileNotFoundError):
                found += 512 * path.stat().st_blocks
        return found / MIB

    def client(self) -> asrd.Client:
        """A new one."""
        return asrd.Client(self.addresses.directory, timeout=5.0)

    def await_control(self) -> None:
        """After a restart: a new socket, as soon as there is somebody to talk to.

        Raises:
            RuntimeError: there is not.
        """
        self.control.close()
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            self.control = Control(self.addresses.control)
            with contextlib.suppress(TimeoutError):
                if self.control.workers():
                    return
            self.control.close()
        raise RuntimeError(f"nobody answers after a restart; the log ended:\n{self.log_tail()}")

    def transcribe(self, recorded: Recorded, options: dict[str, Any], *, split: bool = True) -> Heard:
        """One file, read by the daemon itself."""
        self.forget_peaks()
        cpu, peak, ended = self.cpu_s(), [0.0], threading.Event()

        def weigh() -> None:
            while not ended.wait(0.25):
                peak[0] = max(peak[0], self.tape_mib())

        weighing = threading.Thread(target=weigh)
        weighing.start()
        try:
            with self.client() as client:
                start = time.perf_counter()
                job = client.submit(recorded.path, by_path=True, split=split, **options)
                next(job.segments(), None)
                first = time.perf_counter() - start
                transcript = job.result(PATIENCE)
                wall = time.perf_counter() - start
        finally:
            ended.set()
            weighing.join()
        return Heard(
            wall=wall,
            transcript=transcript,
            first_s=first,
            run=job.run,
            supervisor_mib=self.peak_mib(self.pid),
            worker_mib=max(map(self.peak_mib, self.pids())),
            tape_mib=peak[0],
            cpu_s=self.cpu_s() - cpu,
        )


class Systems:
    """Both daemons and the bare process, each way by its name."""

    def __init__(self, two: Station, one: Station, bare: Bare, options: dict[str, Any]) -> None:
        self._two, self._one, self._bare, self._options = two, one, bare, options

    def transcribe(self, way: str, recorded: Recorded) -> Heard:
        """One file, one way."""
        print(f"{recorded.name}, {way}: ", end="", flush=True)
        match way:
            case _ if way == BARE:
                heard = self._bare.transcribe(recorded, self._options)
            case _ if way == BATCHED:
                heard = self._two.transcribe(recorded, {**self._options, "batch_size": 4})
            case _:
                station = self._one if way == CUT_ONE else self._two
                heard = station.transcribe(recorded, self._options, split=way != WHOLE)
        print(f"{heard.wall:.1f} s", flush=True)
        return heard

    def rounds(self, recorded: Recorded, ways: tuple[str, ...], rounds: int) -> list[dict[str, Heard]]:
        """Interleaved rounds; the order turns by one from round to round."""
        found = []
        for number in range(rounds):
            turn = number % len(ways)
            found.append({way: self.transcribe(way, recorded) for way in ways[turn:] + ways[:turn]})
        return found
