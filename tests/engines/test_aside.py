"""Work in a thread of its own: what is passed on, when it is vouched for, and how it ends."""

import threading
from collections.abc import Generator

import pytest

from asrd_worker.speakers import aside as module
from asrd_worker.speakers.aside import Report, Stopped, aside
from support.wait import eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks that a test can wait for."""
    monkeypatch.setattr(module, "TICK_S", 0.05)
    monkeypatch.setattr(module, "OFTEN_S", 0.0)


def _result(work: Generator[float, None, str]) -> tuple[list[float], str]:
    seen: list[float] = []
    while True:
        try:
            seen.append(next(work))
        except StopIteration as end:
            return seen, end.value


def test_what_is_reported_is_passed_on_and_never_falls() -> None:
    def work(report: Report) -> str:
        for done in (1.0, 3.0, 2.0, 4.0):
            report(done)
        return "found"

    assert _result(aside(work)) == ([1.0, 3.0, 3.0, 4.0], "found")


def test_words_that_follow_fast_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OFTEN_S", 60.0)

    def work(report: Report) -> str:
        for done in range(100):
            report(float(done))
        return "found"

    assert _result(aside(work)) == ([0.0], "found")


def test_what_it_raises_is_raised_here() -> None:
    def work(report: Report) -> str:
        report(1.0)
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        _result(aside(work))


def test_closing_stops_the_work_at_its_next_word_and_waits_for_that() -> None:
    went_on, stopped = threading.Event(), threading.Event()

    def work(report: Report) -> str:
        report(1.0)
        try:
            while True:
                report(2.0)
        except Stopped:
            stopped.set()
            raise
        finally:
            went_on.set()

    working = aside(work)
    next(working)
    working.close()

    assert stopped.is_set() and went_on.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "asrd-aside"]


def test_a_pause_ends_when_nobody_wants_the_result() -> None:
    def work(report: Report) -> str:
        report(1.0)
        report.pause(3_600)
        return "never"

    working = aside(work)
    next(working)
    working.close()  # or the test never ends


def _while_idle(report: Report, go_on: threading.Event) -> str:
    report.silent(1.0, 60.0)
    go_on.wait(30)
    return "found"


def _while_busy(report: Report, go_on: threading.Event) -> str:
    report.silent(1.0, 60.0)
    while not go_on.is_set():
        sum(range(1_000))
    return "found"


def _without_leave(report: Report, go_on: threading.Event) -> str:
    report(1.0)
    while not go_on.is_set():
        sum(range(1_000))
    return "found"


def _beyond_leave(report: Report, go_on: threading.Event) -> str:
    report.silent(1.0, 0.0)
    while not go_on.is_set():
        sum(range(1_000))
    return "found"


def test_computing_without_a_word_counts_where_that_is_expected() -> None:
    go_on = threading.Event()
    working = aside(lambda report: _while_busy(report, go_on))

    assert [next(working) for _ in range(4)] == [1.0] * 4
    go_on.set()
    assert _result(working)[1] == "found"


def test_leave_ends_with_the_next_word() -> None:
    def work(report: Report) -> str:
        report.silent(1.0, 60.0)
        return _without_leave(report, go_on)

    go_on = threading.Event()
    threading.Timer(0.5, go_on.set).start()

    assert _result(aside(work)) == ([1.0, 1.0], "found")


@pytest.mark.parametrize("work", [_while_idle, _without_leave, _beyond_leave])
def test_nothing_else_is_vouched_for(work: "module.Callable[[Report, threading.Event], str]") -> None:
    """Ten ticks pass, and all that is heard is the one word."""
    go_on = threading.Event()
    threading.Timer(0.5, go_on.set).start()

    assert _result(aside(lambda report: work(report, go_on))) == ([1.0], "found")
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "asrd-aside"])
