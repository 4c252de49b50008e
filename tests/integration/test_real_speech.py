"""Real speech through real tiny.en in real worker processes."""

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import jiwer
import numpy as np
import pytest

from support.daemon import Daemon
from support.wait import eventually
from support.wire import Wire

pytestmark = pytest.mark.model

WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.SubstituteRegexes({r"\bmr\b": "mister"}), jiwer.RemovePunctuation()])


def said(text: str) -> str:
    """The words alone."""
    cleaned: str = WORDS(text.replace("-", " "))
    return cleaned


def text_of(end: tuple[dict[str, Any], bytes]) -> str:
    answer, body = end
    assert answer["type"] == "completed", answer
    return str(json.loads(body)["text"])


def pcm(clip: Path) -> np.ndarray:
    return np.frombuffer(clip.read_bytes()[44:], dtype="<i2")


def encoded(clip: Path, form: str, codec: str) -> bytes:
    """The clip in another container."""
    target = io.BytesIO()
    with av.open(target, "w", format=form) as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm(clip).reshape(1, -1), format="s16", layout="mono")
        frame.rate = 16_000
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=16_000)
        fifo = av.AudioFifo()
        for part in resampler.resample(frame):
            fifo.write(part)
        while (part := fifo.read(stream.codec_context.frame_size or 4096, partial=True)) is not None:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return target.getvalue()


@pytest.fixture(scope="module")
def truth(speech: Path) -> dict[Path, str]:
    transcripts = json.loads((speech / "transcripts.json").read_text())
    return {speech / name: text for name, text in transcripts.items()}


def test_all_clips_are_heard(whisper: Daemon, truth: dict[Path, str]) -> None:
    wire = whisper.wire()
    heard = [said(text_of(wire.run(clip.read_bytes()))) for clip in truth]
    assert jiwer.wer([said(text) for text in truth.values()], heard) < 0.15


@pytest.mark.parametrize(("form", "codec"), [("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus")])
def test_other_containers_are_heard(whisper: Daemon, truth: dict[Path, str], form: str, codec: str) -> None:
    clip, text = next(iter(truth.items()))
    heard = text_of(whisper.wire().run(encoded(clip, form, codec)))
    assert jiwer.wer(said(text), said(heard)) < 0.15


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_samples_are_heard_as_the_file_is(whisper: Daemon, truth: dict[Path, str], dtype: str) -> None:
    clip = next(iter(truth))
    wire = whisper.wire()
    samples = pcm(clip) if dtype == "int16" else (pcm(clip) / 32768).astype("<f4")
    assert text_of(wire.run(samples.tobytes(), audio={"kind": "pcm", "dtype": dtype})) == text_of(
        wire.run(clip.read_bytes())
    )


def test_words_have_times_in_order(whisper: Daemon, truth: dict[Path, str]) -> None:
    clip = next(iter(truth))
    _, body = whisper.wire().run(clip.read_bytes(), options={"word_timestamps": True})
    transcript = json.loads(body)
    words = [word for segment in transcript["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in words).strip() == transcript["text"]
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[-1] <= transcript["duration"] + 0.1


def test_voice_activity_detection_is_timed_and_cuts_silence(whisper: Daemon, truth: dict[Path, str]) -> None:
    clip, text = next(iter(truth.items()))
    silence = np.zeros(16_000 * 10, dtype="<i2")
    samples = np.concatenate([silence, pcm(clip)])
    answer, body = whisper.wire().run(
        samples.tobytes(), audio={"kind": "pcm", "dtype": "int16"}, options={"vad_filter": True}
    )
    transcript = json.loads(body)
    assert jiwer.wer(said(text), said(transcript["text"])) < 0.15
    assert transcript["duration_after_vad"] < transcript["duration"] - 8
    assert transcript["segments"][0]["start"] > 9
    assert answer["run"]["timings"]["vad"] > 0


def test_every_job_tells_its_timings_and_its_work(whisper: Daemon, truth: dict[Path, str]) -> None:
    wire = whisper.wire()
    clip = next(iter(truth))
    runs = [wire.run(clip.read_bytes())[0]["run"] for _ in range(3)]
    for run in runs:
        timings, work = run["timings"], run["work"]
        parts = timings["queue"] + timings["decode"] + timings["vad"] + timings["transcribe"] + timings["write"]
        assert 0 < timings["decode"] < timings["transcribe"] < timings["total"]
        assert parts <= timings["total"] + 0.01
        assert work["audio_s"] == pytest.approx(7.1, abs=0.1)
        assert work["windows"] >= 1
        assert work["attempts"] >= work["windows"]
        assert work["beam_steps"] > 10
        assert work["segments"] >= 1
        assert work["cpu_s"] > 0
        assert run["worker_uptime"] > 0
    by_seat: dict[str, list[int]] = {}
    for run in runs:
        by_seat.setdefault(run["seat"], []).append(run["job_index"])
    assert all(indexes == sorted(set(indexes)) for indexes in by_seat.values())
    assert len(by_seat) == 2, "the jobs went to both workers in turn"


def test_segments_and_progress_come_while_the_job_runs(whisper: Daemon, truth: dict[Path, str]) -> None:
    wire = whisper.wire()
    clip = next(iter(truth))
    wire.send("submit", clip.read_bytes())
    kinds, segments = [], []
    while not kinds or kinds[-1] not in ("completed", "failed"):
        answer, body = wire.receive()
        kinds.append(answer["type"])
        if answer["type"] == "segment":
            segments.append(json.loads(body)["text"])
        if answer["type"] == "progress":
            assert 0 <= answer["done"] <= answer["duration"]
    assert kinds[0] == "accepted"
    assert kinds[-1] == "completed"
    assert "".join(segments).strip() == json.loads(body)["text"]


def test_a_language_that_the_model_does_not_know_is_a_warning(whisper: Daemon, truth: dict[Path, str]) -> None:
    clip = next(iter(truth))
    _, body = whisper.wire().run(clip.read_bytes(), options={"language": "de"})
    assert "English only" in json.loads(body)["warnings"][0]


@pytest.mark.parametrize(
    ("body", "options", "code", "told"),
    [
        (b"RIFF" + bytes(40), {}, None, ""),
        (b"just some text, no audio at all", {}, "no_audio_stream", "media"),
        (None, {"beam_sise": 3}, "bad_option", "beam_size"),
        (None, {"vad_parameters": {"treshold": 0.5}}, "bad_option", "'treshold' in vad_parameters; did you mean"),
        (None, {"beam_size": 0}, "bad_option", "beam_size"),
        (None, {"language": "xx"}, "bad_option", "language"),
        (None, {"suppress_tokens": [99_999]}, "bad_option", "suppress_tokens"),
    ],
)
def test_bad_input_is_told_and_harms_nobody(
    whisper: Daemon, truth: dict[Path, str], body: bytes | None, options: dict[str, Any], code: str | None, told: str
) -> None:
    before = {worker["seat"] for worker in whisper.workers()}
    clip = next(iter(truth)).read_bytes()
    wire = whisper.wire()
    answer, _ = wire.run(body or clip, options=options)
    refused = options.keys() & {"beam_sise", "language", "vad_parameters"}  # what is known before a worker looks at it
    assert answer["type"] == ("refused" if refused else "failed")
    assert answer["fault"]["blame"] == "caller"
    assert told in answer["fault"]["message"]
    assert code in (None, answer["fault"]["code"])
    assert wire.run(clip)[0]["type"] == "completed"
    assert {worker["seat"] for worker in whisper.workers()} == before


def test_health_is_answered_at_once_while_all_workers_are_busy(whisper: Daemon, truth: dict[Path, str]) -> None:
    jobs, control = whisper.wire(), Wire(whisper.directory, "req", "json", socket="control", timeout=2.0)
    clip = next(iter(truth)).read_bytes()
    for _ in range(6):
        jobs.send("submit", clip, reply="final")
    eventually(lambda: control.ask("stats")["jobs"]["running"] == 2)
    answers = 0
    while control.ask("stats")["jobs"]["running"] == 2:
        assert control.ask("health")["status"] == "ready"
        answers += 1
    control.close()
    for _ in range(6):
        jobs.end_of()
    assert answers > 20, "two seconds of work leave time for many questions"


def test_a_worker_killed_at_work_costs_nothing_but_time(whisper: Daemon, truth: dict[Path, str]) -> None:
    clip, text = next(iter(truth.items()))
    wire = whisper.wire()
    wire.send("submit", clip.read_bytes(), reply="final")
    busy = eventually(lambda: [w for w in whisper.workers() if w["state"] == "busy"])
    os.kill(busy[0]["pid"], signal.SIGKILL)
    answer, body = wire.end_of()
    assert answer["run"]["attempts"] == 2
    assert answer["run"]["seat"] != busy[0]["seat"]
    assert jiwer.wer(said(text), said(json.loads(body)["text"])) < 0.15
    whisper.ready()


@pytest.mark.timeout(900)
def test_200_real_jobs_with_recycling_after_5(start: Callable[..., Daemon], truth: dict[Path, str]) -> None:
    daemon = start("--workers", "2", "--max-jobs", "5").ready()
    wire = daemon.wire()
    clip = next(c for c in truth if c.name == "ss-0880.wav").read_bytes()
    short = clip[:44] + clip[44 : 44 + 2 * 16_000 * 2]
    expected = text_of(wire.run(short))
    for _ in range(4):
        wire.send("submit", short, reply="final")
    for done in range(199):
        assert text_of(wire.end_of()) == expected
        if done < 195:
            wire.send("submit", short, reply="final")
    stats = daemon.ask("stats")
    assert stats["jobs"]["completed"] == 200
    assert stats["least_ready"] == {"default": 2}
    assert stats["recycles"]["max_jobs"] >= 10
    assert stats["deaths"] == {}


def test_a_broken_model_folder_is_named(start: Callable[..., Daemon], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    daemon = start("--model", str(tmp_path))
    assert daemon.process.wait(30) == 78
    assert "lacks model.bin" in daemon.log.read_text()
