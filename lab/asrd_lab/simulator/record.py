"""``python -m asrd_lab.simulator.record`` measures how much work real jobs are, and writes ``data/work_vectors.jsonl``.

A daemon of its own with one worker transcribes random cuts of the recordings of the tests with tiny.en. Some cuts lie
under noise, because those are the ones that the decoder falls back on.
"""

import argparse
import array
import io
import random
import sys
import wave
from pathlib import Path

import msgspec

from asrd import Client
from asrd_lab.daemon import Daemon, Pool
from asrd_lab.simulator.vectors import DATA, Vector
from asrd_protocol.model import Run

CLIPS = Path(__file__).parents[3] / "tests" / "data" / "librivox"
RATE = 16_000
SHORTEST_S, LONGEST_S = 2.0, 40.0
NOISY = 0.08
"""Share of the cuts that lie under noise."""

LOUD = 6000
"""The largest amplitude of that noise, of 32768."""

POOL = Pool(engine="faster-whisper", model="tiny.en", workers=1, recycle={"max_jobs": 0})


def main() -> None:
    """Record as many jobs as the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m asrd_lab.simulator.record", description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="a folder of 16 kHz mono WAV files")
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--jobs", type=int, default=133)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    tape = _tape(asked.clips)
    with Daemon(POOL) as daemon, asked.out.open("wb") as out:
        for number in range(asked.jobs):
            vector = _measure(daemon.client, _wav(_cut(tape, rng)))
            out.write(msgspec.json.encode(vector) + b"\n")
            sys.stderr.write(f"\r{number + 1} of {asked.jobs} jobs")
    sys.stderr.write("\n")


def _tape(clips: Path) -> "array.array[int]":
    """All recordings end to end, as often as the longest cut needs."""
    tape = array.array("h")
    for path in sorted(clips.glob("*.wav")):
        with wave.open(str(path)) as clip:
            tape.frombytes(clip.readframes(clip.getnframes()))
    return tape * (2 + int(LONGEST_S * RATE) // len(tape))


def _cut(tape: "array.array[int]", rng: random.Random) -> "array.array[int]":
    length = int(rng.uniform(SHORTEST_S, LONGEST_S) * RATE)
    start = rng.randrange(len(tape) - length)
    cut = tape[start : start + length]
    if rng.random() < NOISY:
        return array.array("h", (max(-32768, min(32767, one + rng.randint(-LOUD, LOUD))) for one in cut))
    return cut


def _wav(samples: "array.array[int]") -> bytes:
    body = io.BytesIO()
    with wave.open(body, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return body.getvalue()


def _measure(client: Client, audio: bytes) -> Vector:
    job = client.submit(audio)
    job.result()
    run = job.run or Run(seat="")
    return Vector(
        dur=run.work.audio_s,
        wall=run.timings.transcribe,
        cpu=run.work.cpu_s,
        windows=run.work.windows,
        beam_steps=run.work.beam_steps,
        sample_steps=run.work.sample_steps,
        attempts=run.work.attempts,
        segments=run.work.segments,
        rss=run.rss_bytes,
    )


if __name__ == "__main__":
    main()
