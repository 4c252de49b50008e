"""The options of post-processing: what is refused, and with what advice; what is left out, and how that is told."""

import sys
from typing import Any

import pytest

from asrd_protocol.faults import Code
from asrd_protocol.model import Segment
from asrd_worker.engines.base import EngineFault
from asrd_worker.text import Chain, TextOptions, take


def said(language: str = "", **options: Any) -> str:
    """The message of the fault."""
    with pytest.raises(EngineFault) as caught:
        Chain.of(take(options)[0], language)
    assert caught.value.fault.code is Code.BAD_OPTION
    assert not caught.value.leave
    return caught.value.fault.message


def segment(text: str) -> Segment:
    """A segment of one text."""
    return Segment(id=0, seek=0, start=0.0, end=1.0, text=text)


def test_they_are_taken_out_of_the_options_of_a_job() -> None:
    options, rest = take({"beam_size": 1, "post": ["width"], "terms": {"a": "b"}, "fillers": ["c"]})

    assert options == TextOptions(post=["width"], terms={"a": "b"}, fillers=["c"])
    assert rest == {"beam_size": 1}
    assert take({"x": 1}) == (TextOptions(), {"x": 1})


@pytest.mark.parametrize(
    ("options", "named", "advice"),
    [
        ({"post": "width"}, "post", "expected"),
        ({"post": [1]}, "post", "expected"),
        ({"post": ["width"] * 17}, "post", "length"),
        ({"terms": ["a"]}, "terms", "expected"),
        ({"terms": {"a": 1}}, "terms", "expected"),
        ({"post": ["terms"], "terms": {"a" * 101: "b"}}, "terms", "may have 100 characters"),
        ({"post": ["terms"], "terms": {"a": "b" * 101}}, "terms", "length"),
        ({"fillers": [""], "post": ["fillers:en"]}, "fillers", "leave it out"),
        ({"fillers": ["w"] * 201, "post": ["fillers:en"]}, "fillers", "a job may have 200"),
        ({"fillers": ["w"]}, "fillers", "add 'fillers' to post"),
        ({"terms": {"a": "b"}, "post": ["width"]}, "terms", "add 'terms' to post"),
        ({"post": ["terms"]}, "terms", "leave it out of post"),
        ({"post": ["terms"], "terms": {str(i): "x" for i in range(1001)}}, "terms", "a job may have 1000"),
        ({"post": ["terms"], "terms": {"a": " "}}, "terms", "'fillers'"),
        ({"post": ["terms"], "terms": {" ": "a"}}, "terms", "neither side may be empty"),
        ({"post": ["terms"], "terms": {"a": "b\x07"}}, "terms", "cannot be shown"),
        ({"post": ["fllers"]}, "post", "did you mean 'fillers'?"),
        ({"post": [""]}, "post", "known: opencc, width, punctuation, numbers, fillers, terms"),
        ({"post": ["width:half"]}, "post", "takes nothing after its name"),
        ({"post": ["opencc"]}, "post", "known: s2t, "),
        ({"post": ["opencc:s2x"]}, "post", "did you mean 's2t'?"),
        ({"post": ["opencc:/etc/passwd"]}, "post", "is no conversion"),
        ({"post": ["numbers:ja"]}, "post", "only en, de"),
        ({"post": ["fillers:xx"]}, "post", "or give words of your own"),
    ],
)
def test_what_is_wrong_is_named_with_a_way_out(options: dict[str, Any], named: str, advice: str) -> None:
    message = said(**options)

    assert message.startswith(f"option {named}"), message
    assert advice in message


def test_a_step_for_another_language_than_the_jobs_is_refused() -> None:
    assert "'opencc:s2t' does not know the language 'en', only zh; leave it out" in said("en", post=["opencc:s2t"])
    assert "'ja'" in said("ja", post=["opencc:s2t"])
    assert "'fillers'" in said("sv", post=["fillers"])
    assert "'numbers'" in said("ja", post=["numbers"])


def test_a_step_with_a_language_of_its_own_does_not_care_for_the_jobs() -> None:
    chain = Chain.of(TextOptions(post=["fillers:de"]), "en")

    assert chain.apply(segment(" äh um"), "en").text == " um"


def test_the_language_may_be_told_with_each_segment() -> None:
    chain = Chain.of(TextOptions(post=["fillers"]))

    assert chain.apply(segment(" äh um"), "de").text == " um"
    assert chain.apply(segment(" äh um"), "en").text == " äh"
    assert chain.warnings == []


def test_the_language_of_the_job_goes_before_what_was_heard() -> None:
    assert Chain.of(TextOptions(post=["fillers"]), "en").apply(segment(" äh um"), "de").text == " äh"


def test_a_step_that_does_not_know_the_language_heard_is_left_out_with_one_warning() -> None:
    chain = Chain.of(TextOptions(post=["fillers", "numbers", "width"]))

    for _ in range(2):
        assert chain.apply(segment(" äh twenty Ａ"), "sv").text == " äh twenty A"
    assert chain.apply(segment(" um"), "").text == " um"
    assert chain.warnings == [
        "post: 'fillers' was left out for the language 'sv'",
        "post: 'numbers' was left out for the language 'sv'",
        "post: 'fillers' was left out for a language that nobody has told",
        "post: 'numbers' was left out for a language that nobody has told",
    ]


def test_chinese_is_not_converted_in_what_was_heard_as_japanese() -> None:
    chain = Chain.of(TextOptions(post=["opencc:s2t"]))

    assert chain.apply(segment("国"), "ja").text == "国"
    assert chain.apply(segment("国"), "").text == "國"
    assert chain.warnings == ["post: 'opencc:s2t' was left out for the language 'ja'"]


def test_a_package_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opencc", None)
    monkeypatch.setitem(sys.modules, "text_to_num", None)

    needs = "needs the package {}, which is not installed; pip install 'asrd[text]'"
    assert said(post=["opencc:hk2sp"]) == f"option post: 'opencc:hk2sp' {needs.format('opencc')}"
    assert said("en", post=["numbers"]) == f"option post: 'numbers' {needs.format('text2num')}"
    assert Chain.of(TextOptions(post=["numbers"]), "zh").apply(segment("十二")).text == "12"
