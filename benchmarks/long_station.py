"""A daemon and what its processes take, and the ways in which it and bare faster-whisper go through long audio."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import asrd
from children import cpu_seconds
from long_reference import Bare, Heard, Recorded
from recovery import Mortal

CUT = "cut, 2 workers"
CUT_ONE = "cut, 1 worker"
WHOLE = "not cut, 1 of 2 workers"
BATCHED = "cut, 2 workers, batch 4"
BARE = "bare faster-whisper, 2 threads, as installed"
WORKERS = {CUT: 2, BATCHED: 2, CUT_ONE: 1}
"""For how many workers each way cuts."""
PATIENCE = 3600.0
MIB = 1 << 20


def config(workers: int, chunk_s: float) -> str:
    """Workers of one thread each, which nobody replaces meanwhile; with chunks of 120 s it cuts as by default."""
    return f"""
[pools.default]
engine = "faster-whisper"
model = "tiny.en"
device = "cpu"
compute_type = "int8"
workers = {workers}
threads = 1
[pools.default.split]
longer_than = {1.5 * chunk_s:g}
chunk = {chunk_s:g}
[pools.default.recycle]
max_jobs = 0
rss_growth = 0
"""


class Station(Mortal):
    """A daemon, with what its processes take."""

    def __init__(self, workers: int, chunk_s: float) -> None:
        super().__init__(config(workers, chunk_s), workers)

    def __enter__(self) -> "Station":
        super().__enter__()
        return self

    def warm_up(self, clip: Recorded, options: dict[str, Any]) -> None:
        """Each worker transcribes a clip: the first one that a process transcribes takes longer."""
        with self.client() as client:
            jobs = [client.submit(clip.path, by_path=True, split=False, **options) for _ in range(self._workers)]
            for job in jobs:
                job.result(PATIENCE)

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

    def peaks_mib(self) -> tuple[float, float]:
        """The most memory that the supervisor, and the largest worker, have taken since."""
        status = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids()]
        return self.memory_mib("VmHWM"), max(int(s.partition("VmHWM:")[2].split()[0]) for s in status) / 1024

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
        supervisor, worker = self.peaks_mib()
        return Heard(
            wall=wall,
            transcript=transcript,
            first_s=first,
            run=job.run,
            supervisor_mib=supervisor,
            worker_mib=worker,
            tape_mib=peak[0],
            cpu_s=self.cpu_s() - cpu,
        )


class Systems:
    """Both daemons and the bare process, each way by its name."""

    def __init__(self, two: Station, one: Station, bare: Bare, options: dict[str, Any]) -> None:
        self._two, self._one, self._bare, self._options = two, one, bare, options

    def warm_up(self, clip: Recorded) -> None:
        """All processes, with something short."""
        self._two.warm_up(clip, self._options)
        self._one.warm_up(clip, self._options)
        self._bare.transcribe(clip, self._options)

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
            heard = {way: self.transcribe(way, recorded) for way in ways[turn:] + ways[:turn]}
            found.append({way: heard[way] for way in ways})
        return found
