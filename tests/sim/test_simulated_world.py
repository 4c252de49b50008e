"""The simulator itself: that its faults are faults, its host is a host, and its figures are counted right."""

import math
import random
from itertools import pairwise
from statistics import mean, pstdev

import msgspec
import pytest

from asrd_lab.simulator.outcome import Alert, Life, Outcome
from asrd_lab.simulator.scenario import MANY_FALLBACKS, Scenario
from asrd_lab.simulator.table import row, text
from asrd_lab.simulator.vectors import DATA, Vector, Vectors
from asrd_lab.simulator.weather import BURST, DRIFT, HIGH_PRESSURE, USUAL_PRESSURE, Host, Weather
from asrd_lab.simulator.worker import TEXT, Sickness, Worker
from asrd_lab.simulator.world import HELD, World
from asrd_protocol.model import Work
from asrd_supervisor.core.policy import (
    CanaryPolicy,
    Deadlines,
    DriftPolicy,
    Duration,
    PoolPolicy,
    PositiveDuration,
    RecyclePolicy,
)
from asrd_supervisor.core.seats import Seat

VECTORS = Vectors.load()
PLAIN = Work(audio_s=20.0, windows=1, beam_steps=60, attempts=1, segments=3)


def worker(sickness: Sickness | None = None, seed: int = 1) -> Worker:
    return Worker(Seat("sim", 0, 1), VECTORS.costs, random.Random(seed), sickness)


def pace(one: Worker, jobs: int) -> float:
    """Geometric mean of measured by predicted time."""
    return math.exp(mean(math.log(one.do(PLAIN, 1.0, 1.0)[0] / VECTORS.costs.predict(PLAIN)) for _ in range(jobs)))


def calm(workers: int = 3, **recycle: object) -> PoolPolicy:
    """Nobody is judged."""
    return PoolPolicy(
        name="sim",
        workers=workers,
        start_first=True,
        recycle=msgspec.structs.replace(HELD, rss_growth=0, **recycle),
        drift=DriftPolicy(enabled=False),
        canary=CanaryPolicy(enabled=False),
    )


# --- work -------------------------------------------------------------------------------------------------------------


def test_the_recorded_jobs_are_of_all_kinds() -> None:
    vectors = msgspec.json.Decoder(Vector).decode_lines(DATA.read_bytes())
    assert len(vectors) > 100
    assert {vector.windows for vector in vectors} >= {1, 2}
    assert len(VECTORS.fallbacks) >= 3
    assert min(vector.dur for vector in vectors) < 5 < 35 < max(vector.dur for vector in vectors)


def test_vectors_without_fallbacks_will_not_do() -> None:
    vectors = msgspec.json.Decoder(Vector).decode_lines(DATA.read_bytes())
    with pytest.raises(ValueError, match="fallbacks"):
        Vectors([vector for vector in vectors if not vector.sample_steps])


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_healthy_worker_is_as_fast_as_ever() -> None:
    one = worker()
    assert pace(one, 300) == pytest.approx(pace(one, 300), rel=0.03)


def test_workers_differ_a_little() -> None:
    paces = [math.log(pace(worker(seed=seed), 100)) for seed in range(60)]
    assert 0.03 < pstdev(paces) < 0.08


def test_a_slow_one_is_slow_from_its_onset_on() -> None:
    one = worker(Sickness(onset=(300, 300), factor=1.5))
    clip = mean(one.clip(1.0, 300)[0])
    young = pace(one, 300)
    assert one.sick_jobs == 0
    assert pace(one, 300) == pytest.approx(1.5 * young, rel=0.03)
    assert mean(one.clip(1.0, 300)[0]) == pytest.approx(1.5 * clip, rel=0.05)


def test_a_creeping_one_gets_slower_job_by_job() -> None:
    one = worker(Sickness(onset=(200, 200), creep=0.01))
    young = pace(one, 200)
    pace(one, 90)
    assert pace(one, 20) == pytest.approx(2.0 * young, rel=0.1)


def test_a_leaking_one_grows() -> None:
    one = worker(Sickness(onset=(5, 5), leak=50 << 20))
    pace(one, 5)
    before = one.rss
    assert before < 300 << 20
    pace(one, 10)
    assert one.rss - before == pytest.approx(500 << 20, rel=0.05)


def test_a_mute_one_hears_nothing_quickly() -> None:
    one = worker(Sickness(onset=(1, 1), mute=True))
    before, counted = one.do(PLAIN, 1.0, 1.0)
    assert counted.beam_steps == PLAIN.beam_steps
    assert one.clip(1.0, 1)[1] == ""
    after, counted = one.do(PLAIN, 1.0, 1.0)
    assert counted.beam_steps == PLAIN.windows
    assert after < before
    assert worker().clip(1.0, 1)[1] == TEXT


def test_a_slow_host_slows_everything_and_may_show_in_the_cpu_time() -> None:
    wall, counted = worker().do(PLAIN, 2.0, 2.0)
    alone, _ = worker().do(PLAIN, 1.0, 1.0)
    assert wall == pytest.approx(2 * alone)
    assert counted.cpu_s == pytest.approx(alone)
    assert worker().do(PLAIN, 2.0, 1.0)[1].cpu_s == pytest.approx(wall)


# --- hosts ------------------------------------------------------------------------------------------------------------


def host(weather: Weather, seed: int = 1) -> Host:
    return Host(weather, 1.0, random.Random(seed))


def test_a_host_drifts() -> None:
    drifts = [math.log(host(Weather(), seed).slowness(500.0)) for seed in range(500)]
    assert pstdev(drifts) == pytest.approx(DRIFT, rel=0.15)
    assert abs(mean(drifts)) < 0.02
    one = host(Weather())
    assert one.slowness(100.0) == pytest.approx(one.slowness(101.0), rel=0.08)


def test_bursts_come_and_go() -> None:
    one = host(Weather(bursts=True))
    held_up = [one.held_up(float(moment)) for moment in range(20_000)]
    assert set(held_up) == {1.0, BURST}
    assert 0.15 < held_up.count(BURST) / len(held_up) < 0.45
    edges = sum(before != after for before, after in pairwise(held_up))
    assert 100 < edges < 500


@pytest.mark.parametrize("told", [True, False])
def test_the_kernel_tells_of_those_that_wait_for_a_core(told: bool) -> None:
    one = host(Weather(change=1.8, change_round=100.0, told=told))
    assert one.pressure(90.0) == pytest.approx(USUAL_PRESSURE, abs=12)
    assert one.held_up(90.0) == 1.0
    assert one.pressure(99.0) == pytest.approx(USUAL_PRESSURE, abs=12)
    assert one.pressure(101.0) < 45
    assert one.held_up(150.0) == 1.8
    assert one.pressure(150.0) == pytest.approx(HIGH_PRESSURE if told else USUAL_PRESSURE, abs=12)
    assert one.lost(150.0) == (1.8 if told else 1.0)


# --- the world --------------------------------------------------------------------------------------------------------


def test_all_workers_have_the_same_share_of_the_jobs() -> None:
    played = World(Scenario(name="s", title="", workers=3, jobs=100), VECTORS, "1", calm()).play()
    assert played.jobs == 300
    assert len(played.lives) == 3
    assert played.seconds == pytest.approx(100 * VECTORS.round_s, rel=0.25)
    assert not [life for life in played.lives.values() if life.condemned]


def test_workers_that_are_replaced_for_no_diagnosis_are_no_false_alarms() -> None:
    policy = calm(max_jobs=30)
    played = World(Scenario(name="s", title="", workers=3, jobs=100), VECTORS, "1", policy).play()
    gone = [life for life in played.lives.values() if life.condemned]
    assert len(gone) > 6
    assert {life.reason for life in gone} == {"max_jobs"}
    assert not any(life.false_alarm for life in gone)
    assert all(life.condemned is not None and life.condemned <= 45 for life in gone)


def test_one_worker_is_the_sick_one_or_all_are() -> None:
    ill = Scenario(name="s", title="", workers=3, jobs=20, sickness=Sickness(onset=(5, 5)))
    assert [life.onset for life in World(ill, VECTORS, "1", calm()).play().lives.values()].count(5) == 1
    everybody = msgspec.structs.replace(ill, sickness=Sickness(onset=(5, 5), everybody=True))
    assert {life.onset for life in World(everybody, VECTORS, "1", calm()).play().lives.values()} == {5}


def test_fallbacks_get_more_in_the_second_half() -> None:
    scenario = Scenario(name="s", title="", workers=3, jobs=400, fallbacks=MANY_FALLBACKS)
    world = World(scenario, VECTORS, "1", calm())
    world.play()
    fallbacks = [bool(work.sample_steps) for work in world.works.values()]
    assert mean(fallbacks[:600]) == pytest.approx(0.03, abs=0.02)
    assert mean(fallbacks[600:]) == pytest.approx(0.25, abs=0.05)


def test_a_suspicion_comes_before_the_replacement() -> None:
    slow = Scenario(name="s", title="", sickness=Sickness(onset=(90, 90), factor=2.5), until="found")
    played = World(slow, VECTORS, "1").play()
    (found,) = (life for life in played.lives.values() if life.onset is not None)
    assert found.reason == "slow"
    assert found.suspected is not None
    assert found.condemned is not None
    assert 90 < found.suspected <= found.condemned < 110
    assert played.jobs < 600
    assert sum(life.jobs for life in played.lives.values()) >= played.jobs


def test_a_policy_of_ones_own_is_played() -> None:
    policy = calm(workers=1, max_age=Duration(50))
    played = World(Scenario(name="s", title="", workers=1, jobs=200), VECTORS, "1", policy).play()
    assert {life.reason for life in played.lives.values() if life.condemned} == {"max_age"}
    assert isinstance(policy.recycle, RecyclePolicy)


def test_a_world_in_which_nothing_can_be_done_is_left() -> None:
    hasty = msgspec.structs.replace(calm(), deadlines=Deadlines(start=PositiveDuration(0.1)))
    with pytest.raises(RuntimeError, match="nothing is done"):
        World(Scenario(name="s", title="", workers=3), VECTORS, "1", hasty).play()


# --- what is counted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "false", "needless", "delay"),
    [
        (Life("s", None, 100), False, False, None),
        (Life("s", None, 100, suspected=50), True, False, None),
        (Life("s", None, 100, suspected=50, condemned=51, reason="slow"), True, True, None),
        (Life("s", None, 100, condemned=51, reason="max_jobs"), False, False, None),
        (Life("s", None, 100, condemned=51, reason="experiment"), False, False, None),
        (Life("s", 60, 100, suspected=50), True, False, None),
        (Life("s", 60, 100, suspected=50, condemned=51, reason="slow"), True, True, None),
        (Life("s", 60, 100, suspected=60, condemned=60, reason="slow"), True, True, None),
        (Life("s", 60, 100, condemned=60, reason="quality"), False, False, 0),
        (Life("s", 60, 100, condemned=59, reason="quality"), True, True, None),
        (Life("s", 60, 100, suspected=66, condemned=67, reason="slow"), False, False, 7),
        (Life("s", 60, 100, condemned=67, reason="experiment"), False, False, 7),
        (Life("s", 60, 100, suspected=66), False, False, None),
        (Life("s", 60, 100, condemned=67, reason="requested"), False, False, None),
    ],
)
def test_what_counts_as_an_alarm(life: Life, false: bool, needless: bool, delay: int | None) -> None:
    assert (life.false_alarm, life.needless, life.delay) == (false, needless, delay)


def test_an_experiment_with_a_healthy_worker_is_counted_as_such() -> None:
    tried = Life("s", None, 100, condemned=51, reason="experiment")
    assert tried.experiment
    assert not Life("s", 40, 100, condemned=51, reason="experiment").experiment
    assert not Life("s", None, 100, condemned=51, reason="slow").experiment
    one = row(Scenario(name="s", title=""), [Outcome({"a": tried, "b": Life("b")}, [], 10, 1.0)])
    assert (one.experiments, one.needless, one.alarms) == (1, 0, 0)


def test_a_row_adds_pools_up() -> None:
    slow = Life("sim/0.1", 60, 80, suspected=66, condemned=70, reason="slow")
    missed = Life("sim/1.1", 60, 200)
    unborn = Life("sim/1.1", 60, 10)
    fine, wronged = Life("sim/2.1", None, 100), Life("sim/3.1", None, 100, suspected=9, condemned=9, reason="slow")
    scenario = Scenario(name="s", title="what", sickness=Sickness(), until="found")
    lives = [{"a": slow, "b": fine}, {"a": missed, "b": wronged}, {"a": unborn}]
    one = row(scenario, [Outcome(each, [], 100, 1.0) for each in lives])
    assert (one.pools, one.lives, one.jobs, one.alarms, one.needless) == (3, 5, 300, 1, 1)
    assert (one.sought, one.found, one.delay_median, one.delay_p90) == (2, 1, 10, 10)
    assert (one.alarm_percent, one.found_percent) == (20.0, 50.0)
    assert text([one]).splitlines()[-1] == "| what | 4 | 5 | 300 | 20.0 % | 1 | 0 | 50 % of 2 | 10 | 10 |"


def test_a_verdict_is_the_first_cause_that_was_told() -> None:
    told = [Alert(1.0, "pool.slow", {"cause": "unknown"}), Alert(2.0, "pool.slow", {"cause": "workers"})]
    assert Outcome({}, [*told, Alert(3.0, "pool.slow", {"cause": "host"})]).verdict == "workers"
    assert Outcome({}, told[:1]).verdict == ""
    scenario = Scenario(name="s", title="", weather=Weather(change=1.8), until="verdict")
    right = Outcome({"a": Life("a")}, [Alert(1.0, "pool.slow", {"cause": "host"})])
    one = row(scenario, [right, Outcome({"a": Life("a")}, told)])
    assert (one.sought, one.found) == (2, 1)
    ageing = msgspec.structs.replace(scenario, sickness=Sickness(everybody=True))
    assert row(ageing, [right, right, Outcome({"a": Life("a")}, told)]).found == 1
