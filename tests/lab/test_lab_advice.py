"""The recommended policy: what it rests on, and that the daemon takes it."""

import tomllib

import pytest
from msgspec.structs import replace

from asrd_lab.advice import LEAST_BUDGET, Sickness, advise
from asrd_supervisor.config import decode

WELL = Sickness(leak=None, baseline=250e6, slow_down=None, job_s=0.5, reload_s=2.0)


def _per_job(sick: Sickness, jobs: int) -> float:
    """Seconds that a job takes on average when workers are replaced after so many."""
    assert sick.slow_down
    return (sick.reload_s + sum(sick.job_s * (1 + sick.slow_down * i) for i in range(jobs))) / jobs


@pytest.mark.parametrize(("slow", "job_s", "reload_s"), [(0.01, 0.5, 2.0), (0.001, 10.0, 30.0), (0.1, 1.0, 0.2)])
def test_no_other_number_of_jobs_loses_less(slow: float, job_s: float, reload_s: float) -> None:
    sick = replace(WELL, slow_down=slow, job_s=job_s, reload_s=reload_s)
    best = min(range(1, 2_000), key=lambda jobs: _per_job(sick, jobs))
    found = advise(sick, "x")
    assert abs(found.max_jobs - best) <= 1 and found.memory_jobs is None


@pytest.mark.parametrize("leak", [0.3e6, 5e6, 90e6])
@pytest.mark.parametrize("baseline", [100e6, 4e9])
def test_ten_thousand_jobs_never_need_more_than_the_budget(leak: float, baseline: float) -> None:
    found = advise(replace(WELL, leak=leak, baseline=baseline), "x")
    budget = max(LEAST_BUDGET, baseline / 2)
    peak = max(leak * (job % found.max_jobs + 1) for job in range(10_000))
    assert peak <= budget < leak * (found.max_jobs + 1), "no fewer jobs than fit"


def test_the_smaller_number_of_both_decides() -> None:
    sick = replace(WELL, leak=5e6, slow_down=0.01)
    found = advise(sick, "x")
    assert found.max_jobs == min(found.memory_jobs or 0, found.latency_jobs or 0) == found.latency_jobs == 28
    assert advise(replace(sick, reload_s=500.0), "x").max_jobs == found.memory_jobs == 53


def test_nothing_wrong_means_never() -> None:
    found = advise(WELL, "x")
    assert (found.max_jobs, found.cost_percent, found.spared_percent) == (0, 0, 0)
    assert "never" in found.toml


def test_what_it_costs_and_what_it_saves() -> None:
    found = advise(replace(WELL, slow_down=0.01), "x")
    worked = found.max_jobs * 0.5 * (1 + 0.01 * (found.max_jobs - 1) / 2)
    assert found.cost_percent == pytest.approx(100 * 2.0 / (2.0 + worked))
    assert found.spared_percent == pytest.approx(100 * (1 - 1 / (1 + 0.01 * 999 / 2)))


@pytest.mark.parametrize("sick", [WELL, replace(WELL, leak=5e6), replace(WELL, slow_down=0.02)])
def test_the_daemon_takes_the_toml(sick: Sickness) -> None:
    found = advise(sick, "asrd lab: tiny.en on cpu (int8)")
    assert decode(tomllib.loads(found.toml)).pools["default"].recycle.max_jobs == found.max_jobs


def test_a_leak_that_no_life_is_long_enough_for_needs_no_limit() -> None:
    assert advise(replace(WELL, leak=1.0), "x").max_jobs == 0
