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

import msgspec

import asrd
from batched import wer
from children import cpu_seconds
from daemon import Control
from figures import Aim, Run, Table, command_line, over_rounds, spread
from long_reference import CHUNK_S, Bare, Heard, Recorded, record, text_tables
from recovery import Mortal, restart

CUT = "cut, 2 workers"
CUT_ONE = "cut, 1 worker"
WHOLE = "not cut, 1 of 2 workers"
BATCHED = "cut, 2 workers, batch 4"
BARE = "bare faster-whisper, 2 threads, as installed"
SHORT_WAYS = (CUT, CUT_ONE, WHOLE, BATCHED, BARE)
LONG_WAYS = (CUT, WHOLE, CUT_ONE)
SHORT_MIN, LONG_MIN = 5.0, 60.0
QUICK_CHUNK_S = 20
"""For the kill in five minutes of audio: about as small a share of them as ordinary chunks are of an hour."""
KILL_AT = 0.9
SEED = 5
PATIENCE = 1800.0
MIB = 1 << 20


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


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose daemon was killed, and what that cost."""

    seconds: float
    chunks: int
    killed_at: float
    """Seconds of audio that were done."""
    kept: float
    """The same after the restart."""
    plain_cpu_s: float
    """CPU time of the workers when nobody kills them."""
    cpu_s: float
    """The same of both lives."""
    start_cpu_s: float
    """What the second start of the workers took; it is not part of that."""
    same_text: bool

    @property
    def work(self) -> float:
        """Audio decoded in both lives as a multiple of that of one. Segments count, not the windows being decoded."""
        return 1 + (self.killed_at - self.kept) / self.seconds


def resume(recorded: Recorded, options: dict[str, Any], chunk_s: int, plain: Heard | None) -> Resumed:
    """Kill everything when most is done, and let the next daemon end it. ``plain``: how it goes without."""
    with Station(config(2, chunk_s), 2) as daemon:
        start_cpu = daemon.cpu_s()
        if plain is None:
            daemon.transcribe(recorded, options)  # the first run of a process costs more
            plain = daemon.transcribe(recorded, options)
        before = daemon.cpu_s()
        with daemon.client() as client:
            job = client.enqueue(recorded.path, by_path=True, **options)
            killed_at = 0.0
            while killed_at < KILL_AT * recorded.seconds:
                time.sleep(0.05)
                if isinstance(state := client.fetch(job), asrd.Finished):
                    raise RuntimeError("the job ended before it could be killed")
                killed_at = state.done
            first_life = daemon.cpu_s() - before
            daemon.kill()
        print(f"{recorded.name}: killed at {killed_at:.0f} s", flush=True)
        restart(daemon, 0)
        daemon.control.close()
        daemon.control = Control(daemon.addresses.control)
        with daemon.client() as client:
            state = client.fetch(job)
            ended = client.wait(job, PATIENCE)
        assert isinstance(ended, asrd.Finished)
        return Resumed(
            seconds=recorded.seconds,
            chunks=plain.chunks,
            killed_at=killed_at,
            kept=0.0 if isinstance(state, asrd.Finished) else state.done,
            plain_cpu_s=plain.cpu_s,
            cpu_s=first_life + daemon.cpu_s() - start_cpu,
            start_cpu_s=start_cpu,
            same_text=ended.transcript.text == plain.transcript.text,
        )


def latency(recorded: Recorded, rounds: list[dict[str, Heard]]) -> Table:
    """How long each way takes."""
    rows = []
    for way in rounds[0]:
        walls = over_rounds(rounds, lambda r, way=way: r[way].wall)
        speed = over_rounds(rounds, lambda r, way=way: recorded.seconds / r[way].wall)
        first = over_rounds(rounds, lambda r, way=way: r[way].first_s)
        shown = rounds[-1][way].opening
        rows.append([way, spread(walls, ".1f"), spread(speed, ".1f"), spread(ratio(rounds, way)), spread(first), shown])
    columns = [
        "way",
        "latency s",
        "audio s/s",
        "times the latency of the first",
        "first segment s",
        "decode, cut: share",
    ]
    title = f"{recorded.name}, median over the rounds (smallest-largest)"
    note = "`decode, cut`: opening and decoding, and looking for silences, of the time of all workers."
    return Table(title=title, columns=columns, rows=sorted(rows, key=lambda r: SHORT_WAYS.index(r[0])), note=note)


def ratio(rounds: list[dict[str, Heard]], way: str) -> tuple[float, float, float]:
    """The latency of a way as a multiple of that of two workers, of each round."""
    return over_rounds(rounds, lambda r: r[way].wall / r[CUT].wall)


def memory(files: list[tuple[Recorded, dict[str, Heard]]]) -> Table:
    """What each file takes."""
    rows = [
        [f.name, way, *(f"{x:.0f}" for x in (f.seconds / h.chunks, h.supervisor_mib, h.worker_mib, h.tape_mib))]
        for f, ways in files
        for way, h in ways.items()
        if way in (CUT, WHOLE)
    ]
    columns = ["file", "way", "chunk, s", "supervisor, MiB", "largest worker, MiB", "decoded audio on the disk, MiB"]
    note = "A worker needs more for longer chunks, and those of the two files are not of one length."
    return Table(title="Most memory while a file is transcribed", columns=columns, rows=rows, note=note)


def resumed_table(found: Resumed) -> Table:
    """The figures of the kill."""
    shares = (found.killed_at / found.seconds, found.kept / found.seconds)
    cells = [f"{found.seconds / 60:.0f} min", str(found.chunks), *(f"{100 * share:.1f} %" for share in shares)]
    cells += [f"{found.killed_at - found.kept:.1f}", f"{found.plain_cpu_s:.1f}", f"{found.cpu_s:.1f}"]
    cells += [
        f"{found.work:.3f}",
        f"{found.cpu_s / found.plain_cpu_s:.3f}",
        f"{found.start_cpu_s:.1f}",
        "yes" if found.same_text else "no",
    ]
    columns = ["file", "chunks", "killed at", "kept", "audio s done again", "CPU s undisturbed", "CPU s of both lives"]
    columns += ["work by audio", "work by CPU", "CPU s of another start", "same text"]
    return Table(title="kill -9 of the daemon and so of all workers", columns=columns, rows=[cells])


def aims(short: list[dict[str, Heard]], files: list[tuple[Recorded, dict[str, Heard]]], back: Resumed) -> list[Aim]:
    """The bounds."""
    found = [Aim(text="5 min: latency of one worker, of that of two", measured=ratio(short, CUT_ONE)[0], bound=1.7)]
    small, (file, large) = files[0][1][CUT], files[-1]
    if CUT_ONE in large and large is not files[0][1]:
        grown = {
            "supervisor": large[CUT].supervisor_mib / small.supervisor_mib,
            "largest worker": large[CUT].worker_mib / small.worker_mib,
        }
        one = large[CUT_ONE].wall / large[CUT].wall
        found.append(Aim(text=f"{file.name}: latency of one worker, of that of two", measured=one, bound=1.8))
        found += [
            Aim(text=f"{name}: memory for {file.name}, of that for 5 min", measured=grew, bound=1.25, at_most=True)
            for name, grew in grown.items()
        ]
    error = wer(large[WHOLE].transcript.text, large[CUT].transcript.text)
    text = f"{file.name}: WER of the cut file to the one that is not cut"
    found.append(Aim(text=text, measured=error, bound=0.05, at_most=True))
    found.append(
        Aim(text="audio decoded with a kill at 90 %, of that without", measured=back.work, bound=1.15, at_most=True)
    )
    return [*found, Aim(text="the text after the kill is the same", measured=float(back.same_text), bound=1.0)]


def main(run: Run, beam: int) -> None:
    """Measure and report."""
    options = {"language": "en", "beam_size": beam, "condition_on_previous_text": False}
    with tempfile.TemporaryDirectory(prefix="asrd-bench-") as scratch:
        short = record(Path(scratch).resolve(), SHORT_MIN, SEED)
        files: list[tuple[Recorded, dict[str, Heard]]] = []
        with Station(config(2), 2) as two, Station(config(1), 1) as one, Bare() as bare:
            systems = Systems(two, one, bare, options)
            first = {CUT: systems.transcribe(CUT, short)}  # before anything large has been in memory
            if not run.quick:
                long = record(Path(scratch).resolve(), LONG_MIN, SEED)
                files.append((long, systems.rounds(long, LONG_WAYS, 1)[0]))
            rounds = systems.rounds(short, SHORT_WAYS, run.rounds)
        files.insert(0, (short, {**rounds[-1], CUT: first[CUT]}))
        file, ways = files[-1]
        plain = None if run.quick else ways[CUT]
        back = resume(file, options, QUICK_CHUNK_S if run.quick else CHUNK_S, plain)
        texts = [
            table for f, heard in files for table in text_tables(f, heard, WHOLE, {CUT: 2, BATCHED: 2, CUT_ONE: 1})
        ]
    tables = [latency(short, rounds), *(latency(f, [heard]) for f, heard in files[1:]), memory(files), *texts]
    settings = {
        "model": "tiny.en, int8, cpu, 1 thread a worker",
        "options": options,
        "minutes": [round(f.seconds / 60, 1) for f, _ in files],
        "chunk_s": CHUNK_S,
        "rounds": f"{run.rounds} of the short file, 1 of the long one",
    }
    figures = [
        {way: heard.figures() for way, heard in ways.items()} for ways in (first, *rounds, *(w for _, w in files[1:]))
    ]
    run.finish("Long audio", settings, [*tables, resumed_table(back)], aims(rounds, files, back), [*figures, back])


if __name__ == "__main__":
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--beam", type=int, choices=(1, 5), default=5)
    ours, rest = own.parse_known_args()
    sys.argv[1:] = rest
    main(command_line("Long audio; --beam 1 or 5 (default) is how it is decoded.", rounds=3, quick_rounds=1), ours.beam)
