"""Laws of post-processing: text and words never part, times stay in order, and a step has done its work at once."""

from typing import Any

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_protocol.model import Segment, Word
from asrd_worker.text import Chain, TextOptions

SAID = st.one_of(
    st.sampled_from(
        (
            *(
                "um",
                "Um",
                "uh,",
                "UM",
                "er.",
                "mm",
                "so",
                "I",
                "(uh)",
                "well,",
                "5",
                "Äh",
                "öh",
                '"um',
                "um-hum",
                "you",
            ),
            *(
                "twenty",
                "five",
                "a",
                "hundred",
                "and",
                "first",
                "million",
                "nineteen",
                "eighty-four",
                "point",
                "2",
                "know",
            ),
            *("嗯", "啊", "，", "。", "一", "百", "二十", "点", "分之", "万", "几", "软件", "内存", "头发", "月", "负"),
            *(
                "えーと",
                "あの",
                "ｶﾞ",
                "ﾞ",
                "Ａ",
                "！",
                "（",
                "）",
                "“",
                "’",
                ".",
                ",",
                "?",
                "...",
                ":",
                "　",
                "\t",
                "–",
                "-",
            ),
            *("as red", "As", "red", "ASR"),
        )
    ),
    st.text(max_size=4),
)
SPACE = st.sampled_from(("", " ", " ", "  ", "\n", "　"))
STEPS = st.sampled_from(
    (
        *("opencc:s2t", "opencc:s2twp", "opencc:t2s", "width", "punctuation", "terms"),
        *("numbers:en", "numbers:zh", "numbers:de", "fillers:en", "fillers:de", "fillers:zh", "fillers:ja"),
    )
)
TERMS = {"as red": "asrd", "ASR": "speech recognition", "um": "Um", "red": "Red Hat", "内": "里 面"}
ONCE = (*("width", "punctuation", "opencc:t2s"), *(f"fillers:{code}" for code in ("en", "de", "zh", "ja")))
"""Steps that find nothing to do in what they have made."""


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """A segment as whisper gives it: its words joined are its text, and they follow each other."""
    parts = [draw(SPACE) + said for said in draw(st.lists(SAID, max_size=12))]
    moments = sorted(draw(st.lists(st.floats(0, 30), min_size=2 * len(parts), max_size=2 * len(parts))))
    words = [
        Word(start=moments[2 * i], end=moments[2 * i + 1], word=part, probability=draw(st.floats(0, 1)))
        for i, part in enumerate(parts)
    ]
    return Segment(id=0, seek=0, start=0.0, end=30.0, text="".join(parts), words=words)


def chain(*post: str, **more: Any) -> Chain:
    """The chain of these steps."""
    known = {"terms": TERMS} if "terms" in post else {}
    return Chain.of(TextOptions(post=list(post), **(known | more)))


def unworded(segment: Segment) -> Segment:
    """The same without word times."""
    return Segment(id=0, seek=0, start=0.0, end=30.0, text=segment.text)


@given(segments(), st.lists(STEPS, max_size=5))
def test_words_joined_are_the_text_and_their_times_are_in_order(segment: Segment, post: list[str]) -> None:
    done = chain(*post).apply(segment)

    words = done.words or []
    assert "".join(word.word for word in words) == done.text
    moments = [at for word in words for at in (word.start, word.end)]
    assert moments == sorted(moments)
    assert {word.start for word in words} <= {word.start for word in segment.words or []}
    assert {word.end for word in words} <= {word.end for word in segment.words or []}
    assert len(words) <= len(segment.words or [])


@given(segments(), st.lists(STEPS, max_size=5))
def test_the_text_is_the_same_with_and_without_words(segment: Segment, post: list[str]) -> None:
    links = chain(*post)

    without = links.apply(unworded(segment))

    assert without.words is None
    assert without.text == links.apply(segment).text


@given(segments(), STEPS)
def test_a_word_that_no_step_touches_keeps_all_that_it_has(segment: Segment, post: str) -> None:
    done = chain(post).apply(segment)

    before = segment.words or []
    for word in done.words or []:
        covered = [old for old in before if word.start <= old.start and old.end <= word.end]
        assert word.probability in {old.probability for old in covered}


@pytest.mark.parametrize("post", ONCE)
@given(segment=segments())
def test_the_second_time_there_is_nothing_to_do(post: str, segment: Segment) -> None:
    once = chain(post).apply(segment)

    assert chain(post).apply(once) == once


@given(segments())
def test_no_step_at_all_changes_nothing(segment: Segment) -> None:
    assert chain().apply(segment) is segment


@given(segments(), STEPS)
def test_segments_may_come_one_at_a_time(segment: Segment, post: str) -> None:
    links = chain(post)
    links.apply(segment)

    assert links.apply(segment) == chain(post).apply(segment)


@given(segments(), st.sampled_from(("s2t", "s2twp", "t2s", "s2hkp")))
def test_chinese_variants_are_those_of_the_whole_text(segment: Segment, name: str) -> None:
    expected = opencc.OpenCC(name).convert(segment.text)

    assert chain(f"opencc:{name}").apply(segment).text == (expected if expected.strip() else segment.text)


@given(st.integers(0, 10**12 - 1))
def test_chinese_numbers_read_back(number: int) -> None:
    spoken = chinese(number)
    text = f"共{spoken}个"

    expected = text if number <= 10 else f"共{number}个"

    assert chain("numbers:zh").apply(Segment(id=0, seek=0, start=0, end=1, text=text)).text == expected


def chinese(number: int) -> str:
    """A whole number below 10 ** 12 as it is spoken in full."""
    if number == 0:
        return "零"
    groups = [number // 10**8, number // 10**4 % 10**4, number % 10**4]
    said = ""
    for group, unit in zip(groups, ("亿", "万", ""), strict=True):
        if group:
            said += ("零" if said and group < 1000 else "") + _group(group) + unit
        elif said and unit == "万" and groups[2] >= 1000:
            said += "零"
    return said[1:] if said.startswith("一十") else said


def _group(group: int) -> str:
    said, zero = "", False
    for unit, value in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit = group // value % 10
        if digit:
            said += ("零" if zero and said else "") + "零一二三四五六七八九"[digit] + unit
        zero = not digit
    return said
