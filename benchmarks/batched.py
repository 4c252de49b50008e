"""One long audio, decoded window after window, with voice activity detection, and in batches: speed, and words lost.

The engine runs in a process of its own for each number of threads, in the environment that asrd gives its workers. The
ways take turns; the texts are held against what was read, and against that of one window after the other.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bare_whisper import worker_environment
from children import dies_with_parent, end
from figures import Aim, Run, Table, command_line, over_rounds, spread
from long_reference import GAP_S, RATE, Recorded, record
from long_text import plain, wer

MINUTES, QUICK_MINUTES = 5.0, 2.0
SEED = 5
BEAM = 5
SEQUENTIAL = "one after the other"
VAD = "one after the other, VAD"
BATCH = "batch 4"
LIBRARY = {"the library's batch 4": True, "the library's batch 4, with timestamps": False}
"""Its ``without_timestamps``: as it is, and as in its sequential way."""
WAYS: dict[str, dict[str, Any]] = {
    SEQUENTIAL: {"batch_size": 0},
    VAD: {"batch_size": 0, "vad_filter": True},
    "batch 2": {"batch_size": 2},
    BATCH: {"batch_size": 4},
    "batch 8": {"batch_size": 8},
    "batch 4, a segment a window": {"batch_size": 4, "without_timestamps": True},
    **{way: {} for way in LIBRARY},
}
FEW = (SEQUENTIAL, VAD, BATCH, *LIBRARY)
"""Those of a quick run, and of two threads."""


class Done(msgspec.Struct, frozen=True):
    """One way through the audio."""

    wall: float
    """Seconds."""
    text: str
    windows: int = 0
    efficiency: float = 0.0
    """Windows in batches, as a share of those that they had room for."""
    fallbacks: int = 0


class Engine:
    """``with Engine(threads, samples) as engine``: a process with a warm model and the audio."""

    def __init__(self, threads: int, samples: Path) -> None:
        self._arguments = [sys.executable, __file__, "--engine", str(threads), str(samples)]
        self._environment = worker_environment(threads)

    def __enter__(self) -> "Engine":
        self._process = subprocess.Popen(
            self._arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            preexec_fn=dies_with_parent(signal.SIGKILL),
        )
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, 5.0)

    def decode(self, way: str) -> Done:
        """The audio, this way."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(way).encode() + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Done)


def serve(threads: int, path: Path) -> None:
    """The process with the engine: one way a line in, one result a line out."""
    from faster_whisper import BatchedInferencePipeline

    from asrd_worker.audio import Decoded
    from asrd_worker.engines.base import settings_of
    from asrd_worker.engines.faster_whisper import FasterWhisper

    engine = FasterWhisper(settings_of(FasterWhisper, {"model": "tiny.en", "threads": threads}), "default/0.1")
    engine.load()
    engine.warm_up()
    samples = np.fromfile(path, np.dtype("<i2")).astype(np.float32) / np.float32(32_768)
    heard = Decoded(samples=samples, duration=samples.size / RATE, warnings=[])

    def ours(way: str) -> Done:
        options = msgspec.convert({"language": "en", "beam_size": BEAM, **WAYS[way]}, FasterWhisper.Options)
        decoding = engine.transcribe(heard, options)
        start, text = time.perf_counter(), ""
        while True:
            try:
                text += next(decoding).text
            except StopIteration as stop:
                work = stop.value.work
                wall = time.perf_counter() - start
                efficiency = work.batch_rows / work.batch_room if work.batch_room else 0.0
                return Done(wall, text, work.windows, efficiency, work.attempts - work.windows)

    def theirs(*, without_timestamps: bool) -> Done:
        start = time.perf_counter()
        pipeline = BatchedInferencePipeline(engine._model)
        said: dict[str, Any] = {"language": "en", "beam_size": BEAM, "without_timestamps": without_timestamps}
        segments, _info = pipeline.transcribe(samples, batch_size=4, **said)
        text = "".join(segment.text for segment in segments)
        return Done(time.perf_counter() - start, text)

    for line in sys.stdin:
        way = json.loads(line)
        done = theirs(without_timestamps=LIBRARY[way]) if way in LIBRARY else ours(way)
        sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
        sys.stdout.flush()


def rounds_of(threads: int, ways: list[str], recorded: Recorded, rounds: int) -> Iterator[dict[str, Done]]:
    """Interleaved rounds. The one with the largest batch is done once before: memory grows to its high-water mark."""
    with Engine(threads, recorded.samples) as engine:
        engine.decode(max(ways, key=lambda way: WAYS[way].get("batch_size", 0)))
        for number in range(rounds):
            turn = number % len(ways)
            yield {way: engine.decode(way) for way in ways[turn:] + ways[:turn]}
            print(f"{threads} thread(s): round {number + 1} of {rounds}", flush=True)


def table(threads: int, rounds: list[dict[str, Done]], recorded: Recorded) -> Table:
    """Speed and words of each way; the words are those of the last round."""
    rows = []
    for way in (way for way in WAYS if way in rounds[0]):
        last = rounds[-1][way]
        speed = over_rounds(rounds, lambda r, way=way: recorded.seconds / r[way].wall)
        cells = [spread(speed, ".1f"), *(spread(ratio(rounds, way, to)) for to in (SEQUENTIAL, VAD))]
        cells += [str(len(plain(last.text).split())), f"{wer(rounds[-1][SEQUENTIAL].text, last.text):.3f}"]
        cells += [f"{wer(recorded.truth, last.text):.3f}", str(last.windows or "-")]
        cells += [f"{last.efficiency:.2f}" if last.efficiency else "-", "-" if way in LIBRARY else str(last.fallbacks)]
        rows.append([way, *cells])
    columns = ["way", "speed", "of the first", "of VAD alone", "words", "WER to the first", "WER to what was read"]
    return Table(
        title=f"{threads} thread(s), audio seconds per second, median over the rounds (smallest-largest)",
        columns=[*columns, "windows", "efficiency", "fallbacks"],
        rows=rows,
        note=f"{len(plain(recorded.truth).split())} words were read.",
    )


def ratio(rounds: list[dict[str, Done]], way: str, to: str) -> tuple[float, float, float]:
    """How many times as fast as another way, in each round."""
    return over_rounds(rounds, lambda r: r[to].wall / r[way].wall)


def unsteady(rounds: list[dict[str, Done]]) -> list[str]:
    """The ways whose text is not the same in all rounds: windows that fall back are decoded with chance."""
    return [way for way in rounds[0] if len({r[way].text for r in rounds}) > 1]


def aims(one: list[dict[str, Done]]) -> list[Aim]:
    """The bounds, with one thread."""
    error = wer(one[-1][SEQUENTIAL].text, one[-1][BATCH].text)
    text = f"WER of {BATCH} to {SEQUENTIAL}, 1 thread"
    return [
        Aim(text=text, measured=error, bound=0.05, at_most=True),
        *(
            Aim(text=f"speed of {BATCH} as a multiple of {to}, 1 thread", measured=ratio(one, BATCH, to)[0], bound=1.0)
            for to in (SEQUENTIAL, VAD)
        ),
    ]


def main(run: Run) -> None:
    """Measure and report."""
    most = len(os.sched_getaffinity(0))
    ways = {1: list(FEW if run.quick else WAYS)}
    if most > 1 and not run.quick:
        ways[2] = list(FEW)
    with tempfile.TemporaryDirectory(prefix="asrd-bench-") as scratch:
        recorded = record(Path(scratch).resolve(), QUICK_MINUTES if run.quick else MINUTES, SEED)
        found = {threads: list(rounds_of(threads, these, recorded, run.rounds)) for threads, these in ways.items()}
    settings = {
        "model": "tiny.en, int8, cpu",
        "options": f"beam {BEAM}, condition_on_previous_text=False",
        "audio_s": round(recorded.seconds, 1),
        "silence_between_s": GAP_S,
        "rounds": run.rounds,
        "other_texts_in_other_rounds": sorted({way for rounds in found.values() for way in unsteady(rounds)}),
    }
    tables = [table(threads, rounds, recorded) for threads, rounds in found.items()]
    raw = [msgspec.to_builtins(rounds) for rounds in found.values()]
    run.finish("Batches of windows", settings, tables, aims(found[1]), raw)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--engine"]:
        with contextlib.suppress(KeyboardInterrupt):
            serve(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(command_line("Long audio in batches and without.", rounds=3, quick_rounds=1))
