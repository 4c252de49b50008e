"""What a job in batches means: its options, its windows, and segments out of words."""

import inspect
from typing import Any

import msgspec
import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.vad import VadOptions

from asrd_worker.engines.base import options_of
from asrd_worker.engines.faster_whisper import FasterWhisper, _keywords
from asrd_worker.engines.sentences import split
from asrd_worker.engines.whisper_options import WhisperOptions
from asrd_worker.engines.whisper_windows import as_batched, clips_of, cuts, obstacle

LIBRARY = inspect.signature(WhisperModel.transcribe).parameters
OURS = {"batch_size"}


def _options(**given: Any) -> WhisperOptions:
    return msgspec.convert(options_of(FasterWhisper, given), WhisperOptions, from_attributes=True)


# --- batches ----------------------------------------------------------------------------------------------------------

BATCHED = inspect.signature(BatchedInferencePipeline.transcribe).parameters


def test_the_batched_pipeline_takes_the_same_options_and_the_size() -> None:
    assert set(BATCHED) == set(LIBRARY) | OURS


@pytest.mark.parametrize(
    "name", ["vad_filter", "without_timestamps", "condition_on_previous_text", "clip_timestamps", "batch_size"]
)
def test_its_defaults_that_are_others_are_none_that_a_job_gets(name: str) -> None:
    """Where they are the same, or the job's own values are passed, there is nothing to decide."""
    differing = {n for n in BATCHED if n in LIBRARY and BATCHED[n].default != LIBRARY[n].default}
    assert differing == {"vad_filter", "without_timestamps", "clip_timestamps"}
    done = as_batched(_options(), 60.0)
    passed = {**_keywords(done), **cuts(done, 60.0), "batch_size": 4}
    assert name in passed


@pytest.mark.parametrize(
    ("given", "vad", "words", "plain"),
    [
        ({}, True, True, True),
        ({"without_timestamps": True}, True, False, True),
        ({"without_timestamps": True, "word_timestamps": True}, True, True, True),
        ({"clip_timestamps": "0,10", "vad_filter": True}, False, True, True),
        ({"clip_timestamps": "0", "vad_filter": False}, True, True, True),
    ],
)
def test_what_is_done_for_a_job_in_batches(given: dict[str, Any], vad: bool, words: bool, plain: bool) -> None:
    done = as_batched(_options(**given), 60.0)
    assert (done.vad_filter, done.word_timestamps, done.without_timestamps) == (vad, words, plain)


def test_a_prompt_reads_as_it_does_without_batches() -> None:
    assert as_batched(_options(initial_prompt=" Of Norland. "), 60.0).initial_prompt == " Of Norland."
    assert as_batched(_options(), 60.0).initial_prompt is None


@pytest.mark.parametrize(
    ("given", "clips"),
    [
        ("0", None),
        ("", None),
        ([], None),
        ([0.0], None),
        ("5", [(5, 60)]),
        ("0,10,20", [(0, 10), (20, 60)]),
        ([0, 10, 50, 99], [(0, 10), (50, 60)]),
        ([3, 3, 4, 4.004, 5, 6], [(5, 6)]),
        ("70,90", []),
    ],
)
def test_clips_are_stretches_of_the_audio_that_is_there(given: object, clips: list[tuple[float, float]] | None) -> None:
    assert clips_of(_options(clip_timestamps=given), 60.0) == clips


def test_no_stretch_of_speech_is_longer_than_a_window() -> None:
    """The library would leave out what is beyond it."""

    def speech(**given: Any) -> VadOptions:
        found: VadOptions = cuts(_options(**given), 60.0)["vad_parameters"]
        return found

    assert speech() == VadOptions(max_speech_duration_s=30, min_silence_duration_ms=160)
    assert speech(chunk_length=10).max_speech_duration_s == 10
    assert speech(vad_parameters={"max_speech_duration_s": 100}).max_speech_duration_s == 30
    assert speech(vad_parameters={"max_speech_duration_s": 7}) == VadOptions(max_speech_duration_s=7)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"condition_on_previous_text": True}, "condition_on_previous_text: windows that are decoded at once have no"),
        ({"initial_prompt": [1, 2]}, "initial_prompt: a batch takes it as text, not as tokens"),
        ({"temperature": 0.4}, "temperature: a batch is decoded at temperature 0 first"),
        ({"temperature": [0.2, 0.4]}, "temperature: a batch is decoded at temperature 0 first"),
        ({"prefix": "And"}, "prefix: windows that are decoded at once cannot have it"),
        ({"hallucination_silence_threshold": 2.0}, "hallucination_silence_threshold: windows that"),
        ({"max_initial_timestamp": 0.5}, "max_initial_timestamp: windows that are"),
        (
            {"clip_timestamps": "0,10,20"},
            "clip_timestamps: a clip of a batch has at most 30 s, and there is one of 40 s",
        ),
        ({"vad_parameters": {"speech_pad_ms": 8000}}, "vad_parameters.speech_pad_ms: 16 s around speech leave no room"),
        ({"chunk_length": 1}, "vad_parameters.speech_pad_ms: 0.8 s around speech leave no room in 1 s"),
    ],
)
def test_what_a_batch_cannot_do_is_said(given: dict[str, Any], said: str) -> None:
    found = obstacle(_options(**given), 60.0)
    assert found is not None
    assert f"{found[0]}: {found[1]}".startswith(said)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"temperature": 0.0, "initial_prompt": "x", "hotwords": "y", "multilingual": True, "max_new_tokens": 5},
        {"clip_timestamps": "0,30", "word_timestamps": True, "without_timestamps": True, "vad_filter": True},
        {"compression_ratio_threshold": None, "log_prob_threshold": None, "no_speech_threshold": None, "best_of": 1},
    ],
)
def test_all_else_it_can_do(given: dict[str, Any]) -> None:
    assert obstacle(_options(**given), 60.0) is None


# --- segments out of words --------------------------------------------------------------------------------------------


def _window(*words: tuple[str, float, float]) -> list[dict[str, Any]]:
    """Segments of a window with a token for each letter."""
    text = "".join(word for word, _, _ in words)
    timed = [{"word": word, "start": start, "end": end} for word, start, end in words]
    segment = {"text": text, "tokens": list(map(ord, text)), "start": 0.0, "end": 30.0, "words": timed, "seek": 7}
    return split(segment, lambda tokens: "".join(map(chr, tokens)))


def _said(found: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    for segment in found:
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
        assert "".join(map(chr, segment["tokens"])) == segment["text"]
        assert segment["seek"] == 7
    return [(segment["text"], segment["start"], segment["end"]) for segment in found]


def test_a_sentence_is_a_segment_but_a_title_ends_none() -> None:
    found = _window((" Mr.", 1, 2), (" X", 2, 3), (" saw.", 3, 4), (' "Why?"', 4, 5), (" So", 5, 6))
    assert _said(found) == [(" Mr. X saw.", 1, 4), (' "Why?"', 4, 5), (" So", 5, 6)]


def test_so_is_what_comes_before_a_pause() -> None:
    assert _said(_window((" a", 0, 1), (" b", 1.9, 3), (" c", 4.0, 5))) == [(" a b", 0, 3), (" c", 4, 5)]


def test_a_long_one_ends_at_a_comma() -> None:
    found = _window((" a,", 0, 5), (" b", 5, 13), (" c,", 13, 14), (" d", 14, 15))
    assert _said(found) == [(" a, b c,", 0, 14), (" d", 14, 15)]


@pytest.mark.parametrize("words", [None, []])
def test_without_words_the_window_is_one(words: object) -> None:
    segment = {"text": " a. b", "tokens": [1, 2], "start": 0.0, "end": 3.0, "words": words}
    assert split(segment, lambda _: "") == [segment]


def test_no_token_is_lost_and_no_letter_is_torn() -> None:
    """A letter of several bytes is several tokens, and those at the end may say nothing."""
    raw = [*" né。 愛".encode(), 255]
    words = [{"word": " né。", "start": 0, "end": 1}, {"word": " 愛", "start": 1, "end": 2}]
    found = split({"text": " né。 愛", "tokens": raw, "words": words}, lambda t: bytes(t).decode(errors="replace"))

    assert [bytes(one["tokens"]) for one in found] == [" né。".encode(), " 愛".encode() + b"\xff"]
