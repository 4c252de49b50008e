"""The control socket: what it shows, how fast it answers, and what its commands do."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import zmq

from support.daemon import Daemon, running
from support.stage import ONE
from support.wait import eventually
from support.wire import Wire

FOREVER: dict[str, Any] = {"do": "sleep", "s": 60}
SPIN: dict[str, Any] = {"do": "spin", "s": 1.5}
UNTIL_CANCELLED = {"script": [{"do": "sleep", "s": 0.05}, ONE] * 400}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """For tests that change nothing."""
    with running("--engine", "scripted", "--workers", "2") as daemon:
        yield daemon.ready()


def _taken(daemon: Daemon) -> tuple[int, int]:
    """Jobs that run, and jobs that wait."""
    jobs = daemon.ask("stats")["jobs"]
    return jobs["running"], jobs["queued"]


def _busy(daemon: Daemon, script: list[dict[str, Any]], jobs: int) -> Wire:
    """A connection with so many jobs. The first two play the script, and those behind them take no time."""
    wire = daemon.wire()
    for number in range(jobs):
        options = {"script": script if number < 2 else [ONE]}
        wire.send("submit", b"audio", job=f"job-{number}", options=options, reply="final")
        if number == 1:
            eventually(lambda: _taken(daemon) == (2, 0))
    eventually(lambda: _taken(daemon) == (2, jobs - 2))
    return wire


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_health_says_ready_in_a_word_and_why_in_a_sentence(daemon: Daemon) -> None:
    health = daemon.ask("health", ref="h")
    assert (
        health.items()
        >= {
            "type": "health_report",
            "ref": "h",
            "status": "ready",
            "reason": "2 of 2 workers are ready",
            "pools": {"default": "ready"},
            "pid": daemon.process.pid,
            "max_body": 256 << 20,
        }.items()
    )
    assert health["version"] and health["uptime_s"] > 0


def test_stats_count_jobs_and_workers(daemon: Daemon) -> None:
    before = daemon.ask("stats")
    wire = daemon.wire()
    wire.play(ONE)
    wire.play({"do": "fail", "code": "bad_audio"})
    wire.ask("submit", b"audio", pool="nowhere")
    stats = daemon.ask("stats")
    assert set(stats["jobs"]) == {"queued", "running", "completed", "failed", "cancelled"}
    grown = {state: stats["jobs"][state] - before["jobs"][state] for state in stats["jobs"]}
    assert grown == {"queued": 0, "running": 0, "completed": 1, "failed": 1, "cancelled": 0}
    assert stats["workers"] == {"ready": 2, "total": 2}
    assert (stats["recycles"], stats["deaths"], stats["retries"]) == ({}, {}, 0)
    assert stats["refused"]["unknown_pool"] == before["refused"].get("unknown_pool", 0) + 1
    assert stats["audio_s"] - before["audio_s"] == 1.0
    assert stats["least_ready"] == {"default": 2}
    assert 0 <= stats["loop_lag_ms"] < 10_000


def test_workers_shows_each_seat(daemon: Daemon) -> None:
    workers = daemon.workers()
    fields = {"seat", "pool", "slot", "generation", "pid", "state", "jobs_done", "uptime_s", "rss_bytes", "vram_bytes"}
    for slot, worker in enumerate(workers):
        assert set(worker) >= fields
        seen = {"seat": f"default/{slot}.1", "pool": "default", "slot": slot, "generation": 1, "state": "idle"}
        assert seen.items() <= worker.items()
        assert worker["pid"] in daemon.processes()
        assert 5e6 < worker["rss_bytes"] < 1e9 and worker["vram_bytes"] is None
    assert len(workers) == 2
    daemon.wire().play(ONE)
    assert sum(worker["jobs_done"] for worker in daemon.workers()) == sum(w["jobs_done"] for w in workers) + 1


def test_pools_shows_what_each_runs(daemon: Daemon) -> None:
    (pool,) = daemon.ask("pools")["pools"]
    expected = {"name": "default", "engine": "scripted", "workers": 2, "queued": 0, "status": "ready", "default": True}
    assert expected.items() <= pool.items()


def test_recycles_and_insights_are_lists(daemon: Daemon) -> None:
    answer = daemon.ask("recycles", ref="r", limit=5, pool="default")
    assert (answer["type"], answer["ref"], answer["recycles"]) == ("recycles_report", "r", [])
    answer = daemon.ask("insights", ref="i")
    assert (answer["type"], answer["ref"]) == ("insights_report", "i")
    assert all(one["said"] and one["severity"] in ("info", "warning", "critical") for one in answer["insights"])


def test_jobs_shows_the_newest_first_and_no_more_than_asked_for(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.play(ONE, job="list-1")
    wire.play({"do": "fail", "code": "bad_audio"}, job="list-2")
    wire.send("submit", b"audio", job="list-3", options=UNTIL_CANCELLED)
    while wire.receive()[0]["type"] != "segment":
        pass
    listed = daemon.ask("jobs", limit=3)["jobs"]
    assert [(job["job"], job["state"]) for job in listed] == [
        ("list-3", "running"),
        ("list-2", "failed"),
        ("list-1", "completed"),
    ]
    assert listed[0]["done"] >= 1.0 and listed[0]["attempts"] == 1 and listed[0]["seat"].startswith("default/")
    assert listed[2]["age_s"] >= listed[1]["age_s"] >= listed[0]["age_s"] >= 0
    wire.send("cancel", job="list-3")
    wire.end_of("list-3")
    assert daemon.ask("jobs", limit=1)["jobs"][0]["state"] == "cancelled"


def test_it_answers_in_milliseconds_while_every_worker_computes_and_bodies_stream_in(daemon: Daemon) -> None:
    wire, flood = daemon.wire(), daemon.wire()
    for number in range(8):
        wire.send("submit", b"audio", job=f"spin-{number}", options={"script": [SPIN]}, reply="final")
    eventually(lambda: _taken(daemon) == (2, 6))
    times = []
    with closing(Wire(daemon.directory, "dealer", socket="control")) as control:
        for number in range(30):
            flood.send("submit", bytes(2_000_000), job=f"flood-{number}", options={"script": []}, reply="accepted")
            start = time.monotonic()
            assert control.ask("health")["status"] == "ready"
            times.append(time.monotonic() - start)
    assert statistics.median(times) < 0.5, sorted(times)
    assert daemon.ask("stats")["jobs"]["running"] == 2, "they were busy all the time"
    for number in range(8):
        wire.send("cancel", job=f"spin-{number}")
    eventually(lambda: daemon.ask("stats")["jobs"]["running"] == 0, 30)
    daemon.ready()


# --- bad questions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"garbage"], "bad_message"),
        ([b"[" * 100_000], "bad_message"),
        ([b'{"type":"health","verbose":true}'], "bad_message"),
        ([b'{"type":"jobs","limit":0}'], "bad_message"),
        ([b'{"type":"helth"}'], "unknown_message"),
        ([b'{"type":"submit"}'], "unknown_message"),
        ([b'{"type":"health","v":2}'], "unsupported_version"),
        ([b'{"type":"health"}', b"body"], "too_many_frames"),
        ([b'{"type":"health"}', b"", b"", b""], "too_many_frames"),
        ([b'{"type":"' + b"a" * (1 << 20) + b'"}'], "frame_too_large"),
        ([b'{"type":"recycles","limit":1001}'], "bad_message"),
        ([b'{"type":"recycles","pool":"defualt"}'], "unknown_pool"),
        ([b'{"type":"insights","pool":"default"}'], "bad_message"),
        ([b'{"type":"recycle","pool":"defualt"}'], "unknown_pool"),
        ([b'{"type":"recycle","seat":"default/9.9"}'], "unknown_seat"),
        ([b'{"type":"recycle","seat":"nonsense"}'], "unknown_seat"),
    ],
)
def test_a_bad_question_is_refused_by_name_and_changes_nothing(daemon: Daemon, frames: list[bytes], code: str) -> None:
    pids = [worker["pid"] for worker in daemon.workers()]
    with closing(Wire(daemon.directory, socket="control")) as wire:
        wire.send_raw(frames)
        answer, _ = wire.receive()
    assert (answer["type"], answer["fault"]["code"], answer["fault"]["blame"]) == ("refused", code, "caller")
    assert len(answer["fault"]["message"]) < 1000
    assert daemon.ask("health")["status"] == "ready"
    assert [worker["pid"] for worker in daemon.workers()] == pids


def test_a_frame_over_the_cap_cuts_its_sender_off(daemon: Daemon) -> None:
    """It is not answered, not even late: what is asked when the connection is there again is answered first."""
    with closing(Wire(daemon.directory, socket="control", timeout=0.3)) as wire:
        wire.send_raw([b"a" * (2 << 20) + b"a"])
        with pytest.raises(zmq.Again):
            wire.receive()

        def again() -> dict[str, Any] | None:
            wire.send("health", ref="again")
            with suppress(zmq.Again):
                return wire.receive()[0]
            return None

        answer = eventually(again)
    assert (answer["type"], answer["ref"], answer["status"]) == ("health_report", "again", "ready")


# --- recycle ----------------------------------------------------------------------------------------------------------


def test_one_seat_is_replaced_and_the_other_one_is_left_alone(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    stays = daemon.workers()[1]["pid"]
    assert daemon.ask("recycle", seat="default/0.1")["type"] == "done"

    def replaced() -> bool:
        assert daemon.ask("stats")["workers"]["ready"] >= 2
        return {worker["seat"] for worker in daemon.workers()} == {"default/1.1", "default/2.1"}

    eventually(replaced)
    assert [worker["pid"] for worker in daemon.workers() if worker["seat"] == "default/1.1"] == [stays]
    stats = daemon.ask("stats")
    assert (stats["recycles"], stats["deaths"], stats["least_ready"]) == ({"requested": 1}, {}, {"default": 2})
    assert daemon.ask("recycle", seat="default/0.1")["fault"]["code"] == "unknown_seat"


def test_all_are_replaced_under_load_and_never_fewer_than_wanted_are_ready(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    wire = daemon.wire()
    old = {worker["pid"] for worker in daemon.workers()}
    assert daemon.ask("recycle", pool="default")["type"] == "done"
    jobs = 0

    def replaced() -> bool:
        nonlocal jobs
        assert wire.play({"do": "sleep", "s": 0.02}, ONE)[0]["run"]["attempts"] == 1
        jobs += 1
        assert daemon.ask("stats")["workers"]["ready"] >= 2
        pids = {worker["pid"] for worker in daemon.workers()}
        return not pids & old and len(pids) == 2

    eventually(replaced, 20)
    stats = daemon.ask("stats")
    assert (stats["recycles"], stats["deaths"], stats["least_ready"]) == ({"requested": 2}, {}, {"default": 2})
    assert stats["jobs"]["completed"] == jobs


def test_a_busy_worker_finishes_its_job_before_it_is_replaced(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    wire = daemon.wire()
    wire.send("submit", b"audio", job="held", options=UNTIL_CANCELLED)
    while wire.receive()[0]["type"] != "segment":
        pass
    (seat,) = (worker["seat"] for worker in daemon.workers() if worker["state"] == "busy")
    daemon.ask("recycle", seat=seat)
    eventually(lambda: {"seat": seat, "state": "draining"}.items() <= daemon.workers()[0].items())
    assert daemon.ask("stats")["workers"]["ready"] == 2, "its successor is warm"
    wire.send("cancel", job="held")
    assert wire.end_of("held")[0]["fault"]["code"] == "cancelled"
    eventually(lambda: seat not in {worker["seat"] for worker in daemon.workers()})
    assert daemon.ask("stats")["deaths"] == {}


# --- drain, resume, stop ----------------------------------------------------------------------------------------------


def test_drain_refuses_new_jobs_and_finishes_the_others_and_resume_takes_it_back(
    scripted: Callable[..., Daemon],
) -> None:
    daemon = scripted()
    wire = _busy(daemon, [{"do": "sleep", "s": 1.5}, ONE], 4)
    assert daemon.ask("drain")["type"] == "done"
    assert daemon.ask("health")["status"] == "draining"
    refused = daemon.wire().ask("submit", b"audio", options={"script": [ONE]})
    assert (refused["type"], refused["fault"]["code"], refused["fault"]["retry"]) == ("refused", "draining", True)
    assert refused["fault"]["retry_after"] > 0
    assert [wire.end_of()[0]["type"] for _ in range(4)] == ["completed"] * 4
    assert daemon.process.poll() is None, "it stays, and waits for resume"
    assert daemon.ask("drain", resume=True)["type"] == "done"
    assert daemon.ask("health")["status"] == "ready"
    assert daemon.wire().play(ONE)[0]["type"] == "completed"


def test_stop_finishes_what_was_accepted_and_exits_0(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted("--durability", "none")
    wire = _busy(daemon, [{"do": "sleep", "s": 1.5}, ONE], 5)
    assert daemon.ask("stop")["type"] == "done"
    assert daemon.ask("health")["status"] == "draining"
    refused = daemon.wire().ask("submit", b"audio", options={"script": [ONE]})
    assert refused["fault"]["code"] == "shutting_down"
    assert [wire.end_of()[0]["type"] for _ in range(5)] == ["completed"] * 5
    assert daemon.process.wait(10) == 0
    assert daemon.leftovers() == []


def test_stop_finishes_what_runs_and_keeps_what_waits(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    wire = _busy(daemon, [{"do": "sleep", "s": 1.5}, ONE], 5)
    assert daemon.ask("stop")["type"] == "done"
    assert [wire.end_of()[0]["type"] for _ in range(2)] == ["completed"] * 2
    assert daemon.process.wait(10) == 0
    assert daemon.leftovers() == []
    daemon.restart()
    again = daemon.ready().wire()
    ends = [again.ask("wait", job=f"job-{number}") for number in range(5)]
    assert [(end["type"], end["run"]["attempts"]) for end in ends] == [("completed", 1)] * 5


def test_stop_now_keeps_what_runs_too_as_if_it_had_not_been_begun(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    _busy(daemon, [{"do": "sleep", "s": 2}, ONE], 3)
    for _ in range(4):
        assert daemon.ask("stop", now=True)["type"] == "done"
        assert daemon.process.wait(10) == 0
        assert daemon.leftovers() == []
        daemon.restart()
        daemon.ready()
        eventually(lambda: daemon.ask("stats")["jobs"]["running"] == 2)
    ends = [daemon.wire().ask("wait", job=f"job-{number}") for number in range(3)]
    assert [(end["type"], end["run"]["attempts"]) for end in ends] == [("completed", 1)] * 3


def test_stop_now_gives_up_what_runs_and_what_waits(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted("--durability", "none")
    wire = _busy(daemon, [ONE, FOREVER], 4)
    assert daemon.ask("stop", now=True)["type"] == "done"
    ends = [wire.end_of()[0] for _ in range(4)]
    assert [(end["type"], end["fault"]["code"], end["fault"]["retry"]) for end in ends] == [
        ("failed", "shutting_down", True)
    ] * 4
    assert daemon.process.wait(10) == 0
    assert daemon.leftovers() == []
