"""The events socket: one message for each thing that happens to a worker or a job."""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import msgspec
import pytest
import zmq

from support.daemon import Daemon
from support.stage import ONE, PATIENT, UNHURRIED, Stage, staged
from support.wait import eventually

Event = dict[str, Any]


class Listener:
    """One SUB socket."""

    def __init__(self, daemon: Daemon, prefix: str = "") -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.subscribe(prefix)
        self._daemon = daemon

    def connect(self) -> None:
        """And wait until something is heard."""
        self._socket.connect(f"ipc://{self._daemon.directory}/events.sock")
        eventually(self._heard)

    def _heard(self) -> bool:
        """A subscription takes a moment; what happens until then is not heard."""
        self._daemon.wire().play(ONE)
        return bool(self._socket.poll(50))

    def close(self) -> None:
        self._context.destroy(linger=0)

    def until(self, topic: str, **fields: Any) -> list[Event]:
        """All events up to the first one with this topic and these fields."""
        events: list[Event] = []
        while not events or not (events[-1]["type"] == topic and fields.items() <= events[-1].items()):
            assert self._socket.poll(10_000), f"no {topic} after {[event['type'] for event in events]}"
            name, body = self._socket.recv_multipart()
            events.append(msgspec.msgpack.decode(body))
            assert events[-1]["type"] == name.decode()
        return events


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(UNHURRIED + PATIENT) as stage:
        yield stage


@pytest.fixture
def daemon(stage: Stage) -> Daemon:
    return stage.daemon


@pytest.fixture
def listen(daemon: Daemon) -> Iterator[Callable[..., Listener]]:
    with ExitStack() as stack:

        def _listen(prefix: str = "") -> Listener:
            listener = stack.enter_context(closing(Listener(daemon.ready(), prefix)))
            listener.connect()
            return listener

        yield _listen


def _of(events: list[Event], **fields: Any) -> list[str]:
    return [event["type"] for event in events if fields.items() <= event.items()]


def test_the_life_of_a_job_is_told(daemon: Daemon, listen: Callable[..., Listener]) -> None:
    listener, job = listen(), uuid.uuid4().hex
    end, _ = daemon.wire().play(ONE, job=job)
    events = listener.until("job.completed", job=job)
    assert _of(events, job=job) == ["job.accepted", "job.completed"]
    accepted, completed = (event for event in events if event.get("job") == job)
    assert (accepted["pool"], accepted["bytes"]) == ("default", len(b"audio"))
    assert completed["seat"] == end["run"]["seat"] and completed["timings"] == end["run"]["timings"]
    assert {"attempts", "job_index", "worker_uptime", "work"} <= set(completed)
    assert abs(completed["at"] - time.time()) < 60


def test_a_job_that_fails_and_one_that_is_cancelled_are_told(daemon: Daemon, listen: Callable[..., Listener]) -> None:
    listener, job = listen("job."), uuid.uuid4().hex
    daemon.wire().play({"do": "fail", "code": "bad_audio", "message": "no sound"}, job=job)
    failed = listener.until("job.failed", job=job)[-1]
    assert (failed["code"], failed["message"], failed["attempts"]) == ("bad_audio", "no sound", 1)
    wire = daemon.wire()
    wire.send("submit", b"audio", job=f"{job}-2", options={"script": [{"do": "sleep", "s": 0.05}, ONE] * 100})
    wire.send("cancel", job=f"{job}-2")
    assert listener.until("job.failed", job=f"{job}-2")[-1]["code"] == "cancelled"


def test_the_replacement_of_a_worker_is_told(daemon: Daemon, listen: Callable[..., Listener]) -> None:
    listener = listen("")
    old = daemon.workers()[0]["seat"]
    daemon.ask("recycle", seat=old)
    events = [event for event in listener.until("worker.left", seat=old) if event["type"].startswith("worker.")]
    kinds = [event["type"] for event in events]
    assert kinds == ["worker.recycling", "worker.starting", "worker.ready", "worker.recycled", "worker.left"]
    assert [event["seat"] == old for event in events] == [True, False, False, True, True]
    assert events[1]["seat"] == events[2]["seat"]
    assert events[3]["reason"] == "requested" and events[2]["start_s"] > 0
    assert events[4]["how"] == "exit 0"


def test_a_death_and_the_retry_are_told_without_the_log(stage: Stage, listen: Callable[..., Listener]) -> None:
    daemon = stage.daemon
    listener, job, wire = listen(), uuid.uuid4().hex, daemon.wire()
    stage.order("hold", [{"do": "sleep", "s": 25}])
    wire.send("submit", b"audio", job=job, options={"script": [ONE, {"do": "obey", "order": "hold"}]})
    while wire.receive()[0]["type"] != "segment":
        pass
    (victim,) = (worker for worker in daemon.workers() if worker["state"] == "busy")
    os.kill(victim["pid"], signal.SIGKILL)
    events = listener.until("job.completed", job=job)
    assert _of(events, job=job) == ["job.accepted", "worker.died", "job.retried", "job.completed"]
    died = next(event for event in events if event["type"] == "worker.died")
    assert (died["seat"], died["how"], "log_tail" in died) == (victim["seat"], "SIGKILL", False)
    retried = next(event for event in events if event["type"] == "job.retried")
    assert (retried["seat"], retried["attempt"], retried["why"]) == (victim["seat"], 1, "SIGKILL")


def test_drain_and_resume_are_told(daemon: Daemon, listen: Callable[..., Listener]) -> None:
    listener = listen()
    daemon.ask("drain")
    daemon.ask("drain", resume=True)
    assert listener.until("daemon.draining") and listener.until("daemon.resumed")


def test_a_subscriber_hears_what_it_asked_for_and_no_more(daemon: Daemon, listen: Callable[..., Listener]) -> None:
    listener, job = listen("job.completed"), uuid.uuid4().hex
    daemon.wire().play({"do": "fail", "code": "bad_audio"})
    daemon.wire().play(ONE, job=job)
    assert {event["type"] for event in listener.until("job.completed", job=job)} == {"job.completed"}


def test_a_subscriber_that_does_not_read_holds_up_nobody(daemon: Daemon, listen: Callable[..., Listener]) -> None:
    listen("")
    wire = daemon.wire()
    for _ in range(4):
        for _ in range(800):
            wire.send("submit", b"audio", options={"script": []}, reply="final")
        assert sum(wire.end_of()[0]["type"] == "completed" for _ in range(800)) == 800
