"""The built-in clip: when it is due, and what its text and its time tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.health.canary import Canary, word_error_rate
from asrd_supervisor.core.policy import CanaryPolicy, PositiveDuration

OFTEN = CanaryPolicy(every_jobs=10, idle=PositiveDuration(60))
TEXT = "And so, my fellow Americans: ask not."
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), max_size=12)


def due(canary: Canary, now: float, jobs: int, *, limit: int = 0, idle_s: float = 0.0) -> int:
    return canary.due(now, jobs, limit, idle_s, OFTEN)


def answered(canary: Canary, now: float, jobs: int, took: float, text: str = TEXT, *, measure: bool = True) -> Canary:
    canary.note(now, jobs, took, text, measure=measure)
    return canary


# --- when -------------------------------------------------------------------------------------------------------------


def test_it_is_due_after_some_jobs_for_its_time_and_then_each_so_many() -> None:
    canary = Canary(0.0, 1.0, TEXT)
    assert [due(canary, 1.0, jobs) for jobs in (0, 4, 5, 6)] == [0, 0, 2, 2]
    answered(canary, 5.0, 5, 1.0)
    assert [due(canary, 6.0, jobs) for jobs in (5, 14, 15)] == [0, 0, 1]
    answered(canary, 5.0, 15, 1.0)
    assert [due(canary, 6.0, jobs) for jobs in (15, 24, 25)] == [0, 0, 1]


@pytest.mark.parametrize(("limit", "early"), [(0, 2), (50, 2), (49, 0)])
def test_workers_that_leave_soon_are_not_timed_early(limit: int, early: int) -> None:
    assert due(Canary(0.0, 1.0, TEXT), 1.0, 5, limit=limit) == early
    assert due(Canary(0.0, 1.0, TEXT), 1.0, 10, limit=limit)


def test_it_is_due_when_nothing_was_heard_of_the_worker_for_long() -> None:
    canary = Canary(0.0, 1.0, TEXT)
    assert not due(canary, 59.0, 0, idle_s=59.0)
    assert due(canary, 60.0, 0, idle_s=60.0)
    assert not due(canary, 100.0, 0, idle_s=5.0)
    answered(canary, 60.0, 0, 1.0)
    assert not due(canary, 119.0, 0, idle_s=119.0)
    assert due(canary, 120.0, 0, idle_s=120.0)


def test_it_is_never_due_where_it_is_not_wanted() -> None:
    off = CanaryPolicy(enabled=False, every_jobs=1)
    assert not Canary(0.0, 1.0, TEXT).due(1e9, 10**6, 0, 1e9, off)


# --- how long ---------------------------------------------------------------------------------------------------------


def test_its_time_is_measured_once_more_when_the_pool_is_at_work() -> None:
    canary = Canary(0.0, 2.0, TEXT)
    assert answered(canary, 1.0, 4, 3.0).ratio == 1.5
    assert answered(canary, 2.0, 5, 1.0).ratio == 1.0
    assert answered(canary, 3.0, 50, 1.5).ratio == 1.5
    assert canary.first_took == 1.0


def test_an_answer_in_an_inquiry_is_no_measure() -> None:
    canary = answered(Canary(0.0, 1.0, TEXT), 1.0, 20, 2.0, measure=False)
    assert canary.ratio == 2.0
    assert answered(canary, 2.0, 21, 1.6).first_took == 1.6


def test_a_time_that_is_not_known_says_nothing() -> None:
    assert Canary().ratio is None
    assert answered(Canary(), 1.0, 1, 2.0).ratio == 1.0


# --- what -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (TEXT, False),
        ("and so my fellow americans ask not", False),
        ("And so, my fellow Americans: ask.", False),  # one of seven
        ("And so, my fellow Americans.", True),
        ("", True),
        ("Thank you for watching!", True),
        (" ".join([TEXT] * 2), True),
        (TEXT + " not not", True),
    ],
)
def test_other_words_are_nonsense_and_other_punctuation_is_not(text: str, wrong: bool) -> None:
    verdict = answered(Canary(0.0, 1.0, TEXT), 1.0, 1, 0.1, text).verdict()
    assert (verdict is not None) == wrong
    if verdict:
        assert verdict.reason == "quality"
        assert verdict.numbers["got"] == text[:200]
        assert verdict.numbers["wer"] > 0.2


def test_the_first_text_stays_the_measure_whatever_was_heard_since() -> None:
    canary = Canary(0.0, 1.0, TEXT)
    for job in range(0, 40, 5):
        assert answered(canary, 1.0, job, 1.0, "nonsense").verdict()
    assert answered(canary, 1.0, 50, 1.0, TEXT).verdict() is None


def test_a_clip_that_takes_no_time_is_heard_all_the_same() -> None:
    canary = Canary(0.0, 0.0, TEXT)
    assert answered(canary, 1.0, 1, 0.0, "nonsense").verdict()
    canary = answered(Canary(0.0, 1.0, TEXT), 1.0, 5, 0.0)
    assert answered(canary, 2.0, 10, 1.0, "nonsense").verdict()


def test_an_engine_whose_first_text_is_not_known_is_taken_at_its_next_word() -> None:
    canary = answered(Canary(), 1.0, 1, 1.0, TEXT)
    assert canary.verdict() is None
    assert answered(canary, 1.0, 2, 1.0, "nonsense").verdict()


# --- word error rate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "got", "rate"),
    [
        ("a b c d", "a b c d", 0.0),
        ("a b c d", "a x c d", 0.25),
        ("a b c d", "a c d", 0.25),
        ("a b c d", "a b x c d", 0.25),
        ("a b", "", 1.0),
        ("a", "b c d", 3.0),
        ("don't stop", "Don't, stop!", 0.0),
        ("Straße", "STRASSE", 0.0),
        ("日本 語", "日本 語", 0.0),
        ("", "", 0.0),
        ("", "a b", 2.0),
    ],
)
def test_rates(expected: str, got: str, rate: float) -> None:
    assert word_error_rate(expected, got) == rate


@given(WORDS, WORDS)
def test_it_is_the_edit_distance(want: list[str], have: list[str]) -> None:
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        change = known[i - 1, j - 1] + (want[i - 1] != have[j - 1])
        return min(known[i - 1, j] + 1, known[i, j - 1] + 1, change)

    known: dict[tuple[int, int], int] = {}
    for i in range(len(want) + 1):
        for j in range(len(have) + 1):
            known[i, j] = distance(i, j)
    rate = word_error_rate(" ".join(want), " ".join(have))
    assert rate * max(1, len(want)) == pytest.approx(known[len(want), len(have)])
