"""The steps that transcribe: a recording at once, a recording that is cut because it is long, and a chunk of it."""

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from asrd_protocol import link
from asrd_protocol.model import Segment, Timings, Transcript, Word
from asrd_worker import whole
from asrd_worker.blob import Files
from asrd_worker.engines.base import Outline, Transcriber, Transcription, options_of
from asrd_worker.line import Line
from asrd_worker.memory import rss_bytes
from asrd_worker.text import Chain, take
from asrd_worker.whole import Long, Whole

if TYPE_CHECKING:
    from asrd_worker.recording import Decoded

_json = msgspec.json.Encoder().encode
_Said = TypeVar("_Said", Segment, Word)


class _Heard(NamedTuple):
    """What a step has given; ``post_s`` is the time that the text has taken, in seconds."""

    segments: list[Segment]
    outline: Outline
    post_s: float


class _Wish(NamedTuple):
    """What a job wants, as far as the engine and the text are concerned."""

    options: msgspec.Struct
    chain: Chain


class Transcribing:
    """With one engine, on one line."""

    def __init__(self, engine: Transcriber, line: Line, max_audio_s: float) -> None:
        self._engine = engine
        self._line = line
        self._max_audio_s = max_audio_s

    # --- a recording --------------------------------------------------------------------------------------------------

    def whole(self, step: link.RunStep, files: Files) -> None:
        """Transcribe a recording, or cut it if it is long and that is wanted."""
        wish = self._wish(step.options)
        start = time.perf_counter()
        heard = self._read(step, files, wish)
        decode_s = time.perf_counter() - start
        self._line.say(link.StepProgress(step.attempt, 0.0, heard.duration))
        if isinstance(heard, Long):
            self._cut(step, heard, wish, decode_s)
        else:
            self._transcribe(step.attempt, heard, wish, Timings(decode=round(decode_s, 6)))

    def _moved(self, attempt: int, seconds: float) -> None:
        self._line.say(link.StepProgress(attempt, 0.0, seconds))
        self._line.heed_cancel(attempt)

    def _read(self, step: link.RunStep, files: Files, wish: _Wish) -> "Decoded | Long":
        moved = partial(self._moved, step.attempt)
        cuts = step.chunking and files.tape is not None and self._engine.divisible(wish.options)
        if not (cuts and step.chunking):
            return self._engine.read(step.audio, files.body, self._max_audio_s, moved)
        keep_s = step.chunking.longer_than
        try:
            return self._engine.read_long(step.audio, files.body, self._max_audio_s, files.tape or 0, keep_s, moved)
        except BaseException:
            files.wipe_tape()
            raise

    def _cut(self, step: link.RunStep, long: Long, wish: _Wish, decode_s: float) -> None:
        assert step.chunking
        start = time.perf_counter()
        said = self._engine.overview(long, wish.options)
        chunking, moved = step.chunking, partial(self._moved, step.attempt)
        stretches = self._engine.cut(long, chunking.chunk, chunking.ways, lambda _: moved(long.duration))
        timings = Timings(decode=round(decode_s, 6), vad=round(time.perf_counter() - start, 6))
        self._line.heed_cancel(step.attempt)
        cuts = [link.Cut(*stretch) for stretch in stretches]
        self._line.say(link.StepSplit(step.attempt, cuts, timings), whole.encode(said))

    # --- a chunk ------------------------------------------------------------------------------------------------------

    def chunk(self, step: link.RunChunk, files: Files) -> None:
        """Transcribe a stretch of a recording that was cut. Times are those of the recording."""
        said = whole.decode(step.head)
        wish = self._wish(step.options, said)
        options = self._engine.narrowed(wish.options, said, first=not step.start)
        start = time.perf_counter()
        heard = self._engine.stretch(files.body.fileno(), step.start, step.end)
        decode_s = time.perf_counter() - start
        self._line.say(link.StepProgress(step.attempt, 0.0, heard.duration))
        timings = Timings(decode=round(decode_s, 6))
        self._transcribe(step.attempt, heard, _Wish(options, wish.chain), timings, at=step.start)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _wish(self, given: dict[str, Any], said: Whole | None = None) -> _Wish:
        synonyms = self._engine.synonyms
        about_text, own = take({synonyms.get(key, key): value for key, value in given.items()})
        language = _language(own) or (said.language if said else "")
        return _Wish(options_of(type(self._engine), own), Chain.of(about_text, language))

    def _transcribe(self, attempt: int, heard: "Decoded", wish: _Wish, before: Timings, at: float = math.nan) -> None:
        """``at``: where a chunk begins; the segments of a chunk are not said again in the end."""
        start = time.perf_counter()
        offset = 0.0 if math.isnan(at) else at
        last = math.inf if math.isnan(at) else at + heard.duration  # windows are 30 s, and a chunk may end before
        decoding = self._engine.transcribe(heard, wish.options)
        segments, outline, post_s = self._decode(decoding, wish.chain, attempt, offset, last)
        transcribed = time.perf_counter()
        told = segments if math.isnan(at) else []
        transcript = _json(_transcript(segments, told, outline, heard.duration, heard.warnings + wish.chain.warnings))
        timings = Timings(
            decode=before.decode,
            vad=round(outline.vad_s, 6),
            transcribe=round(transcribed - start - outline.vad_s - outline.align_s - post_s, 6),
            align=round(outline.align_s, 6),
            post=round(post_s, 6),
            write=round(time.perf_counter() - transcribed, 6),
        )
        self._line.say(link.StepDone(attempt, timings, outline.work, outline.language, rss_bytes()), transcript)

    def _decode(self, decoding: Transcription, chain: Chain, attempt: int, offset: float, last: float) -> _Heard:
        """Send each segment on as it comes, with its text done; a cancel is heard between two."""
        segments: list[Segment] = []
        emptied, post_s = 0, 0.0
        try:
            while True:
                try:
                    segment = next(decoding)
                except StopIteration as end:
                    return _Heard(segments, end.value, post_s)
                start = time.perf_counter()
                done = chain.apply(segment, self._engine.heard)
                post_s += time.perf_counter() - start
                if segment.text and not done.text:
                    emptied += 1
                    self._line.say(link.StepProgress(attempt, done.end, 0.0))
                else:
                    segments.append(_shifted(done, offset, last, done.id - emptied))
                    self._line.say(link.StepSegment(attempt, len(segments) - 1, done.end), _json(segments[-1]))
                self._line.heed_cancel(attempt)
        finally:
            decoding.close()


def _language(options: dict[str, Any]) -> str:
    """The language that a job's text will be in, as far as its options tell."""
    return "en" if options.get("task") == "translate" else options.get("language") or ""


def _shifted(segment: Segment, offset: float, last: float, number: int) -> Segment:
    """The segment, where it is in the recording: nothing of a chunk is after its end."""
    if not offset and segment.end <= last:
        return segment if segment.id == number else replace(segment, id=number)
    words = segment.words and [_timed(word, offset, last) for word in segment.words]
    seek = segment.seek + round(offset * 100)  # in hundredths of a second
    return replace(_timed(segment, offset, last), id=number, seek=seek, words=words)


def _timed(said: _Said, offset: float, last: float) -> _Said:
    start, end = (round(min(time + offset, last), 3) for time in (said.start, said.end))
    return replace(said, start=start, end=end)


def _transcript(
    segments: list[Segment], told: list[Segment], outline: Outline, duration: float, warnings: list[str]
) -> Transcript:
    return Transcript(
        text="".join(segment.text for segment in segments).strip(),
        language=outline.language,
        language_probability=outline.language_probability,
        segments=told,
        duration=round(duration, 3),
        duration_after_vad=outline.duration_after_vad,
        warnings=warnings + outline.warnings,
    )
