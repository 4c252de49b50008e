"""What is found in rows: the injected sickness, and nothing where there is none."""

from random import Random
from statistics import median

import pytest
from msgspec.structs import replace

from asrd_lab.analysis import latency, lengths, memory, pair, reload, same_work, throughput, vram
from asrd_lab.rows import parse
from asrd_lab.trends import by_age, trend
from asrd_lab.verdict import judge
from lab.measured import STEPS, aged, fresh, started

SEEDS = range(20)


@pytest.mark.parametrize("slow", [0.01, 0.04])
def test_an_injected_slow_down_is_recovered_within_a_tenth(slow: float) -> None:
    for seed in SEEDS:
        rows = [*aged("e4", slow=slow, noise=0.03, seed=seed), *aged("e2", slow=slow, noise=0.03, seed=seed + 100)]
        rows += aged("pool", 120, workers=2, slow=slow, noise=0.03, seed=seed + 200)
        advice = judge([*rows, *started()], "tiny").advice
        assert advice is not None and advice.slow_down == pytest.approx(slow, rel=0.1)


@pytest.mark.parametrize("leak", [1e6, 5e6, 40e6])
def test_an_injected_leak_is_recovered_within_a_tenth(leak: float) -> None:
    for seed in SEEDS:
        found = memory(aged(leak=leak, seed=seed))
        assert found is not None and found.leaks
        assert found.trend.per_job == pytest.approx(leak, rel=0.1)
        assert found.kept_per_call == pytest.approx(leak, rel=0.1)


def test_a_healthy_model_is_called_healthy() -> None:
    for seed in range(60):
        rows = [*aged("e4", seed=seed), *aged("e2", seed=seed + 100), *aged("pool", 120, workers=2, seed=seed + 200)]
        found = judge([*rows, *started()], "tiny")
        assert found.health == "healthy" and found.advice is not None, seed
        assert (found.advice.max_jobs, found.advice.leak, found.advice.slow_down) == (0, None, None)
        assert found.verdict[0].startswith("tiny does not degrade on this machine: over 60 jobs")


def test_twenty_jobs_are_enough_for_a_plain_case() -> None:
    found = judge([*aged(jobs=20, leak=5e6, slow=0.05, noise=0.02), *started()], "tiny")
    assert found.health == "both"


@pytest.mark.parametrize(("leak", "slow", "health"), [(5e6, 0, "leaking"), (0, 0.01, "slower"), (5e6, 0.01, "both")])
def test_the_verdict_names_what_is_wrong(leak: float, slow: float, health: str) -> None:
    found = judge([*aged(leak=leak, slow=slow), *started()], "tiny")
    assert found.health == health
    assert ("leaks" in found.verdict[0], "slower" in found.verdict[0]) == (bool(leak), bool(slow))
    assert found.advice is not None and found.advice.max_jobs > 0


def test_longer_clips_are_no_degradation() -> None:
    rows = aged("e2", noise=0.02)
    found = pair(rows)
    assert found is not None and found.ratio > 2.5 and found.same_work == pytest.approx(1, abs=0.12)
    said = " ".join(judge([*rows, *started()], "tiny").verdict)
    assert "is the length of the clips: for the same work it is" in said


def test_a_growth_that_work_does_not_explain_is_said_to_be_none_of_the_clips() -> None:
    rows = aged("e4", clips=["middle"], noise=0.001)
    slow = replace(rows[9], timings=replace(rows[9].timings, transcribe=3 * rows[9].wall_s))
    said = " ".join(judge([*rows[:9], slow, *rows[10:]], "tiny").verdict)
    assert "3.0x between jobs 9 and 10" in said and "not explained by the work" in said


def test_clips_of_each_length_cost_the_same_by_their_work() -> None:
    found = lengths(aged("e2", noise=0.02))
    assert [one.segments for one in found] == [1, 3, 10]
    assert found[2].median_s > 3 * found[0].median_s
    assert all(one.same_work == pytest.approx(1, abs=0.05) for one in found)
    assert [one.audio_s for one in found] == [steps / 5 for steps in STEPS.values()]


def test_memory_that_levels_off_is_no_leak() -> None:
    rows = [replace(row, rss_after=250_000_000 + 4_000_000 * min(row.job_index, 25)) for row in aged()]
    found = memory(rows)
    assert found is not None and not found.leaks and not found.trend.lasts


def test_a_leak_too_small_for_the_run_to_matter_is_none() -> None:
    found = memory([replace(row, rss_after=250_000_000 + 30_000 * row.job_index) for row in aged()])
    assert found is not None and found.trend.p < 0.001 and not found.leaks


def test_the_first_jobs_do_not_count_as_growth() -> None:
    found = memory(aged(noise=0.05))
    assert found is not None and found.trend.first > 3 and found.baseline == pytest.approx(250e6, rel=0.02)


def test_a_host_that_gets_slower_is_no_sick_worker() -> None:
    rows = [*aged("e4", slow=0.01), *fresh(slow=0.01), *started()]
    found = judge(rows, "tiny")
    assert found.health == "host" and "Nothing can be said" in found.verdict[0]
    assert found.advice is not None and found.advice.max_jobs == 0


def test_a_busy_host_that_spoils_one_experiment_is_no_sick_worker() -> None:
    rows = [*aged("e4", slow=0.01), *aged("e2", seed=2), *aged("pool", 120, workers=2, seed=3), *started()]
    found = judge(rows, "tiny")
    assert found.health == "healthy" and found.advice is not None and found.advice.max_jobs == 0
    assert "Jobs became slower in E4, the same clip again and again, but not in the others" in " ".join(found.verdict)


def test_fresh_workers_that_stay_fast_prove_the_sickness() -> None:
    assert judge([*aged("e4", slow=0.01), *fresh(), *started()], "tiny").health == "slower"


def test_fresh_workers_have_no_memory_trend() -> None:
    assert memory(fresh()) is None


@pytest.mark.parametrize(("bare", "said"), [(1, "does so too"), (0, "does not: look at")])
@pytest.mark.parametrize(("leak", "slow"), [(5e6, 0.0), (0.0, 0.01)])
def test_the_bare_model_tells_whose_fault_it_is(leak: float, slow: float, bare: int, said: str) -> None:
    alone = aged("e3", leak=leak * bare, slow=slow * bare, seed=2)
    found = judge([*aged("e4", leak=leak, slow=slow), *alone, *started()], "tiny")
    assert any(said in sentence for sentence in found.verdict)


def test_what_work_costs_is_learnt_from_young_workers_only() -> None:
    rows = aged(jobs=200, slow=0.02, noise=0.01)
    ratios, _ = same_work(rows)
    assert median(ratios[1:20]) == pytest.approx(1, abs=0.05) and ratios[-1] > 3


def test_two_workers_are_no_neighbours() -> None:
    one = aged("pool", 10, clips=["short"], noise=0.001)
    other = aged("pool", 10, clips=["long"], noise=0.001, session=2, from_number=11)
    mixed = pair([*one, *other])
    assert mixed is not None and mixed.ratio == pytest.approx(1, abs=0.02)


def test_a_resumed_life_counts_by_its_own_age() -> None:
    half = aged(jobs=30, leak=5e6, slow=0.02, noise=0.02)
    rest = aged(jobs=30, leak=5e6, slow=0.02, noise=0.02, session=2, from_number=31, seed=2)
    whole = judge([*half, *rest, *started()], "tiny")
    assert whole.latency[0].trend.per_job == pytest.approx(0.02, rel=0.1)
    assert whole.memory[0].trend.per_job == pytest.approx(5e6, rel=0.1)
    assert whole.memory[0].trend.jobs < 30


def test_throughput_leaves_the_break_between_two_runs_out() -> None:
    plain = aged("pool", 40, noise=0.0)
    mortal = [*aged("recycled", 20, noise=0.0), *aged("recycled", 20, noise=0.0, session=9, from_number=21)]
    found = throughput(plain, mortal)
    assert found is not None and found.recycles == 1
    assert found.cost_percent == pytest.approx(0, abs=5)


def test_nothing_is_said_of_a_few_jobs() -> None:
    found = judge(aged(jobs=5), "tiny")
    assert found.health == "unknown" and found.advice is None and "Too few jobs" in found.verdict[0]
    assert latency([]) is memory([]) is vram([]) is reload([]) is pair([]) is throughput([], []) is None
    assert lengths([]) == [] and same_work([]) == ([], None)


def test_gpu_memory_is_judged_like_memory() -> None:
    rows = [replace(row, vram_after=2_000_000_000 + 9_000_000 * row.job_index) for row in aged()]
    found = judge([*rows, *started()], "tiny")
    assert found.health == "leaking" and found.vram[0].trend.per_job == pytest.approx(9e6)
    assert any("GPU memory grows" in said for said in found.verdict)


def test_a_long_series_is_thinned_and_keeps_its_slope() -> None:
    rng = Random(3)
    found = trend([100 + 0.5 * i + rng.gauss(0, 3) for i in range(3_000)])
    assert found.per_job == pytest.approx(0.5, rel=0.02) and found.jobs == 3_000 and found.lasts


def test_ages_are_medians_over_workers() -> None:
    assert by_age([(2, 5.0), (1, 1.0), (1, 3.0), (1, 90.0)]) == [3.0, 5.0]


def test_a_torn_last_row_is_left_out_and_a_torn_one_before_is_not() -> None:
    import msgspec

    line = msgspec.json.encode(aged(jobs=1)[0])
    assert len(parse([line, line[:40]])) == 1
    with pytest.raises(msgspec.MsgspecError):
        parse([line[:40], line])
