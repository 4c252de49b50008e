"""The best number of jobs for a worker, from what was measured of those before."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.health.advice import LEAST, MOST, Advice
from asrd_supervisor.core.health.history import Record
from asrd_supervisor.core.policy import RecyclePolicy, Size
from asrd_supervisor.core.recycle import Verdict
from support.play import seat

MIB = 1 << 20


def creeping(slowdown: float | None, jobs: int) -> Record:
    """A worker that took ``slowdown`` times as long in the end."""
    record = Record(0.0, seat("p/0.1"), Verdict("max_jobs", {}), jobs, 100.0)
    record.slowdown = slowdown
    return record


def advice(
    *,
    leak: float | None = None,
    slowdown: float | None = None,
    jobs: int = 100,
    reload_s: float = 10.0,
    step: float = 2.0,
) -> Advice:
    one = Advice(RecyclePolicy(rss_growth=Size(256 * MIB)))
    one.note_reload(reload_s)
    one.note_step(step)
    one.note_leak(leak)
    for _ in range(3):
        one.note_record(creeping(slowdown, jobs))
    return one


def test_two_workers_that_got_slow_are_no_law() -> None:
    one = Advice(RecyclePolicy())
    one.note_reload(10.0)
    one.note_step(2.0)
    for expected in (0.0, 0.0, 0.01):
        one.note_record(creeping(2.0, 100))
        assert one.creep == pytest.approx(expected)


def test_as_long_as_nothing_is_known_any_number_will_do() -> None:
    assert Advice(RecyclePolicy()).max_jobs == 0
    assert advice().max_jobs == 0
    assert advice(leak=0.0, slowdown=1.0).max_jobs == 0


def test_memory_that_grows_is_worth_as_many_jobs_as_it_has_room_for() -> None:
    assert advice(leak=2 * MIB).max_jobs == 128
    assert advice(leak=2.5 * MIB).max_jobs == 102


def test_a_slow_down_is_weighed_against_the_reload() -> None:
    one = advice(slowdown=2.0, jobs=100, reload_s=10.0, step=2.0)  # a hundredth of 2 s for each job
    assert one.creep == pytest.approx(0.01)
    assert one.max_jobs == int(math.sqrt(2 * 10.0 / (0.01 * 2.0)))


def test_the_square_root_law_is_the_best_there_is() -> None:
    """The cost of a job, with a reload each ``jobs``, is least there."""
    one = advice(slowdown=1.5, jobs=250, reload_s=30.0, step=3.0)

    def cost(jobs: int) -> float:
        return 30.0 / jobs + 3.0 * one.creep * jobs / 2

    assert one.max_jobs == pytest.approx(min(range(1, 2000), key=cost), abs=1)


def test_the_smaller_bound_counts() -> None:
    assert advice(leak=2 * MIB, slowdown=2.0).max_jobs == 31
    assert advice(leak=20 * MIB, slowdown=2.0).max_jobs == 12


def test_what_is_hardly_slower_is_not() -> None:
    assert advice(slowdown=1.04).max_jobs == 0
    assert advice(slowdown=1.06).max_jobs > 0
    assert advice(slowdown=0.5).max_jobs == 0


def test_memory_that_may_grow_sets_no_bound() -> None:
    one = Advice(RecyclePolicy(rss_growth=Size(0)))
    one.note_leak(5.0 * MIB)
    assert one.max_jobs == 0


def test_one_odd_worker_among_many_changes_nothing() -> None:
    one = advice(leak=2 * MIB)
    for _ in range(4):
        one.note_leak(2 * MIB)
    one.note_leak(500 * MIB)
    one.note_reload(10_000.0)
    assert one.max_jobs == 128


def test_a_worker_of_which_nothing_is_known_teaches_nothing() -> None:
    one = advice(slowdown=2.0)
    known = one.max_jobs
    one.note_record(creeping(None, 100))
    one.note_record(creeping(2.0, 0))
    one.note_leak(None)
    assert one.max_jobs == known


@given(leak=st.floats(1, 1e12), slowdown=st.floats(1.05, 1e3), reload_s=st.floats(0, 1e5), step=st.floats(1e-6, 1e5))
def test_it_stays_within_sensible_bounds(leak: float, slowdown: float, reload_s: float, step: float) -> None:
    assert LEAST <= advice(leak=leak, slowdown=slowdown, reload_s=reload_s, step=step).max_jobs <= MOST


@given(power=st.integers(-4, 6), reload_s=st.floats(1, 1000), step=st.floats(0.01, 100))
def test_a_slower_machine_gets_the_same_advice(power: int, reload_s: float, step: float) -> None:
    scale = 4.0**power  # which rounds nothing, and neither does its root
    usual = advice(slowdown=1.5, reload_s=reload_s, step=step)
    assert advice(slowdown=1.5, reload_s=reload_s * scale, step=step * scale).max_jobs == usual.max_jobs
