"""whisperX: windows cut where nobody speaks, decoded in batches, and aligned word by word.

Its libraries take ten seconds to import, and they may be installed for another Python than the supervisor's: they are
imported when the model is loaded.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import ctranslate2
import msgspec

from asrd_protocol.model import Segment
from asrd_worker import clip
from asrd_worker.counters import Counters
from asrd_worker.engines import cublas
from asrd_worker.engines.aligners import Aligners
from asrd_worker.engines.base import EngineFault, LoadError, Outline, Transcriber, Transcription
from asrd_worker.engines.ladder import Ladder
from asrd_worker.engines.loading import first_line, load_error
from asrd_worker.engines.quiet import hushed, prepare
from asrd_worker.engines.room import Room
from asrd_worker.engines.whisper_checks import LANGUAGES
from asrd_worker.engines.whisper_options import SYNONYMS
from asrd_worker.engines.whisperx_options import (
    WhisperXOptions,
    WhisperXSettings,
    check_options,
    check_thresholds,
    kind_of,
    library_options,
    unused,
)
from asrd_worker.engines.word_times import timed
from asrd_worker.failures import no_memory, ran_out
from asrd_worker.models import resolve
from asrd_worker.pcm import SAMPLE_RATE, Decoded, Samples
from asrd_worker.whole import Long, Whole

if TYPE_CHECKING:
    from asrd_worker.engines.alignment import Aligner
    from asrd_worker.engines.whisperx_windows import Text, Window

_GREEDY = WhisperXOptions(language="en", beam_size=1, batch_size=1)
"""How the built-in clip is transcribed."""

_INSTALL = "`asrd engines install whisperx` brings what it needs"


class _Plan(msgspec.Struct, frozen=True):
    """How a job is done, after all defaults."""

    options: WhisperXOptions
    language: str
    batch_size: int
    chunk_size: int
    onset: float
    offset: float
    aligner: "Aligner | None"

    @property
    def words(self) -> bool:
        """Whether words get their times by whisper's own attention."""
        return self.options.word_timestamps and self.aligner is None


class WhisperX(Transcriber):
    """whisperX's pipeline, a batch at a time."""

    Settings = WhisperXSettings
    Options = WhisperXOptions
    synonyms = SYNONYMS
    languages = LANGUAGES

    def load(self) -> None:
        """Load the models into memory or onto the device: whisper, the voice detector, the aligners."""
        settings = self.settings
        try:
            check_thresholds(settings.vad_onset, settings.vad_offset)
        except EngineFault as error:
            raise LoadError(str(error)) from None
        if settings.device == "auto":
            gpus = ctranslate2.get_cuda_device_count()
            self.settings = settings = msgspec.structs.replace(settings, device="cuda" if gpus else "cpu")
        if settings.device == "cuda":
            cublas.preload()
        prepare(offline=settings.offline)
        directory = resolve(
            settings.model, offline=settings.offline, revision=settings.revision, root=settings.download_root
        )
        self._clip = clip.samples()
        self._counters = Counters()
        self._ladder = Ladder()
        self._align_s = 0.0
        with hushed():
            self._load(str(directory))

    def _load(self, directory: str) -> None:
        try:
            from asrd_worker.engines.whisperx_windows import Windows, pipeline

            self._windows = Windows(pipeline(directory, self.settings), self._counters)
            self._aligners = Aligners.load(self.settings)
        except (RuntimeError, ValueError) as error:
            raise _not_loaded(error, self.settings) from None
        except (ImportError, OSError) as error:  # a library that was built for another CUDA is an OSError
            raise LoadError(f"the engine 'whisperx' cannot be imported ({error}); {_INSTALL}") from None

    @property
    def aligned(self) -> list[str] | None:
        """The languages with an alignment model; None when there is one for all."""
        return self._aligners.languages

    def warm_up(self) -> None:
        """Transcribe the built-in clip, and align it: some libraries are missed at the first inference only."""
        try:
            text = self.canary() or "nothing"
            for aligner in self._aligners:
                aligner.speaking("en").align(text, 0.0, self._clip.size / SAMPLE_RATE, self._clip, "nearest")
        except RuntimeError as error:
            raise _not_loaded(error, self.settings) from None
        self._room = Room(self._windows.model, self.settings.device_index)

    def canary(self) -> str:
        """The text of the built-in clip. What it counts is forgotten when the next job begins."""
        plan = self._plan(_GREEDY, "en")
        self._ladder.begin(plan.batch_size)
        return "".join(text.text for text in self._texts(self._clip, self._find(self._clip, plan), plan)).strip()

    def transcribe(self, heard: Decoded, options: WhisperXOptions) -> Transcription:
        """Decode the samples, a batch of windows at a time."""
        check_options(options, self._windows.vocabulary)
        self._counters.reset()
        self._align_s = 0.0
        self.heard = ""
        try:
            language, probability = self._language(heard.samples, options)
            self.heard = language
            plan = self._plan(options, language)
            self._ladder.begin(plan.batch_size)
            start = time.perf_counter()
            windows = self._find(heard.samples, plan)
            vad_s = time.perf_counter() - start
            count = 0
            for text in self._texts(heard.samples, windows, plan):
                for segment in self._segments(text, heard.samples, plan):
                    yield msgspec.structs.replace(segment, id=count)
                    count += 1
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            tried = self.settings
            raise no_memory(error, batch_size=1, device=tried.device, compute_type=tried.compute_type) from error
        self._ladder.end()
        return Outline(
            language=language,
            language_probability=round(probability, 6),
            duration_after_vad=round(sum((window.speech_s for window in windows), 0.0), 3),
            vad_s=vad_s,
            align_s=self._align_s,
            work=self._counters.work(heard.duration, count, self._kind(plan)),
            warnings=self._warnings(options) + self._ladder.warnings,
        )

    # --- long audio ---------------------------------------------------------------------------------------------------

    def overview(self, long: Long, options: WhisperXOptions) -> Whole:
        """The language is that of the beginning: a chunk alone may be taken for another."""
        check_options(options, self._windows.vocabulary)
        language, probability = self._language(long.recording.samples(0.0, 30.0), options)
        return Whole(
            duration=long.duration,
            warnings=long.recording.warnings,
            language=language,
            language_probability=round(probability, 6),
        )

    def narrowed(self, options: WhisperXOptions, whole: Whole, *, first: bool) -> WhisperXOptions:
        """A prompt is for every window here, so it is for every chunk."""
        return msgspec.structs.replace(options, language=options.language or whole.language or None)

    # --- how it is decoded --------------------------------------------------------------------------------------------

    def _language(self, samples: Samples, options: WhisperXOptions) -> tuple[str, float]:
        if options.language is not None and self._windows.multilingual:
            return options.language, 1.0
        return self._windows.language(samples)

    def _plan(self, options: WhisperXOptions, language: str) -> _Plan:
        """What the job asks, over what the pool has set.

        Raises:
            EngineFault: they do not go together, or there is no model for what is asked.
        """
        settings = self.settings
        onset = settings.vad_onset if options.vad_onset is None else options.vad_onset
        offset = settings.vad_offset if options.vad_offset is None else options.vad_offset
        check_thresholds(onset, offset)
        translated = options.task == "translate" and self._windows.multilingual
        return _Plan(
            options=options,
            language=language,
            batch_size=max(1, self._batch_size(options)),
            chunk_size=options.chunk_size or settings.chunk_size,
            onset=onset,
            offset=offset,
            aligner=self._aligners.choose(options, language, translated=translated),
        )

    def _batch_size(self, options: WhisperXOptions) -> int:
        """Windows at once, at most; 0 is one, as in other engines."""
        given = self.settings.batch_size if options.batch_size is None else options.batch_size
        return self._room.windows(options.beam_size) if given == "auto" else given

    def _find(self, samples: Samples, plan: _Plan) -> "list[Window]":
        return self._windows.find(samples, onset=plan.onset, offset=plan.offset, chunk_size=plan.chunk_size)

    def _texts(self, samples: Samples, windows: "list[Window]", plan: _Plan) -> "Iterator[Text]":
        """What is said in each window; in smaller batches, from where it was, when so many do not fit into memory."""
        tokenizer = self._windows.tokenizer(plan.language, plan.options.task)
        numerals = self._windows.numerals(tokenizer) if plan.options.suppress_numerals else []
        asked = replace(self._windows.options, **library_options(plan.options, numerals, words=plan.words))
        left = windows
        while left:
            size = self._ladder.size
            some = left[:size]
            try:
                texts = self._windows.decode(samples, some, tokenizer, asked)
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error) or not self._ladder.halve(len(some)):
                    raise
                continue
            self._ladder.fitted(len(some))
            self._counters.batch(len(some), size)
            left = left[size:]
            yield from texts

    def _segments(self, text: "Text", samples: Samples, plan: _Plan) -> Iterator[Segment]:
        """One segment, or when it is aligned, one for each sentence. None when nothing is said."""
        start, end = text.window.start, text.window.end
        if not text.text.strip():
            return
        if plan.aligner is None:
            words = None if text.words is None else timed(text.words, start, end)
            yield text.segment(tokens=text.tokens, words=words)
            return
        begun = time.perf_counter()
        sentences = plan.aligner.align(text.text, start, end, samples, plan.options.interpolate_method)
        self._align_s += time.perf_counter() - begun
        for said in sentences:
            whole = text.segment(tokens=[], words=said.words)
            yield msgspec.structs.replace(whole, start=said.start, end=said.end, text=said.text)

    def _kind(self, plan: _Plan) -> str:
        aligned = plan.aligner is not None
        kind = kind_of(plan.options, self._ladder.size, aligned=aligned, words=plan.words)
        return f"{kind}+fell" if self._ladder.fell else kind

    def _warnings(self, options: WhisperXOptions) -> list[str]:
        """What the engine or the model could not do as asked."""
        found = [f"whisperX decodes each window once, at temperature 0; {name} was ignored" for name in unused(options)]
        if self._windows.multilingual:
            return found
        if options.language not in (None, "en"):
            found.append(f"the model knows English only; language {options.language!r} was ignored")
        if options.task == "translate":
            found.append("the model knows English only; it transcribed instead of translating")
        return found


def _not_loaded(error: Exception, settings: WhisperXSettings) -> Exception:
    """With what can be done about it."""
    said, hint = first_line(error), ""
    if "libcublas" in said:
        hint = f"; {cublas.hint()}"
    elif "driver version" in said or "no CUDA" in said or "NVIDIA" in said:
        hint = "; there is no GPU that it can use, set device = 'cpu'"
    elif "float16" in said and settings.device == "cpu":
        hint = "; a CPU takes compute_type = 'int8' or 'float32'"
    what = f"{settings.model} on {settings.device} as {settings.compute_type}"
    return load_error(error, what, settings.device, settings.device_index, hint=hint)
