"""Whether a healthy worker shall be replaced, and after how many jobs."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.policy import Duration, RecyclePolicy
from asrd_supervisor.core.recycle import Facts, Verdict, judge, limit_of

POLICY = RecyclePolicy(max_jobs=100, max_age=Duration(3600))
NEVER = RecyclePolicy(max_jobs=0, max_age=Duration(0))


def facts(jobs_done: int = 0, limit: int = 90, age: float = 0.0, requested: bool = False) -> Facts:
    return Facts(jobs_done, limit, age, requested)


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (facts(89, age=3599.9), None),
        (facts(90), Verdict("max_jobs", {"jobs_done": 90, "limit": 90})),
        (facts(91), Verdict("max_jobs", {"jobs_done": 91, "limit": 90})),
        (facts(age=3600.0), Verdict("max_age", {"age_s": 3600.0, "limit_s": 3600.0})),
        (facts(90, age=3600.0), Verdict("max_jobs", {"jobs_done": 90, "limit": 90})),
        (facts(90, age=3600.04, requested=True), Verdict("requested", {"age_s": 3600.0})),
    ],
)
def test_a_verdict_is_a_reason_with_its_numbers(known: Facts, verdict: Verdict | None) -> None:
    assert judge(known, POLICY) == verdict


def test_zero_means_never() -> None:
    assert judge(facts(10**6, limit=0, age=1e9), NEVER) is None
    assert limit_of(0, 1, 4, 0, random.Random(1)) == 0
    assert limit_of(0, 7, 4, 0, random.Random(1)) == 0


@pytest.mark.parametrize(
    ("max_jobs", "workers", "limits"),
    [
        (200, 4, [50, 100, 150, 200]),
        (200, 1, [200]),
        (10, 3, [4, 7, 10]),
        (3, 3, [1, 2, 3]),
        (2, 3, [1, 2, 2]),
        (1, 3, [1, 1, 1]),
    ],
)
def test_the_first_workers_get_even_shares(max_jobs: int, workers: int, limits: list[int]) -> None:
    assert [limit_of(slot, 1, workers, max_jobs, random.Random(1)) for slot in range(workers)] == limits


@given(
    max_jobs=st.integers(1, 10_000),
    workers=st.integers(1, 64),
    slot=st.integers(0, 64),
    generation=st.integers(1, 100),
    rng=st.randoms(use_true_random=False),
)
def test_a_limit_is_never_above_max_jobs_and_later_ones_at_most_a_tenth_below(
    max_jobs: int, workers: int, slot: int, generation: int, rng: random.Random
) -> None:
    limit = limit_of(slot, generation, workers, max_jobs, rng)
    assert 1 <= limit <= max_jobs
    if generation > 1 or slot >= workers:
        assert limit >= max_jobs * 0.9


def test_later_limits_are_spread() -> None:
    rng = random.Random(1)
    limits = [limit_of(0, 2, 4, 200, rng) for _ in range(300)]
    assert (min(limits), max(limits)) == (180, 200)
