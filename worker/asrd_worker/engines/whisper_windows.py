"""Where a batched job is cut into windows, and what it cannot ask for."""

from collections.abc import Iterator
from typing import Any

from faster_whisper.vad import VadOptions
from msgspec.structs import asdict, replace

from asrd_worker.engines.whisper_options import VadParameters, WhisperOptions

WINDOW_S = 30
"""What is longer loses its end."""

PACKED_SILENCE_MS = 160
"""Silence that ends a stretch of speech, unless the job has parameters of its own: short stretches fill windows better.
It is the pipeline's own default."""

_FRAMES_PER_S = 100
_DEFAULTS = WhisperOptions()

Clip = tuple[float, float]


def obstacle(options: WhisperOptions, duration: float) -> tuple[str, str] | None:
    """The first option that windows decoded at once cannot honour, and why; None when there is none."""
    return next(_obstacles(options, duration), None)


def as_batched(options: WhisperOptions, duration: float) -> WhisperOptions:
    """What is done for a job in batches: speech is looked for unless it has clips, and segments are made of words."""
    prompt = options.initial_prompt
    return replace(
        options,
        vad_filter=clips_of(options, duration) is None,
        word_timestamps=options.word_timestamps or not options.without_timestamps,
        without_timestamps=True,
        initial_prompt=f" {prompt.strip()}" if isinstance(prompt, str) else prompt,
    )


def cuts(options: WhisperOptions, duration: float) -> dict[str, Any]:
    """The pipeline's options that say where windows begin and end: the job's clips, or else where speech is."""
    clips = [{"start": start, "end": end} for start, end in clips_of(options, duration) or []]
    return {"vad_parameters": _speech(options), "clip_timestamps": clips}


def clips_of(options: WhisperOptions, duration: float) -> list[Clip] | None:
    """The job's own clips, in seconds, as far as there is audio; None when it wants everything."""
    given = options.clip_timestamps
    times = [float(word) for word in (given.split(",") if given else [])] if isinstance(given, str) else list(given)
    if times in ([], [0]):
        return None
    if len(times) % 2:
        times.append(duration)
    pairs = ((start, min(end, duration)) for start, end in zip(times[::2], times[1::2], strict=True))
    return [(start, end) for start, end in pairs if round(start * _FRAMES_PER_S) < round(end * _FRAMES_PER_S)]


def _speech(options: WhisperOptions) -> VadOptions:
    """The job's parameters, with no stretch longer than a window."""
    given = asdict(options.vad_parameters)
    given["max_speech_duration_s"] = min(given["max_speech_duration_s"], _window_s(options))
    if options.vad_parameters == VadParameters():
        given["min_silence_duration_ms"] = PACKED_SILENCE_MS
    return VadOptions(**given)


def _window_s(options: WhisperOptions) -> int:
    return options.chunk_length or WINDOW_S


def _obstacles(options: WhisperOptions, duration: float) -> Iterator[tuple[str, str]]:
    if options.condition_on_previous_text:
        yield "condition_on_previous_text", "windows that are decoded at once have no previous text"
    if not isinstance(options.initial_prompt, str | None):
        yield "initial_prompt", "a batch takes it as text, not as tokens"
    if _first(options.temperature) > 0:
        yield "temperature", "a batch is decoded at temperature 0 first"
    for name in ("prefix", "hallucination_silence_threshold", "max_initial_timestamp"):
        if getattr(options, name) != getattr(_DEFAULTS, name):
            yield name, "windows that are decoded at once cannot have it"
    clips = clips_of(options, duration)
    longest = max((end - start for start, end in clips or []), default=0)
    if longest > WINDOW_S:
        yield "clip_timestamps", f"a clip of a batch has at most {WINDOW_S} s, and there is one of {longest:g} s"
    pad_s = 2 * options.vad_parameters.speech_pad_ms / 1000
    if clips is None and pad_s > _window_s(options) / 2:
        yield "vad_parameters.speech_pad_ms", f"{pad_s:g} s around speech leave no room in {_window_s(options)} s"


def _first(temperature: float | list[float]) -> float:
    return temperature[0] if isinstance(temperature, list) else temperature
