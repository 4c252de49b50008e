"""A recorder that was left running: hours without a word, in a file that is named by its path."""

import wave
from pathlib import Path

import pytest

import asrd
from support.daemon import running
from support.invariants import tell
from support.wait import eventually

HOURS = 10
CONFIG = """
[pools.default]
model = "tiny.en"
workers = 2
[audio]
max_s = "11h"
"""


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    """A WAV file of many hours that takes no room: all of its samples are a hole."""
    path = tmp_path / "recorder.wav"
    with wave.open(str(path), "wb") as target:
        target.setparams((1, 2, 16_000, HOURS * 3600 * 16_000, "NONE", ""))
    header = bytearray(path.read_bytes()[:44])
    size = HOURS * 3600 * 32_000
    header[4:8], header[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + size)
    return path


@pytest.mark.model
@pytest.mark.timeout(600)
def test_ten_hours_of_silence_are_no_text(silence: Path, speech: Path) -> None:
    with running(config=CONFIG) as daemon, asrd.Client(daemon.ready(timeout=120).directory) as client:
        job = client.submit(silence, by_path=True, vad_filter=True)
        finished = client.wait(job.id, timeout=540)
        assert isinstance(finished, asrd.Finished)
        transcript, run = finished.transcript, finished.run
        assert (transcript.text, transcript.segments, transcript.duration) == ("", [], HOURS * 3600.0)
        assert (run.attempts, run.steps) == (1, HOURS * 30 + 2)
        fattest = max(worker["rss_bytes"] for worker in daemon.workers())
        tell(f"{HOURS} h of silence: {run.timings.total:.0f} s, {fattest >> 20} MiB in the largest worker")
        assert fattest < 1 << 30
        assert client.transcribe(next(speech.glob("*.wav"))).text
        eventually(lambda: list((daemon.root / "state" / "spool").iterdir()) == [])


@pytest.mark.model
def test_what_is_too_long_is_refused_by_its_length(silence: Path) -> None:
    with (
        running(config=CONFIG.replace("11h", "4h")) as daemon,
        asrd.Client(daemon.ready(timeout=120).directory) as client,
        pytest.raises(asrd.JobFailed, match=r"'recorder\.wav' is longer than 14400 s") as caught,
    ):
        client.transcribe(silence, by_path=True)
    assert caught.value.fault.code == "audio_too_long"
