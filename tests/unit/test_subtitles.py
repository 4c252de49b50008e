"""The parts of the layout made for reading, its choices on known texts, and its options of the command."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asrd.cli.options import LabelledCues, LayoutName, formats_of, layout_of
from asrd.cli.output import Rendering
from asrd.cli.verdict import UsageError
from asrd.subtitles import FORMATS, WHISPER_FORMATS, Layout, Turn, WhisperLayout, cues, render, turns
from asrd.subtitles.atoms import atoms
from asrd.subtitles.script import columns, ends_clause, ends_sentence, joined_by_space, pieces
from asrd.track import Finished
from asrd_protocol import model
from asrd_protocol.model import Run, Segment, Transcript, Word


class SpokenSegment(Segment, frozen=True, kw_only=True):
    """A segment that tells its speaker."""

    speaker: str | None = None


def plain(start: float, end: float, text: str, speaker: str | None = None) -> SpokenSegment:
    return SpokenSegment(id=0, seek=0, start=start, end=end, text=text, speaker=speaker)


def spoken(*words: tuple[float, float, str], text: str | None = None) -> Segment:
    timed = [Word(start=start, end=end, word=word, probability=1.0) for start, end, word in words]
    said = "".join(word.word for word in timed) if text is None else text
    return Segment(id=0, seek=0, start=timed[0].start, end=timed[-1].end, text=said, words=timed)


def steady(text: str, start: float = 0.0, pace: float = 0.3) -> Segment:
    """Words one after the other without a pause, each as long as the next."""
    words = [f" {word}" for word in text.split()]
    return spoken(*((start + pace * i, start + pace * (i + 1), word) for i, word in enumerate(words)))


def told(*segments: Segment) -> Transcript:
    return Transcript(text="", language="en", segments=list(segments), duration=1.0)


def texts(segments: Iterable[Segment], **settings: Any) -> list[str]:
    return [cue.text for cue in cues(list(segments), Layout(**settings))]


def times(segments: Iterable[Segment], **settings: Any) -> list[tuple[int, int]]:
    return [(cue.start, cue.end) for cue in cues(list(segments), Layout(**settings))]


# --- where a text may be broken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (" two  words ", ["two", "words"]),
        ("dont'-break/these", ["dont'-break/these"]),
        ("10\u00a0000 km", ["10\u00a0000", "km"]),
        ("我们，你。", ["我", "们，", "你。"]),
        ("说「你好」吧", ["说", "「你", "好」", "吧"]),
        ("用iPhone打", ["用", "iPhone", "打"]),
        ("ちょっとラーメン", ["ちょっ", "と", "ラー", "メ", "ン"]),
        ("か\u3099く", ["か\u3099", "く"]),
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
        ("ភាសា\u200bខ្មែរ", ["ភាសា\u200b", "ខ្មែរ"]),
        ("한국어 자막", ["한국어", "자막"]),
        ("« Oui » ! Non", ["« Oui » !", "Non"]),
        ("$ 5 and 3 %", ["$ 5", "and", "3 %"]),
        ("👩\u200d💻🏽", ["👩\u200d💻🏽"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_pieces(text: str, parts: list[str]) -> None:
    assert [part for _, part in pieces(text)] == parts


def test_pieces_know_the_space_before_them() -> None:
    assert [spaced for spaced, _ in pieces("a 我们\n你 b")] == [False, True, False, True, True]


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("我a", 3), ("한", 2), ("e\u0301", 1), ("ที่", 1), ("a\u200bb", 2)]
)
def test_columns(text: str, width: int) -> None:
    assert columns(text) == width


def test_ends() -> None:
    assert all(map(ends_sentence, ["a.", "a?!", "a…", '"a."', "a.)", "我。", "「我？」", "क।"]))
    assert not any(map(ends_sentence, ["a", "3.5", "a,", ".a", "我、"]))
    assert all(map(ends_clause, ["a,", "a;", 'a,"', "我，", "我、", "a —"]))
    assert not any(map(ends_clause, ["a", "1,5", "a."]))


@pytest.mark.parametrize(("one", "two", "space"), [("a", "b", True), ("我", "们", False), ("我", "a", True)])
def test_texts_that_were_not_one(one: str, two: str, space: bool) -> None:
    assert joined_by_space(one, two) == space


# --- when words are spoken --------------------------------------------------------------------------------------------


def test_words_give_the_times_and_the_segment_the_text() -> None:
    """As whisperX has it: words without the spaces that the text has."""
    assert [
        (a.text, a.spaced, a.start, a.end) for a in atoms([spoken((1, 2, "Two"), (4, 5, "words."), text="Two words.")])
    ] == [
        ("Two", False, 1000, 2000),
        ("words.", True, 4000, 5000),
    ]


def test_letters_that_no_word_has_take_the_time_between() -> None:
    segment = spoken((1, 2, " It"), (2, 3, " cost"), (4, 5, " twenty"), (5, 6, " two"), text=" It cost 22 then.")
    found = {atom.text: (atom.start, atom.end) for atom in atoms([segment])}
    assert found["It"] == (1000, 2000)
    assert found["cost"] == (2000, 3000)
    assert 3000 <= found["22"][0] <= found["22"][1] <= found["then."][0] <= found["then."][1] <= 6000


def test_a_text_without_words_is_spread_over_its_segment() -> None:
    assert [(a.start, a.end) for a in atoms([plain(10, 12, " ab cdefgh")])] == [(10_000, 10_500), (10_500, 12_000)]


def test_a_segment_without_a_text_says_its_words() -> None:
    assert texts([spoken((1, 2, " Only"), (2, 3, " words"), text="")]) == ["Only words"]


def test_segments_without_spaces_at_their_ends_are_still_two() -> None:
    assert texts([plain(0, 1, "One."), plain(1, 2, "Two.")]) == ["One. Two."]
    assert texts([plain(0, 1, "我们"), plain(1, 2, "你们")]) == ["我们你们"]


def test_a_time_before_the_start_is_the_start() -> None:
    assert times([spoken((-0.5, 1.5, "early"))]) == [(0, 1500)]


# --- where cues are cut -----------------------------------------------------------------------------------------------


def test_a_sentence_is_cut_at_its_clauses() -> None:
    text = "When I was young and easy under the apple boughs, I thought that nothing would ever change at all in here."
    assert texts([steady(text)]) == [
        "When I was young and easy\nunder the apple boughs,",
        "I thought that nothing would\never change at all in here.",
    ]


def test_a_pause_is_as_good_as_a_comma() -> None:
    one, two = steady("aaaa bbbb cccc dddd eeee"), steady("ffff gggg hhhh iiii jjjj", start=2.3)
    assert texts([one, two], max_line_width=40, max_line_count=1)[0] == "aaaa bbbb cccc dddd eeee"


def test_a_long_pause_always_ends_a_cue() -> None:
    one, two = steady("aaaa bbbb"), steady("cccc dddd", start=1.7)
    assert texts([one, two]) == ["aaaa bbbb", "cccc dddd"]
    assert texts([one, two], pause=0) == ["aaaa bbbb cccc dddd"]


def test_short_sentences_share_a_cue() -> None:
    assert texts([steady("Yes. I know. It is late.")]) == ["Yes. I know. It is late."]


def test_lines_are_even_and_one_where_one_is_enough() -> None:
    assert texts([steady("This text has a few more letters than a line")]) == [
        "This text has a few\nmore letters than a line"
    ]
    assert texts([steady("This is one line")], max_line_width=16) == ["This is one line"]


def test_japanese_lines_begin_with_a_phrase() -> None:
    assert texts([plain(0, 4, "昨日は雨が降って、")], max_line_width=10) == ["昨日は雨が\n降って、"]
    assert texts([plain(0, 4, "ちょっと待ってください。")], max_line_width=16) == ["ちょっと\n待ってください。"]


def test_a_word_that_is_too_long_has_a_line_of_its_own() -> None:
    assert texts([steady("a incomprehensibilities b")], max_line_width=8, max_line_count=3) == [
        "a\nincomprehensibilities\nb"
    ]


def test_wide_characters_count_twice() -> None:
    assert texts([plain(0, 4, "我们你们他们")], max_line_width=6, max_line_count=2) == ["我们你\n们他们"]


@pytest.mark.parametrize("most", [1, 2])
def test_words_in_a_cue(most: int) -> None:
    found = texts([steady("a b c d e")], max_words_per_line=most)
    assert max(len(text.split()) for text in found) == most
    assert " ".join(found).split() == list("abcde")


def test_a_speaker_never_shares_a_cue() -> None:
    segments = [plain(0, 1, "One.", "A"), plain(1, 2, "Two.", "B"), plain(2, 3, "Three.", "B"), plain(3, 4, "Four.")]
    assert texts(segments) == ["[A]: One.", "[B]: Two. Three.", "Four."]
    assert texts(segments, speaker_labels="none") == ["One.", "Two. Three.", "Four."]


def test_labels_where_the_speaker_changes() -> None:
    segments = [plain(0, 1, "One.", "A"), plain(5, 6, "Two.", "A"), plain(10, 11, "Three.", "B")]
    assert texts(segments, speaker_labels="changes") == ["[A]: One.", "Two.", "[B]: Three."]
    assert render(told(*segments), "txt", Layout(speaker_labels="changes")) == "[A]: One.\nTwo.\n[B]: Three.\n"


def test_whispers_cues_break_at_speakers_even_when_words_flow() -> None:
    class SpokenWord(Word, frozen=True, kw_only=True):
        speaker: str

    words = [SpokenWord(start=i, end=i + 1, word=f" w{i}", probability=1.0, speaker="AABB"[i]) for i in range(4)]
    segment = SpokenSegment(id=0, seek=0, start=0, end=4, text=" w0 w1 w2 w3", words=list(words))
    for layout in (WhisperLayout(), WhisperLayout(max_line_width=40, max_line_count=2)):
        assert [cue.text for cue in cues([segment], layout)] == ["[A]: w0 w1", "[B]: w2 w3"]


# --- how long cues are shown ------------------------------------------------------------------------------------------


def test_a_short_cue_stays_for_a_second() -> None:
    assert times([spoken((1.0, 1.2, "Oh."))]) == [(1000, 2000)]


def test_a_short_cue_makes_room_for_the_next() -> None:
    segments = [plain(1.0, 1.2, "Oh.", "A"), plain(1.5, 3.5, "What is it?", "B")]
    assert times(segments) == [(1000, 1500), (1500, 3500)]


def test_a_long_word_does_not_stay_for_ever() -> None:
    assert times([spoken((1, 60, "Ooooh!"))]) == [(1000, 8000)]
    assert times([spoken((1, 60, "Ooooh!"))], max_subtitle_duration=None) == [(1000, 60_000)]


@pytest.mark.parametrize(("silence", "end"), [(0.0, 2920), (0.05, 2970), (0.2, 3120), (0.57, 3490), (0.59, 3000)])
def test_short_gaps_are_filled_but_for_what_the_eye_needs(silence: float, end: int) -> None:
    segments = [plain(1.0, 3.0, "One.", "A"), plain(3.0 + silence, 6.0, "Two.", "B")]
    assert times(segments)[0] == (1000, end)


def test_words_without_time_are_shown_one_cue_after_the_other() -> None:
    segments = [spoken(*((2.0, 2.0, f" {letter}") for letter in "abc")), plain(4, 5, " d")]
    assert times(segments, max_words_per_line=1) == [(2000, 2100), (2100, 2200), (2200, 3200), (4000, 5000)]


def test_no_cue_is_more_than_a_second_late_for_words_without_time() -> None:
    segments = [spoken(*((2.0, 2.0, f" {n}") for n in range(30))), plain(4, 5, " d")]
    starts = [start for start, _ in times(segments, max_words_per_line=1)]
    assert starts[:11] == list(range(2000, 3001, 100))
    assert starts[11:30] == list(range(3001, 3020))
    assert starts[30] == 4000


def test_a_highlighted_word_is_lit_while_it_is_spoken() -> None:
    segment = spoken((1.0, 1.5, " One"), (2.0, 2.5, " two."))
    found = [(c.start, c.end, c.lit and c.text[slice(*c.lit)]) for c in cues([segment], Layout(highlight_words=True))]
    assert found == [(1000, 1500, "One"), (1500, 2000, None), (2000, 2500, "two.")]


def test_the_label_is_never_lit() -> None:
    segment = SpokenSegment(**{**msgspec.structs.asdict(spoken((0, 1, " No"))), "speaker": "No"})
    assert [cue.lit for cue in cues([segment], Layout(highlight_words=True))] == [(6, 8)]


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "max_line_width",
        "max_line_count",
        "max_words_per_line",
        "min_subtitle_duration",
        "max_subtitle_duration",
        "pause",
        "min_gap",
        "bridge",
    ],
)
@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_setting_that_is_no_number_from_0_on_is_refused_by_name(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {wrong}"):
        Layout(**{name: wrong})


def test_durations_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="min_subtitle_duration is 8, longer than max_subtitle_duration, 7"):
        Layout(min_subtitle_duration=8)
    Layout(min_subtitle_duration=8, max_subtitle_duration=0)


def test_no_limit_is_still_quick() -> None:
    """No setting can make it try all ways to cut a long text."""
    text = "word " * 3000
    found = texts([steady(text)], max_line_width=0, max_line_count=0, max_subtitle_duration=0, pause=0)
    assert " ".join(found).split() == text.split()


# --- speaker turns ----------------------------------------------------------------------------------------------------


def test_turns() -> None:
    segments = [
        plain(0, 1, "a", "A"),
        plain(1.5, 2, "b", "A"),
        plain(2.501, 3, "c", "A"),
        plain(3, 4, "d"),
        plain(4, 4, "e", "B"),
        plain(4, 5, "f", "B"),
    ]
    assert turns(segments) == [Turn("A", 0, 2000), Turn("A", 2501, 3000), Turn("B", 4000, 5000)]


def test_a_turn_takes_time() -> None:
    assert turns([plain(1, 1, "a", "A")]) == []


def test_a_segment_is_its_first_words_speaker() -> None:
    class SpokenWord(Word, frozen=True, kw_only=True):
        speaker: str

    word = SpokenWord(start=0, end=1, word=" said", probability=1.0, speaker="A")
    segment = Segment(id=0, seek=0, start=0, end=2, text=" said so", words=[word])
    assert render(told(segment), "txt") == "[A]: said so\n"
    assert [cue.speaker for cue in cues([segment], Layout())] == ["A"]


def test_rttm_has_ten_fields_whatever_the_names() -> None:
    text = render(told(plain(0.5, 1.75, "a", "Mrs  Smith")), "rttm", name="my talk")
    assert text == "SPEAKER my_talk 1 0.500 1.250 <NA> <NA> Mrs_Smith <NA> <NA>\n"


def test_rttm_has_the_turns_that_were_heard_and_not_those_of_the_text() -> None:
    said = [("B", 2.0, 3.0004), ("A", -0.5, 2.5), ("A", 4.0, 4.0003)]
    turns = [model.Turn(speaker=speaker, start=start, end=end) for speaker, start, end in said]
    transcript = msgspec.structs.replace(told(plain(0, 9, "a", "C")), diarization=model.Diarization(turns=turns))
    assert render(transcript, "rttm", name="talk").splitlines() == [
        "SPEAKER talk 1 0.000 2.500 <NA> <NA> A <NA> <NA>",
        "SPEAKER talk 1 2.000 1.000 <NA> <NA> B <NA> <NA>",
    ]
    failed = msgspec.structs.replace(transcript, diarization=model.Diarization(status="failed", reason="no"))
    assert render(failed, "rttm", name="talk") == "SPEAKER talk 1 0.000 9.000 <NA> <NA> C <NA> <NA>\n"


def test_json_tells_who_speaks_and_what_is_missing_and_nothing_of_it_otherwise() -> None:
    plainly = Segment(id=0, seek=0, start=0, end=1, text=" a", words=[Word(start=0, end=1, word=" a", probability=1.0)])
    whisper = json.loads(render(told(plainly), "json"))
    assert whisper.keys() == {"text", "segments", "language"}
    assert "speaker" not in whisper["segments"][0] and "speaker" not in whisper["segments"][0]["words"][0]
    missing = [model.MissingStretch(start=1.0, end=2.0, code="poison", message="no")]
    heard = model.Diarization(turns=[model.Turn(start=0.0, end=1.0, speaker="A")], embeddings={"A": [1.0]})
    found = json.loads(render(msgspec.structs.replace(told(plainly), missing=missing, diarization=heard), "json"))
    assert found["missing"] == [{"start": 1.0, "end": 2.0, "code": "poison", "message": "no"}]
    assert found["diarization"] == {
        "status": "ok",
        "reason": "",
        "turns": [{"start": 0.0, "end": 1.0, "speaker": "A"}],
        "embeddings": {"A": [1.0]},
    }


# --- the command ------------------------------------------------------------------------------------------------------


def given(**options: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        (
            "layout",
            "max_line_width",
            "max_line_count",
            "max_words_per_line",
            "min_subtitle_duration",
            "max_subtitle_duration",
        )
    )
    return {**nothing, "highlight_words": False, "speaker_labels": LabelledCues.ALL, **options}


def test_layouts_of_the_command() -> None:
    assert layout_of(given()) == WhisperLayout()
    assert layout_of(given(max_line_width=30, highlight_words=True)) == WhisperLayout(
        max_line_width=30, highlight_words=True
    )
    assert layout_of(given(layout=LayoutName.BROADCAST)) == Layout()
    assert layout_of(given(layout=LayoutName.BROADCAST, max_line_width=0)) == Layout(max_line_width=0)
    assert layout_of(given(max_subtitle_duration=5.0)) == Layout(max_subtitle_duration=5.0)
    assert layout_of(given(speaker_labels=LabelledCues.NONE)) == WhisperLayout(speaker_labels="none")


def test_layouts_that_do_not_fit_together() -> None:
    with pytest.raises(UsageError, match="--min-subtitle-duration needs --layout broadcast"):
        layout_of(given(layout=LayoutName.WHISPER, min_subtitle_duration=1.0))
    with pytest.raises(UsageError, match="longer than max_subtitle_duration"):
        layout_of(given(min_subtitle_duration=9.0))


def test_the_layout_made_for_reading_does_without_words_but_wants_them() -> None:
    rendering = Rendering(("srt",), Layout())
    rendering.check(words=False)
    assert rendering.wants_words
    assert not Rendering(("srt",)).wants_words
    Rendering(("srt",), WhisperLayout(speaker_labels="none")).check(words=False)


def test_all_formats_are_whispers() -> None:
    assert formats_of(["all", "ass"]) == (*WHISPER_FORMATS, "ass")
    assert set(formats_of(list(FORMATS))) == set(FORMATS)


def test_rttm_is_named_after_the_file_or_the_job(tmp_path: Path) -> None:
    finished = Finished("job-7", told(plain(0, 1, "a", "A")), Run(seat="p/0.1"))
    rendering = Rendering(("rttm",), directory=tmp_path)
    assert rendering.text(finished, "rttm").split()[1] == "job-7"
    assert rendering.write(finished, "talk") == [tmp_path / "talk.rttm"]
    assert (tmp_path / "talk.rttm").read_text().split()[1] == "talk"
