"""The records of replaced workers: who came for whom, and whether it helped."""

import math

import pytest

from asrd_protocol.model import Work
from asrd_supervisor.core.health.cost import Costs
from asrd_supervisor.core.health.drift import Kind, Track
from asrd_supervisor.core.health.history import KEPT, History, Record
from asrd_supervisor.core.policy import DriftPolicy
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.seats import Seat
from support.play import seat

KIND = Kind("", 0)
SECOND = Work(windows=1)
"""Work that should take a second."""


def track(start: float = 1.0, end: float = 1.0, common: float = 1.0) -> Track:
    """A worker that took these times the prediction at first and in the end, when its siblings took ``common``."""
    one = Track(DriftPolicy(), {KIND: Costs(0.0, 1.0, 0.0, 0.0)})
    for factor, others in [(start, 1.0)] * 5 + [(end, common)] * 5:
        one.add(math.log(factor), math.log(others))
    return one


def record(reason: str = "slow", name: str = "p/0.1") -> Record:
    return Record(10.0, seat(name), Verdict(reason, {"n": 1}), jobs_done=50, age=100.0)


def compared(one: Record, factor: float, common: float = 1.0, jobs: int = 5) -> list[bool]:
    """So many jobs of the replacement."""
    return [one.note(KIND, SECOND, factor, math.log(common)) for _ in range(jobs)]


# --- whether it helped ------------------------------------------------------------------------------------------------


def test_a_replacement_that_is_as_fast_as_the_worker_once_was_has_helped() -> None:
    one = record()
    one.remember(track(end=2.0), [track(), track()])
    assert one.before == pytest.approx(2.0)
    assert one.siblings == pytest.approx(1.0)
    assert one.effective is None
    assert compared(one, 1.02) == [False, False, False, False, True]
    assert one.after == pytest.approx(1.02)
    assert one.effective is True
    assert compared(one, 9.0, jobs=1) == [False]
    assert one.after == pytest.approx(1.02)


@pytest.mark.parametrize(("after", "helped"), [(1.69, True), (1.71, False), (2.0, False), (3.0, False)])
def test_it_must_be_faster_by_fifteen_percent(after: float, helped: bool) -> None:
    one = record()
    one.remember(track(end=2.0), [])
    compared(one, after)
    assert one.effective is helped


def test_what_the_host_did_meanwhile_is_taken_out() -> None:
    one = record()
    one.remember(track(end=3.0, common=1.5), [])
    assert one.before == pytest.approx(2.0)
    compared(one, 4.0, common=4.0)
    assert one.after == pytest.approx(1.0)


@pytest.mark.parametrize("reason", ["lockstep", "experiment"])
def test_what_all_have_in_common_is_left_in_when_that_is_the_reason(reason: str) -> None:
    one = record(reason)
    one.remember(track(end=2.0, common=2.0), [track(end=2.0)])
    assert one.before == pytest.approx(2.0)
    compared(one, 1.0, common=2.0)
    assert one.after == pytest.approx(1.0)
    assert one.effective is True


@pytest.mark.parametrize("reason", ["max_jobs", "max_age", "requested", "leak", "quality", "out_of_memory"])
def test_other_reasons_need_not_make_it_faster(reason: str) -> None:
    one = record(reason)
    one.remember(track(end=2.0), [])
    compared(one, 2.0)
    assert one.after == pytest.approx(2.0)
    assert one.effective is None


def test_a_worker_that_went_before_anything_was_known_is_compared_with_nothing() -> None:
    one = record()
    young = Track(DriftPolicy(), {KIND: Costs(0.0, 1.0, 0.0, 0.0)})
    young.add(0.0, 0.0)
    one.remember(young, [])
    assert compared(one, 1.0) == [False] * 5
    assert (one.before, one.after, one.effective) == (None, None, None)


def test_jobs_of_a_kind_that_the_worker_did_not_know_say_nothing() -> None:
    one = record()
    one.remember(track(end=2.0), [])
    assert not one.note(Kind("other", 0), SECOND, 1.0, 0.0)
    assert compared(one, 1.0)[-1]


# --- who came for whom ------------------------------------------------------------------------------------------------


def test_with_a_spare_seat_the_replacement_is_there_already() -> None:
    history, one = History(), record()
    history.add(one, (seat("p/2.1"), 3.0))
    assert (one.replacement, one.reload_s) == (seat("p/2.1"), 3.0)
    assert history.born(seat("p/0.2"), 5.0) is None
    assert one.replacement == seat("p/2.1")


def test_without_one_the_next_that_is_ready_is_the_replacement() -> None:
    history, one = History(), record()
    history.add(one, None)
    assert history.born(seat("p/0.2"), 5.0) is one
    assert (one.replacement, one.reload_s) == (seat("p/0.2"), 5.0)


def test_those_that_went_first_are_replaced_first() -> None:
    history, first, second = History(), record(), record(name="p/1.1")
    history.add(first, None)
    history.add(second, None)
    history.born(seat("p/1.2"), 1.0)
    history.born(seat("p/0.2"), 1.0)
    assert (first.replacement, second.replacement) == (seat("p/1.2"), seat("p/0.2"))


def test_only_so_many_are_kept() -> None:
    history = History()
    for number in range(KEPT + 5):
        history.add(record(name=f"p/0.{number}"), None)
    assert [one.seat for one in history.records][:1] == [Seat("p", 0, 5)]
    assert len(history.records) == KEPT
