"""Laws of speakers: no text is lost, times stay in order, a segment has one speaker, and the rule of the page holds."""

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from asrd_protocol.model import Diarization, Segment, Turn, Word
from asrd_worker.speakers.assign import NEAREST_S, attribute

MOMENTS = st.integers(-20, 300).map(lambda eighths: eighths / 8)
"""Eighths of a second: sums of them are exact."""
SAID = st.one_of(st.sampled_from((" a", " bc", "de", ".", " ", "", " 好", "，", "“", " ♪", "a")), st.text(max_size=3))


@st.composite
def turn(draw: st.DrawFn) -> Turn:
    """A turn; some have no length, or less."""
    start = draw(MOMENTS)
    return Turn(start=start, end=start + draw(st.integers(-1, 40)) / 8, speaker=draw(st.sampled_from("ABC")))


DIARIZATIONS = st.builds(Diarization, turns=st.lists(turn(), max_size=8))


@st.composite
def wild_segment(draw: st.DrawFn) -> Segment:
    """A segment whose words may have any times, and need not be in its text."""
    said = draw(st.lists(SAID, max_size=8))
    words = [Word(start=draw(MOMENTS), end=draw(MOMENTS), word=word, probability=0.5) for word in said]
    joined = "".join(said)
    text = draw(st.one_of(st.just(joined), st.just(" ".join(said)), st.text(max_size=8)))
    start, end = sorted((draw(MOMENTS), draw(MOMENTS)))
    tokens = draw(st.lists(st.integers(0, 9), max_size=3))
    worded = draw(st.sampled_from((words, words, words, None)))
    return Segment(id=draw(st.integers(0, 9)), seek=3, start=start, end=end, text=text, tokens=tokens, words=worded)


@st.composite
def speech(draw: st.DrawFn) -> list[Segment]:
    """Segments as whisper gives them: the words are the text, all times are in order."""
    said = draw(st.lists(st.lists(SAID, min_size=1, max_size=6), max_size=4))
    count = 2 * sum(map(len, said))
    moments = iter(sorted(draw(st.lists(MOMENTS, min_size=count, max_size=count))))
    told = []
    for texts in said:
        words = [Word(start=next(moments), end=next(moments), word=text, probability=0.5) for text in texts]
        edges = {"start": words[0].start, "end": words[-1].end}
        told.append(Segment(id=0, seek=0, text="".join(texts), tokens=[1], words=words, **edges))
    return told


def text_of(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def words_of(segments: list[Segment]) -> list[tuple[float, float, str]]:
    return [(word.start, word.end, word.word) for segment in segments for word in segment.words or []]


SLOW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
"""A machine that does something else is no reason."""


@SLOW
@given(st.lists(wild_segment(), max_size=4), DIARIZATIONS)
def test_nothing_that_was_said_is_lost(segments: list[Segment], diarization: Diarization) -> None:
    pieces = attribute(segments, diarization)

    assert text_of(pieces) == text_of(segments)
    assert words_of(pieces) == words_of(segments)
    assert [token for piece in pieces for token in piece.tokens] == [t for segment in segments for t in segment.tokens]
    assert [piece.id for piece in pieces] == list(range(len(pieces)))


@SLOW
@given(wild_segment(), DIARIZATIONS)
def test_a_segment_is_cut_no_more_than_its_speakers_change(segment: Segment, diarization: Diarization) -> None:
    pieces = attribute([segment], diarization)

    assert all(one.speaker != other.speaker for one, other in pairwise(pieces))
    assert all(piece.text.strip() for piece in pieces) or len(pieces) == 1
    for piece in pieces:
        assert {word.speaker for word in piece.words or []} <= {piece.speaker}
    assert {piece.speaker for piece in pieces} <= {one.speaker for one in diarization.turns} | {UNSET}


@SLOW
@given(wild_segment(), DIARIZATIONS)
def test_pieces_share_the_time_of_their_segment(segment: Segment, diarization: Diarization) -> None:
    pieces = attribute([segment], diarization)

    moments = [moment for piece in pieces for moment in (piece.start, piece.end)]
    assert moments == sorted(moments)
    assert (moments[0], moments[-1]) == (segment.start, segment.end)


@SLOW
@given(speech(), DIARIZATIONS)
def test_what_was_in_order_stays_in_order_and_holds_its_words(
    segments: list[Segment], diarization: Diarization
) -> None:
    pieces = attribute(segments, diarization)

    moments = [moment for piece in pieces for moment in (piece.start, piece.end)]
    assert moments == sorted(moments)
    for piece in pieces:
        assert all(piece.start <= word.start and word.end <= piece.end for word in piece.words or [])


@SLOW
@given(st.lists(wild_segment(), max_size=4), DIARIZATIONS)
def test_once_is_enough(segments: list[Segment], diarization: Diarization) -> None:
    once = attribute(segments, diarization)

    assert attribute(once, diarization) == once


@SLOW
@given(st.lists(wild_segment(), max_size=4), DIARIZATIONS)
def test_the_order_of_the_turns_is_no_matter(segments: list[Segment], diarization: Diarization) -> None:
    turns = sorted(diarization.turns, key=lambda one: (one.speaker, -one.start, one.end))

    assert attribute(segments, Diarization(turns=turns)) == attribute(segments, diarization)


@SLOW
@given(MOMENTS, st.integers(0, 16), st.lists(turn(), max_size=6))
def test_a_word_goes_by_its_centre_then_by_what_is_nearest(start: float, eighths: int, turns: list[Turn]) -> None:
    end = start + eighths / 8
    word = Word(start=start, end=end, word=" a", probability=1.0)
    segment = Segment(id=0, seek=0, start=start, end=end, text=" a", words=[word])
    (piece,) = attribute([segment], Diarization(turns=turns))

    centre = (start + end) / 2
    real = [one for one in turns if one.start < one.end]
    covering = {one.speaker for one in real if one.start <= centre < one.end}
    gaps = {(max(one.start - end, start - one.end, 0.0), one.speaker) for one in real}
    near = {speaker for gap, speaker in gaps if gap == min(gaps)[0] and gap <= NEAREST_S}
    if covering:
        assert piece.speaker in covering
    elif near:
        assert piece.speaker in near
    else:
        assert piece.speaker is UNSET
    if len(covering) > 1:
        best = max(_covered(speaker, real, start, end) for speaker in covering)
        assert best == 0 or _covered(str(piece.speaker), real, start, end) == best


def _covered(speaker: str, turns: list[Turn], start: float, end: float) -> float:
    """The eighths of a word in the stretch of a speaker's turns that its centre is in."""
    edges = [start + step / 8 for step in range(round((end - start) * 8))]
    spoken = [any(one.speaker == speaker and one.start <= at < one.end for one in turns) for at in edges]
    middle = len(spoken) // 2
    if not spoken or not spoken[middle]:
        return 0.0
    first = max((i + 1 for i in range(middle) if not spoken[i]), default=0)
    last = min((i for i in range(middle, len(spoken)) if not spoken[i]), default=len(spoken))
    return (last - first) / 8
