"""The brakes: not too young, not too soon, not too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.health.guards import Guards
from asrd_supervisor.core.policy import Duration, GuardPolicy, PositiveDuration

OLD = {"jobs_done": 100, "age": 1000.0, "slow": True}


def guards(workers: int = 3, **more: object) -> Guards:
    return Guards(GuardPolicy(**more), workers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("jobs_done", "age", "objection"),
    [(9, 1000.0, "young"), (10, 59.9, "young"), (10, 60.0, ""), (0, 0.0, "young")],
)
def test_a_worker_must_have_shown_something(jobs_done: int, age: float, objection: str) -> None:
    assert guards().objection(0.0, jobs_done, age, slow=True) == objection


def test_the_next_one_waits() -> None:
    one = guards()
    one.note(100.0)
    assert one.objection(129.9, **OLD) == "cooldown"
    assert one.objection(130.0, **OLD) == ""


def test_as_many_as_there_are_workers_within_the_window() -> None:
    one = guards(workers=2)
    one.note(0.0)
    one.note(100.0)
    assert one.objection(600.0, **OLD) == "budget"
    assert one.exhausted(600.0)
    assert one.objection(600.1, **OLD) == ""
    one.note(600.1)
    assert one.objection(650.0, **OLD) == "budget"
    assert one.objection(700.1, **OLD) == ""


def test_a_budget_of_ones_own() -> None:
    one = guards(workers=8, budget=1)
    one.note(0.0)
    assert one.objection(60.0, **OLD) == "budget"


def test_what_did_not_help_makes_the_next_one_wait_twice_as_long_until_one_helps() -> None:
    one = guards(workers=9)
    one.note(0.0)
    one.learn(effective=False)
    assert one.objection(59.9, **OLD) == "cooldown"
    assert one.objection(60.0, **OLD) == ""
    one.learn(effective=False)
    assert one.objection(119.9, **OLD) == "cooldown"
    one.learn(effective=True)
    assert one.objection(30.0, **OLD) == ""


def test_a_long_wait_is_not_forgotten_with_the_window() -> None:
    one = guards(cooldown=Duration(3600), window=PositiveDuration(600))
    one.note(0.0)
    assert one.objection(3599.0, **OLD) == "cooldown"
    assert one.objection(3600.0, **OLD) == ""


@given(
    st.lists(st.tuples(st.floats(0, 50), st.booleans(), st.sampled_from(["", "helped", "useless"])), max_size=80),
    st.integers(0, 4),
    st.integers(1, 4),
    st.sampled_from([0.0, 5.0, 30.0]),
    st.sampled_from([10.0, 100.0]),
)
def test_the_budget_is_kept_whatever_comes(
    findings: list[tuple[float, bool, str]], budget: int, workers: int, cooldown: float, window: float
) -> None:
    policy = GuardPolicy(cooldown=Duration(cooldown), window=PositiveDuration(window), budget=budget)
    one, now, done = Guards(policy, workers), 0.0, list[float]()
    for later, urgent, learned in findings:
        now += later
        if learned:
            one.learn(effective=learned == "helped")
        held = one.exhausted(now) if urgent else one.objection(now, **OLD)
        if held:
            continue
        assert urgent or not done or now - done[-1] >= cooldown
        one.note(now)
        done.append(now)
        assert sum(now - at <= window for at in done) <= (budget or workers)


def test_what_does_not_help_the_slow_does_not_hold_back_the_leaking() -> None:
    one = guards(cooldown=Duration(30), budget=1000)
    for _ in range(40):
        one.note(0.0)
        one.learn(effective=False)
    old = {"jobs_done": 100, "age": 1000.0}
    assert one.objection(29.0, **old, slow=False) == "cooldown"
    assert one.objection(31.0, **old, slow=False) == ""
    assert one.objection(3599.0, **old, slow=True) == "cooldown"
    assert one.objection(3601.0, **old, slow=True) == "", "an hour at most"
