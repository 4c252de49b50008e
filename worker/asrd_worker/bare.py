"""``python -P -m asrd_worker.bare``: an engine by itself, with no supervisor, no tidying up and no end of its own.

What a worker is compared with. A line of JSON on stdin is a job; a line of JSON on stdout says how it went. The end of
stdin is the end.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec

from asrd_protocol.bare import Decode, Decoded, Done, Failed, Line, Loaded, Transcribe
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import MediaFile
from asrd_protocol.model import Timings
from asrd_worker.engines import find
from asrd_worker.engines.base import LoadError, Transcriber, options_of, settings_of
from asrd_worker.failures import failure_of
from asrd_worker.memory import rss_bytes
from asrd_worker.tie import tie

SEAT = "bare/0.1"

MAX_AUDIO_S = 4 * 3600.0
"""Seconds of audio that a job may have, as for a pool that says nothing else."""


_asked = msgspec.json.Decoder(Transcribe | Decode).decode
_encode = msgspec.json.Encoder().encode


def main(arguments: list[str] | None = None) -> int:
    """Load the engine, and do what stdin says until it ends."""
    parser = argparse.ArgumentParser(prog="asrd_worker.bare", description="One engine in one process.")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--settings", default="{}", metavar="JSON", help="as in the table of a pool")
    options = parser.parse_args(arguments)
    tie(os.getppid(), "asrd:bare")
    answers = _answers()
    try:
        engine = _loaded(options.engine, options.settings, answers)
    except LoadError as error:
        _say(answers, Failed(fault=Fault.of(Code.MODEL_UNAVAILABLE, str(error))))
        return Exit.CONFIG
    serve(engine, sys.stdin, answers)
    return Exit.OK


def serve(engine: Transcriber, questions: Iterable[str] | TextIO, answers: BinaryIO) -> None:
    """One answer for each question, in their order."""
    for line in questions:
        try:
            answer: Line = _answer(engine, _asked(line))
        except msgspec.MsgspecError as error:
            answer = Failed(fault=Fault.of(Code.BAD_MESSAGE, f"the line is no question: {error}"))
        except OSError as error:
            answer = Failed(fault=Fault.of(Code.INPUT_MISSING, f"{error.filename}: {error.strerror}"))
        except Exception as error:
            answer = Failed(fault=failure_of(error).fault)
        _say(answers, answer)


def _answers() -> BinaryIO:
    """Stdout for answers only: what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _say(answers: BinaryIO, line: Line) -> None:
    answers.write(_encode(line) + b"\n")
    answers.flush()


def _loaded(name: str, given: str, answers: BinaryIO) -> Transcriber:
    """The engine, warm.

    Raises:
        LoadError: it cannot be loaded.
    """
    kind = find(name)
    if not issubclass(kind, Transcriber):
        raise LoadError(f"the engine {name!r} does not transcribe")
    try:
        settings = settings_of(kind, msgspec.json.decode(given, type=dict))
    except msgspec.MsgspecError as error:
        raise LoadError(f"--settings: {error}") from None
    engine = kind(settings, SEAT)
    start = time.perf_counter()
    try:
        engine.load()
        loaded = time.perf_counter()
        engine.warm_up()
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(failure_of(error).fault.message) from None
    took = time.perf_counter() - loaded
    _say(answers, Loaded(load_s=round(loaded - start, 3), warm_up_s=round(took, 3), rss=rss_bytes()))
    return engine


def _answer(engine: Transcriber, asked: Transcribe | Decode) -> Line:
    match asked:
        case Transcribe():
            return _transcribe(engine, asked)
        case Decode(path=path, into=into):
            return _decode(Path(path), Path(into))


def _transcribe(engine: Transcriber, asked: Transcribe) -> Done:
    """As a worker does it, less the link."""
    before = rss_bytes()
    given = {engine.synonyms.get(key, key): value for key, value in asked.options.items()}
    options = options_of(type(engine), given)
    body = Path(asked.path).read_bytes() if asked.path else b""
    start = time.perf_counter()
    heard = engine.read(MediaFile(name=Path(asked.path).name[:255]), body, MAX_AUDIO_S)
    decoded = time.perf_counter()
    decoding = engine.transcribe(heard, options)
    spans, text = [], ""
    while True:
        try:
            segment = next(decoding)
        except StopIteration as end:
            outline = end.value
            break
        spans.append((segment.start, segment.end))
        text += segment.text
    took = time.perf_counter() - decoded
    del heard, body
    return Done(
        number=asked.number,
        timings=Timings(
            decode=round(decoded - start, 6), vad=round(outline.vad_s, 6), transcribe=round(took - outline.vad_s, 6)
        ),
        work=outline.work,
        rss_before=before,
        rss_after=rss_bytes(),
        spans=spans,
        text=text.strip(),
    )


def _decode(path: Path, into: Path) -> Decoded:
    import numpy as np

    from asrd_worker.audio import SAMPLE_RATE, decode

    heard = decode(MediaFile(name=path.name[:255]), path.read_bytes(), MAX_AUDIO_S)
    into.write_bytes((np.clip(heard.samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return Decoded(seconds=len(heard.samples) / SAMPLE_RATE)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as a worker leaves: native libraries may wait for each other for ever
