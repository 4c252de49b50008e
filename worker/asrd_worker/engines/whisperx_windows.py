"""The steps of whisperX's pipeline, one at a time: so that a worker can tell how far it is, and stop in between.

Its own ``transcribe`` does the same and comes back when everything is done.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import TranscriptionOptions, get_compression_ratio
from whisperx.asr import FasterWhisperPipeline, find_numeral_symbol_tokens, load_model

from asrd_protocol.model import Segment, Word
from asrd_worker.counters import CountedModel, Counters
from asrd_worker.engines.whisper_checks import vocabulary_of
from asrd_worker.engines.word_times import Heard
from asrd_worker.pcm import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    from asrd_worker.engines.whisperx_options import WhisperXSettings

WINDOW = 30 * SAMPLE_RATE
"""Samples that whisper's encoder takes at once."""


class Window(msgspec.Struct, frozen=True):
    """A stretch with speech in it, of at most 30 s; times in seconds."""

    start: float
    end: float
    speech_s: float
    """Without the pauses."""

    def of(self, samples: Samples) -> Samples:
        """Its part of the samples."""
        return samples[int(self.start * SAMPLE_RATE) :][: min(WINDOW, int((self.end - self.start) * SAMPLE_RATE))]


class Text(msgspec.Struct, frozen=True):
    """What is said in a window."""

    window: Window
    text: str
    """With a space in front, as whisper writes it."""
    tokens: list[int]
    avg_logprob: float
    no_speech_prob: float
    words: list[Heard] | None = None
    """By whisper's own attention; None when nobody asked."""

    def segment(self, *, tokens: list[int], words: list[Word] | None) -> Segment:
        """The whole window as one segment; its id is 0."""
        return Segment(
            id=0,
            seek=int(self.window.start * 100),
            start=self.window.start,
            end=self.window.end,
            text=self.text,
            tokens=tokens,
            temperature=0.0,
            avg_logprob=self.avg_logprob,
            compression_ratio=float(get_compression_ratio(self.text)),
            no_speech_prob=self.no_speech_prob,
            words=words,
        )


class BatchModel(CountedModel):
    """Counts the work, and keeps of the last batch what whisperX drops."""

    def __init__(self, model: Any, counters: Counters) -> None:
        super().__init__(model, counters)
        self.encoded: Any = None
        self.results: list[Any] = []

    def encode(self, features: Any, *args: Any, **kwargs: Any) -> Any:
        """Windows of 30 s, of shape (windows, mels, frames)."""
        self.encoded = super().encode(features, *args, **kwargs)
        return self.encoded

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """One decoding attempt, for all windows of the batch."""
        self.results = super().generate(*args, **kwargs, return_no_speech_prob=True)
        return self.results

    def forget(self) -> None:
        """Free the memory of the last batch."""
        self.encoded, self.results = None, []


class Windows:
    """A whisperX pipeline, taken apart."""

    def __init__(self, pipeline: FasterWhisperPipeline, counters: Counters) -> None:
        self._pipeline = pipeline
        self._model = pipeline.model
        self._inner = BatchModel(self._model.model, counters)
        self._model.model = self._inner
        self._numerals: list[int] | None = None

    def find(self, samples: Samples, *, onset: float, offset: float, chunk_size: int) -> list[Window]:
        """Where somebody speaks; none in silence."""
        vad = self._pipeline.vad_model
        audio = {"waveform": vad.preprocess_audio(samples), "sample_rate": SAMPLE_RATE}
        with _one_thread():
            scores = vad({**audio, "onset": onset, "offset": offset, "chunk_size": chunk_size})
        merged = vad.merge_chunks(scores, chunk_size, onset=onset, offset=offset)
        return [window for part in merged if (window := _window(part, samples.size / SAMPLE_RATE))]

    @property
    def multilingual(self) -> bool:
        """Whether the model knows more than English."""
        return bool(self._inner.is_multilingual)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model has."""
        return vocabulary_of(self._model)

    @property
    def model(self) -> CountedModel:
        """What computes."""
        return self._inner

    @property
    def options(self) -> TranscriptionOptions:
        """whisperX's own defaults."""
        return self._pipeline.options

    def tokenizer(self, language: str, task: str) -> Tokenizer:
        """For one job."""
        return Tokenizer(self._model.hf_tokenizer, self.multilingual, task=task, language=language)

    def numerals(self, tokenizer: Tokenizer) -> list[int]:
        """The tokens with digits in them; to find them takes most of a second once."""
        if self._numerals is None:
            self._numerals = find_numeral_symbol_tokens(tokenizer)
        return self._numerals

    def language(self, samples: Samples) -> tuple[str, float]:
        """What is spoken in the first 30 s, and how likely that is."""
        if not self.multilingual:
            return "en", 1.0
        encoded = self._model.encode(self._features(samples[:WINDOW]))
        self._inner.forget()
        (token, probability), *_ = self._inner.detect_language(encoded)[0]
        return token[2:-2], float(probability)

    def decode(
        self, samples: Samples, windows: Sequence[Window], tokenizer: Tokenizer, options: TranscriptionOptions
    ) -> list[Text]:
        """What is said in the windows of one batch, by whisperX."""
        features = np.stack([self._features(window.of(samples)) for window in windows])
        try:
            return self._decoded(features, windows, tokenizer, options)
        finally:
            self._inner.forget()

    def _decoded(
        self, features: Any, windows: Sequence[Window], tokenizer: Tokenizer, options: TranscriptionOptions
    ) -> list[Text]:
        said = self._model.generate_segment_batched(features, tokenizer, options)
        tokens = [
            [token for token in result.sequences_ids[0] if token < tokenizer.eot] for result in self._inner.results
        ]
        words = self._words(windows, tokens, tokenizer, options) if options.word_timestamps else [None] * len(windows)
        return [
            Text(window, text, ids, float(logprob), float(result.no_speech_prob), heard)
            for window, text, logprob, ids, result, heard in zip(
                windows, said["text"], said["avg_logprob"], tokens, self._inner.results, words, strict=True
            )
        ]

    def _features(self, samples: Samples) -> Any:
        """The spectrogram of shape (mels, 3000) of at most 30 s, padded with silence."""
        return self._pipeline.preprocess({"inputs": samples})["inputs"].numpy()

    def _words(
        self, windows: Sequence[Window], tokens: list[list[int]], tokenizer: Tokenizer, options: TranscriptionOptions
    ) -> Iterator[list[Heard]]:
        """Where whisper itself was looking when it wrote each word; times from the start of the audio."""
        rate = self._model.frames_per_second
        segments = [
            [{"seek": window.start * rate, "start": window.start, "end": window.end, "tokens": ids}]
            for window, ids in zip(windows, tokens, strict=True)
        ]
        self._model.add_word_timestamps(
            segments,
            tokenizer,
            self._inner.encoded,
            [max(1, int((window.end - window.start) * rate)) for window in windows],
            options.prepend_punctuations,
            options.append_punctuations,
            windows[0].start,
        )
        for (segment,) in segments:
            yield [
                Heard(word=w["word"], start=float(w["start"]), end=float(w["end"]), score=float(w["probability"]))
                for w in segment.get("words", [])
            ]


def pipeline(directory: str, settings: "WhisperXSettings") -> FasterWhisperPipeline:
    """whisperX as a pool wants it; nothing is downloaded.

    Raises:
        RuntimeError: the model or the device cannot be used.
        ValueError: the device cannot compute with such numbers.
    """
    torch.set_num_threads(settings.threads)
    vad = None
    if settings.vad_method == "silero":
        from asrd_worker.engines.silero import Silero

        vad = Silero(settings.vad_onset)
    else:
        _make_torch_home()
    return load_model(
        directory,
        device=settings.device,
        device_index=settings.device_index,
        compute_type=settings.compute_type,
        vad_model=vad,
        vad_method=settings.vad_method,
        vad_options={"vad_onset": settings.vad_onset, "vad_offset": settings.vad_offset},
        local_files_only=True,
        threads=settings.threads,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Meanwhile torch computes with one thread.

    The detector's LSTM has thousands of steps, and at the end of each all threads spin until the last one is there.
    Where a core is shared that takes twenty times as long; two threads on free cores save a third.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make_torch_home() -> None:
    """whisperX creates torch's cache directory, which it has no use for; a service may have no home to write to."""
    try:
        Path(torch.hub._get_torch_home()).mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ["TORCH_HOME"] = tempfile.gettempdir()


def _window(part: dict[str, Any], duration: float) -> Window | None:
    """A stretch, cut to the audio: a detector that pads the audio may hear the padding."""
    start, end = round(max(0.0, float(part["start"])), 3), round(min(duration, float(part["end"])), 3)
    if int(end * SAMPLE_RATE) <= int(start * SAMPLE_RATE):
        return None
    speech_s = sum(min(end, float(right)) - min(end, float(left)) for left, right in part["segments"])
    return Window(start, end, speech_s)
