"""Laws of the layout made for reading: nothing lost, nothing over another, every limit kept, whatever the words are."""

import re
from itertools import groupby, pairwise

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from asrd.subtitles import Cue, Layout, WhisperLayout, cues, render
from asrd.subtitles.atoms import atoms
from asrd.subtitles.script import columns, pieces
from asrd_protocol.model import Segment, Transcript, Word


class SpokenWord(Word, frozen=True, kw_only=True):
    """A word that tells its speaker."""

    speaker: str | None = None


class SpokenSegment(Segment, frozen=True, kw_only=True):
    """A segment that tells its speaker."""

    speaker: str | None = None


LIMITS = st.one_of(st.none(), st.integers(0, 50))
LAYOUTS = st.builds(
    Layout,
    max_line_width=LIMITS,
    max_line_count=st.one_of(st.none(), st.integers(0, 6)),
    max_words_per_line=st.one_of(st.none(), st.integers(0, 9)),
    min_subtitle_duration=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    max_subtitle_duration=st.sampled_from([None, 0.0, 2.0, 7.0]),
    pause=st.sampled_from([0.0, 0.3, 1.0]),
    min_gap=st.sampled_from([0.0, 0.08, 3.0]),
    bridge=st.sampled_from([0.0, 0.5, 2.0]),
    speaker_labels=st.sampled_from(["all", "changes", "none"]),
)
TEXTS = st.text(st.sampled_from("abé.,!?-»«> 我们的，。「」ーสวั한국\u3000\u00a0\u200b\n\t😀\u0301"), max_size=9)
WILD_TIMES = st.one_of(st.just(0.0), st.integers(-2000, 30_000).map(lambda ms: ms / 1000))
SPEAKERS = st.sampled_from([None, None, "A", "B"])


@st.composite
def wild_segments(draw: st.DrawFn) -> SpokenSegment:
    """Any text; words that need not be those of the text, with times in any order, or none."""
    said = draw(st.lists(TEXTS, max_size=6))
    words = [
        SpokenWord(word=word, start=draw(WILD_TIMES), end=draw(WILD_TIMES), probability=1.0, speaker=draw(SPEAKERS))
        for word in said
    ]
    text = draw(st.one_of(st.just("".join(said)), TEXTS.filter(str.strip)))
    kept = words if draw(st.booleans()) else None
    start, end = draw(WILD_TIMES), draw(WILD_TIMES)
    return SpokenSegment(id=0, seek=0, start=start, end=end, text=text, words=kept, speaker=draw(SPEAKERS))


WILD = st.lists(wild_segments(), max_size=4)


@st.composite
def tidy_segments(draw: st.DrawFn) -> list[Segment]:
    """Words of a known order, each of 100 ms at least, with silence between some."""
    segments: list[Segment] = []
    now, number = 50, 0
    for size in draw(st.lists(st.integers(1, 12), max_size=5)):
        words = []
        for _ in range(size):
            now += draw(st.sampled_from([0, 0, 0, 50, 299, 300, 301, 1000, 1001, 5000]))
            length = draw(st.integers(100, 3000))
            word = f" w{number}{draw(st.sampled_from(['', '', '.', ',']))}"
            words.append(Word(word=word, start=now / 1000, end=(now + length) / 1000, probability=1.0))
            now, number = now + length, number + 1
        text = "".join(word.word for word in words)
        segments.append(Segment(id=0, seek=0, start=words[0].start, end=words[-1].end, text=text, words=words))
    return segments


def said_by(segments: list[SpokenSegment]) -> str:
    """All letters that cues must show."""
    return "".join(re.sub("-{2,}>", "->", segment.text) for segment in segments)


def letters(text: str) -> str:
    return "".join(text.split())


def unlabelled(cue: Cue) -> str:
    return re.sub(r"^\[[AB]\]:\s?", "", cue.text) if cue.speaker else cue.text


@given(WILD, LAYOUTS)
def test_cues_follow_each_other(segments: list[SpokenSegment], layout: Layout) -> None:
    shown = list(cues(segments, layout))
    assert all(0 <= cue.start < cue.end for cue in shown)
    assert all(one.end <= two.start for one, two in pairwise(shown))


@given(WILD, LAYOUTS)
def test_no_text_is_lost(segments: list[SpokenSegment], layout: Layout) -> None:
    blank = [segment for segment in segments if not segment.text.strip()]
    for segment in blank:
        assert segment.words is None or not any(word.word.strip() for word in segment.words)
    shown = "".join(letters(unlabelled(cue)) for cue in cues(segments, layout))
    assert shown == letters(said_by(segments))


@given(WILD, LAYOUTS)
def test_a_cue_is_one_text_in_lines_that_are_not_blank(segments: list[SpokenSegment], layout: Layout) -> None:
    for cue in cues(segments, layout):
        assert all(line.strip(" ") == line and line for line in cue.text.split("\n"))
        assert "-->" not in cue.text


@given(WILD, LAYOUTS)
def test_lines_and_cues_keep_to_their_limits(segments: list[SpokenSegment], layout: Layout) -> None:
    """But for a word that is longer, behind its label where there is no line left for it."""
    for cue in cues(segments, layout):
        lines, words = cue.text.split("\n"), wide_pieces(unlabelled(cue).replace("\n", " "))
        assert len(lines) <= (layout.max_line_count or len(lines))
        assert len(words) <= (layout.max_words_per_line or len(words))
        if layout.max_line_width and len(words) > 1:
            assert all(columns(line) <= layout.max_line_width or len(wide_pieces(line)) == 1 for line in lines)


def wide_pieces(text: str) -> list[str]:
    """The words that take room in a line."""
    return [part for _, part in pieces(text) if columns(part)]


@given(WILD, LAYOUTS)
def test_durations_are_kept_where_there_is_room(segments: list[SpokenSegment], layout: Layout) -> None:
    shown = list(cues(segments, layout))
    least, most = round(layout.min_subtitle_duration * 1000), round((layout.max_subtitle_duration or 1e6) * 1000)
    for cue, due in zip(shown, [*(cue.start for cue in shown[1:]), 10**9], strict=False):
        assert cue.end - cue.start <= most
        assert cue.end >= min(cue.start + least, due)


@given(WILD, LAYOUTS)
def test_a_cue_has_one_speaker(segments: list[SpokenSegment], layout: Layout) -> None:
    turns = [
        (speaker, letters("".join(atom.text for atom in group)))
        for speaker, group in groupby(atoms(segments), key=lambda atom: atom.speaker)
    ]
    shown = [
        (speaker, "".join(letters(unlabelled(cue)) for cue in group))
        for speaker, group in groupby(cues(segments, layout), key=lambda cue: cue.speaker)
    ]
    assert shown == turns


@given(WILD, LAYOUTS)
def test_labels_tell_the_speaker_as_often_as_asked(segments: list[SpokenSegment], layout: Layout) -> None:
    before = None
    for cue in cues(segments, layout):
        wanted = {"all": True, "none": False, "changes": cue.speaker != before}[layout.speaker_labels]
        assert cue.text.startswith(f"[{cue.speaker}]:") == (wanted and cue.speaker is not None)
        before = cue.speaker


@given(WILD, LAYOUTS)
def test_highlighting_only_divides_cues(segments: list[SpokenSegment], layout: Layout) -> None:
    words = {atom.text for atom in atoms(segments)}
    whole = list(cues(segments, layout))
    parts = list(cues(segments, msgspec.structs.replace(layout, highlight_words=True)))
    assert all(one.end <= two.start for one, two in pairwise(parts))
    at = 0
    for cue in whole:
        mine = [part for part in parts[at:] if part.start < cue.end]
        at += len(mine)
        assert (mine[0].start, mine[-1].end) == (cue.start, cue.end)
        assert all(one.end == two.start for one, two in pairwise(mine))
        assert {part.text for part in mine} == {cue.text}
        lit = [cue.text[slice(*part.lit)] for part in mine if part.lit]
        assert set(lit) <= words
    assert at == len(parts)


@given(tidy_segments(), LAYOUTS)
def test_cues_begin_with_their_words(segments: list[Segment], layout: Layout) -> None:
    starts = {word.word.strip(): word.start for segment in segments for word in segment.words or ()}
    for cue in cues(segments, layout):
        assert cue.start == round(starts[cue.text.split()[0]] * 1000)


@given(tidy_segments(), LAYOUTS)
def test_a_long_pause_ends_a_cue(segments: list[Segment], layout: Layout) -> None:
    said = [word for segment in segments for word in segment.words or ()]
    shown = [set(cue.text.split()) for cue in cues(segments, layout)]
    for one, two in pairwise(said):
        if layout.pause > 0 and round((two.start - one.end) * 1000) > round(layout.pause * 1000):
            assert not any({one.word.strip(), two.word.strip()} <= words for words in shown)


@given(tidy_segments(), LAYOUTS)
def test_words_are_heard_while_they_are_read(segments: list[Segment], layout: Layout) -> None:
    """What is shown together is spoken within the longest time that a cue lasts."""
    times = {word.word.strip(): word for segment in segments for word in segment.words or ()}
    for cue in cues(segments, layout):
        first, *rest = (times[word] for word in cue.text.split())
        if rest and layout.max_subtitle_duration:
            assert round((rest[-1].end - first.start) * 1000) <= layout.max_subtitle_duration * 1000


@given(tidy_segments(), LAYOUTS, st.integers(1, 20_000))
def test_later_words_give_the_same_cues_later(segments: list[Segment], layout: Layout, seconds: int) -> None:
    late = [
        msgspec.structs.replace(
            segment,
            start=segment.start + seconds,
            end=segment.end + seconds,
            words=[
                msgspec.structs.replace(word, start=word.start + seconds, end=word.end + seconds)
                for word in segment.words or ()
            ],
        )
        for segment in segments
    ]
    moved = [Cue(cue.start + 1000 * seconds, cue.end + 1000 * seconds, cue.text) for cue in cues(segments, layout)]
    assert list(cues(late, layout)) == moved


@given(tidy_segments(), st.data(), st.sampled_from([0.0, 5000.0]))
def test_one_wrong_time_moves_no_other_word(segments: list[Segment], data: st.DataObject, wrong: float) -> None:
    """Two words before it and two behind it are enough to tell which one is wrong."""
    said = [word for segment in segments for word in segment.words or ()]
    assume(len(said) > 4)
    odd = said[data.draw(st.integers(2, len(said) - 3))]
    bent = [msgspec.structs.replace(segment, words=bend(segment.words or [], odd, wrong)) for segment in segments]
    right = {word.word.strip(): round(word.start * 1000) for word in said}
    assert {atom.text for atom in atoms(bent) if atom.start != right[atom.text]} <= {odd.word.strip()}


def bend(words: list[Word], odd: Word, wrong: float) -> list[Word]:
    return [msgspec.structs.replace(word, start=wrong, end=wrong + 0.1) if word is odd else word for word in words]


@given(WILD, LAYOUTS, st.sampled_from(["lrc", "ass", "srt", "vtt"]))
def test_every_cue_is_written(segments: list[SpokenSegment], layout: Layout, fmt: str) -> None:
    transcript = Transcript(text="", language="en", segments=list(segments), duration=1.0)
    mark = {"lrc": r"^\[\d\d+:\d\d\.\d\d\]", "ass": "^Dialogue: ", "srt": r"^\d\d.* --> ", "vtt": r"^\d\d.* --> "}[fmt]
    text = render(transcript, fmt, layout)
    assert len(re.findall(mark, text, re.MULTILINE)) == len(list(cues(segments, layout)))


@given(WILD, st.booleans(), st.sampled_from([None, 0, 20]))
def test_whispers_layout_mixes_no_speakers_either(
    segments: list[SpokenSegment], highlight: bool, width: int | None
) -> None:
    layout = WhisperLayout(highlight_words=highlight, max_line_width=width, max_line_count=2)
    for cue in cues(segments, layout):
        assert cue.text.startswith(f"[{cue.speaker}]: ") == (cue.speaker is not None)
