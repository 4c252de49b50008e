"""The life of a worker from the inside: greet, load, warm up, then one step at a time until told to leave.

Everything is said by the thread that computes. A side thread that answers "I am alive" would be a lie when the
computation hangs.
"""

import time
from collections import deque
from typing import Any, NamedTuple

import msgspec
import zmq
from msgspec.structs import replace

from asrd_protocol import VERSION, link
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Segment, Timings, Transcript
from asrd_worker.blob import Blob, Door
from asrd_worker.engines import find
from asrd_worker.engines.base import (
    Engine,
    EngineFault,
    LoadError,
    Outline,
    Transcriber,
    Transcription,
    options_of,
    settings_of,
)
from asrd_worker.failures import failure_of
from asrd_worker.memory import Tidy, rss_bytes
from asrd_worker.text import Chain, take

_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode

_TEXT_MAX = 4096
"""Characters of the clip's text on the link. An engine that loops says much more than it should."""


class _Decoded(NamedTuple):
    """What a step has given; ``post_s`` is the time that the text has taken, in seconds."""

    segments: list[Segment]
    outline: Outline
    post_s: float


class Worker:
    """One engine on one link."""

    def __init__(self, link_socket: "zmq.Socket[bytes]", door: Door, seat: str, pid: int) -> None:
        self._link = link_socket
        self._door = door
        self._seat = seat
        self._pid = pid
        self._inbox: deque[list[zmq.Frame]] = deque()
        self._max_audio_s = 0.0
        self._tidy = Tidy()

    def run(self) -> Exit:
        """Work until told to leave."""
        self._say(link.Hello(self._pid, VERSION))
        try:
            engine = self._engine()
        except LoadError as error:
            self._say(link.LoadFailed(Fault.of(Code.MODEL_UNAVAILABLE, str(error))))
            return Exit.CONFIG
        while True:
            message = self._hear()
            match message:
                case link.RunStep():
                    self._run(engine, message)
                    self._tidy.step_done()
                case link.RunCanary():
                    self._prove(engine, message)
                case link.StopWorker():
                    engine.close()
                    return Exit.OK
                case _:
                    pass  # a cancel that crossed our answer

    def _engine(self) -> Engine:
        message = self._hear()
        if not isinstance(message, link.Load):
            raise LoadError(f"expected a load, got {type(message).__name__}")
        kind = find(message.engine)
        engine = kind(settings_of(kind, message.settings), self._seat)
        engine.say = self._send_raw
        self._max_audio_s = message.max_audio_s
        start = time.perf_counter()
        engine.load()
        loaded = time.perf_counter()
        engine.warm_up()
        canary = _canary(engine, 1)
        self._tidy.settle()
        warm_up_s = time.perf_counter() - loaded
        self._say(link.Ready(round(loaded - start, 3), round(warm_up_s, 3), {}, canary, rss_bytes()))
        return engine

    # --- one step -----------------------------------------------------------------------------------------------------

    def _run(self, engine: Engine, step: link.RunStep) -> None:
        """Do a step and say how it went."""
        try:
            with self._door.take(step.attempt) as body:
                self._transcribe(engine, step, body)
        except Exception as error:
            self._say(link.StepFailed(step.attempt, *failure_of(error)))

    def _prove(self, engine: Engine, asked: link.RunCanary) -> None:
        """Transcribe the built-in clip. An engine that cannot even do that is not to be trusted with a job."""
        try:
            run = _canary(engine, asked.runs)
        except Exception as error:
            self._say(link.StepFailed(asked.attempt, failure_of(error).fault, True))
        else:
            self._say(link.CanaryDone(asked.attempt, run, rss_bytes()))

    def _transcribe(self, engine: Engine, step: link.RunStep, body: Blob) -> None:
        if not isinstance(engine, Transcriber):
            raise EngineFault(Fault.of(Code.UNKNOWN_POOL, "the pool does not transcribe; it tells speakers apart"))
        synonyms: dict[str, str] = getattr(engine, "synonyms", {})
        given = {synonyms.get(key, key): value for key, value in step.options.items()}
        about_text, own = take(given)
        options = options_of(type(engine), own)
        chain = Chain.of(about_text, _language(own))
        start = time.perf_counter()
        heard = engine.read(step.audio, body, self._max_audio_s)
        decoded = time.perf_counter()
        self._say(link.StepProgress(step.attempt, 0.0, heard.duration))
        segments, outline, post_s = self._decode(engine, engine.transcribe(heard, options), chain, step.attempt)
        transcribed = time.perf_counter()
        transcript = _json(_transcript(segments, outline, heard.duration, heard.warnings + chain.warnings))
        timings = Timings(
            decode=round(decoded - start, 6),
            vad=round(outline.vad_s, 6),
            transcribe=round(transcribed - decoded - outline.vad_s - post_s, 6),
            post=round(post_s, 6),
            write=round(time.perf_counter() - transcribed, 6),
        )
        self._say(link.StepDone(step.attempt, timings, outline.work, outline.language, rss_bytes()), transcript)

    def _decode(self, engine: Engine, decoding: Transcription, chain: Chain, attempt: int) -> _Decoded:
        """Send each segment on as it comes, with its text done; a cancel is heard between two."""
        segments: list[Segment] = []
        emptied, post_s = 0, 0.0
        while True:
            try:
                segment = next(decoding)
            except StopIteration as end:
                return _Decoded(segments, end.value, post_s)
            start = time.perf_counter()
            done = chain.apply(segment, getattr(engine, "heard", ""))
            post_s += time.perf_counter() - start
            if segment.text and not done.text:
                emptied += 1
                self._say(link.StepProgress(attempt, done.end, 0.0))
            else:
                segments.append(replace(done, id=done.id - emptied) if emptied else done)
                self._say(link.StepSegment(attempt, len(segments) - 1, done.end), _json(segments[-1]))
            if self._cancelled(attempt):
                decoding.close()
                raise EngineFault(Fault.of(Code.CANCELLED, "the job was cancelled"))

    def _cancelled(self, attempt: int) -> bool:
        while self._link.poll(0):
            self._inbox.append(self._link.recv_multipart(copy=False))
        cancels = [frames for frames in self._inbox if _is_cancel(frames, attempt)]
        return bool(cancels)

    # --- the link -----------------------------------------------------------------------------------------------------

    def _hear(self) -> link.ToWorker:
        frames = self._inbox.popleft() if self._inbox else self._link.recv_multipart(copy=False)
        message: link.ToWorker = link.to_worker.decode(frames[0].buffer)
        return message

    def _say(self, message: link.FromWorker, *body: bytes) -> None:
        self._send_raw([_encode(message), *body])

    def _send_raw(self, frames: list[bytes]) -> None:
        self._link.send_multipart(frames)


def _is_cancel(frames: list[zmq.Frame], attempt: int) -> bool:
    message = link.to_worker.decode(frames[0].buffer)
    return isinstance(message, link.CancelStep) and message.attempt == attempt


def _canary(engine: Engine, runs: int) -> link.CanaryRun:
    """The built-in clip, so many times."""
    took, text = [], ""
    for _ in range(runs):
        start = time.perf_counter()
        text = engine.canary()
        took.append(round(time.perf_counter() - start, 6))
    return link.CanaryRun(took, text[:_TEXT_MAX])


def _language(options: dict[str, Any]) -> str:
    """The language that a job's text will be in, as far as its options tell."""
    return "en" if options.get("task") == "translate" else options.get("language") or ""


def _transcript(segments: list[Segment], outline: Outline, duration: float, warnings: list[str]) -> Transcript:
    return Transcript(
        text="".join(segment.text for segment in segments).strip(),
        language=outline.language,
        language_probability=outline.language_probability,
        segments=segments,
        duration=round(duration, 3),
        duration_after_vad=outline.duration_after_vad,
        warnings=warnings + outline.warnings,
    )
