"""The options of a faster-whisper job: the library's own names, checked, and with explicit defaults.

``condition_on_previous_text`` is off: carrying text over from window to window makes one hallucination a long one.
Limits on beams and candidates are there because each multiplies the cost of a job.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Probability = Annotated[float, Meta(ge=0, le=1)]
Token = Annotated[int, Meta(ge=0, le=1_000_000)]
SuppressedToken = Annotated[int, Meta(ge=-1, le=1_000_000)]
"""-1 stands for the symbols that are no speech."""
Temperature = Annotated[float, Meta(ge=0, le=2)]

BatchSize = Annotated[int, Meta(ge=0, le=64)]


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ModelSettings(_Options, frozen=True, kw_only=True):
    """Which whisper model a pool has, and where it computes."""

    model: str = "tiny.en"
    device: str = "cpu"
    device_index: int = 0
    compute_type: str = "int8"
    threads: int = 1
    offline: bool = True
    revision: str | None = None
    """Commit of the hub's repository."""
    download_root: str | None = None
    """Cache directory of the hub's client."""


class VadParameters(_Options, frozen=True, kw_only=True):
    """Voice activity detection by silero."""

    threshold: Probability = 0.5
    neg_threshold: Probability | None = None
    min_speech_duration_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    max_speech_duration_s: Annotated[float, Meta(gt=0)] = float("inf")
    min_silence_duration_ms: Annotated[int, Meta(ge=0, le=60_000)] = 2_000
    speech_pad_ms: Annotated[int, Meta(ge=0, le=10_000)] = 400


class WhisperOptions(_Options, frozen=True, kw_only=True):
    """Everything that ``WhisperModel.transcribe`` takes, less what makes no sense over a wire; and ``batch_size``."""

    language: Annotated[str, Meta(max_length=16)] | None = None
    """Code such as ``en``; detected when None."""
    task: Literal["transcribe", "translate"] = "transcribe"
    beam_size: Annotated[int, Meta(ge=1, le=16)] = 5
    best_of: Annotated[int, Meta(ge=1, le=16)] = 5
    patience: Annotated[float, Meta(gt=0, le=4)] = 1.0
    length_penalty: Annotated[float, Meta(ge=-5, le=5)] = 1.0
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] = 1.0
    no_repeat_ngram_size: Annotated[int, Meta(ge=0, le=100)] = 0
    temperature: Temperature | Annotated[list[Temperature], Meta(min_length=1, max_length=16)] = msgspec.field(
        default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    )
    compression_ratio_threshold: float | None = 2.4
    log_prob_threshold: float | None = -1.0
    no_speech_threshold: Probability | None = 0.6
    condition_on_previous_text: bool = False
    prompt_reset_on_temperature: float = 0.5
    initial_prompt: Annotated[str, Meta(max_length=4_000)] | Annotated[list[Token], Meta(max_length=1_000)] | None = (
        None
    )
    prefix: Annotated[str, Meta(max_length=4_000)] | None = None
    suppress_blank: bool = True
    suppress_tokens: Annotated[list[SuppressedToken], Meta(max_length=1_000)] | None = msgspec.field(
        default_factory=lambda: [-1]
    )
    without_timestamps: bool = False
    max_initial_timestamp: Annotated[float, Meta(ge=0, le=30)] = 1.0
    word_timestamps: bool = False
    prepend_punctuations: Annotated[str, Meta(max_length=100)] = "\"'“¿([{-"
    append_punctuations: Annotated[str, Meta(max_length=100)] = "\"'.。,，!！?？:：”)]}、"
    multilingual: bool = False
    """Detect the language anew in each window."""
    vad_filter: bool = False
    vad_parameters: VadParameters = VadParameters()
    max_new_tokens: Annotated[int, Meta(ge=1, le=448)] | None = None
    chunk_length: Annotated[int, Meta(ge=1, le=30)] | None = None
    clip_timestamps: Annotated[str, Meta(max_length=10_000)] | Annotated[list[float], Meta(max_length=10_000)] = "0"
    hallucination_silence_threshold: Annotated[float, Meta(ge=0)] | None = None
    hotwords: Annotated[str, Meta(max_length=4_000)] | None = None
    language_detection_threshold: Probability | None = 0.5
    language_detection_segments: Annotated[int, Meta(ge=1, le=100)] = 1
    batch_size: BatchSize | None = None
    """Windows that are decoded at once; None for what the pool has, 0 or 1 for one after the other."""


SYNONYMS = {"logprob_threshold": "log_prob_threshold"}
"""What openai-whisper and whisperX call an option."""


def kind_of(options: WhisperOptions, batch_size: int = 0) -> str:
    """The options that change what a decoding step costs, such as ``beam5+words``: at most 64 characters.

    Only jobs of one kind can be compared step by step. Voice activity detection is part of it: windows without silence
    are fuller.
    """
    parts = [f"beam{options.beam_size}"]
    if batch_size:
        parts.append(f"batch{batch_size}")
    if options.best_of != _DEFAULTS.best_of:
        parts.append(f"best{options.best_of}")
    if options.patience != _DEFAULTS.patience:
        parts.append(f"patience{options.patience:.1f}")
    if options.word_timestamps:
        parts.append("words")
    if options.vad_filter:
        parts.append("vad")
    return "+".join(parts)


_DEFAULTS = WhisperOptions()
