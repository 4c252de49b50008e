"""Words under post-processing: joined, cut and dropped with their times, and never other than the text."""

import pytest

from asrd_protocol.model import Segment, Word
from asrd_worker.text import Chain, TextOptions
from asrd_worker.text.edits import Edit, edited, edited_words
from asrd_worker.text.spelling import spelled


def words(*spelling: str) -> list[Word]:
    """A word a second, each half a second long and less probable than the one before."""
    return [Word(start=i, end=i + 0.5, word=word, probability=1 - i / 10) for i, word in enumerate(spelling)]


def segment(*spelling: str, text: str | None = None) -> Segment:
    """A segment of these words."""
    text = "".join(spelling) if text is None else text
    return Segment(id=3, seek=7, start=0.0, end=30.0, text=text, tokens=[1, 2], words=words(*spelling))


def shown(some: list[Word] | None) -> list[tuple[str, float, float]]:
    """What words are and when."""
    return [(word.word, word.start, word.end) for word in some or []]


def done(given: Segment, *post: str, **more: object) -> Segment:
    """The segment after these steps."""
    return Chain.of(TextOptions(post=list(post), **more)).apply(given)  # type: ignore[arg-type]


def test_words_that_become_one_have_the_start_of_the_first_and_the_end_of_the_last() -> None:
    given = segment(" we", " use", " as", " red,", " now")

    made = done(given, "terms", terms={"as red": "asrd"})

    assert made.text == " we use asrd, now"
    assert shown(made.words) == [(" we", 0, 0.5), (" use", 1, 1.5), (" asrd,", 2, 3.5), (" now", 4, 4.5)]
    assert (made.words or [])[2].probability == pytest.approx(0.7), "of the least certain part"
    assert (made.id, made.seek, made.start, made.end, made.tokens) == (3, 7, 0.0, 30.0, [1, 2])


def test_words_that_are_removed_take_their_times_with_them() -> None:
    made = done(segment(" Um,", " I", " think,", " uh,", " so."), "fillers:en")

    assert made.text == " I think so."
    assert shown(made.words) == [(" I", 1, 1.5), (" think", 2, 2.5), (" so.", 4, 4.5)]


def test_marks_of_a_removed_word_go_to_the_word_before() -> None:
    made = done(segment(" Yes,", " we", " do", " um!", " Good."), "fillers:en")

    assert shown(made.words) == [(" Yes,", 0, 0.5), (" we", 1, 1.5), (" do!", 2, 2.5), (" Good.", 4, 4.5)]


def test_a_number_over_several_words_is_one_word() -> None:
    made = done(segment(" of", " twenty", "-five", " men"), "numbers:en")

    assert shown(made.words) == [(" of", 0, 0.5), (" 25", 1, 2.5), (" men", 3, 3.5)]


def test_characters_converted_one_by_one_keep_their_words_and_only_phrases_are_joined() -> None:
    made = done(segment("头", "发", "和内", "存", "发", "展"), "opencc:s2twp")

    assert made.text == "頭髮和記憶體發展"
    expected = [("頭", 0, 0.5), ("髮", 1, 1.5), ("和記憶體", 2, 3.5), ("發", 4, 4.5), ("展", 5, 5.5)]
    assert shown(made.words) == expected


def test_marks_that_are_words_stay_words() -> None:
    made = done(segment("你好", ",", "世界", "."), "punctuation")

    assert shown(made.words) == [("你好", 0, 0.5), ("，", 1, 1.5), ("世界", 2, 2.5), ("。", 3, 3.5)]


def test_a_segment_that_loses_everything_has_no_text_and_no_words() -> None:
    made = done(segment(" Uh,", " um."), "fillers:en")

    assert (made.text, made.words) == ("", [])


def test_a_segment_without_words_gets_none() -> None:
    bare = Segment(id=0, seek=0, start=0, end=1, text=" um, yes")

    assert done(bare, "fillers:en").words is None
    assert done(Segment(id=0, seek=0, start=0, end=1, text=" um, yes", words=[]), "fillers:en").words == []


def test_what_is_not_changed_is_the_same_segment() -> None:
    given = segment(" nothing", " to", " do")

    assert done(given, "fillers:en", "width", "punctuation", "numbers:en") is given


# --- edits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "made"),
    [
        ([Edit(0, 2, "XY")], ["XY", " cd", " ef"]),
        ([Edit(0, 0, ">")], [">ab", " cd", " ef"]),
        ([Edit(2, 2, "-")], ["ab", "- cd", " ef"]),
        ([Edit(8, 8, "!")], ["ab", " cd", " ef!"]),
        ([Edit(1, 4, "X")], ["aXd", " ef"]),
        ([Edit(1, 7, "X")], ["aXf"]),
        ([Edit(1, 7, "")], ["a", "f"]),
        ([Edit(1, 7, " ")], ["a ", "f"]),
        ([Edit(0, 5, "")], [" ef"]),
        ([Edit(3, 8, "")], ["ab "]),
        ([Edit(3, 5, ".")], ["ab .", " ef"]),
        ([Edit(0, 2, "")], [" cd", " ef"]),
        ([Edit(0, 2, ".")], [". cd", " ef"]),
        ([Edit(0, 8, "")], []),
        ([Edit(0, 8, ".")], ["."]),
        ([Edit(0, 1, "A"), Edit(1, 2, "B"), Edit(4, 5, ""), Edit(7, 8, "F")], ["AB", " c", " eF"]),
    ],
)
def test_edits_are_carried_over_to_words(edits: list[Edit], made: list[str]) -> None:
    given = words("ab", " cd", " ef")

    assert [word.word for word in edited_words(given, edits)] == made
    assert edited("ab cd ef", edits) == "".join(made)


# --- spelling ---------------------------------------------------------------------------------------------------------


def test_words_without_their_spaces_get_what_stands_between_them() -> None:
    text, found = spelled(segment("Hello", "world", text=" Hello, big world!"))

    assert text == " Hello, big world!"
    assert shown(found) == [(" Hello", 0, 0.5), (", big world!", 1, 1.5)]


def test_words_that_are_not_in_the_text_make_it_anew() -> None:
    text, found = spelled(segment("Hello", "there", text=" Hello world"))

    assert text == "Hello there"
    assert [word.word for word in found or []] == ["Hello", " there"]


def test_blank_words_are_no_words() -> None:
    assert shown(spelled(segment("a", " ", "b", text=" a b"))[1]) == [(" a", 0, 0.5), (" b", 2, 2.5)]
