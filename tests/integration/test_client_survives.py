"""A client outlives its daemon: killed, stopped and started again, at every point where a message may get lost."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import asrd
from support.daemon import Daemon
from support.fake_daemon import BadLine
from support.wait import eventually

ONE_WORKER = """
[pools.default]
engine = "scripted"
model = ""
workers = 1
[pools.default.options]
orders = "{orders}"
"""


def speak(*texts: str) -> list[dict[str, Any]]:
    return [{"do": "speak", "text": text} for text in texts]


def sleep(seconds: float) -> list[dict[str, Any]]:
    return [{"do": "sleep", "s": seconds}]


def obey(order: str) -> list[dict[str, Any]]:
    return [{"do": "obey", "order": order}]


class Orders:
    """What the worker is told while it has a job, once: whoever comes later finds no order, and goes on at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def hold(self, order: str) -> None:
        """Stay there until somebody is killed."""
        (self.directory / order).write_text(json.dumps(sleep(60)))

    def held(self, order: str) -> bool:
        """Whether somebody stays there."""
        return not (self.directory / order).exists()

    def shut(self, gate: str) -> None:
        """Wait there until it is opened."""
        os.mkfifo(self.directory / gate)

    def open(self, gate: str) -> None:
        """As soon as somebody waits there."""
        (self.directory / gate).write_text("[]")


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "orders")


@pytest.fixture
def daemon(start: Callable[..., Daemon], orders: Orders) -> Daemon:
    """A durable daemon with one worker."""
    return start(config=ONE_WORKER.format(orders=orders.directory)).ready()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[asrd.Client]:
    """A client with its default patience."""
    with asrd.Client(daemon.directory) as made:
        yield made


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """For what waits meanwhile. A test that has failed does not wait for it; it ends with its client."""
    pool = ThreadPoolExecutor()
    yield pool
    pool.shutdown(wait=False)


def die(daemon: Daemon) -> None:
    """The daemon is killed, and another one is started in its place."""
    daemon.kill()
    daemon.restart()


def running(client: asrd.Client) -> bool:
    return client.stats().jobs.running == 1


# --- killed while somebody follows a job ------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", [0, 1, 2, 3])
def test_a_stream_goes_on_where_it_was_when_the_daemon_is_killed(
    daemon: Daemon, client: asrd.Client, orders: Orders, heard: int
) -> None:
    texts = ["a", "b", "c"]
    orders.hold("here")
    script = [*speak(*texts[:heard]), *obey("here"), *speak(*texts[heard:])]
    job = client.submit(b"audio", script=script)
    segments = job.segments()
    said = [next(segments).text for _ in range(heard)]
    eventually(lambda: orders.held("here"))
    die(daemon)
    said += [segment.text for segment in segments]
    assert said == texts
    assert job.result().text == "abc"
    assert job.run is not None and job.run.attempts == 2, "it was interrupted indeed"
    assert eventually(lambda: not client.jobs()), "its result was released"


def test_a_daemon_that_is_killed_twice_costs_no_segment(daemon: Daemon, client: asrd.Client, orders: Orders) -> None:
    for order in ("first", "second"):
        orders.hold(order)
    job = client.submit(b"audio", script=[*speak("a"), *obey("first"), *speak("b"), *obey("second"), *speak("c")])
    segments, said = job.segments(), []
    for order in ("first", "second"):
        said.append(next(segments).text)
        eventually(lambda order=order: orders.held(order))
        die(daemon)
    assert said + [segment.text for segment in segments] == ["a", "b", "c"]
    assert job.run is not None and job.run.attempts == 3


def test_a_submit_that_the_daemon_never_read_reaches_the_next_one(
    daemon: Daemon, client: asrd.Client, aside: ThreadPoolExecutor
) -> None:
    client.transcribe(b"audio", script=speak("connected"))
    daemon.process.send_signal(signal.SIGSTOP)
    waiting = aside.submit(client.submit, b"audio", job="mine", script=speak("a", "b"))
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    die(daemon)
    job = waiting.result(30)
    assert [segment.text for segment in job.segments()] == ["a", "b"]
    assert job.id == "mine"


# --- the line breaks, the daemon stays --------------------------------------------------------------------------------


@pytest.fixture
def line(daemon: Daemon) -> Iterator[BadLine]:
    """A line to the daemon that can be broken."""
    (daemon.root / "line").mkdir()
    with BadLine(daemon.root / "line", daemon.directory) as made:
        yield made


@pytest.fixture
def caller(line: BadLine, daemon: Daemon) -> Iterator[asrd.Client]:
    """A client at the other end of the line, which is connected, and nothing of which is on its way any more."""
    with asrd.Client(daemon.root / "line") as made:
        made.transcribe(b"audio", script=speak("connected"))
        eventually(lambda: not made.jobs())
        yield made


def heard(client: asrd.Client, job: str, count: int) -> bool:
    """Whether so many segments of a job are decoded."""
    try:
        state = client.fetch(job, partial=True)
    except asrd.UnknownJob:
        return False
    return isinstance(state, asrd.SoFar) and len(state.segments) == count


def test_a_submit_whose_acceptance_got_lost_joins_its_job(
    line: BadLine, caller: asrd.Client, client: asrd.Client, orders: Orders, aside: ThreadPoolExecutor
) -> None:
    line.mute = True
    orders.shut("gate")
    script = [*speak("a", "b"), *obey("gate"), *speak("c")]
    waiting = aside.submit(caller.submit, b"audio", job="mine", script=script)
    eventually(lambda: heard(client, "mine", 2))
    line.cut()
    job = waiting.result(30)
    segments = job.segments()
    assert [next(segments).text, next(segments).text] == ["a", "b"]
    orders.open("gate")
    assert [segment.text for segment in segments] == ["c"], "the others came before that"
    assert job.run is not None and job.run.attempts == 1


def test_segments_that_got_lost_are_sent_again(
    line: BadLine, caller: asrd.Client, client: asrd.Client, orders: Orders
) -> None:
    for gate in ("first", "second"):
        orders.shut(gate)
    script = [*speak("a"), *obey("first"), *speak("b", "c"), *obey("second"), *speak("d")]
    job = caller.submit(b"audio", script=script)
    segments = job.segments()
    assert next(segments).text == "a"
    line.mute = True
    orders.open("first")
    eventually(lambda: heard(client, job.id, 3))
    line.cut()
    assert [next(segments).text, next(segments).text] == ["b", "c"]
    orders.open("second")
    assert [segment.text for segment in segments] == ["d"]


def test_a_result_that_got_lost_is_fetched(
    line: BadLine, caller: asrd.Client, client: asrd.Client, orders: Orders
) -> None:
    orders.shut("gate")
    job = caller.submit(b"audio", script=[*speak("a"), *obey("gate"), *speak("b")])
    segments = job.segments()
    assert next(segments).text == "a"
    line.mute = True
    orders.open("gate")
    eventually(lambda: [one.state for one in client.jobs()] == ["completed"])
    line.cut()
    assert [segment.text for segment in segments] == ["b"]
    assert eventually(lambda: not client.jobs())


def test_a_release_that_got_lost_is_said_again(
    line: BadLine, caller: asrd.Client, client: asrd.Client, orders: Orders
) -> None:
    orders.shut("gate")
    job = caller.submit(b"audio", script=[*speak("a"), *obey("gate"), *speak("b")])
    next(job.segments())
    line.deaf = True
    orders.open("gate")
    assert job.result(timeout=30).text == "ab"
    assert [one.state for one in client.jobs()] == ["completed"], "the daemon was not told"
    line.cut()
    assert eventually(lambda: not client.jobs())


def test_a_submit_that_got_lost_on_a_broken_line_is_sent_again(
    line: BadLine, caller: asrd.Client, client: asrd.Client, aside: ThreadPoolExecutor
) -> None:
    line.deaf = True
    waiting = aside.submit(caller.transcribe, b"audio" * 100_000, script=speak("a"))
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    assert client.jobs() == []
    line.cut()
    assert waiting.result(30).text == "a"


# --- killed again -----------------------------------------------------------------------------------------------------


def test_many_streams_survive_together(start: Callable[..., Daemon]) -> None:
    daemon = start("--engine", "scripted", "--workers", "2").ready()

    async def story() -> list[list[str]]:
        async with asrd.AsyncClient(daemon.directory) as client:
            script = [*speak("a"), *sleep(0.1), *speak("b"), *sleep(0.1), *speak("c")]
            jobs = [await client.submit(b"audio", script=script) for _ in range(12)]
            first = await anext(aiter(jobs[0].segments()))
            assert first.text == "a"
            await asyncio.to_thread(die, daemon)

            async def texts(job: asrd.AsyncJob) -> list[str]:
                return [segment.text async for segment in job.segments()]

            return await asyncio.gather(*(texts(job) for job in jobs))

    assert asyncio.run(story()) == [["a", "b", "c"]] * 12


def test_without_a_journal_a_job_is_lost_and_that_is_said(start: Callable[..., Daemon]) -> None:
    daemon = start("--engine", "scripted", "--workers", "1", "--durability", "none").ready()
    with asrd.Client(daemon.directory) as client:
        job = client.submit(b"audio", script=[*speak("a"), *sleep(60)])
        assert next(job.segments()).text == "a"
        die(daemon)
        with pytest.raises(asrd.JobLost, match=job.id):
            job.result(timeout=30)
        assert client.transcribe(b"audio", script=speak("again")).text == "again"


# --- stopped and started again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_queued_jobs_are_done_by_the_next_daemon(daemon: Daemon, client: asrd.Client, how: str) -> None:
    first = client.submit(b"audio", script=[*sleep(60), *speak("first")], retries=asrd.Retries(attempts=1))
    eventually(lambda: running(client))
    followed = client.submit(b"audio", script=speak("followed"))
    stored = client.enqueue(b"audio", script=speak("stored"))
    if how == "kill":
        daemon.kill()
    else:
        client.stop(now=True)
        assert daemon.process.wait(20) == 0
    daemon.restart()
    assert sorted(job.job for job in client.jobs()) == sorted([first.id, followed.id, stored])
    first.cancel()
    assert followed.result(timeout=30).text == "followed"
    finished = client.wait(stored, timeout=30)
    assert isinstance(finished, asrd.Finished) and finished.transcript.text == "stored"


def test_a_result_is_fetched_after_a_restart_and_is_gone_after_its_release(daemon: Daemon, client: asrd.Client) -> None:
    job = client.enqueue(b"audio", script=speak("a", "b"))
    finished = client.wait(job, timeout=30)
    die(daemon)
    assert client.wait(job, timeout=30) == finished
    assert [segment.text for segment in client.job(job).segments()] == ["a", "b"]
    client.release(job)
    die(daemon)
    with pytest.raises(asrd.UnknownJob, match=job):
        client.fetch(job)


def test_who_waits_does_not_notice_a_restart(
    daemon: Daemon, client: asrd.Client, orders: Orders, aside: ThreadPoolExecutor
) -> None:
    orders.hold("here")
    job = client.enqueue(b"audio", script=[*obey("here"), *speak("late")])
    eventually(lambda: orders.held("here"))
    waiting: Future[Any] = aside.submit(client.wait, job)
    die(daemon)
    finished = waiting.result(30)
    assert isinstance(finished, asrd.Finished) and finished.run.attempts == 2


def test_a_job_is_cancelled_while_the_daemon_is_away(
    daemon: Daemon, client: asrd.Client, aside: ThreadPoolExecutor
) -> None:
    job = client.submit(b"audio", script=[*speak("a"), *sleep(60)])
    next(job.segments())
    daemon.kill()
    cancelling = aside.submit(job.cancel)
    daemon.restart()
    cancelling.result(30)
    with pytest.raises(asrd.Cancelled):
        job.result(timeout=30)


# --- a daemon that does not come back ---------------------------------------------------------------------------------


def test_a_plain_question_does_not_wait_as_long_as_a_job(daemon: Daemon, aside: ThreadPoolExecutor) -> None:
    with asrd.Client(daemon.directory, timeout=2, patience=6) as client:
        client.health()
        job = client.submit(b"audio", script=sleep(60))
        following = aside.submit(job.result)
        daemon.kill()
        with pytest.raises(asrd.NoDaemon, match="within 2 s"):
            client.health()
        assert not following.done()
        with pytest.raises(asrd.NoDaemon, match="within 6 s"):
            following.result(30)
        began = time.monotonic()
        with pytest.raises(asrd.NoDaemon, match="asrd serve"):
            client.fetch(job.id)
        assert time.monotonic() - began < 2, "nobody listens: that is known at once"


def client_is_answered(client: asrd.Client) -> bool:
    try:
        return client.health().status == "ready"
    except asrd.AsrdError:
        return False


def test_a_command_to_a_daemon_that_is_away_does_not_reach_the_next_one(daemon: Daemon) -> None:
    with asrd.Client(daemon.directory, timeout=2) as client:
        client.health()
        daemon.kill()
        eventually(lambda: not client_is_answered(client))
        with pytest.raises(asrd.NoDaemon):
            client.stop(now=True)
        daemon.restart()
        daemon.ready()
        eventually(lambda: client_is_answered(client))
        assert client.transcribe(b"audio", script=speak("still here")).text == "still here"
        assert client.health().status == "ready"


def test_waiting_for_a_daemon_costs_no_time_of_the_processor(daemon: Daemon, client: asrd.Client) -> None:
    job = client.submit(b"audio", script=[*speak("a"), *sleep(60)])
    next(job.segments())
    daemon.kill()
    before = time.process_time()
    with pytest.raises(asrd.TimedOut):
        job.result(timeout=2)
    assert time.process_time() - before < 1
