"""Whether workers change with the number of jobs they have done: one series by age, its slope, and how sure that is."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from asrd_supervisor.core.health.trend import mann_kendall, theil_sen

SURE = 0.001
"""A trend is believed when chance gives it with less than this probability. Several experiments are asked."""

LASTING = 0.05
"""The same for the second half alone: what has levelled off was warming up or filling a cache."""

MOST = 200
"""Values of a series; longer ones are cut into stretches, of each of which the median is taken."""


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """How something changes from job to job of one worker."""

    per_job: float
    """Theil-Sen slope, in the unit of the values."""
    p: float
    """Mann-Kendall, one-sided: how likely a series without a trend rises as much."""
    first: int
    """Which job of the worker the series begins with."""
    start: float
    """The value at that job, on the fitted line."""
    jobs: int
    """Length of the series."""
    lasts: bool
    """The second half of it still rises."""

    @property
    def growth(self) -> float:
        """From the first to the last job, on the fitted line."""
        return self.per_job * (self.jobs - 1)

    def rises(self, least: float) -> bool:
        """By so much at least, and not by chance."""
        return self.p < SURE and self.lasts and self.growth >= least


def by_age(points: Iterable[tuple[int, float]]) -> list[float]:
    """One value for each age: the median over all workers of that age. Ages that no worker had are skipped."""
    values: dict[int, list[float]] = defaultdict(list)
    for age, value in points:
        values[age].append(value)
    return [median(values[age]) for age in sorted(values)]


def trend(values: Sequence[float], first: int = 1) -> Trend:
    """The trend of a series, one value a job, that begins with the job ``first`` of a worker."""
    stretch = -(-len(values) // MOST)
    short = [median(values[i : i + stretch]) for i in range(0, len(values), stretch)] if stretch > 1 else list(values)
    slope = theil_sen(short)
    level = median(value - slope * i for i, value in enumerate(short)) if short else 0.0
    half = short[len(short) // 2 :]
    return Trend(
        per_job=slope / max(1, stretch),
        p=mann_kendall(short),
        first=first,
        start=level,
        jobs=len(values),
        lasts=mann_kendall(half) < LASTING and theil_sen(half) > slope / 4,
    )
