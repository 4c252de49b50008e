"""The options of a whisperX job, under the names of whisperX and faster-whisper.

whisperX decodes every window once, side by side with others, at temperature 0. What it takes and does not use is
accepted here as well, with a warning in the transcript; what would mean something else than asked is refused.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from asrd_worker.engines.whisper_checks import bad_option, check
from asrd_worker.engines.whisper_options import (
    BatchSize,
    ModelSettings,
    Probability,
    SuppressedToken,
    Temperature,
    WhisperOptions,
)

Threshold = Annotated[float, Meta(gt=0, lt=1)]
ChunkSize = Annotated[int, Meta(ge=1, le=30)]
"""Seconds; 30 is what whisper's encoder takes at once."""
Interpolation = Literal["nearest", "linear", "ignore"]


class WhisperXSettings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool may set. The first part is what a job gets that says nothing of it."""

    batch_size: BatchSize | Literal["auto"] = 8
    """``auto`` by the memory of a graphics card, and one window after the other without one."""
    chunk_size: ChunkSize = 30
    vad_onset: Threshold = 0.5
    vad_offset: Threshold = 0.363

    vad_method: Literal["pyannote", "silero"] = "pyannote"
    align_model: str | None = None
    """Directory or name of an alignment model; for the languages that ``align_models`` does not have."""
    align_models: dict[str, str] = msgspec.field(default_factory=dict)
    """The same by language, such as ``{"de": "/models/wav2vec2-german"}``."""

    @property
    def torch_device(self) -> str:
        """What torch calls the device."""
        return self.device if self.device == "cpu" else f"{self.device}:{self.device_index}"


class WhisperXOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a job may ask. None stands for what the pool has set."""

    language: Annotated[str, Meta(max_length=16)] | None = None
    """Code such as ``en``; detected in the first 30 s when None."""
    task: Literal["transcribe", "translate"] = "transcribe"
    beam_size: Annotated[int, Meta(ge=1, le=16)] = 5
    patience: Annotated[float, Meta(gt=0, le=4)] = 1.0
    length_penalty: Annotated[float, Meta(ge=-5, le=5)] = 1.0
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] = 1.0
    no_repeat_ngram_size: Annotated[int, Meta(ge=0, le=100)] = 0
    initial_prompt: Annotated[str, Meta(max_length=4_000)] | None = None
    prefix: Annotated[str, Meta(max_length=4_000)] | None = None
    hotwords: Annotated[str, Meta(max_length=4_000)] | None = None
    suppress_blank: bool = True
    suppress_tokens: Annotated[list[SuppressedToken], Meta(max_length=1_000)] | None = msgspec.field(
        default_factory=lambda: [-1]
    )
    suppress_numerals: bool = False
    """Have whisper write numbers as words: an aligner knows letters only."""
    without_timestamps: bool = True
    prepend_punctuations: Annotated[str, Meta(max_length=100)] = "\"'“¿([{-"
    append_punctuations: Annotated[str, Meta(max_length=100)] = "\"'.。,，!！?？:：”)]}、"

    batch_size: BatchSize | None = None
    chunk_size: ChunkSize | None = None
    vad_onset: Threshold | None = None
    vad_offset: Threshold | None = None

    align: bool = False
    """Sentences and words with the times of an alignment model."""
    word_timestamps: bool = False
    """Words with times: aligned where the pool has a model for the language, else whisper's own."""
    interpolate_method: Interpolation = "nearest"

    best_of: Annotated[int, Meta(ge=1, le=16)] = 5
    temperature: Temperature | Annotated[list[Temperature], Meta(min_length=1, max_length=16)] = msgspec.field(
        default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    )
    compression_ratio_threshold: float | None = 2.4
    log_prob_threshold: float | None = -1.0
    no_speech_threshold: Probability | None = 0.6

    condition_on_previous_text: bool = False
    return_char_alignments: bool = False
    vad_filter: bool = True


_DEFAULTS = WhisperXOptions()

_UNUSED = ("best_of", "temperature", "compression_ratio_threshold", "log_prob_threshold", "no_speech_threshold")
"""They steer second attempts, and there are none."""

_REFUSED = {
    "condition_on_previous_text": "whisperX decodes windows side by side, so there is no previous text; leave it out",
    "return_char_alignments": "a transcript has words and no characters; leave it out",
    "vad_filter": "whisperX always looks for speech first; leave it out",
}
"""Options that can have one value only, and why."""

_LIBRARY = (
    "beam_size",
    "patience",
    "length_penalty",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "initial_prompt",
    "prefix",
    "hotwords",
    "suppress_blank",
    "without_timestamps",
    "prepend_punctuations",
    "append_punctuations",
)
"""Fields that ``TranscriptionOptions`` of faster-whisper has under the same name, with the same meaning."""


def check_options(options: WhisperXOptions, vocabulary: int) -> None:
    """Nothing, if whisperX and a model with so many tokens can do what is asked.

    Raises:
        EngineFault: naming the option.
    """
    for name, reason in _REFUSED.items():
        if getattr(options, name) != getattr(_DEFAULTS, name):
            raise bad_option(name, reason)
    check(WhisperOptions(language=options.language, suppress_tokens=options.suppress_tokens), vocabulary)


def check_thresholds(onset: float, offset: float) -> None:
    """Nothing, if speech ends at a lower score than it begins.

    Raises:
        EngineFault: it would begin and end with every frame between the two.
    """
    if offset > onset:
        raise bad_option("vad_offset", f"{offset:g} is above vad_onset, {onset:g}; speech would end where it begins")


def library_options(options: WhisperXOptions, numerals: list[int], *, words: bool) -> dict[str, Any]:
    """What to replace in whisperX's own ``TranscriptionOptions``.

    Args:
        options: of the job.
        numerals: tokens with digits in them; not used unless the job wants none.
        words: find the times of words by whisper's own attention.
    """
    suppressed = list(options.suppress_tokens or [])
    if options.suppress_numerals:
        suppressed = sorted({*suppressed, *numerals})
    taken = {name: getattr(options, name) for name in _LIBRARY}
    return {**taken, "suppress_tokens": suppressed, "word_timestamps": words}


def unused(options: WhisperXOptions) -> list[str]:
    """The options that were given and change nothing. Temperature 0 is what whisperX does."""
    given = [name for name in _UNUSED if getattr(options, name) != getattr(_DEFAULTS, name)]
    return [name for name in given if name != "temperature" or options.temperature not in (0.0, [0.0])]


def kind_of(options: WhisperXOptions, batch_size: int, *, aligned: bool, words: bool) -> str:
    """What changes the cost of a decoding step, such as ``whisperx+beam5+batch8+align``: at most 64 characters."""
    parts = ["whisperx", f"beam{options.beam_size}", f"batch{batch_size}"]
    if options.patience != _DEFAULTS.patience:
        parts.append(f"patience{options.patience:.1f}")
    if aligned:
        parts.append("align")
    if words:
        parts.append("words")
    return "+".join(parts)
