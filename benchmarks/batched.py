"""One long audio, decoded window after window and in batches: speed, and words that are lost.

The engine runs in a process of its own for each number of threads, in the environment that asrd gives its workers. The
ways take turns; the texts are held against what was read, and against that of one window after the other.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import msgspec
import numpy as np

from bare_whisper import worker_environment
from children import dies_with_parent, end
from clips import SPEECH
from figures import Aim, Run, Table, command_line, over_rounds, spread

RATE = 16_000
GAP_S = 0.6
SEQUENTIAL = "one after the other"
LIBRARY = "the library's batch 4, with timestamps"
WAYS: dict[str, dict[str, Any]] = {
    SEQUENTIAL: {"batch_size": 0},
    "one after the other, VAD": {"batch_size": 0, "vad_filter": True},
    "batch 2": {"batch_size": 2},
    "batch 4": {"batch_size": 4},
    "batch 8": {"batch_size": 8},
    "batch 4, a segment a window": {"batch_size": 4, "without_timestamps": True},
    LIBRARY: {},
}
QUICK = (SEQUENTIAL, "batch 4", LIBRARY)
WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.SubstituteRegexes({r"\bmr\b": "mister"}), jiwer.RemovePunctuation()])


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
    """``with Engine(threads, repeats) as engine``: a process with a warm model and the audio."""

    def __init__(self, threads: int, repeats: int) -> None:
        self._arguments = [sys.executable, __file__, "--engine", str(threads), str(repeats)]
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


def joined(repeats: int) -> tuple[np.ndarray, str]:
    """The sentences of the tests one after the other, so many times, each time beginning with another; and the text."""
    texts: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text())
    names = [name for turn in range(repeats) for name in _turned(sorted(texts), turn)]
    gap = np.zeros(int(GAP_S * RATE), np.float32)
    samples = np.concatenate([part for name in names for part in (_samples(SPEECH / name), gap)])
    return samples, " ".join(texts[name] for name in names)


def _turned(names: list[str], turn: int) -> list[str]:
    at = turn % len(names)
    return names[at:] + names[:at]


def _samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.dtype("<i2")).astype(np.float32) / 32_768


def serve(threads: int, repeats: int) -> None:
    """The process with the engine: one way a line in, one result a line out."""
    from faster_whisper import BatchedInferencePipeline

    from asrd_worker.audio import Decoded
    from asrd_worker.engines.base import options_of, settings_of
    from asrd_worker.engines.faster_whisper import FasterWhisper

    engine = FasterWhisper(settings_of(FasterWhisper, {"model": "tiny.en", "threads": threads}), "default/0.1")
    engine.load()
    engine.warm_up()
    samples, _ = joined(repeats)
    heard = Decoded(samples=samples, duration=samples.size / RATE, warnings=[])

    def ours(way: str) -> Done:
        decoding = engine.transcribe(heard, options_of(FasterWhisper, WAYS[way]))
        start, text = time.perf_counter(), ""
        while True:
            try:
                text += next(decoding).text
            except StopIteration as stop:
                work = stop.value.work
                wall = time.perf_counter() - start
                efficiency = work.batch_rows / work.batch_room if work.batch_room else 0.0
                return Done(wall, text, work.windows, efficiency, work.attempts - work.windows)

    def theirs() -> Done:
        start = time.perf_counter()
        pipeline = BatchedInferencePipeline(engine._model)
        segments, _info = pipeline.transcribe(samples, batch_size=4, without_timestamps=False)
        text = "".join(segment.text for segment in segments)
        return Done(time.perf_counter() - start, text)

    for line in sys.stdin:
        way = json.loads(line)
        done = theirs() if way == LIBRARY else ours(way)
        sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
        sys.stdout.flush()


def rounds_of(threads: int, ways: list[str], repeats: int, rounds: int) -> Iterator[dict[str, Done]]:
    """Interleaved rounds, after one that is not counted."""
    with Engine(threads, repeats) as engine:
        for way in ways:
            engine.decode(way)
        for number in range(rounds):
            turn = number % len(ways)
            yield {way: engine.decode(way) for way in ways[turn:] + ways[:turn]}
            print(f"{threads} thread(s): round {number + 1} of {rounds}", flush=True)


def table(threads: int, rounds: list[dict[str, Done]], seconds: float, truth: str) -> Table:
    """Speed and words of each way."""
    rows = []
    for way in WAYS:
        if way in rounds[0]:
            last = rounds[-1][way]
            rows.append(
                [
                    way,
                    spread(over_rounds(rounds, lambda r, way=way: seconds / r[way].wall), ".1f"),
                    spread(over_rounds(rounds, lambda r, way=way: ratio(r, way))),
                    f"{wer(rounds[-1][SEQUENTIAL].text, last.text):.3f}",
                    f"{wer(truth, last.text):.3f}",
                    str(last.windows or "-"),
                    f"{last.efficiency:.2f}" if last.efficiency else "-",
                ]
            )
    return Table(
        title=f"{threads} thread(s), audio seconds per second, median over the rounds (smallest-largest)",
        columns=["way", "speed", "of the first", "WER to the first", "WER to what was read", "windows", "efficiency"],
        rows=rows,
    )


def ratio(done: dict[str, Done], way: str) -> float:
    """How many times as fast as one window after the other, in the same round."""
    return done[SEQUENTIAL].wall / done[way].wall


def wer(expected: str, heard: str) -> float:
    """The share of words that are wrong, missing or too many."""
    return float(jiwer.wer(WORDS(expected.replace("-", " ")), WORDS(heard.replace("-", " "))))


def main(run: Run) -> None:
    """Measure and report."""
    repeats = 4 if run.quick else 12
    ways = [way for way in WAYS if not run.quick or way in QUICK]
    samples, truth = joined(repeats)
    seconds = samples.size / RATE
    most = len(os.sched_getaffinity(0))
    found = {
        n: list(rounds_of(n, ways, repeats, run.rounds)) for n in ((1,) if run.quick else sorted({1, min(2, most)}))
    }
    one = found[1]
    aims = [
        Aim(
            text="words of batch 4 that differ from one after the other",
            measured=wer(one[-1][SEQUENTIAL].text, one[-1]["batch 4"].text),
            bound=0.05,
            at_most=True,
        ),
        Aim(
            text="speed of batch 4 as a multiple of one after the other, 1 thread",
            measured=over_rounds(one, lambda r: ratio(r, "batch 4"))[0],
            bound=1.0,
        ),
    ]
    settings = {
        "model": "tiny.en, int8, cpu",
        "options": "beam 5",
        "audio_s": round(seconds, 1),
        "silence_between_s": GAP_S,
        "rounds": run.rounds,
        "fallbacks": {way: one[-1][way].fallbacks for way in ways},
    }
    tables = [table(n, rounds, seconds, truth) for n, rounds in found.items()]
    run.finish("Batches of windows", settings, tables, aims, [msgspec.to_builtins(r) for r in found.values()])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--engine"]:
        with contextlib.suppress(KeyboardInterrupt):
            serve(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(command_line("Long audio in batches and without.", rounds=3, quick_rounds=1))
