"""The Python client against a real daemon."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import asrd
from asrd_protocol.faults import Code
from support.daemon import Daemon
from support.stage import PATIENT, UNHURRIED, Stage, staged
from support.wait import eventually


def speak(text: str) -> dict[str, Any]:
    return {"do": "speak", "text": text}


def sleep(seconds: float) -> dict[str, Any]:
    return {"do": "sleep", "s": seconds}


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A daemon whose workers take orders."""
    with staged(UNHURRIED + PATIENT) as made:
        yield made


def test_segments_arrive_while_the_job_runs(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        job = client.submit(b"audio", script=[speak(" a"), sleep(60), speak(" b")])
        assert next(job.segments()).text == " a"
        assert job.run is None
        assert client.stats().jobs.running == 1
        job.cancel()
        with pytest.raises(asrd.Cancelled):
            job.result()


def test_results_are_released_by_who_got_them(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        assert client.transcribe(b"audio", script=[speak("a")]).text == "a"
        assert eventually(lambda: not client.jobs())
        name = client.enqueue(b"audio", job="mine", script=[speak("b")])
        finished = client.wait(name, timeout=20)
        assert isinstance(finished, asrd.Finished) and finished.run.seat.startswith("default/")
        with asrd.Client(daemon.directory) as another:
            job = another.job("mine")
            assert [segment.text for segment in job.segments()] == ["b"]
        assert client.fetch("mine") == finished
        client.release("mine")
        with pytest.raises(asrd.UnknownJob, match="mine"):
            client.fetch("mine")
        with pytest.raises(asrd.UnknownJob):
            client.job("mine")


def test_a_second_client_follows_a_running_job(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client, asrd.Client(daemon.directory) as another:
        job = client.submit(b"audio", script=[speak("a"), sleep(0.5), speak("b")])
        next(job.segments())
        assert [segment.text for segment in another.job(job.id).segments()] == ["a", "b"]
        assert job.result().text == "ab"


def test_a_killed_worker_costs_no_segment_and_repeats_none(stage: Stage) -> None:
    stage.order("hold", [sleep(25)])
    with asrd.Client(stage.daemon.directory) as client:
        job = client.submit(b"audio", script=[speak("a"), speak("b"), {"do": "obey", "order": "hold"}, speak("c")])
        segments = job.segments()
        texts = [next(segments).text, next(segments).text]
        (victim,) = [worker.pid for worker in client.workers() if worker.job == job.id]
        assert victim
        os.kill(victim, signal.SIGKILL)
        texts += [segment.text for segment in segments]
        assert texts == ["a", "b", "c"]
        assert job.run is not None and job.run.attempts == 2


def test_faults_of_the_daemon_have_types(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        with pytest.raises(asrd.JobFailed, match="script") as caught:
            client.transcribe(b"audio", script=7)
        assert caught.value.fault.blame == "caller"
        with pytest.raises(asrd.Refused, match="scrpt"):
            client.transcribe(b"audio", scrpt=[])
        with pytest.raises(asrd.Refused, match="nope"):
            client.transcribe(b"audio", pool="nope")
        with pytest.raises(asrd.OptionError, match="job"):
            client.transcribe(b"audio", job="no such name!")
        with pytest.raises(asrd.Refused, match="there is no worker"):
            client.recycle(seat="x/9.9")
        assert client.transcribe(b"audio", script=[speak("fine")]).text == "fine"


def test_a_full_queue_says_when_to_come_again(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted(config='[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 1\n[queue]\nmax_jobs = 1\n')
    with asrd.Client(daemon.directory) as client:
        jobs = [client.submit(b"audio", script=[sleep(60)])]
        eventually(lambda: client.stats().jobs.running == 1)
        jobs.append(client.submit(b"audio"))
        with pytest.raises(asrd.Overloaded) as caught:
            client.submit(b"audio")
        assert caught.value.retry_after > 0
        for job in jobs:
            job.cancel()


def test_bodies_beyond_the_limit_are_refused_in_words(scripted: Callable[..., Daemon]) -> None:
    pool = '[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 1\n'
    daemon = scripted(config=pool + '[audio]\nmax_body = "2MB"\n')
    with asrd.Client(daemon.directory) as client:
        with pytest.raises(asrd.AudioError, match="2 MB"):
            client.transcribe(b"x" * 2_000_001)
        assert client.transcribe(b"x" * 2_000_000, script=[speak("fits")]).text == "fits"


def test_a_daemon_that_is_killed_and_started_again(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory, patience=1) as client:
        job = client.submit(b"audio", script=[speak("a"), sleep(60)])
        next(job.segments())
        daemon.kill()
        with pytest.raises(asrd.NoDaemon):
            job.result(timeout=20)
        with pytest.raises(asrd.NoDaemon):
            client.health()
        daemon.restart()
        daemon.ready()
        assert client.transcribe(b"audio", script=[speak("again")]).text == "again"


def test_questions_are_answered_while_every_worker_is_busy(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        jobs = [client.submit(b"audio", script=[sleep(60)]) for _ in range(3)]
        eventually(lambda: client.stats().jobs.running == 2)
        assert client.health().status == "ready"
        assert [worker.state for worker in client.workers() if worker.pid] == ["busy", "busy"]
        assert sorted(job.state for job in client.jobs()) == ["queued", "running", "running"]
        assert [pool.engine for pool in client.pools()] == ["scripted"]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda job: job.cancel(), jobs))
        assert client.stats().jobs.cancelled == 3


def test_recycle_drain_and_stop(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        before = {worker.seat for worker in client.workers() if worker.pid}
        client.recycle()
        eventually(lambda: not before & {worker.seat for worker in client.workers() if worker.pid}, 30)
        client.drain()
        with pytest.raises(asrd.Refused, match="no new jobs"):
            client.submit(b"audio")
        client.drain(resume=True)
        assert client.transcribe(b"audio", script=[speak("a")]).text == "a"
        client.stop()
    assert daemon.process.wait(20) == 0


def test_two_hundred_jobs_at_once(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted("--max-jobs", "20")

    async def story() -> list[str]:
        async with asrd.AsyncClient(daemon.directory) as client:
            jobs = (client.transcribe(b"audio", script=[speak(f"{n}")]) for n in range(200))
            return [transcript.text for transcript in await asyncio.gather(*jobs)]

    assert asyncio.run(story()) == [f"{n}" for n in range(200)]


# --- what is wanted of a job ------------------------------------------------------------------------------------------


def test_wishes_reach_the_daemon(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        client.transcribe(b"audio", script=[sleep(0.2), speak("measured")])
        for _ in range(2):
            client.submit(b"audio", script=[sleep(60)])
        job = client.submit(b"audio", priority="low", client="archive", job="mine")
        receipt = client.deposit(b"audio", priority="high")
        assert receipt.eta_s > 0 and receipt.ahead == 1 and job.receipt.job == "mine"
        (shown,) = client.jobs(client="archive")
        assert (shown.job, shown.priority, shown.client, shown.state) == ("mine", "low", "archive", "queued")
        assert {one.state for one in client.jobs(states=("running",))} == {"running"}
        assert len(client.jobs(states=("running", "queued"))) == 4
        assert [one.priority for one in client.jobs(2, states=("queued",))] == ["high", "low"]
        assert client.jobs(pool="other") == []


def test_a_deadline_ends_a_job_wherever_it_is(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        with pytest.raises(asrd.JobFailed) as caught:
            client.transcribe(b"audio", deadline=0.3, script=[sleep(60)])
        assert caught.value.fault.code is Code.DEADLINE
        with pytest.raises(asrd.OptionError, match="deadline"):
            client.submit(b"audio", deadline=-1)
        with pytest.raises(asrd.OptionError, match="priority"):
            client.submit(b"audio", priority="urgent")


def test_the_segments_so_far_are_fetched(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        job = client.submit(b"audio", script=[speak("a"), speak("b"), sleep(60)])
        segments = job.segments()
        next(segments), next(segments)
        state = client.fetch(job.id, partial=True)
        assert isinstance(state, asrd.SoFar) and state.state == "running" and state.attempt == 1
        assert [segment.text for segment in state.segments] == ["a", "b"]
        assert not isinstance(client.fetch(job.id), asrd.SoFar)
        job.cancel()


def test_a_file_by_path_is_opened_by_the_daemon(scripted: Callable[..., Daemon], tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"audio")
    link = tmp_path / "link"
    link.symlink_to(path)
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        assert client.transcribe(link, by_path=True, script=[speak("read")]).text == "read"
        finished = client.wait(client.enqueue(str(path), by_path=True, script=[speak("read")]))
        assert isinstance(finished, asrd.Finished) and finished.transcript.text == "read"
        (shown,) = client.jobs()
        assert shown.bytes == len(b"audio")


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_a_file_by_path_that_is_not_what_it_was_is_named(
    scripted: Callable[..., Daemon], tmp_path: Path, what: str
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"audio")
    daemon = scripted("--workers", "1")
    with asrd.Client(daemon.directory) as client:
        blocker = client.submit(b"audio", script=[sleep(60)])
        eventually(lambda: client.stats().jobs.running == 1)
        job = client.submit(path, by_path=True, script=[speak("never")])
        if what == "changed":
            path.write_bytes(b"other audio")
        else:
            path.unlink()
        blocker.cancel()
        with pytest.raises(asrd.JobFailed, match=path.name) as caught:
            job.result(timeout=30)
        assert caught.value.fault.code is (Code.INPUT_CHANGED if what == "changed" else Code.INPUT_MISSING)


def test_what_cannot_go_by_path_is_named_before_anything_is_sent(
    scripted: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        for audio, said in [
            (b"audio", "given by its path"),
            (tmp_path / "missing.wav", "there is no file .*missing.wav"),
            (tmp_path, "is not a file"),
            ("/dev/null", "is not a file"),
            (os.fsdecode(b"/tmp/\xff"), "there is no file|cannot be read"),
        ]:
            with pytest.raises(asrd.AudioError, match=said):
                client.submit(audio, by_path=True)
        assert client.jobs() == []


# --- jobs that failed -------------------------------------------------------------------------------------------------


def test_a_failed_job_is_tried_again(stage: Stage) -> None:
    stage.order("fail", [{"do": "fail", "message": "for now"}])
    script = [{"do": "obey", "order": "fail"}, speak("well")]
    with asrd.Client(stage.daemon.directory) as client:
        job = client.submit(b"audio", script=script, retries=asrd.Retries(attempts=1))
        with pytest.raises(asrd.JobFailed, match="for now"):
            job.result(timeout=30)
        assert [one.state for one in client.jobs()] == ["failed"], "it is kept"
        assert client.retry(job.id)
        finished = client.wait(job.id, timeout=30)
        assert isinstance(finished, asrd.Finished) and finished.transcript.text == "well"
        with pytest.raises(asrd.Refused, match="completed"):
            client.retry(job.id)
        with pytest.raises(asrd.UnknownJob):
            client.retry("nobody")
        running = client.submit(b"audio", script=[sleep(60)])
        assert not client.retry(running.id), "it has not ended"
        running.cancel()


def test_a_job_that_workers_die_of_is_in_quarantine_until_it_is_tried_again(stage: Stage) -> None:
    deaths = [{"do": "obey", "order": "first"}, {"do": "obey", "order": "second"}]
    for order in ("first", "second"):
        stage.order(order, [{"do": "die"}])
    with asrd.Client(stage.daemon.directory) as client:
        job = client.submit(b"audio", script=[speak("a"), *deaths, speak("b")])
        with pytest.raises(asrd.JobFailed) as caught:
            job.result(timeout=60)
        assert caught.value.fault.code is Code.POISON and caught.value.fault.context["deaths"] == 2
        (shown,) = client.quarantine()
        assert (shown.job, shown.state, shown.attempts) == (job.id, "quarantined", 2)
        stage.daemon.kill()
        stage.daemon.restart()
        assert [one.job for one in client.quarantine()] == [job.id], "it is kept"
        assert client.retry(job.id)
        assert client.job(job.id).result(timeout=60).text == "ab"
        assert client.quarantine() == []


# --- events -----------------------------------------------------------------------------------------------------------


def test_events_are_told_by_topic_and_go_on_after_a_restart(
    scripted: Callable[..., Daemon],
) -> None:
    daemon = scripted()
    heard: list[dict[str, Any]] = []

    def listen(client: asrd.Client) -> None:
        with pytest.raises(asrd.AsrdError, match="closed"):
            for event in client.events("job.completed", "worker."):
                heard.append(event)

    def ends(client: asrd.Client, job: str) -> bool:
        client.transcribe(b"audio", job=job, script=[speak("a")])
        return any(event.get("job") == job for event in heard)

    with asrd.Client(daemon.directory) as other, ThreadPoolExecutor() as pool:
        with asrd.Client(daemon.directory) as client:
            listening = pool.submit(listen, client)
            eventually(lambda: ends(other, "before"))
            daemon.kill()
            daemon.restart()
            eventually(lambda: ends(other, "after"), 30)
        listening.result(10)
    assert {event["type"].partition(".")[0] for event in heard} <= {"job", "worker"}
    assert not [event for event in heard if event["type"] == "job.accepted"]


def test_events_for_asyncio_end_with_their_daemon(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()

    async def story() -> list[str]:
        async with asrd.AsyncClient(daemon.directory, patience=0.3) as client:
            topics: list[str] = []
            stopping = asyncio.create_task(client.stop())
            with pytest.raises(asrd.NoDaemon, match="went away"):
                async for event in client.events():
                    topics.append(event["type"])
            await stopping
            with pytest.raises(asrd.NoDaemon, match="asrd serve"):
                await anext(client.events())
            return topics

    asyncio.run(asyncio.wait_for(story(), 30))
    assert daemon.process.wait(20) == 0


@pytest.mark.model
def test_real_speech_in_every_shape(whisper: Daemon, speech: Path) -> None:
    path = speech / "ss-0880.wav"
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.concatenate(frames, axis=1)[0]
    assert samples.dtype == np.int16
    with asrd.Client(whisper.directory) as client, path.open("rb") as file:
        texts = [
            client.transcribe(path).text,
            client.transcribe(str(path)).text,
            client.transcribe(path.read_bytes()).text,
            client.transcribe(file).text,
            client.transcribe(samples, sample_rate=rate).text,
            client.transcribe(samples.astype(np.float32) / 32768, sample_rate=rate).text,
        ]
    assert "young man" in texts[0]
    assert len(set(texts)) == 1


@pytest.mark.model
def test_the_shortcut_finds_the_daemon(whisper: Daemon, speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRD_RUNTIME_DIR", str(whisper.directory))
    job = asrd.submit(speech / "ss-0930.wav", beam_size=1)
    assert "amiable" in job.result(timeout=60).text
    assert "amiable" in asrd.transcribe(speech / "ss-0930.wav").text
