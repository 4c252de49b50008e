"""Slopes and their significance, against figures that were computed by hand."""

import random
from math import erfc, sqrt

import pytest

from asrd_supervisor.core.health.trend import mann_kendall, theil_sen


def upper_tail(z: float) -> float:
    return erfc(z / sqrt(2)) / 2


@pytest.mark.parametrize(
    ("values", "slope"),
    [
        ([], 0.0),
        ([5.0], 0.0),
        ([1.0, 4.0], 3.0),
        ([4.0, 1.0], -3.0),
        ([2.0, 2.0, 2.0], 0.0),
        ([0.0, 1.0, 5.0], 2.5),  # of 1, 4 and 2.5
        ([0.0, 1.0, 5.0, 4.0], 17 / 12),  # of -1, 1, 4/3, 3/2, 5/2 and 4: between the two in the middle
    ],
)
def test_the_slope_is_the_median_of_the_slopes_of_all_pairs(values: list[float], slope: float) -> None:
    assert theil_sen(values) == pytest.approx(slope)


def test_a_quarter_of_wild_values_does_not_turn_the_slope() -> None:
    values = [3.0 * i for i in range(20)]
    for i in (2, 7, 11, 16):
        values[i] = 10_000.0
    assert theil_sen(values) == pytest.approx(3.0, rel=0.2)


def test_a_rise_without_a_break() -> None:
    """Ten values: 45 rises, variance 10 * 9 * 25 / 18 = 125."""
    assert mann_kendall(list(range(10))) == pytest.approx(upper_tail(44 / sqrt(125)))


def test_a_fall_is_no_rise() -> None:
    assert mann_kendall(list(range(10, 0, -1))) == pytest.approx(upper_tail(-44 / sqrt(125)))
    assert mann_kendall(list(range(10, 0, -1))) > 0.999


def test_ties_take_from_the_variance() -> None:
    """Two fours and two threes: 16 rises; (8 * 7 * 21 - 2 * (4 * 3 * 13)) / 18 - without these, 65.33."""
    values = [1, 1, 1, 1, 2, 2, 2, 2]
    assert mann_kendall(values) == pytest.approx(upper_tail(15 / sqrt((8 * 7 * 21 - 2 * 4 * 3 * 13) / 18)))


def test_as_many_rises_as_falls() -> None:
    values = [1, 2, 1, 2, 1, 2, 1, 2, 1]
    assert mann_kendall(values) == pytest.approx(0.5)


def test_few_values_say_nothing() -> None:
    assert mann_kendall(list(range(7))) == 1.0
    assert mann_kendall(list(range(8))) < 0.001
    assert mann_kendall([]) == 1.0


def test_values_that_are_all_alike_say_nothing() -> None:
    assert mann_kendall([3.0] * 20) == 1.0


def test_noise_rarely_looks_like_a_trend() -> None:
    rng = random.Random(5)
    found = sum(mann_kendall([rng.gauss(0, 1) for _ in range(20)]) < 0.05 for _ in range(1000))
    assert 20 <= found <= 80


def test_a_trend_under_noise_is_seen() -> None:
    rng = random.Random(6)
    leaks = [[i + rng.gauss(0, 4) for i in range(20)] for _ in range(100)]
    assert sum(mann_kendall(leak) < 0.01 for leak in leaks) > 90
    assert sum(theil_sen(leak) for leak in leaks) / 100 == pytest.approx(1.0, rel=0.1)
