"""How many workers compute on a device: summed over time, and over the pools that share it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.load import Load


def test_alone_is_alone() -> None:
    load = Load()
    load.note(10.0, "a", 1)
    assert load.companions(20.0, 10.0, load.total(10.0)) == 0.0


def test_two_pools_on_one_device() -> None:
    load = Load()
    load.note(0.0, "a", 2)
    before = load.total(0.0)
    load.note(4.0, "b", 3)
    load.note(8.0, "b", 0)
    assert load.companions(10.0, 0.0, before) == pytest.approx((2 * 10 + 3 * 4) / 10 - 1)


def test_the_same_count_again_changes_nothing() -> None:
    load = Load()
    load.note(0.0, "a", 2)
    for now in range(10):
        load.note(float(now), "a", 2)
        load.note(float(now), "b", 0)
    assert load.total(10.0) == 20.0


def test_no_time_and_no_company() -> None:
    load = Load()
    load.note(5.0, "a", 4)
    assert load.companions(5.0, 5.0, load.total(5.0)) == 0.0
    assert load.companions(6.0, 5.0, load.total(6.0)) == 0.0


CHANGES = st.lists(st.tuples(st.floats(0, 10), st.sampled_from("ab"), st.integers(0, 4)), max_size=30)


@given(CHANGES, CHANGES)
def test_it_is_the_integral_of_what_was_noted(earlier: list, later: list) -> None:
    load, now, busy, total = Load(), 0.0, {"a": 0, "b": 0}, 0.0
    since = before = 0.0
    for index, (pause, pool, count) in enumerate([*earlier, *later]):
        if index == len(earlier):
            since, before = now, load.total(now)
            total = 0.0
        total += sum(busy.values()) * pause
        now += pause
        load.note(now, pool, count)
        busy[pool] = count
    if now > since:
        assert load.companions(now, since, before) == pytest.approx(max(0.0, total / (now - since) - 1), abs=1e-6)
