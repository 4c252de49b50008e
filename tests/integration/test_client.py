"""The Python client against a real daemon."""

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import asrd
from support.daemon import Daemon
from support.wait import eventually


def speak(text: str) -> dict[str, Any]:
    return {"do": "speak", "text": text}


def sleep(seconds: float) -> dict[str, Any]:
    return {"do": "sleep", "s": seconds}


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


def test_a_killed_worker_costs_no_segment_and_repeats_none(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    with asrd.Client(daemon.directory) as client:
        job = client.submit(b"audio", script=[speak("a"), speak("b"), sleep(1), speak("c")])
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
        with pytest.raises(asrd.JobFailed, match="scrpt") as caught:
            client.transcribe(b"audio", scrpt=[])
        assert caught.value.fault.blame == "caller"
        with pytest.raises(asrd.Refused, match="nope"):
            client.transcribe(b"audio", pool="nope")
        with pytest.raises(asrd.Refused, match="job"):
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
