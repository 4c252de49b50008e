"""The options of a whisperX job, which model aligns it, and the times of its words; nothing here needs whisperX."""

import dataclasses
from typing import Any

import msgspec
import pytest
from faster_whisper.transcribe import TranscriptionOptions
from hypothesis import given
from hypothesis import strategies as st

from asrd_protocol.faults import Code
from asrd_worker.engines.aligners import Aligners
from asrd_worker.engines.base import EngineFault, LoadError, options_of, settings_of
from asrd_worker.engines.whisper_options import WhisperOptions
from asrd_worker.engines.whisperx import WhisperX
from asrd_worker.engines.whisperx_options import (
    WhisperXOptions,
    WhisperXSettings,
    check_options,
    check_thresholds,
    kind_of,
    library_options,
    unused,
)
from asrd_worker.engines.word_times import Heard, timed

VOCABULARY = 51_864


class Named:
    """An alignment model, as far as choosing one goes."""

    def __init__(self, name: str, language: str) -> None:
        self.name = name
        self.language = language

    def speaking(self, language: str) -> "Named":
        """The same for another language."""
        return Named(self.name, language)


def _options(**given: Any) -> WhisperXOptions:
    found = options_of(WhisperX, given)
    assert isinstance(found, WhisperXOptions)
    check_options(found, VOCABULARY)
    return found


def _choose(models: dict[str, str], language: str, *, translated: bool = False, **given: Any) -> Any:
    aligners = Aligners({key: Named(name, key) for key, name in models.items()})  # type: ignore[dict-item]
    return aligners.choose(_options(**given), language, translated=translated)


def test_what_both_engines_have_means_the_same() -> None:
    theirs = {field.name: field for field in msgspec.structs.fields(WhisperOptions)}
    differing = {
        field.name
        for field in msgspec.structs.fields(WhisperXOptions)
        if field.name in theirs and getattr(WhisperXOptions(), field.name) != getattr(WhisperOptions(), field.name)
    }
    assert differing == {"without_timestamps", "vad_filter"}


def test_what_goes_to_the_library_is_known_there() -> None:
    names = {field.name for field in dataclasses.fields(TranscriptionOptions)}
    assert set(library_options(WhisperXOptions(), [], words=False)) <= names


def test_every_option_is_used_refused_or_warned_of() -> None:
    ours = {"language", "task", "batch_size", "chunk_size", "vad_onset", "vad_offset"}
    ours |= {"align", "word_timestamps", "interpolate_method", "suppress_numerals"}
    refused = {"condition_on_previous_text", "return_char_alignments", "vad_filter"}
    other = {"best_of": 1, "temperature": 0.5, "compression_ratio_threshold": 1.0, "log_prob_threshold": -3.0}
    warned = set(unused(_options(no_speech_threshold=0.1, **other)))
    assert warned == {"no_speech_threshold", *other}
    passed = set(library_options(WhisperXOptions(), [], words=False))
    assert set(WhisperXOptions.__struct_fields__) == ours | refused | warned | passed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"condition_on_previous_text": True}, "no previous text"),
        ({"return_char_alignments": True}, "no characters"),
        ({"vad_filter": False}, "looks for speech first"),
        ({"language": "xx"}, "'xx' is no language code"),
        ({"suppress_tokens": [VOCABULARY]}, f"no token {VOCABULARY}"),
        ({"batchsize": 4}, "did you mean 'batch_size'"),
        ({"chunk_size": 31}, "chunk_size"),
        ({"vad_onset": 1.0}, "vad_onset"),
        ({"interpolate_method": "cubic"}, "'nearest', 'linear', 'ignore'"),
    ],
)
def test_what_means_something_else_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineFault, match=said) as raised:
        _options(**given)
    assert raised.value.fault.code == Code.BAD_OPTION
    assert next(iter(given)) in raised.value.fault.message


def test_what_broadcast_subtitles_and_other_clients_ask_is_taken() -> None:
    _options(word_timestamps=True, condition_on_previous_text=False, vad_filter=True, temperature=0)


def test_temperature_zero_is_what_whisperx_does() -> None:
    assert unused(_options(temperature=0)) == unused(_options(temperature=[0.0])) == []
    assert unused(_options(temperature=[0.0, 0.4])) == ["temperature"]


def test_speech_does_not_end_at_a_higher_score_than_it_begins() -> None:
    check_thresholds(0.5, 0.5)
    with pytest.raises(EngineFault, match=r"vad_offset: 0\.6 is above vad_onset, 0\.5"):
        check_thresholds(0.5, 0.6)


def test_numerals_are_suppressed_only_if_asked() -> None:
    assert library_options(_options(), [5, 6], words=False)["suppress_tokens"] == [-1]
    asked = library_options(_options(suppress_numerals=True), [5, 6], words=True)
    assert asked["suppress_tokens"] == [-1, 5, 6]
    assert asked["word_timestamps"] is True
    assert library_options(_options(suppress_tokens=None), [], words=False)["suppress_tokens"] == []


def test_the_kind_tells_what_changes_the_cost() -> None:
    assert kind_of(_options(), 8, aligned=False, words=False) == "whisperx+beam5+batch8"
    longest = kind_of(_options(beam_size=16, patience=4), 64, aligned=True, words=True)
    assert longest == "whisperx+beam16+batch64+patience4.0+align+words"
    assert len(longest + "+fell") <= 64


def test_settings_of_a_pool() -> None:
    found = settings_of(WhisperX, {"align_models": {"de": "/models/de"}, "batch_size": 16, "device": "cuda"})
    assert isinstance(found, WhisperXSettings)
    assert found.torch_device == "cuda:0"
    assert WhisperXSettings().torch_device == "cpu"
    with pytest.raises(LoadError, match="vad_method"):
        settings_of(WhisperX, {"vad_method": "webrtc"})
    with pytest.raises(LoadError, match="unknown engine setting 'aling_model'"):
        settings_of(WhisperX, {"aling_model": "x"})


def test_a_pool_whose_thresholds_contradict_does_not_load() -> None:
    with pytest.raises(LoadError, match="vad_offset"):
        WhisperX(WhisperXSettings(vad_onset=0.2), "x/0.1").load()


def test_a_language_has_its_own_model_before_the_one_for_all() -> None:
    models = {"de": "german", "": "any"}
    assert _choose(models, "de", align=True).name == "german"
    other = _choose(models, "fr", align=True)
    assert (other.name, other.language) == ("any", "fr")
    assert _choose(models, "de", word_timestamps=True).name == "german"
    assert _choose(models, "de") is None


def test_words_do_without_a_model_and_alignment_does_not() -> None:
    assert _choose({"de": "german"}, "fr", word_timestamps=True) is None
    with pytest.raises(EngineFault, match=r"no alignment model for 'fr' in this pool; set options\.align_models\.fr"):
        _choose({"de": "german"}, "fr", align=True)


def test_a_translation_is_not_aligned() -> None:
    assert _choose({"de": "german"}, "de", translated=True, word_timestamps=True) is None
    with pytest.raises(EngineFault, match="translation"):
        _choose({"de": "german"}, "de", translated=True, align=True)


def test_words_without_times_share_the_gap_by_their_letters() -> None:
    words = [Heard(word=" a", start=1.0, end=2.0, score=0.9), Heard(word=" bb"), Heard(word=" c"), Heard(word=" d")]
    words += [Heard(word=" e", start=4.0, end=4.5, score=float("nan")), Heard(word=" f", start=float("nan"), end=5.0)]
    found = [(word.word, word.start, word.end, word.probability) for word in timed(words, 0.5, 6.0)]
    assert found == [
        (" a", 1.0, 2.0, 0.9),
        (" bb", 2.0, 3.0, 0.0),
        (" c", 3.0, 3.5, 0.0),
        (" d", 3.5, 4.0, 0.0),
        (" e", 4.0, 4.5, 0.0),
        (" f", 4.5, 6.0, 0.0),
    ]


_TIME = st.none() | st.floats(-5, 40) | st.just(float("nan"))


@given(st.lists(st.builds(Heard, word=st.text(max_size=5), start=_TIME, end=_TIME, score=_TIME), max_size=12))
def test_times_are_in_order_whatever_the_aligner_says(words: list[Heard]) -> None:
    found = timed(words, 3.0, 30.0)
    assert [word.word for word in found] == [word.word for word in words]
    bounds = [3.0, *(time for word in found for time in (word.start, word.end)), 30.0]
    assert bounds == sorted(bounds)
    assert all(0 <= word.probability <= 1 for word in found)
