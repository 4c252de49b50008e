"""Laws of the cost model: it knows no unit of time and no order, and nothing that is not negative fits better."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_protocol.model import Work
from asrd_supervisor.core.health.cost import LEAST_S, Costs, fit

Sample = tuple[Work, float]

WORKS = st.builds(Work, windows=st.integers(0, 40), beam_steps=st.integers(0, 3000), sample_steps=st.integers(0, 3000))
WALLS = st.floats(0.01, 100.0)
SAMPLES = st.lists(st.tuples(WORKS, WALLS), min_size=2, max_size=60)
FALLBACKS = st.builds(
    Work, windows=st.integers(0, 40), beam_steps=st.integers(0, 3000), sample_steps=st.integers(1, 3000)
)
FEW = st.lists(st.tuples(FALLBACKS, WALLS), min_size=3, max_size=9)
"""So few that none of them can be an outlier, and with fallbacks enough to tell what these cost."""


def sum_of_squares(costs: Sequence[float], samples: list[Sample]) -> float:
    """Of the relative errors."""
    fixed, window, beam, sample = costs
    return sum(
        ((fixed + window * w.windows + beam * w.beam_steps + sample * w.sample_steps) / wall - 1) ** 2
        for w, wall in samples
    )


@given(SAMPLES)
def test_no_cost_is_negative_and_every_job_takes_some_time(samples: list[Sample]) -> None:
    costs = fit(samples)
    assert costs is not None
    assert all(cost >= 0 for cost in msgspec.structs.astuple(costs))
    assert all(costs.predict(work) >= LEAST_S for work, _ in samples)


@given(SAMPLES, st.integers(-4, 10))
def test_in_another_unit_of_time_the_costs_are_the_same(samples: list[Sample], power: int) -> None:
    """By powers of two, which floats multiply by without rounding: then all is the same to the last bit."""
    costs, scaled = fit(samples), fit([(work, wall * 2.0**power) for work, wall in samples])
    assert costs is not None
    assert scaled == Costs(*(cost * 2.0**power for cost in msgspec.structs.astuple(costs)))


@given(FEW, st.floats(0.01, 1000.0))
def test_in_any_unit_of_time_the_fit_is_as_good(samples: list[Sample], factor: float) -> None:
    costs = fit(samples)
    scaled = fit([(work, wall * factor) for work, wall in samples])
    assert costs is not None
    assert scaled is not None
    back = [cost / factor for cost in msgspec.structs.astuple(scaled)]
    assert sum_of_squares(back, samples) == pytest.approx(
        sum_of_squares(msgspec.structs.astuple(costs), samples), abs=1e-6
    )


@given(st.data(), SAMPLES)
def test_the_order_of_the_jobs_does_not_matter(data: st.DataObject, samples: list[Sample]) -> None:
    assert fit(data.draw(st.permutations(samples))) == fit(samples)


@given(FEW, st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4), st.sampled_from([1.0, 1e-2, 1e-4]))
def test_nothing_that_is_not_negative_fits_better(samples: list[Sample], nudge: list[float], size: float) -> None:
    costs = fit(samples)
    assert costs is not None
    best = msgspec.structs.astuple(costs)
    units = [1.0, 0.1, 0.001, 0.001]
    other = [max(0.0, cost + size * by * unit) for cost, by, unit in zip(best, nudge, units, strict=True)]
    assert sum_of_squares(best, samples) <= sum_of_squares(other, samples) + 1e-6


@given(st.tuples(st.floats(LEAST_S, 1.0), *[st.floats(0.0, 1.0)] * 3), st.lists(FALLBACKS, min_size=3, max_size=9))
def test_times_that_are_such_a_sum_are_explained(true: tuple[float, ...], works: list[Work]) -> None:
    costs = Costs(*true)
    samples = [(work, costs.predict(work)) for work in works]
    found = fit(samples)
    assert found is not None
    for work, wall in samples:
        assert found.predict(work) == pytest.approx(wall, rel=1e-2)
