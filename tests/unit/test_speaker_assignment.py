"""Who says which word, and how segments are cut for it: known cases."""

import pytest
from msgspec import UNSET

from asrd_protocol.model import Diarization, Segment, Turn, Word
from asrd_worker.speakers.assign import NEAREST_S, attribute

Timed = tuple[float, float, str]


def turns(*said: tuple[str, float, float]) -> Diarization:
    return Diarization(turns=[Turn(speaker=speaker, start=start, end=end) for speaker, start, end in said])


def words(*said: Timed) -> list[Word]:
    return [Word(start=start, end=end, word=word, probability=0.5) for start, end, word in said]


def spoken(*said: Timed, text: str | None = None) -> Segment:
    joined = "".join(word for _, _, word in said)
    edges = {"start": said[0][0], "end": said[-1][1]}
    return Segment(id=7, seek=9, text=joined if text is None else text, tokens=[1, 2, 3], words=words(*said), **edges)


def steady(text: str, start: float = 0.0, pace: float = 0.4) -> Segment:
    """Words one behind the other without a pause."""
    said = [f" {word}" for word in text.split()]
    return spoken(*((start + pace * i, start + pace * (i + 1), word) for i, word in enumerate(said)))


def told(pieces: list[Segment]) -> list[tuple[str | None, str]]:
    return [(piece.speaker or None, piece.text) for piece in pieces]


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    segment = spoken((0.1, 0.4, " Are"), (0.4, 0.8, " you"), (0.8, 1.2, " sure?"), (1.5, 1.9, " Yes."))
    first, second = attribute([segment], turns(("A", 0, 1.3), ("B", 1.4, 2)))
    assert told([first, second]) == [("A", " Are you sure?"), ("B", " Yes.")]
    assert [(piece.id, piece.start, piece.end) for piece in (first, second)] == [(0, 0.1, 1.2), (1, 1.5, 1.9)]
    assert [(piece.seek, piece.tokens) for piece in (first, second)] == [(9, [1, 2, 3]), (9, [])]
    assert [word.speaker for word in first.words or []] == ["A"] * 3
    assert [word.word for word in second.words or []] == [" Yes."]


def test_a_segment_of_one_speaker_keeps_everything_but_its_id() -> None:
    segment = Segment(
        id=3,
        seek=1,
        start=0.0,
        end=9.0,
        text=" a b",
        tokens=[5],
        avg_logprob=-0.5,
        words=words((1, 2, " a"), (2, 3, " b")),
    )
    (piece,) = attribute([segment], turns(("A", 0, 5)))
    assert (piece.id, piece.start, piece.end, piece.tokens, piece.avg_logprob) == (0, 0.0, 9.0, [5], -0.5)
    assert piece.speaker == "A"


def test_figures_of_the_window_are_those_of_each_piece() -> None:
    segment = Segment(
        id=0,
        seek=4,
        start=0.0,
        end=4.0,
        text=" a b",
        temperature=0.2,
        avg_logprob=-0.3,
        compression_ratio=1.5,
        no_speech_prob=0.1,
        words=words((1, 2, " a"), (2, 3, " b")),
    )
    pieces = attribute([segment], turns(("A", 0, 2), ("B", 2, 4)))
    assert [(piece.start, piece.end) for piece in pieces] == [(0.0, 2), (2, 4.0)], "the outer edges are the segment's"
    for piece in pieces:
        assert (piece.seek, piece.temperature, piece.avg_logprob) == (4, 0.2, -0.3)
        assert (piece.compression_ratio, piece.no_speech_prob) == (1.5, 0.1)


@pytest.mark.parametrize(
    ("diarization", "speaker"),
    [
        (turns(("A", 0, 10.24), ("B", 10.24, 20)), "B"),
        (turns(("A", 0, 10.25), ("B", 10.25, 20)), "B"),
        (turns(("A", 0, 10.26), ("B", 10.26, 20)), "A"),
        (turns(("A", 0, 10.3), ("B", 10.1, 20)), "B"),
        (turns(("A", 0, 10.4), ("B", 10.2, 20)), "A"),
        (turns(("B", 9, 11), ("A", 8, 12)), "A"),
        (turns(("B", 8, 12), ("A", 8, 12)), "A"),
        (turns(("A", 0, 9.8), ("B", 10.9, 20)), "A"),
        (turns(("A", 0, 9.6), ("B", 10.8, 20)), "B"),
        (turns(("A", 0, 10.15), ("B", 10.4, 20)), "A"),
        (turns(("A", 0, 10 - NEAREST_S)), "A"),
        (turns(("A", 10.5 + NEAREST_S, 20)), "A"),
        (turns(("A", 0, 10 - NEAREST_S - 0.01), ("B", 10.5 + NEAREST_S + 0.01, 20)), None),
        (turns(), None),
        (turns(("A", 10, 10), ("B", 11, 10)), None),
        (turns(("A", 10.1, 10.3), ("B", 10.0, 10.29), ("A", 10.3, 10.5)), "A"),
    ],
)
def test_whose_a_word_is(diarization: Diarization, speaker: str | None) -> None:
    (piece,) = attribute([spoken((10.0, 10.5, " word"))], diarization)
    assert (piece.speaker or None) == speaker
    assert piece.words and (piece.words[0].speaker or None) == speaker


def test_a_failed_diarization_leaves_everything_as_it_is() -> None:
    segment = steady("one two")
    (piece,) = attribute([segment], Diarization(status="failed", reason="no memory"))
    assert (piece.text, piece.words, piece.speaker) == (segment.text, segment.words, UNSET)


def test_a_one_word_answer_stays_whose_it_is() -> None:
    segment = spoken((0, 1, " Ready?"), (1.1, 1.4, " Yes."), (1.5, 2, " Then"), (2, 2.5, " go."))
    diarization = turns(("A", 0, 1.05), ("B", 1.1, 1.4), ("A", 1.5, 3))
    assert told(attribute([segment], diarization)) == [("A", " Ready?"), ("B", " Yes."), ("A", " Then go.")]


def test_an_answer_whose_word_was_stretched_over_the_pause_stays_whose_it_is() -> None:
    segment = spoken((0, 1, " Ready?"), (1, 2.5, " Yes."), (2.5, 3, " Then"))
    diarization = turns(("A", 0, 1.05), ("B", 1.1, 1.4), ("A", 2.4, 3))
    assert [speaker for speaker, _ in told(attribute([segment], diarization))] == ["A", "B", "A"]


@pytest.mark.parametrize(
    "diarization",
    [
        pytest.param(turns(("A", 0, 0.59), ("B", 0.59, 0.61), ("A", 0.61, 2)), id="a sliver at the centre"),
        pytest.param(turns(("A", 0, 0.2), ("B", 0.85, 0.9), ("A", 1.0, 2)), id="only near"),
        pytest.param(turns(("A", 0, 0.5), ("B", 0.5, 0.7), ("A", 0.7, 2)), id="as much as the others"),
    ],
)
def test_a_word_that_flickers_stays_in_its_sentence(diarization: Diarization) -> None:
    assert told(attribute([steady("one two three four")], diarization)) == [("A", " one two three four")]


def test_two_words_are_no_flicker() -> None:
    segment = spoken((0, 1, " a"), (1, 1.1, " b"), (1.1, 1.2, " c"), (1.2, 2, " d"))
    diarization = turns(("A", 0, 1.04), ("B", 1.04, 1.16), ("A", 1.16, 2))
    assert [text for _, text in told(attribute([segment], diarization))] == [" a", " b c", " d"]


def test_a_word_without_length_stays_with_those_around_it() -> None:
    segment = spoken((0, 1, " a"), (1.1, 1.1, " b"), (1.2, 2, " c"))
    diarization = turns(("A", 0, 1), ("B", 1.05, 1.15), ("A", 1.2, 2))
    assert told(attribute([segment], diarization)) == [("A", " a b c")]
    at_the_edge = spoken((0, 1, " a"), (1.1, 1.1, " b"))
    assert told(attribute([at_the_edge], diarization)) == [("A", " a"), ("B", " b")]


def test_a_word_by_nobody_between_words_of_one_speaker_is_that_ones() -> None:
    segment = spoken((0, 1, " a"), (4, 5, " b"), (8, 9, " c"))
    assert told(attribute([segment], turns(("A", 0, 1), ("A", 8, 9)))) == [("A", " a b c")]
    longer = spoken((0, 1, " a"), (3, 4, " b"), (4, 5, " b"), (8, 9, " c"))
    assert told(attribute([longer], turns(("A", 0, 1), ("A", 8, 9)))) == [("A", " a"), (None, " b b"), ("A", " c")]


def test_a_word_that_is_near_a_turn_is_not_taken_by_nobody() -> None:
    segment = spoken((0, 1, " a"), (3, 4, " b"), (6, 7, " c"))
    assert told(attribute([segment], turns(("A", 2.1, 2.2)))) == [(None, " a"), ("A", " b"), (None, " c")]


def test_signs_stay_with_the_word_they_belong_to() -> None:
    segment = spoken((0, 0.1, "「"), (0.1, 1, "好"), (1.4, 1.4, "。"), (1.5, 2, "对"), (2, 2.9, "！"), (2.9, 3, "…"))
    diarization = turns(("A", 0, 1), ("B", 1.3, 2), ("C", 2, 3))
    assert told(attribute([segment], diarization)) == [("A", "「好。"), ("B", "对！…")]
    music = spoken((0, 1, " ♪"), (1, 2, " ♪"))
    assert told(attribute([music], turns(("A", 0, 1), ("B", 1, 2)))) == [("A", " ♪ ♪")]


def test_words_without_their_spaces_are_found_in_the_text() -> None:
    said = ((0, 1, "Well"), (1, 2, "yes"), (3, 4, "“No”"), (4, 5, "no"))
    segment = spoken(*said, text="  Well, yes! (42) “No” – no. ")
    diarization = turns(("A", 0, 2.5), ("B", 2.5, 3.9), ("A", 4, 6))
    assert told(attribute([segment], diarization)) == [("A", "  Well, yes!"), ("B", " (42) “No”"), ("A", " – no. ")]


def test_an_opening_quote_goes_with_what_it_opens() -> None:
    segment = spoken((0, 1, "他说"), (2, 3, "好"), text="他说“好”")
    assert told(attribute([segment], turns(("A", 0, 1), ("B", 2, 3)))) == [("A", "他说"), ("B", "“好”")]


def test_a_word_that_the_text_does_not_have_goes_with_the_one_before_it() -> None:
    said = ((0, 1, "one"), (2, 3, "2"), (3, 4, "three"))
    pieces = attribute([spoken(*said, text=" one two three")], turns(("A", 0, 1), ("B", 2, 4)))
    assert told(pieces) == [("A", " one"), ("B", " two three")]
    assert [[word.word for word in piece.words or []] for piece in pieces] == [["one", "2"], ["three"]]
    first = ((0, 1, "1"), (2, 3, "two"), (3, 4, "three"))
    pieces = attribute([spoken(*first, text=" one two three")], turns(("A", 0, 1), ("B", 2, 3), ("C", 3, 5)))
    assert told(pieces) == [("B", " one two"), ("C", " three")]


def test_a_segment_whose_text_has_none_of_its_words_is_not_cut() -> None:
    segment = spoken((0, 1, "eins"), (1, 3, "zwei"), text=" one two")
    (piece,) = attribute([segment], turns(("A", 0, 1), ("B", 1, 3)))
    assert (piece.text, piece.speaker) == (" one two", "B")
    assert [word.speaker for word in piece.words or []] == ["B", "B"]


@pytest.mark.parametrize(
    ("diarization", "speaker"),
    [
        (turns(("A", 0, 11), ("B", 11, 12.5), ("A", 12.5, 20)), "A"),
        (turns(("A", 0, 11), ("B", 11, 13.1), ("A", 13.1, 20)), "B"),
        (turns(("A", 10, 12), ("A", 11, 12.1), ("B", 11.5, 14)), "B"),
        (turns(("B", 10, 12), ("A", 12, 14)), "B"),
        (turns(("A", 9, 9.5), ("B", 14.1, 15)), "B"),
        (turns(("A", 0, 8), ("B", 16, 17)), None),
        (turns(), None),
    ],
)
def test_a_segment_without_words_goes_to_who_speaks_longest_in_it(
    diarization: Diarization, speaker: str | None
) -> None:
    for unworded in (None, []):
        segment = Segment(id=0, seek=0, start=10.0, end=14.0, text=" a b", tokens=[1], words=unworded)
        (piece,) = attribute([segment], diarization)
        assert (piece.text, piece.words, piece.tokens, piece.speaker or None) == (" a b", unworded, [1], speaker)


def test_no_piece_is_over_another_whatever_the_words_claim() -> None:
    segment = spoken((0, 9, " a"), (5, 6, " b"), (5.5, 4, " c"), (7, 7.5, " d"))
    diarization = turns(("A", 4.4, 4.6), ("B", 5.2, 5.8), ("C", 4.7, 4.8), ("D", 7, 8))
    pieces = attribute([segment], diarization)
    assert [piece.speaker for piece in pieces] == ["A", "B", "C", "D"]
    assert [(piece.start, piece.end) for piece in pieces] == [(0, 5), (5, 5.5), (5.5, 5.5), (7, 7.5)]


def test_pieces_stay_within_their_segment() -> None:
    segment = Segment(
        id=0, seek=0, start=1.0, end=3.0, text=" a b c", words=words((0, 1, " a"), (4, 5, " b"), (6, 7, " c"))
    )
    pieces = attribute([segment], turns(("A", 0, 1), ("B", 4, 5), ("C", 6, 7)))
    assert [(piece.start, piece.end) for piece in pieces] == [(1.0, 1), (3.0, 3.0), (3.0, 3.0)]


def test_ids_count_over_all_segments() -> None:
    pieces = attribute(
        [steady("one two"), steady("three", 0.8), steady("four", 1.2)], turns(("A", 0, 0.4), ("B", 0.4, 9))
    )
    assert [(piece.id, piece.text) for piece in pieces] == [(0, " one"), (1, " two"), (2, " three"), (3, " four")]


def test_three_hours_are_done_before_anybody_notices() -> None:
    """Thirty thousand words, ten thousand turns, and one speaker whose turn covers all."""
    talk = [steady("word " * 30, 12.0 * i) for i in range(1_000)]
    said = [(f"S{i % 8}", 1.2 * i, 1.2 * i + 1.3) for i in range(10_000)]
    assert len(attribute(talk, turns(("room", 0, 12_000), *said))) >= 1_000
