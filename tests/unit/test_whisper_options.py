"""The options of a faster-whisper job: all of the library's, with its names and, but for one, its defaults."""

import dataclasses
import inspect
from typing import Any

import msgspec
import pytest
from faster_whisper import WhisperModel
from faster_whisper.vad import VadOptions

from asrd_protocol.faults import Code
from asrd_worker.engines.base import EngineFault, LoadError, options_of, settings_of
from asrd_worker.engines.faster_whisper import FasterWhisper, _keywords
from asrd_worker.engines.whisper_checks import check
from asrd_worker.engines.whisper_options import SYNONYMS, VadParameters, WhisperOptions, kind_of

VOCABULARY = 51_864
LIBRARY = inspect.signature(WhisperModel.transcribe).parameters
FIELDS = {field.name: field for field in msgspec.structs.fields(WhisperOptions)}
NOT_OFFERED = {"self", "audio", "log_progress"}
"""The audio is the body of the job, and the log's progress bar is for nobody."""


OURS = {"batch_size"}
"""What another part of the library takes."""


def _default(name: str) -> Any:
    return getattr(WhisperOptions(), name)


def _options(**given: Any) -> WhisperOptions:
    found = options_of(FasterWhisper, given)
    assert isinstance(found, WhisperOptions)
    check(found, VOCABULARY)
    return found


def _complaint(**given: Any) -> str:
    with pytest.raises(EngineFault) as caught:
        _options(**given)
    assert caught.value.fault.code is Code.BAD_OPTION
    assert not caught.value.leave
    return caught.value.fault.message


# --- against the library ----------------------------------------------------------------------------------------------


def test_every_option_of_the_library_is_offered_and_no_other() -> None:
    assert set(FIELDS) - OURS == set(LIBRARY) - NOT_OFFERED


@pytest.mark.parametrize("name", sorted(set(FIELDS) - OURS - {"condition_on_previous_text", "vad_parameters"}))
def test_the_default_is_the_librarys(name: str) -> None:
    assert _default(name) == LIBRARY[name].default


def test_but_no_text_is_carried_over_from_window_to_window() -> None:
    """The one default that differs, on purpose: one hallucination would go on and on."""
    assert LIBRARY["condition_on_previous_text"].default is True
    assert _default("condition_on_previous_text") is False


def test_the_parameters_of_voice_activity_detection_are_the_librarys_with_its_defaults() -> None:
    known = {field.name for field in dataclasses.fields(VadOptions)}
    ours = msgspec.structs.asdict(VadParameters())

    assert set(ours) <= known
    assert VadOptions(**ours) == VadOptions()


def test_what_the_library_is_given_is_what_it_takes() -> None:
    keywords = _keywords(_options(vad_filter=True, vad_parameters={"speech_pad_ms": 7}, beam_size=2))

    assert set(keywords) == set(LIBRARY) - NOT_OFFERED
    assert keywords["vad_parameters"] == VadOptions(speech_pad_ms=7)
    assert (keywords["beam_size"], keywords["vad_filter"]) == (2, True)


def test_no_job_can_change_the_defaults_of_the_next() -> None:
    first = _options()
    assert isinstance(first.temperature, list)
    first.temperature.append(99.0)

    assert _options().temperature == LIBRARY["temperature"].default


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"beam_sise": 3}, "unknown option 'beam_sise'; did you mean 'beam_size'?"),
        ({"word_timestamp": True}, "unknown option 'word_timestamp'; did you mean 'word_timestamps'?"),
        ({"audio": "/etc/passwd"}, "unknown option 'audio'"),
        ({"log_progress": True}, "unknown option 'log_progress'"),
        (
            {"vad_parameters": {"speech_pad": 1}},
            "unknown option 'speech_pad' in vad_parameters; did you mean 'speech_pad_ms'?",
        ),
        ({"vad_parameters": {"threshold": "x"}}, "option vad_parameters.threshold: expected `float`, got 'x'"),
        ({"beam_size": 0}, "option beam_size: expected `int` >= 1, got 0"),
        ({"beam_size": 17}, "option beam_size: expected `int` <= 16, got 17"),
        ({"batch_size": 65}, "option batch_size: expected `int` <= 64, got 65"),
        ({"batch_size": -1}, "option batch_size: expected `int` >= 0, got -1"),
        ({"batch_size": "auto"}, "option batch_size: expected `int | null`, got 'auto'"),
        ({"beam_size": "5"}, "option beam_size: expected `int`, got '5'"),
        ({"best_of": 1000}, "option best_of: expected `int` <= 16, got 1000"),
        ({"temperature": 2.1}, "option temperature: expected `float` <= 2.0, got 2.1"),
        ({"temperature": []}, "option temperature: expected `array` of length >= 1, got []"),
        ({"temperature": float("nan")}, "option temperature: expected `float` >= 0.0, got nan"),
        ({"task": "summarise"}, "option task: expected one of 'transcribe', 'translate', got 'summarise'"),
        ({"chunk_length": 31}, "option chunk_length: expected `int` <= 30, got 31"),
        ({"max_new_tokens": 449}, "option max_new_tokens: expected `int` <= 448, got 449"),
        ({"no_speech_threshold": 1.5}, "option no_speech_threshold: expected `float` <= 1.0, got 1.5"),
        ({"vad_parameters": {"threshold": 2}}, "option vad_parameters.threshold: expected `float` <= 1.0"),
        ({"initial_prompt": "x" * 4001}, "option initial_prompt: expected `str` of length <= 4000"),
        ({"language": "klingon"}, "option language: 'klingon' is no language code of the model"),
        ({"language": "haww"}, "option language: 'haww' is no language code of the model; did you mean 'haw'?"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected_and_the_nearest_name(given: dict[str, Any], said: str) -> None:
    assert _complaint(**given).startswith(said)


@pytest.mark.parametrize("name", ["suppress_tokens", "initial_prompt"])
def test_a_token_that_the_model_has_not_is_an_index_outside_of_its_arrays(name: str) -> None:
    _options(**{name: [0, VOCABULARY - 1]})

    said = f"option {name}: the model has no token {VOCABULARY}; its tokens are 0 to {VOCABULARY - 1}"
    assert _complaint(**{name: [5, VOCABULARY]}) == said
    assert f"option {name}" in _complaint(**{name: [-2]})
    assert f"option {name}" in _complaint(**{name: [2**40]})


def test_minus_one_stands_for_what_is_no_speech() -> None:
    assert _options(suppress_tokens=[-1, 5]).suppress_tokens == [-1, 5]
    assert "initial_prompt" in _complaint(initial_prompt=[-1])


@pytest.mark.parametrize("clips", ["", "0", "0,30", "0, 30, 60.5 ,90", [], [0], [0, 30.5], [1, 1, 2]])
def test_clips(clips: object) -> None:
    assert _options(clip_timestamps=clips).clip_timestamps == clips


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        ("abc", "option clip_timestamps: expected seconds such as '0,30,60,90', got 'abc'"),
        ("0,,1", "option clip_timestamps: expected seconds such as '0,30,60,90', got ''"),
        ("nan", "option clip_timestamps: expected seconds such as '0,30,60,90', got 'nan'"),
        ([0, float("inf")], "option clip_timestamps: expected seconds such as '0,30,60,90', got inf"),
        ([-1e9, 5], "option clip_timestamps: expected seconds such as '0,30,60,90', got -1000000000.0"),
        ("30,0", "option clip_timestamps: 0 follows 30; clips go from the start to the end"),
    ],
)
def test_clips_that_no_audio_has(clips: object, said: str) -> None:
    """A clip that starts long before the audio would keep the worker busy until its deadline."""
    assert _complaint(clip_timestamps=clips) == said


# --- what a decoding step costs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "beam5"),
        ({"beam_size": 1, "word_timestamps": True}, "beam1+words"),
        ({"vad_filter": True}, "beam5+vad"),
        ({"best_of": 2}, "beam5+best2"),
        ({"patience": 2}, "beam5+patience2.0"),
        ({"patience": 1.0, "best_of": 5, "vad_filter": False}, "beam5"),
        ({"language": "en", "temperature": 0.0, "initial_prompt": "x", "max_new_tokens": 3}, "beam5"),
        (
            {"beam_size": 16, "best_of": 16, "patience": 3.14159265, "word_timestamps": True, "vad_filter": True},
            "beam16+best16+patience3.1+words+vad",
        ),
    ],
)
def test_jobs_whose_steps_cost_the_same_are_of_one_kind(given: dict[str, Any], kind: str) -> None:
    """Words longer than these there are none, so a kind has room on the wire."""
    assert kind_of(_options(**given)) == kind
    assert len(kind) <= 64


def test_a_step_of_a_batch_costs_something_else() -> None:
    longest = _options(beam_size=16, best_of=16, patience=3.14159265, word_timestamps=True, vad_filter=True)

    assert kind_of(_options(), 8) == "beam5+batch8"
    assert kind_of(longest, 64) == "beam16+batch64+best16+patience3.1+words+vad"
    assert len(kind_of(longest, 64) + "+fell") <= 64


# --- names and settings -----------------------------------------------------------------------------------------------


def test_a_synonym_stands_for_an_option_that_is_there() -> None:
    assert FasterWhisper.synonyms is SYNONYMS
    assert SYNONYMS["logprob_threshold"] == "log_prob_threshold"
    assert set(SYNONYMS.values()) <= set(FIELDS)
    assert not set(SYNONYMS) & set(FIELDS)


def test_the_settings_of_a_pool() -> None:
    given = {"model": "m", "device": "cpu", "device_index": 0, "compute_type": "int8", "threads": 2, "offline": True}
    settings = settings_of(FasterWhisper, {**given, "revision": "abc"})

    assert {**given, "revision": "abc", "download_root": None, "batch_size": 0} == msgspec.structs.asdict(settings)
    with pytest.raises(LoadError, match="unknown engine setting 'revison'; did you mean 'revision'"):
        settings_of(FasterWhisper, {**given, "revison": "abc"})
    with pytest.raises(LoadError, match=r"engine setting revision: expected `str \| null`, got"):
        settings_of(FasterWhisper, {**given, "revision": 1})


@pytest.mark.parametrize("size", [0, 1, 64, "auto"])
def test_a_pool_has_a_batch_size(size: object) -> None:
    settings = settings_of(FasterWhisper, {"batch_size": size})
    assert msgspec.structs.asdict(settings)["batch_size"] == size


@pytest.mark.parametrize("size", [-1, 65, "many", 1.5])
def test_and_it_is_no_other(size: object) -> None:
    with pytest.raises(LoadError, match="engine setting batch_size: expected"):
        settings_of(FasterWhisper, {"batch_size": size})
