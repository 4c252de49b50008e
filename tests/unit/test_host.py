"""The host: what is usual, what disturbs, and which jobs cannot be judged because of it."""

import pytest

from asrd_supervisor.core.events import HostSampled
from asrd_supervisor.core.health.host import LEARNING, Host


def look(host: Host, *pressures: float | None, at: float = 0.0, working: bool = True, **more: object) -> Host:
    for pressure in pressures:
        host.note(at, HostSampled(cpu_pressure=pressure, **more), working=working)  # type: ignore[arg-type]
    return host


@pytest.fixture
def used() -> Host:
    """A host on which 30 % of pressure is usual."""
    return look(Host("cuda:0"), *[30.0] * LEARNING)


def test_the_usual_is_the_median_of_the_first_looks_at_a_pool_at_work() -> None:
    host = look(Host("cpu"), 0.0, 0.0, 0.0, working=False)
    look(host, 10.0, 20.0, 90.0, 20.0, 30.0)
    assert host.usual is None
    assert look(host, 20.0).usual == 20.0


def test_pressure_disturbs_when_it_is_far_above_the_usual(used: Host) -> None:
    assert look(used, 69.0).disturbed_by == ""
    assert look(used, 72.0).disturbed_by == "cpu"
    assert look(used, 30.0).disturbed_by == ""


def test_nothing_disturbs_as_long_as_the_usual_is_not_known() -> None:
    assert look(Host("cpu"), 99.0, 99.0).disturbed_by == ""


@pytest.mark.parametrize(
    ("sample", "word"),
    [
        ({"memory_pressure": 5.0}, ""),
        ({"memory_pressure": 5.1}, "memory"),
        ({"throttled": frozenset({"cuda:0"})}, "throttled"),
        ({"throttled": frozenset({"cuda:1"})}, ""),
        ({"slept": True}, "slept"),
    ],
)
def test_what_else_disturbs(used: Host, sample: dict[str, object], word: str) -> None:
    assert look(used, 30.0, **sample).disturbed_by == word
    assert look(Host("cuda:0"), None, **sample).disturbed_by == word


def test_a_job_is_not_judged_when_something_disturbed_it(used: Host) -> None:
    look(used, 99.0, at=100.0)
    assert used.disturbed_since(200.0)  # it still does
    look(used, 30.0, at=110.0)
    assert used.disturbed_since(99.0)
    assert used.disturbed_since(100.0)
    assert not used.disturbed_since(100.1)


def test_the_usual_follows_slowly_and_hardly_at_all_while_it_is_disturbed(used: Host) -> None:
    look(used, *[99.0] * 20)
    assert used.usual is not None
    assert used.usual < 35.0
    look(used, *[60.0] * 100)
    assert used.usual > 50.0


def test_an_idle_pool_learns_nothing(used: Host) -> None:
    look(used, *[0.0] * 500, working=False)
    assert used.usual == 30.0
