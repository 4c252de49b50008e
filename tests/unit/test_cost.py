"""What a job should take, fitted to what jobs took."""

import random
from math import exp, inf, nan

import pytest

from asrd_protocol.model import Work
from asrd_supervisor.core.health.cost import BATCH, LEAST_S, MANY, Costs, Profile, fit

TRUE = Costs(fixed=0.1, window=0.4, beam_step=0.007, sample_step=0.009)


def work(windows: int, beam: int = 0, sample: int = 0) -> Work:
    return Work(windows=windows, beam_steps=beam, sample_steps=sample)


def some_work(rng: random.Random) -> Work:
    windows = rng.randint(1, 4)
    return work(windows, rng.randint(5, 60) * windows, rng.choice([0, 0, 0, rng.randint(20, 400)]))


def some_samples(count: int, *, noise: float = 0.0, seed: int = 1, costs: Costs = TRUE) -> list[tuple[Work, float]]:
    rng = random.Random(seed)
    works = [some_work(rng) for _ in range(count)]
    return [(one, costs.predict(one) * exp(rng.gauss(0, noise))) for one in works]


def assert_close(costs: Costs | None, expected: Costs, rel: float = 1e-6) -> None:
    assert costs is not None
    for name in Costs.__struct_fields__:
        assert getattr(costs, name) == pytest.approx(getattr(expected, name), rel=rel, abs=1e-9), name


def test_a_prediction_is_a_sum_over_the_work() -> None:
    assert TRUE.predict(work(2, 50, 10)) == pytest.approx(0.1 + 0.8 + 0.35 + 0.09)


def test_a_prediction_is_never_nothing() -> None:
    assert Costs(0.0, 0.0, 0.0, 0.5).predict(work(3, 20)) == LEAST_S


def test_exact_times_give_the_exact_costs() -> None:
    assert_close(fit(some_samples(30)), TRUE)


def test_noise_moves_them_a_little() -> None:
    samples = some_samples(200, noise=0.07)
    costs = fit(samples)
    assert costs is not None
    for one, _ in samples:
        assert costs.predict(one) == pytest.approx(TRUE.predict(one), rel=0.05)


def test_a_long_job_counts_no_more_than_a_short_one() -> None:
    """Errors are relative: seconds of an hour-long file would drown everything else."""
    short, long = work(1), work(100)
    costs = fit([(short, 1.0), (long, 300.0)] + [(short, 1.0)] * 7)
    assert costs is not None
    assert costs.predict(short) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("zero", range(4))
def test_what_costs_nothing_is_found_to_cost_nothing(zero: int) -> None:
    values = [0.1, 0.4, 0.007, 0.009]
    values[zero] = 0.0
    assert_close(fit(some_samples(40, costs=Costs(*values))), Costs(*values))


def test_no_cost_is_negative_where_plain_least_squares_would_have_one() -> None:
    costs = fit([(work(1, 10), 1.0), (work(1, 20), 0.9), (work(1, 30), 0.8), (work(1, 40), 0.7)])
    assert costs is not None
    assert costs.beam_step == 0
    assert costs.window == pytest.approx(0.825, rel=0.05)


def test_costs_that_cannot_be_told_apart_are_put_on_the_work() -> None:
    """All clips had one window; one with three will take three times as long, not the same."""
    costs = fit([(work(1, beam), 0.5 + beam * 0.01) for beam in (10, 20, 30, 40, 50)])
    assert_close(costs, Costs(0.0, 0.5, 0.01, 0.01))


@pytest.mark.parametrize("fallbacks", [0, 1, 2])
def test_with_hardly_any_fallback_its_steps_cost_what_others_do(fallbacks: int) -> None:
    """Else the first fallback after a fit would look like a slow worker."""
    without = [(one, wall) for one, wall in some_samples(60) if not one.sample_steps][:20]
    some = [(work(1, 20, 100), TRUE.predict(work(1, 20, 100)))] * fallbacks
    costs = fit([*without, *some])
    assert costs is not None
    assert costs.sample_step == costs.beam_step == pytest.approx(TRUE.beam_step, rel=0.2)


def test_some_fallbacks_tell_what_their_steps_cost() -> None:
    without = [(one, wall) for one, wall in some_samples(60) if not one.sample_steps][:20]
    some = [(one, wall) for one, wall in some_samples(60) if one.sample_steps][:3]
    assert_close(fit([*without, *some]), TRUE)


def test_jobs_without_any_work_have_a_fixed_cost() -> None:
    assert_close(fit([(work(0), 0.25)] * 5), Costs(0.25, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("samples", [[], [(work(1), 1.0)], [(work(1), 0.0)] * 30, [(work(1), nan), (work(1), inf)]])
def test_too_little_says_nothing(samples: list[tuple[Work, float]]) -> None:
    assert fit(samples) is None


def test_times_that_cannot_be_are_passed_over() -> None:
    odd = [(work(1), nan), (work(2), inf), (work(1), -1.0), (work(3), 0.0)]
    assert_close(fit([*odd, *some_samples(30)]), TRUE)


@pytest.mark.parametrize("factor", [0.1, 3.0, 10.0])
def test_a_heavy_tail_does_not_move_the_costs(factor: float) -> None:
    samples = some_samples(100, noise=0.03)
    samples[::20] = [(one, wall * factor) for one, wall in samples[::20]]
    costs = fit(samples)
    assert costs is not None
    for one, _ in samples:
        assert costs.predict(one) == pytest.approx(TRUE.predict(one), rel=0.08)


def test_not_more_than_a_tenth_are_outliers() -> None:
    """A third of the jobs is no tail: the model has to live with them."""
    samples = some_samples(99)
    slow = [(one, wall * 4) if i % 3 == 0 else (one, wall) for i, (one, wall) in enumerate(samples)]
    costs = fit(slow)
    assert costs is not None
    assert costs.predict(work(2, 60)) > 1.05 * TRUE.predict(work(2, 60))


def test_who_is_no_outlier_counts() -> None:
    """Half as slow again is within what clips do; the least relative error is at (18 + 2/1.5) / (18 + 2/1.5**2)."""
    costs = fit([(work(1), 1.0)] * 18 + [(work(1), 1.5)] * 2)
    assert_close(costs, Costs(0.0, (18 + 2 / 1.5) / (18 + 2 / 1.5**2), 0.0, 0.0))


def test_the_order_of_many_jobs_does_not_change_a_bit() -> None:
    samples = some_samples(150, noise=0.2)
    costs = fit(samples)
    for seed in range(10):
        random.Random(seed).shuffle(samples)
        assert fit(samples) == costs


# --- the profile ------------------------------------------------------------------------------------------------------


def test_a_profile_says_nothing_before_its_first_batch() -> None:
    profile = Profile()
    samples = some_samples(BATCH)
    for one, wall in samples[:-1]:
        profile.learn(one, wall)
    assert profile.costs is None
    profile.learn(*samples[-1])
    assert_close(profile.costs, TRUE)


def test_times_that_cannot_be_do_not_fill_a_batch() -> None:
    profile = Profile()
    for _ in range(BATCH):
        profile.learn(work(1), 0.0)
        profile.learn(work(1), nan)
    assert profile.costs is None


def test_a_profile_is_fitted_anew_with_each_batch_only() -> None:
    profile = Profile()
    for one, wall in some_samples(BATCH):
        profile.learn(one, wall)
    before = profile.costs
    for one, wall in some_samples(BATCH - 1, seed=2):
        profile.learn(one, 2 * wall)
        assert profile.costs is before
    profile.learn(work(1, 20), 2 * TRUE.predict(work(1, 20)))
    assert profile.costs is not None
    assert profile.costs.predict(work(1, 20)) > 1.1 * TRUE.predict(work(1, 20))


def test_a_profile_forgets_what_is_long_ago() -> None:
    profile = Profile()
    for one, wall in some_samples(MANY):
        profile.learn(one, 5 * wall)
    for one, wall in some_samples(MANY, seed=2):
        profile.learn(one, wall)
    assert_close(profile.costs, TRUE)
