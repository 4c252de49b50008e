"""Whisper's formats: byte for byte openai-whisper's (golden files), and what must hold for any transcript at all."""

import json
import re
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.subtitles import FORMATS, WHISPER_FORMATS, UnknownFormat, WhisperLayout, render
from asrd_protocol.model import Segment, Transcript, Word

DATA = Path(__file__).parents[1] / "data" / "formats"
CASES = sorted(path.stem for path in (DATA / "inputs").glob("*.json"))
WORDY = sorted(path.stem for path in (DATA / "layouts").glob("*.json"))
LAYOUTS = json.loads((DATA / "layouts.json").read_text())


def transcript_of(case: str) -> Transcript:
    return msgspec.json.decode((DATA / "inputs" / f"{case}.json").read_bytes(), type=Transcript)


def spoken(*words: tuple[float, float, str], id: int = 0) -> Segment:
    """A segment with word times."""
    timed = [Word(start=start, end=end, word=word, probability=1.0) for start, end, word in words]
    text = "".join(word.word for word in timed)
    return Segment(id=id, seek=0, start=timed[0].start, end=timed[-1].end, text=text, words=timed)


def told(*segments: Segment) -> Transcript:
    text = "".join(segment.text for segment in segments)
    return Transcript(text=text, language="en", segments=list(segments), duration=1.0)


# --- as openai-whisper writes them


def test_every_case_has_every_format_of_whisper() -> None:
    assert {path.name for path in (DATA / "golden").iterdir()} == {
        f"{case}.{fmt}" for case in CASES for fmt in WHISPER_FORMATS
    }


@pytest.mark.parametrize("fmt", WHISPER_FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, fmt: str) -> None:
    expected = (DATA / "golden" / f"{case}.{fmt}").read_bytes()
    assert render(transcript_of(case), fmt).encode() == expected


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("case", WORDY)
def test_layouts(case: str, name: str) -> None:
    expected = json.loads((DATA / "layouts" / f"{case}.json").read_text(encoding="utf-8"))[name]
    assert render(transcript_of(case), "srt", WhisperLayout(**LAYOUTS[name])).split("\n") == expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_vtt_has_the_cues_of_srt(name: str) -> None:
    transcript, layout = transcript_of("spaced_words"), WhisperLayout(**LAYOUTS[name])
    srt = re.sub(r"^\d+\n(?=\d\d:)", "", render(transcript, "srt", layout), flags=re.MULTILINE)
    vtt = re.sub(r"(?<![:\d])(\d\d:\d\d\.)", r"00:\1", render(transcript, "vtt", layout))
    assert vtt.replace(".", ",") == "WEBVTT\n\n" + srt.replace(".", ",")


def test_a_very_long_segment_is_broken_where_whisper_breaks_it() -> None:
    """Its "no limit" is 1000 words in a cue and 1000 characters in a line."""
    words = told(spoken(*((i, i + 1, "a") for i in range(1001))))
    assert [cue.text for cue in cues_of(render(words, "srt"))] == ["a" * 1000, "a"]
    letters = told(spoken((0, 1, " " + "b" * 500), (1, 2, "c" * 500), (2, 3, " d")))
    assert [cue.text for cue in cues_of(render(letters, "srt"))] == ["b" * 500 + "c" * 500 + "\nd"]


# --- what is asrd's own


def test_one_segment_without_words_is_enough_for_one_cue_a_segment() -> None:
    plain = Segment(id=1, seek=0, start=1.0, end=2.0, text=" no --> words")
    transcript = told(spoken((0.2, 0.4, " two"), (0.4, 0.8, " words")), plain)
    layout = WhisperLayout(max_line_width=5, max_line_count=1, highlight_words=True, max_words_per_line=1)
    texts = [cue.text for cue in cues_of(render(transcript, "srt", layout))]
    assert texts == ["two words", "no -> words"]


def test_zero_is_no_limit() -> None:
    transcript = transcript_of("spaced_words")
    zero = WhisperLayout(max_line_width=0, max_line_count=0, max_words_per_line=0)
    assert render(transcript, "srt", zero) == render(transcript, "srt")


@pytest.mark.parametrize("name", ["max_line_width", "max_line_count", "max_words_per_line"])
def test_a_negative_limit_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1"):
        WhisperLayout(**{name: -1})


def test_the_layout_has_whispers_defaults() -> None:
    assert msgspec.structs.asdict(WhisperLayout()) == {
        "max_line_width": None,
        "max_line_count": None,
        "highlight_words": False,
        "max_words_per_line": None,
        "speaker_labels": "all",
    }


def test_a_time_before_the_start_is_shown_as_the_start() -> None:
    early = Segment(id=0, seek=0, start=-0.02, end=1.0, text="early")
    assert render(told(early), "srt").startswith("1\n00:00:00,000 --> 00:00:01,000\n")


def test_extra_goes_into_json_only() -> None:
    transcript = transcript_of("spaced_words")
    for fmt in set(FORMATS) - {"json"}:
        assert render(transcript, fmt, extra={"job": "x"}) == render(transcript, fmt)
    plain, with_extra = render(transcript, "json"), render(transcript, "json", extra={"job": "é", "attempts": 2})
    assert with_extra == plain[:-1] + ', "asrd": {"job": "\\u00e9", "attempts": 2}}'
    assert render(transcript, "json", extra={}) == plain[:-1] + ', "asrd": {}}'


@pytest.mark.parametrize(
    ("wrong", "near"), [("str", "srt"), ("SRT", "srt"), ("webvtt", "vtt"), ("jsn", "json"), ("text", "txt")]
)
def test_an_unknown_format_names_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(UnknownFormat, match=f"{wrong!r}; did you mean {near!r}") as caught:
        render(told(), wrong)
    assert caught.value.fmt == wrong


def test_a_format_near_to_none_names_all() -> None:
    with pytest.raises(
        UnknownFormat, match=r"^unknown format 'docx' \(known: txt, srt, vtt, tsv, json, lrc, ass, rttm, aud\)$"
    ):
        render(told(), "docx")


# --- any transcript


class Shown(msgspec.Struct, frozen=True):
    """A cue read back from srt; times in milliseconds."""

    number: int
    start: int
    end: int
    text: str


TIMES = re.compile(r"(\d+)\n(\d\d+):(\d\d):(\d\d),(\d{3}) --> (\d\d+):(\d\d):(\d\d),(\d{3})\n(.*)", re.DOTALL)


def cues_of(srt: str) -> list[Shown]:
    """The cues of an srt file whose texts have no blank lines."""
    if not srt:
        return []
    assert srt.endswith("\n\n")
    return [shown(TIMES.fullmatch(block)) for block in srt.removesuffix("\n\n").split("\n\n")]


def shown(match: re.Match[str] | None) -> Shown:
    assert match, "not a cue"
    number, *times = map(int, match.groups()[:9])
    assert all(times[i] < 60 for i in (1, 2, 5, 6))
    start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (times[:4], times[4:]))
    return Shown(number, start, end, match[10])


STEPS = st.one_of(st.sampled_from([0.0, 0.0005, 0.9995, 3.0, 3.001, 3600.0]), st.floats(0, 9, allow_nan=False))
LETTERS = st.text(st.sampled_from("abcé日-.,😀"), min_size=1, max_size=9)
TIDY_WORDS = st.one_of(LETTERS, LETTERS.map(" {}".format))
LIMITS = st.one_of(st.none(), st.integers(0, 40))
ANY_LAYOUT = st.builds(
    WhisperLayout,
    max_line_width=LIMITS,
    max_line_count=st.one_of(st.none(), st.integers(0, 4)),
    highlight_words=st.booleans(),
    max_words_per_line=st.one_of(st.none(), st.integers(0, 9)),
)


@st.composite
def transcripts(draw: st.DrawFn, words: st.SearchStrategy[str], timed: st.SearchStrategy[bool]) -> Transcript:
    """Segments of words in the order of time; ``timed`` says of each segment whether its words are there."""
    segments: list[Segment] = []
    now = 0.0
    for id, line in enumerate(draw(st.lists(st.lists(words, max_size=12), max_size=5))):
        start, parts = now, []
        for word in line:
            begin = now + draw(STEPS)
            now = begin + draw(STEPS)
            parts.append(Word(start=begin, end=now, word=word, probability=0.5))
        kept = parts if draw(timed) else None
        segments.append(Segment(id=id, seek=0, start=start, end=now, text="".join(line), words=kept))
    return told(*segments)


@given(transcripts(st.text(max_size=9), st.booleans()), st.sampled_from(FORMATS), ANY_LAYOUT)
def test_nothing_cannot_be_written(transcript: Transcript, fmt: str, layout: WhisperLayout) -> None:
    text = render(transcript, fmt, layout, extra={"job": "x"})
    ends = {"json": '"asrd": {"job": "x"}}', "srt": "\n\n", "vtt": "\n\n"}
    assert text.endswith(ends.get(fmt, "\n")) or (not text and fmt in ("txt", "srt", "rttm", "aud"))


@given(transcripts(TIDY_WORDS, st.just(True)), ANY_LAYOUT)
def test_cues_are_numbered_and_in_order(transcript: Transcript, layout: WhisperLayout) -> None:
    cues = cues_of(render(transcript, "srt", layout))
    assert [cue.number for cue in cues] == list(range(1, len(cues) + 1))
    assert all(cue.start <= cue.end for cue in cues)
    assert all(one.end <= two.start for one, two in pairwise(cues))


@given(transcripts(TIDY_WORDS, st.just(True)), ANY_LAYOUT)
def test_no_word_is_lost(transcript: Transcript, layout: WhisperLayout) -> None:
    words = [word.word.strip() for segment in transcript.segments for word in segment.words]
    cues = cues_of(render(transcript, "srt", layout))
    if layout.highlight_words:
        underlined = [match for cue in cues for match in re.findall("<u>(.*?)</u>", cue.text)]
        assert underlined == words
    else:
        assert re.sub(r"\s", "", "".join(cue.text for cue in cues)) == "".join(words)


@given(transcripts(TIDY_WORDS, st.just(True)), ANY_LAYOUT)
def test_lines_and_cues_keep_to_their_limits(transcript: Transcript, layout: WhisperLayout) -> None:
    words = {word.word.strip() for segment in transcript.segments for word in segment.words}
    for cue in cues_of(render(transcript, "srt", layout)):
        lines = re.sub("</?u>", "", cue.text).split("\n")
        assert len(lines) <= (layout.max_line_count or len(lines))
        assert all(len(line) <= (layout.max_line_width or 1000) or line in words for line in lines)


@given(transcripts(st.text(max_size=9), st.booleans()))
def test_json_holds_the_transcript(transcript: Transcript) -> None:
    read = json.loads(render(transcript, "json"))
    assert list(read) == ["text", "segments", "language"]
    assert msgspec.convert({**read, "duration": transcript.duration}, Transcript) == transcript


@given(transcripts(st.text(max_size=9), st.booleans()))
def test_a_tsv_row_has_two_tabs(transcript: Transcript) -> None:
    text = render(transcript, "tsv")
    assert text.count("\t") == 2 * (1 + len(transcript.segments))
