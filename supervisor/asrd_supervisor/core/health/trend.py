"""Whether a short series rises, and how fast: two tests that outliers cannot fool, for at most some forty values."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import erfc, sqrt
from statistics import median

FEWEST = 8
"""Values below which the normal approximation says nothing."""


def theil_sen(values: Sequence[float]) -> float:
    """The slope per step: the median of the slopes of all pairs; 0 for fewer than two values.

    H. Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950; P. K. Sen, "Estimates of the
    regression coefficient based on Kendall's tau", Journal of the American Statistical Association 63, 1968.
    """
    return median(rise / steps for rise, steps in _pairs(values)) if len(values) > 1 else 0.0


def mann_kendall(values: Sequence[float]) -> float:
    """The probability that a series without a trend rises as much; 1 when there are too few values, or all are alike.

    One-sided, by the normal approximation with corrections for ties and for continuity. H. B. Mann, "Nonparametric
    tests against trend", Econometrica 13, 1945; M. G. Kendall, "Rank correlation methods", 1948.
    """
    count = len(values)
    variance = (_spread(count) - sum(_spread(tied) for tied in Counter(values).values())) / 18
    if count < FEWEST or not variance:
        return 1.0
    score = sum((rise > 0) - (rise < 0) for rise, _ in _pairs(values))
    nearer = score - (score > 0) + (score < 0)
    return erfc(nearer / sqrt(variance) / sqrt(2)) / 2


def _pairs(values: Sequence[float]) -> Iterator[tuple[float, int]]:
    """How much, and over how many steps, each value differs from each one before it."""
    for i, earlier in enumerate(values):
        for j, later in enumerate(values[i + 1 :], i + 1):
            yield later - earlier, j - i


def _spread(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)
