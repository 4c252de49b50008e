"""Long audio: cut and shared by two workers, cut for one, at a stretch, in batches, and by bare faster-whisper.

A file of five minutes is transcribed in all ways, in interleaved rounds, and a file of an hour in three of them, once.
Texts are held against the one of the uncut file and against what was read. Then everything is killed at 90 %.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from figures import Aim, Run, Table, command_line, over_rounds, spread
from long_reference import Bare, Heard, Recorded, record
from long_resume import Resumed, resume
from long_station import BARE, BATCHED, CUT, CUT_ONE, WHOLE, WORKERS, Station, Systems
from long_text import text_tables, wer

SHORT_WAYS = (CUT, CUT_ONE, WHOLE, BATCHED, BARE)
THREE_HOURS_MIN = 180.0
CLIP_MIN = 0.4
"""For warming up: one window."""
SEED = 5
FLAT = 1.25


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Minutes of the files, and seconds of the chunks."""

    short: float
    even: float
    """About as short, and cut into chunks that are as long as those of the long one: worker memory goes by these."""
    long: float
    chunk_s: float
    kill_chunk_s: float
    """Where the daemon is killed: a small part of the long one, as a chunk is of an hour."""


FULL = Sizes(short=5.0, even=7.85, long=60.0, chunk_s=120.0, kill_chunk_s=120.0)
QUICK = Sizes(short=1.0, even=1.85, long=3.0, chunk_s=30.0, kill_chunk_s=8.0)


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """The recordings."""

    clip: Recorded
    short: Recorded
    even: Recorded
    long: Recorded
    longest: Recorded | None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What became of them."""

    first: Heard
    """The short one, cut, before anything longer has been in memory."""
    even: Heard
    long: dict[str, Heard]
    longest: Heard | None
    rounds: list[dict[str, Heard]]
    """Of the short one."""


def recorded(directory: Path, sizes: Sizes, *, three_hours: bool) -> Files:
    """Make the recordings there."""
    return Files(
        clip=record(directory, CLIP_MIN, SEED),
        short=record(directory, sizes.short, SEED),
        even=record(directory, sizes.even, SEED),
        long=record(directory, sizes.long, SEED),
        longest=record(directory, THREE_HOURS_MIN, SEED) if three_hours else None,
    )


def measure(systems: Systems, files: Files, rounds: int) -> Found:
    """All ways through all files. What takes more memory comes later, since a worker gives none back."""
    systems.warm_up(files.clip)
    first, even = systems.transcribe(CUT, files.short), systems.transcribe(CUT, files.even)
    long = {way: systems.transcribe(way, files.long) for way in (CUT, CUT_ONE)}
    longest = systems.transcribe(CUT, files.longest) if files.longest else None
    found = systems.rounds(files.short, SHORT_WAYS, rounds)
    long[WHOLE] = systems.transcribe(WHOLE, files.long)
    return Found(first=first, even=even, long=long, longest=longest, rounds=found)


def ratio(rounds: list[dict[str, Heard]], way: str) -> tuple[float, float, float]:
    """The latency of a way as a multiple of that of two workers, of each round."""
    return over_rounds(rounds, lambda r: r[way].wall / r[CUT].wall)


def latency(file: Recorded, rounds: list[dict[str, Heard]]) -> Table:
    """How long each way takes."""
    rows = []
    for way in rounds[0]:
        walls = over_rounds(rounds, lambda r, way=way: r[way].wall)
        speed = over_rounds(rounds, lambda r, way=way: file.seconds / r[way].wall)
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
    runs = f"median over {len(rounds)} rounds (smallest-largest)" if len(rounds) > 1 else "one run"
    note = "`decode, cut`: opening and decoding, and looking for silences, of the time of all workers."
    return Table(title=f"{file.name}, {runs}", columns=columns, rows=rows, note=note)


def memory(files: Files, found: Found) -> Table:
    """What each file takes."""
    measured = [(files.short, CUT, found.first), (files.even, CUT, found.even), (files.long, CUT, found.long[CUT])]
    if files.longest and found.longest:
        measured.append((files.longest, CUT, found.longest))
    measured += [(files.short, WHOLE, found.rounds[0][WHOLE]), (files.long, WHOLE, found.long[WHOLE])]
    rows = [
        [f.name, way, str(h.chunks), *(f"{x:.0f}" for x in (chunk_s(f, h), h.supervisor_mib, h.worker_mib, h.tape_mib))]
        for f, way, h in measured
    ]
    columns = [
        "file",
        "way",
        "chunks",
        "s each",
        "supervisor, MiB",
        "largest worker, MiB",
        "decoded audio on disk, MiB",
    ]
    note = "A worker needs more for longer chunks, so compare files whose chunks are about equally long."
    return Table(title="Most memory while a file is transcribed", columns=columns, rows=rows, note=note)


def chunk_s(file: Recorded, heard: Heard) -> float:
    """The mean length of its chunks."""
    return file.seconds / heard.chunks


def aims(files: Files, found: Found, back: Resumed) -> list[Aim]:
    """The bounds."""
    short, long = files.short.name, found.long
    of = "latency of one worker, of that of two"
    error = wer(long[WHOLE].transcript.text, long[CUT].transcript.text)
    text = f"{files.long.name}: WER of the cut file to the one that is not cut"
    return [
        Aim(text=f"{short}: {of}", measured=ratio(found.rounds, CUT_ONE)[0], bound=1.7),
        Aim(text=f"{files.long.name}: {of}", measured=long[CUT_ONE].wall / long[CUT].wall, bound=1.8),
        *flat(files, found, files.long, long[CUT]),
        *(flat(files, found, files.longest, found.longest) if files.longest and found.longest else []),
        Aim(text=text, measured=error, bound=0.05, at_most=True),
        *back.aims(),
    ]


def flat(files: Files, found: Found, file: Recorded, heard: Heard) -> list[Aim]:
    """That memory does not grow with the length: the supervisor's from the short file on, a worker's from the even."""
    chunks = f"(chunks of {chunk_s(file, heard):.0f} and {chunk_s(files.even, found.even):.0f} s)"
    supervisor, worker = heard.supervisor_mib / found.first.supervisor_mib, heard.worker_mib / found.even.worker_mib
    return [
        Aim(
            text=f"supervisor: memory for {file.name}, of that for {files.short.name}",
            measured=supervisor,
            bound=FLAT,
            at_most=True,
        ),
        Aim(
            text=f"largest worker: memory for {file.name}, of that for {files.even.name} {chunks}",
            measured=worker,
            bound=FLAT,
            at_most=True,
        ),
    ]


def tables(files: Files, found: Found, back: Resumed, chunk: float) -> list[Table]:
    """All of them."""
    texts = [
        *text_tables(files.short, found.rounds[-1], WHOLE, WORKERS, chunk),
        *text_tables(files.long, found.long, WHOLE, WORKERS, chunk),
    ]
    walls = [latency(files.short, found.rounds), latency(files.long, [found.long])]
    if files.longest and found.longest:
        walls.append(latency(files.longest, [{CUT: found.longest}]))
        texts += text_tables(files.longest, {CUT: found.longest}, WHOLE, WORKERS, chunk)
    return [*walls, memory(files, found), *texts, back.table()]


def main(run: Run, beam: int, *, three_hours: bool) -> None:
    """Measure and report."""
    sizes = QUICK if run.quick else FULL
    options = {"language": "en", "beam_size": beam, "condition_on_previous_text": False}
    with tempfile.TemporaryDirectory(prefix="asrd-bench-") as scratch:
        files = recorded(Path(scratch).resolve(), sizes, three_hours=three_hours)
        with Station(2, sizes.chunk_s) as two, Station(1, sizes.chunk_s) as one, Bare() as bare:
            found = measure(Systems(two, one, bare, options), files, run.rounds)
        plain = found.long[CUT] if sizes.kill_chunk_s == sizes.chunk_s else None
        back = resume(files.long, files.clip, options, sizes.kill_chunk_s, plain)
        shown = tables(files, found, back, sizes.chunk_s)
    settings = {
        "model": "tiny.en, int8, cpu, 1 thread a worker",
        "options": options,
        "chunk_s": sizes.chunk_s,
        "chunk_s_of_the_kill": sizes.kill_chunk_s,
        "rounds": f"{run.rounds} of {files.short.name}, 1 of the others",
    }
    run.finish("Long audio", settings, shown, aims(files, found, back), raw(found, back))


def raw(found: Found, back: Resumed) -> list[object]:
    """All figures of all runs, without the texts."""
    once = {"short, first": found.first, "even": found.even}
    once |= {"longest": found.longest} if found.longest else {}
    return [{way: heard.figures() for way, heard in ways.items()} for ways in (once, found.long, *found.rounds)] + [
        back
    ]


if __name__ == "__main__":
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--beam", type=int, choices=(1, 5), default=5)
    own.add_argument("--three-hours", action="store_true")
    ours, rest = own.parse_known_args()
    sys.argv[1:] = rest
    said = "Long audio. --beam 1 or 5 (default): how it is decoded; --three-hours: one file more, cut for two workers."
    main(command_line(said, rounds=2, quick_rounds=1), ours.beam, three_hours=ours.three_hours)
