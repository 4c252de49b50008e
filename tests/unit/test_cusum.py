"""The cumulative sum: what lasts shows, what is large and short does not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.health.cusum import CLIP, Cusum

SLACK = math.log(1.5) / 2
VALUES = st.floats(-5, 5)


def fed(*values: float, least: int = 8, threshold: float = 2.0) -> Cusum:
    cusum = Cusum(SLACK, threshold, least)
    for count, value in enumerate(values, start=1):
        cusum.add(value, count)
    return cusum


@pytest.mark.parametrize(("ratio", "jobs"), [(1.5, 10), (2.0, 5), (3.0, 5), (100.0, 5)])
def test_a_worker_that_stays_slow_is_found_after_so_many_jobs(ratio: float, jobs: int) -> None:
    slow = math.log(ratio)
    assert fed(*[0.0] * 8, *[slow] * (jobs - 1)).mood == "suspect"
    assert fed(*[0.0] * 8, *[slow] * jobs).mood == "degraded"


def test_less_than_the_slack_never_shows() -> None:
    assert fed(*[SLACK] * 10_000).sum == pytest.approx(0.0, abs=1e-9)
    assert fed(*[math.log(1.2)] * 10_000).mood == "ok"


@given(st.lists(st.floats(-1, SLACK), max_size=30), VALUES, st.lists(st.floats(-1, SLACK), max_size=30))
def test_one_outlier_trips_nothing(before: list[float], outlier: float, after: list[float]) -> None:
    assert fed(*before, outlier, *after).mood == "ok"
    assert fed(*before, math.inf, *after).sum <= CLIP - SLACK


def test_a_suspicion_is_dropped_only_when_little_is_left_of_it() -> None:
    suspect = fed(*[1.0] * 2, *[0.0] * 2, least=1)
    assert 0.4 < suspect.sum < 1.0
    assert suspect.mood == "ok"  # it never came to half of the threshold
    suspect = fed(*[1.0] * 3, *[0.0] * 4, least=1)
    assert 0.4 < suspect.sum < 1.0
    assert suspect.mood == "suspect"
    suspect.add(-0.1, 8)
    assert suspect.sum <= 0.4
    assert suspect.mood == "ok"


def test_degraded_does_not_fall_back_to_suspect() -> None:
    cusum = fed(*[1.0] * 5, *[0.0] * 5, least=1)
    assert 0.4 < cusum.sum < 2.0
    assert cusum.mood == "degraded"
    for count in range(20):
        cusum.add(0.0, 20 + count)
    assert cusum.mood == "ok"


@given(st.lists(VALUES, min_size=1, max_size=60), st.integers(1, 40), st.floats(0.5, 5))
def test_nothing_is_said_before_there_are_enough(values: list[float], least: int, threshold: float) -> None:
    cusum = Cusum(SLACK, threshold, least)
    for count, value in enumerate(values, start=1):
        cusum.add(value, count)
        assert cusum.mood != "degraded" or count >= least
        assert cusum.sum >= 0.0


def test_young_workers_are_suspected_and_found_as_soon_as_it_is_allowed() -> None:
    assert fed(*[1.0] * 7).mood == "suspect"
    assert fed(*[1.0] * 8).mood == "degraded"


@given(st.lists(VALUES, max_size=40))
def test_after_a_reset_the_past_does_not_count(values: list[float]) -> None:
    cusum = fed(*values)
    cusum.reset()
    assert (cusum.sum, cusum.mood) == (0.0, "ok")
    for count in range(3):
        cusum.add(5.0, 100 + count)
    assert cusum.mood == "suspect"
