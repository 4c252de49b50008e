"""A cancel: at once while the job waits, at the next segment while it runs, by force when it hangs."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from support.stage import ONE, PATIENT, UNHURRIED, Stage, staged
from support.wait import eventually
from support.wire import Wire

UNTIL_CANCELLED: list[dict[str, Any]] = [ONE, {"do": "sleep", "s": 0.05}] * 500

UNTIL_ASKED: dict[str, Any] = {"do": "sleep", "s": 1.2}
"""Long enough for a cancel to come, and well below the grace that a worker then has."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged(UNHURRIED + PATIENT) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    return shared.rest()


@pytest.fixture
def wire(stage: Stage) -> Iterator[Wire]:
    with closing(Wire(stage.daemon.directory)) as wire:
        yield wire


def _run(wire: Wire, script: list[dict[str, Any]]) -> str:
    """The id of a job that has said its first segment."""
    job = uuid.uuid4().hex
    wire.send("submit", b"audio", job=job, options={"script": script})
    while (answer := wire.receive()[0])["type"] != "segment" or answer["job"] != job:
        pass
    return job


def _cancelled(answer: dict[str, Any], job: str) -> None:
    fault = answer["fault"]
    assert (answer["type"], answer["job"], fault["code"], fault["blame"]) == ("failed", job, "cancelled", "caller")
    assert not fault.get("retry")


def test_a_queued_job_is_taken_out_at_once(stage: Stage, wire: Wire) -> None:
    running = [_run(wire, UNTIL_CANCELLED) for _ in range(2)]
    queued = [uuid.uuid4().hex for _ in range(3)]
    for job in queued:
        wire.send("submit", b"audio", job=job, options={"script": [ONE]}, reply="final")
    eventually(lambda: stage.daemon.ask("stats")["jobs"]["queued"] == 3)
    operator = stage.daemon.wire("req", "json")
    _cancelled(operator.ask("cancel", job=queued[1]), queued[1])
    assert stage.daemon.ask("stats")["jobs"]["running"] == 2, "nobody who runs was asked to stop"
    assert operator.ask("fetch", job=queued[0])["type"] == "pending", "nor were its neighbours in the queue"
    for job in running:
        _cancelled(operator.ask("cancel", job=job), job)
    for job in (queued[0], queued[2]):
        assert operator.ask("wait", job=job)["type"] == "completed"
    assert not stage.deaths()


def test_a_running_job_stops_at_its_next_segment_and_the_worker_lives_on(stage: Stage, wire: Wire) -> None:
    pids = {worker["pid"] for worker in stage.daemon.workers()}
    job = _run(wire, UNTIL_CANCELLED)
    before = stage.daemon.ask("stats")["jobs"]["cancelled"]
    _cancelled(stage.daemon.wire().ask("cancel", job=job), job)
    answer, _ = wire.end_of(job)
    _cancelled(answer, job)  # whoever submitted it hears it too
    assert stage.rest().daemon.ask("stats")["jobs"]["cancelled"] == before + 1
    assert {worker["pid"] for worker in stage.daemon.workers()} == pids
    assert stage.daemon.ask("jobs", limit=1)["jobs"][0]["state"] == "cancelled"


@pytest.mark.parametrize("how", ["gil", "c", "python", "stopped"])
def test_a_job_that_hangs_is_ended_by_force_after_the_grace(stage: Stage, wire: Wire, how: str) -> None:
    # The pause lets the segment out of the process before it stops.
    failed = stage.daemon.ask("stats")["jobs"]["failed"]
    job = _run(wire, [ONE, {"do": "sleep", "s": 0.1}, {"do": "hang", "how": how}])
    start = time.monotonic()
    _cancelled(stage.daemon.wire().ask("cancel", job=job), job)
    assert time.monotonic() - start < 20, "far from the minute that a step may take"
    _cancelled(wire.end_of(job)[0], job)
    stage.rest()
    assert stage.daemon.ask("stats")["jobs"]["failed"] == failed, "it is cancelled, not failed, and is not tried again"


def test_a_cancel_twice_is_answered_twice(stage: Stage, wire: Wire) -> None:
    job = _run(wire, UNTIL_CANCELLED)
    other = stage.daemon.wire()
    other.send("cancel", job=job, ref="1")
    other.send("cancel", job=job, ref="2")
    answers = [other.receive()[0] for _ in range(2)]
    assert {answer["ref"] for answer in answers} == {"1", "2"}
    for answer in [*answers, other.ask("cancel", job=job), other.ask("fetch", job=job)]:
        _cancelled(answer, job)


def test_a_cancel_after_the_end_gets_the_result(stage: Stage, wire: Wire) -> None:
    job = uuid.uuid4().hex
    wire.play(ONE, job=job)
    assert wire.ask("cancel", job=job)["type"] == "completed"


def test_the_cancel_of_an_unknown_job_is_refused(wire: Wire) -> None:
    refused = wire.ask("cancel", job="nobody")
    assert (refused["type"], refused["fault"]["code"]) == ("refused", "unknown_job")


def test_a_cancel_in_the_same_breath_as_the_submit_is_obeyed(wire: Wire) -> None:
    for _ in range(50):
        job = uuid.uuid4().hex
        wire.send("submit", b"audio", job=job, options={"script": UNTIL_CANCELLED}, reply="final", ref="s")
        wire.send("cancel", job=job, ref="c")
        answers = [wire.receive()[0] for _ in range(2)]
        assert {answer["ref"] for answer in answers} == {"s", "c"}
        for answer in answers:
            _cancelled(answer, job)


def test_a_job_whose_worker_dies_while_it_is_being_cancelled_is_cancelled(stage: Stage, wire: Wire) -> None:
    job = _run(wire, [ONE, UNTIL_ASKED, {"do": "die"}])
    _cancelled(stage.daemon.wire().ask("cancel", job=job), job)


def test_a_job_that_fails_while_it_is_being_cancelled_is_not_tried_again(stage: Stage, wire: Wire) -> None:
    job = _run(wire, [ONE, UNTIL_ASKED, {"do": "fail"}])
    answer = stage.daemon.wire().ask("cancel", job=job)
    _cancelled(answer, job)
    assert answer["attempts"] == 1


def test_the_next_job_of_the_same_worker_is_not_cancelled_with_the_last_one(stage: Stage, wire: Wire) -> None:
    jobs = [_run(wire, UNTIL_CANCELLED) for _ in range(2)]
    for number in range(4):
        wire.send("submit", b"audio", job=f"{jobs[0]}-{number}", options={"script": [ONE] * 3}, reply="accepted")
    operator = stage.daemon.wire()
    for job in jobs:
        _cancelled(operator.ask("cancel", job=job), job)
    for number in range(4):
        assert operator.ask("wait", job=f"{jobs[0]}-{number}")["type"] == "completed"
