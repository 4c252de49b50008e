"""faster-whisper: the default engine."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, cast

import ctranslate2
import faster_whisper.transcribe
import msgspec
from faster_whisper import WhisperModel

from asrd_protocol.model import Segment, Word
from asrd_worker import clip
from asrd_worker.audio import Decoded
from asrd_worker.counters import CountedModel, Counters
from asrd_worker.engines import cublas
from asrd_worker.engines.base import Outline, Transcriber, Transcription
from asrd_worker.engines.batching import Batches
from asrd_worker.engines.ladder import Ladder
from asrd_worker.engines.loading import first_line, load_error
from asrd_worker.engines.opening import opening_of, vad_options
from asrd_worker.engines.room import Room
from asrd_worker.engines.whisper_checks import LANGUAGES, bad_option, check, vocabulary_of
from asrd_worker.engines.whisper_options import SYNONYMS, BatchSize, ModelSettings, WhisperOptions, kind_of
from asrd_worker.engines.whisper_windows import as_batched, clips_of, cuts, obstacle
from asrd_worker.failures import no_memory, ran_out
from asrd_worker.models import resolve
from asrd_worker.whole import Long, Whole

_GREEDY: dict[str, Any] = {
    "language": "en",
    "temperature": 0.0,
    "beam_size": 1,
    "condition_on_previous_text": False,
    "vad_filter": False,
}
"""How the built-in clip is transcribed: nothing of it is left to chance."""


FOREVER = 1e9
"""Seconds that no recording has."""


class WhisperSettings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool may set."""

    batch_size: BatchSize | Literal["auto"] = 0
    """Windows that are decoded at once in jobs that say nothing of it; ``auto`` by the memory of a graphics card, and
    one after the other without one."""


class _Decoding(NamedTuple):
    """How a job is decoded; ``temperatures`` by ``seek``, where the library does not know them."""

    segments: Iterable[Any]
    info: Any
    temperatures: dict[int, float]


class FasterWhisper(Transcriber):
    """``faster_whisper.WhisperModel`` with its work counted."""

    Settings = WhisperSettings
    Options = WhisperOptions
    synonyms = SYNONYMS
    languages = LANGUAGES

    def load(self) -> None:
        """Load the model into memory or onto the device."""
        settings = self.settings
        directory = resolve(
            settings.model, offline=settings.offline, revision=settings.revision, root=settings.download_root
        )
        if settings.device != "cpu":
            cublas.preload()
        try:
            self._model = WhisperModel(
                str(directory),
                device=settings.device,
                device_index=settings.device_index,
                compute_type=settings.compute_type,
                cpu_threads=settings.threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise _not_loaded(error, settings) from None
        self._vocabulary = vocabulary_of(self._model)
        self._clip = clip.samples()
        self._counters = Counters()
        self._ladder = Ladder()
        self._model.model = cast(Any, CountedModel(self._model.model, self._counters))
        module = cast(Any, faster_whisper.transcribe)
        module.get_speech_timestamps = self._counters.timing_vad(module.get_speech_timestamps)

    def warm_up(self) -> None:
        """Transcribe the built-in clip: some libraries are missed at the first inference only."""
        try:
            self.canary()
        except RuntimeError as error:
            raise _not_loaded(error, self.settings) from None
        self._room = Room(cast(Any, self._model.model), self.settings.device_index)

    def canary(self) -> str:
        """The text of the built-in clip. What it counts is forgotten when the next job begins."""
        segments, _ = self._model.transcribe(self._clip, **_GREEDY)
        return "".join(segment.text for segment in segments).strip()

    def transcribe(self, heard: Decoded, options: WhisperOptions) -> Transcription:
        """Decode the samples, a segment at a time; those of a batch come when it is done."""
        check(options, self._vocabulary)
        size, refused = self._batch_size(options, heard.duration)
        self._counters.reset()
        self._ladder.begin(size or 1)
        self.heard = ""
        count = 0
        try:
            decoding = self._batched(heard, options, size) if size else self._plain(heard, options)
            self.heard = decoding.info.language
            for count, segment in enumerate(decoding.segments, start=1):
                temperature = decoding.temperatures.get(segment.seek, segment.temperature)
                yield _segment(count - 1, segment, temperature, words=options.word_timestamps)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise self._explained(error) from error
        done = as_batched(options, heard.duration) if size else options
        return self._outline(decoding.info, heard.duration, done, count, [*self._said(options), *refused])

    # --- long audio ---------------------------------------------------------------------------------------------------

    def divisible(self, options: WhisperOptions) -> bool:
        """All but a job that has cut its audio itself."""
        check(options, self._vocabulary)
        return clips_of(options, FOREVER) is None

    def overview(self, long: Long, options: WhisperOptions) -> Whole:
        """The language is that of the beginning, if the job does not say it: a chunk alone may be taken for another."""
        said = Whole(duration=long.duration, warnings=long.recording.warnings)
        if options.language or options.multilingual or not self._model.model.is_multilingual:
            return said
        opening = opening_of(long.recording, options)
        if not opening.size:
            return said
        threshold = options.language_detection_threshold
        language, probability, _ = self._model.detect_language(
            opening,
            language_detection_segments=options.language_detection_segments,
            language_detection_threshold=0.5 if threshold is None else threshold,
        )
        return msgspec.structs.replace(said, language=language, language_probability=round(float(probability), 6))

    def narrowed(self, options: WhisperOptions, whole: Whole, *, first: bool) -> WhisperOptions:
        """Prompt and prefix are for the beginning."""
        options = msgspec.structs.replace(options, language=options.language or whole.language or None)
        return options if first else msgspec.structs.replace(options, initial_prompt=None, prefix=None)

    # --- how it is decoded --------------------------------------------------------------------------------------------

    def _plain(self, heard: Decoded, options: WhisperOptions) -> _Decoding:
        """One window after the other."""
        segments, info = self._model.transcribe(heard.samples, **_keywords(options))
        return _Decoding(segments, info, {})

    def _batched(self, heard: Decoded, options: WhisperOptions, size: int) -> _Decoding:
        """Several windows at once."""
        pipeline = Batches(self._model, self._ladder, self._counters, options)
        keywords = _keywords(as_batched(options, heard.duration)) | cuts(options, heard.duration)
        segments, info = pipeline.transcribe(heard.samples, batch_size=size, **keywords)
        return _Decoding(segments, info, pipeline.temperatures)

    def _batch_size(self, options: WhisperOptions, duration: float) -> tuple[int, list[str]]:
        """Windows at once, 0 for one after the other; with a warning when the pool's setting cannot be honoured.

        Raises:
            EngineFault: the job asks for batches, and for what they cannot do.
        """
        size = self._pools_batch_size(options) if options.batch_size is None else options.batch_size
        if size < 2 or clips_of(options, duration) == []:
            return 0, []
        found = obstacle(options, duration)
        if found is None:
            return size, []
        if options.batch_size is not None:
            raise bad_option(found[0], f"{found[1]}; change it, or ask for batch_size = 0")
        return 0, [f"decoded without batches because of option {found[0]}: {found[1]}"]

    def _pools_batch_size(self, options: WhisperOptions) -> int:
        given = self.settings.batch_size
        return self._room.windows(options.beam_size) if given == "auto" else given

    def _explained(self, error: Exception) -> Exception:
        """What the job is to be told."""
        if ran_out(error):
            model = self._model.model
            return no_memory(error, batch_size=1, device=model.device, compute_type=model.compute_type)
        if isinstance(error, ValueError) and "max_new_tokens" in str(error):
            return bad_option("max_new_tokens", "with the prompt these are more tokens than the model has room for")
        return error

    def _outline(
        self, info: Any, duration: float, options: WhisperOptions, segments: int, warnings: list[str]
    ) -> Outline:
        self._ladder.end()
        batches = bool(self._counters.batches)
        kind = kind_of(options, self._ladder.size if batches else 0)
        return Outline(
            language=info.language,
            language_probability=round(float(info.language_probability), 6),
            duration_after_vad=round(float(info.duration_after_vad), 3) if options.vad_filter else None,
            vad_s=self._counters.vad_s,
            work=self._counters.work(duration, segments, kind + "+fell" if self._ladder.fell else kind),
            warnings=warnings + self._ladder.warnings,
        )

    def _said(self, options: WhisperOptions) -> list[str]:
        """What the model could not do as asked."""
        if self._model.model.is_multilingual:
            return []
        found = []
        if options.language not in (None, "en"):
            found.append(f"the model knows English only; language {options.language!r} was ignored")
        if options.task == "translate":
            found.append("the model knows English only; it transcribed instead of translating")
        if options.multilingual:
            found.append("the model knows English only; multilingual was ignored")
        return found


def _keywords(options: WhisperOptions) -> dict[str, Any]:
    keywords = {field: getattr(options, field) for field in options.__struct_fields__ if field != "batch_size"}
    keywords["vad_parameters"] = vad_options(options)
    return keywords


def _segment(index: int, segment: Any, temperature: float | None, *, words: bool) -> Segment:
    """With ids from 0, as in whisper; the library counts from 1."""
    timed = None
    if words and segment.words is not None:
        timed = [
            Word(start=float(w.start), end=float(w.end), word=w.word, probability=float(w.probability))
            for w in segment.words
        ]
    return Segment(
        id=index,
        seek=int(segment.seek),
        start=float(segment.start),
        end=float(segment.end),
        text=segment.text,
        tokens=[int(token) for token in segment.tokens],
        temperature=None if temperature is None else float(temperature),
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(segment.compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        words=timed,
    )


def _not_loaded(error: Exception, settings: WhisperSettings) -> Exception:
    """With what can be done about it."""
    said, hint = first_line(error), ""
    if "libcublas" in said:
        hint = f"; {cublas.hint()}"
    elif "driver version" in said or "no CUDA" in said:
        hint = f"; CTranslate2 sees {ctranslate2.get_cuda_device_count()} GPU(s), use device = 'cpu'"
    what = f"{settings.model} on {settings.device} as {settings.compute_type}"
    return load_error(error, what, settings.device, settings.device_index, hint=hint)
