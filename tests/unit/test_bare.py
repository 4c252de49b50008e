"""An engine by itself: what the lab compares workers with."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asrd_protocol.exits import Exit

Line = dict[str, Any]


def _start(engine: str = "scripted", settings: Line | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "asrd_worker.bare", "--engine", engine]
    command += ["--settings", json.dumps(settings or {})]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _said(questions: list[Line | str], settings: Line | None = None, engine: str = "scripted") -> list[Line]:
    """All answers, the first one included."""
    lines = [line if isinstance(line, str) else json.dumps(line) for line in questions]
    process = _start(engine, settings)
    out, _ = process.communicate("".join(line + "\n" for line in lines), timeout=60)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def _job(number: int, *script: Line) -> Line:
    return {"type": "transcribe", "number": number, "options": {"script": list(script)}}


SPEAK: Line = {"do": "speak", "text": " hello", "seconds": 2.0}


def test_jobs_are_done_in_their_order_with_timings_work_and_memory() -> None:
    loaded, first, second = _said([_job(1, SPEAK, {"do": "sleep", "s": 0.03}), _job(2, SPEAK, SPEAK)])
    assert loaded["type"] == "loaded" and loaded["rss"] > 5_000_000
    assert (first["type"], first["number"], first["text"], first["spans"]) == ("done", 1, "hello", [[0.0, 2.0]])
    assert first["timings"]["transcribe"] >= 0.03 and first["work"]["segments"] == 1
    assert first["work"]["beam_steps"] == 30 and second["work"]["beam_steps"] == 0
    assert (second["number"], second["spans"]) == (2, [[0.0, 2.0], [2.0, 4.0]])


def test_memory_is_read_before_and_after_each_job() -> None:
    _, *done = _said([_job(i, SPEAK) for i in range(1, 6)], {"leak_mb_per_job": 8.0})
    grown = [one["rss_after"] - one["rss_before"] for one in done]
    assert all(7 << 20 <= one <= 9 << 20 for one in grown)


def test_what_has_no_result_is_a_fault_and_the_process_goes_on() -> None:
    fail = {"do": "fail", "message": "no such luck", "code": "engine_error"}
    wrong = {"type": "transcribe", "number": 2, "options": {"scirpt": []}}
    lines = [
        _job(1, fail),
        wrong,
        "no JSON",
        {"type": "dance"},
        {"type": "transcribe", "number": 3, "path": "/no/file"},
    ]
    _, *faults, last = _said([*lines, _job(4, SPEAK)])
    assert [one["fault"]["code"] for one in faults] == [
        "engine_error",
        "bad_option",
        "bad_message",
        "bad_message",
        "input_missing",
    ]
    assert faults[0]["fault"]["message"] == "no such luck" and "did you mean 'script'" in faults[1]["fault"]["message"]
    assert faults[4]["fault"]["message"].startswith("/no/file: ")
    assert last["number"] == 4


@pytest.mark.parametrize(
    ("engine", "settings", "said"),
    [
        ("scripted", {"no_such": 1}, "no_such"),
        ("nobody", {}, "there is no engine 'nobody'"),
        ("scripted", {"at_load": [{"do": "fail", "message": "no weights", "code": "model_unavailable"}]}, "no weights"),
        ("scripted", {"at_warm_up": [{"do": "fail", "message": "no library"}]}, "no library"),
    ],
)
def test_an_engine_that_cannot_be_loaded_is_said(engine: str, settings: Line, said: str) -> None:
    process = _start(engine, settings)
    out, _ = process.communicate("", timeout=30)
    assert process.returncode == Exit.CONFIG
    answer = json.loads(out)
    assert (answer["type"], answer["fault"]["code"]) == ("failed", "model_unavailable") and said in answer["fault"][
        "message"
    ]


def test_what_the_engine_prints_is_no_answer() -> None:
    lines = _said([_job(1, {"do": "print", "text": '{"type":"done"}'}, SPEAK)])
    assert [line["type"] for line in lines] == ["loaded", "done"] and lines[1]["number"] == 1


def test_it_leaves_when_nobody_asks_any_more() -> None:
    process = _start()
    assert process.stdin and process.stdout
    assert json.loads(process.stdout.readline())["type"] == "loaded"
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.model
def test_samples_are_written_as_a_worker_hears_them(tmp_path: Path, speech: Path) -> None:
    import numpy as np

    clip, into = speech / "ss-0880.wav", tmp_path / "samples"
    decode = {"type": "decode", "path": str(clip), "into": str(into)}
    job = {"type": "transcribe", "number": 7, "path": str(clip)}
    _, decoded, done = _said([decode, job], {"model": "tiny.en", "threads": 1}, "faster-whisper")
    assert decoded == {"type": "decoded", "seconds": 2.99}
    original = np.frombuffer(clip.read_bytes()[44:], "<i2").astype(int)
    assert np.abs(np.fromfile(into, "<i2") - original).max() <= 1
    assert done["work"]["windows"] == 1 and "young man" in done["text"] and done["spans"][0][1] > 2
