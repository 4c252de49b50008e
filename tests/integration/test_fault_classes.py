"""Who is to blame decides: whether the job is tried again, where, and what becomes of the worker."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import running
from support.stage import ONE, PATIENT, UNHURRIED, Stage, staged
from support.wait import eventually

OBEY: dict[str, Any] = {"do": "obey", "order": "job"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged(UNHURRIED + PATIENT) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    return shared.rest()


@pytest.mark.parametrize("code", ["bad_option", "bad_audio", "no_audio", "no_audio_stream", "audio_too_long"])
def test_what_the_caller_has_to_mend_is_not_tried_again(stage: Stage, code: str) -> None:
    pids = [worker["pid"] for worker in stage.daemon.workers()]
    answer, body = stage.daemon.wire().play(ONE, {"do": "fail", "code": code, "message": f"this is {code}"})
    assert (answer["type"], answer["attempts"], body) == ("failed", 1, b"")
    assert answer["fault"] == {"code": code, "blame": "caller", "message": f"this is {code}"}
    assert [worker["pid"] for worker in stage.daemon.workers()] == pids


@pytest.mark.parametrize("fault", [{}, {"code": "engine_error"}, {"code": "out_of_memory"}, {"code": "internal"}])
def test_what_another_worker_may_manage_is_tried_there(stage: Stage, fault: dict[str, str]) -> None:
    retries = stage.daemon.ask("stats")["retries"]
    stage.order("job", [{"do": "fail", "message": "not today", **fault}])
    answer, body = stage.daemon.wire().play(ONE, OBEY)
    assert (answer["type"], answer["run"]["attempts"], json.loads(body)["text"]) == ("completed", 2, "one")
    (lost,) = stage.tells("job.retried", job=answer["job"])
    assert lost["seat"] != answer["run"]["seat"] and "not today" in lost["why"]
    assert stage.daemon.ask("stats")["retries"] == retries + 1
    assert not stage.deaths(), "the worker lives on"


def test_the_same_seat_is_avoided_even_if_it_is_the_only_idle_one(stage: Stage) -> None:
    wire = stage.daemon.wire()
    held = uuid.uuid4().hex
    wire.send("submit", b"audio", job=held, options={"script": [ONE, {"do": "sleep", "s": 2}]})
    while wire.receive()[0]["type"] != "segment":
        pass
    (busy,) = (worker["seat"] for worker in stage.daemon.workers() if worker["state"] == "busy")
    stage.order("job", [{"do": "fail"}])
    answer, _ = stage.daemon.wire().play(OBEY, ONE)
    assert (answer["run"]["attempts"], answer["run"]["seat"]) == (2, busy), "it waited for the other one"


def test_a_fault_in_each_attempt_is_told_after_the_third(stage: Stage) -> None:
    answer, _ = stage.daemon.wire().play({"do": "fail", "message": "as ever"})
    assert (answer["type"], answer["attempts"]) == ("failed", 3)
    fault = answer["fault"]
    assert (fault["code"], fault["blame"], fault["retry"]) == ("engine_error", "worker", True)
    assert "RuntimeError: as ever" in fault["message"]
    eventually(lambda: len(stage.tells("job.retried", job=answer["job"])) == 2)
    stage.tells("worker output", line="RuntimeError: as ever")


def test_a_fault_and_a_death_count_together(stage: Stage) -> None:
    stage.order("job", [{"do": "die"}])
    answer, _ = stage.daemon.wire().play(OBEY, {"do": "fail", "message": "as ever"})
    assert (answer["attempts"], answer["fault"]["code"]) == (3, "engine_error")
    assert stage.deaths() == {"SIGKILL": 1}


def test_a_worker_without_memory_leaves_and_the_job_goes_on_elsewhere() -> None:
    with staged(UNHURRIED + PATIENT) as stage:
        stage.order("job", [{"do": "fail", "code": "out_of_memory", "leave": True}])
        answer, _ = stage.daemon.wire().play(OBEY, ONE)
        assert answer["run"]["attempts"] == 2
        (lost,) = stage.tells("job.retried", job=answer["job"])
        stage.tells("worker.left", seat=lost["seat"], how="exit 0")
        stage.rest()
        stats = stage.daemon.ask("stats")
        assert (stats["recycles"], stats["deaths"]) == ({"out_of_memory": 1}, {})
        assert lost["seat"] not in {worker["seat"] for worker in stage.daemon.workers()}


def test_a_job_that_nobody_has_memory_for_fails_as_the_hosts_fault(stage: Stage) -> None:
    answer, _ = stage.daemon.wire().play({"do": "fail", "code": "out_of_memory", "leave": True})
    fault = answer["fault"]
    assert (answer["attempts"], fault["code"], fault["blame"], fault["retry"]) == (3, "out_of_memory", "host", True)
    eventually(lambda: stage.daemon.ask("stats")["workers"]["ready"] == 2)


def test_one_attempt_and_one_death_when_so_configured() -> None:
    config = '[pools.default]\nengine="scripted"\nmodel=""\nworkers=1\n[retries]\nattempts = 1\ndeaths = 2'
    with running(config=config) as daemon:
        wire = daemon.ready().wire()
        assert wire.play({"do": "fail"})[0]["attempts"] == 1
        answer, _ = wire.play({"do": "die"})
        assert (answer["fault"]["code"], answer["fault"]["blame"], answer["attempts"]) == ("worker_died", "worker", 1)
        assert answer["fault"]["retry"] and answer["fault"]["context"]["death"] == "SIGKILL"


def test_a_full_queue_says_when_to_come_back() -> None:
    config = '[pools.default]\nengine="scripted"\nmodel=""\nworkers=1\n[queue]\nmax_jobs = 3\nmax_bytes = 1000'
    with running(config=config) as daemon:
        wire = daemon.ready().wire()
        script = {"script": [ONE]}
        held = {"script": [{"do": "sleep", "s": 2}, ONE]}
        wire.send("submit", b"audio", options=held, reply="final", ref="0")
        eventually(lambda: daemon.ask("stats")["jobs"]["running"] == 1)
        for number in range(1, 6):
            wire.send("submit", b"audio", options=script, reply="final", ref=str(number))
        ends = {answer["ref"]: answer for answer in (wire.end_of()[0] for _ in range(6))}
        refused = {ref for ref, answer in ends.items() if answer["type"] == "refused"}
        assert refused == {"4", "5"}, "one runs, three wait"
        fault = ends["5"]["fault"]
        assert (fault["code"], fault["blame"], fault["retry"]) == ("overloaded", "host", True)
        assert 0 < fault["retry_after"] < 60
        assert {answer["type"] for ref, answer in ends.items() if ref not in refused} == {"completed"}
        assert daemon.ask("stats")["refused"] == {"overloaded": 2}
        fault = wire.ask("submit", bytes(1001))["fault"]
        assert fault["code"] == "frame_too_large" and "retry" not in fault, "waiting is no use"
        assert wire.run(bytes(1000), options={"script": [ONE]})[0]["type"] == "completed"
