"""Long audio through a real daemon: cut, shared by the workers, kept, merged; and what is left when somebody is killed.

The scripted engine only pretends that its audio is long; each of its chunks has 100 s. The last test is a real one.
"""

import io
import itertools
import json
import os
import signal
import time
import wave
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from support.daemon import Daemon, running
from support.invariants import holding, sound, tell
from support.stage import PATIENT, UNHURRIED, Script, Stage, staged
from support.wait import eventually
from support.wire import Answer, Wire

MERGED_AND_CUT = 2
"""Steps of a long job that are no chunks."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged(UNHURRIED + PATIENT) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """Nothing is under way before and after a test, and nothing is left in the spool."""
    yield shared.rest()
    shared.rest()
    for job in shared.daemon.ask("jobs", limit=10_000)["jobs"]:
        assert shared.daemon.wire().ask("release", job=job["job"])["type"] == "released"
    eventually(lambda: files(shared.daemon) == [])
    sound(shared.daemon)


def files(daemon: Daemon) -> list[str]:
    """What lies in the spool."""
    return sorted(path.name for path in (daemon.root / "state" / "spool").iterdir())


def tapes(daemon: Daemon) -> list[str]:
    return [name for name in files(daemon) if name.endswith(".tape")]


def chunk(number: int, *more: dict[str, Any], s: float = 0.0) -> Script:
    """Says in the log that it is begun, takes its time, and says its word; ``more`` is done in between."""
    begun = {"do": "print", "text": f"chunk {number} is begun"}
    return [begun, {"do": "sleep", "s": s}, *more, {"do": "speak", "text": f" w{number}"}]


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def submit(wire: Wire, chunks: list[Script], job: str, reply: str = "accepted", **fields: Any) -> None:
    options = {"script": [], "chunks": [json.dumps(one) for one in chunks]}
    wire.send("submit", b"audio" * 1000, job=job, options=options, reply=reply, **fields)
    if reply == "accepted":
        answer, _ = wire.receive()
        assert answer["type"] == "accepted", answer


def end_of(daemon: Daemon, job: str, timeout: float = 60.0) -> tuple[Answer, bytes]:
    wire = daemon.wire()
    wire.send("wait", job=job, timeout=timeout)
    return wire.end_of(job)


def so_far(wire: Wire, job: str) -> tuple[Answer, list[str]]:
    """How far it is, and the texts of the segments that may be seen."""
    wire.send("fetch", job=job, partial=True)
    answer, body = wire.receive()
    return answer, [segment["text"].strip() for segment in json.loads(body)] if answer["type"] == "pending" else []


def begun(daemon: Daemon) -> Counter[int]:
    """How often each chunk was begun, by any worker of any daemon of this place."""
    found: Counter[int] = Counter()
    for line in daemon.log.read_text().split("\n")[:-1]:
        told = json.loads(line) if line.startswith("{") else {}
        assert told.get("event") != "worker output dropped", "they are counted here"
        if told.get("event") == "worker output" and told["line"].startswith("chunk "):
            found[int(told["line"].split()[1])] += 1
    return found


# --- all goes well ----------------------------------------------------------------------------------------------------


def test_chunks_are_shared_by_the_workers_and_merged(stage: Stage) -> None:
    wire = stage.daemon.wire()
    submit(wire, [chunk(number, s=0.3) for number in range(6)], "shared", reply="final")
    eventually(lambda: [worker["state"] for worker in stage.daemon.workers()] == ["busy", "busy"])
    answer, body = wire.end_of("shared")
    assert answer["type"] == "completed", answer
    transcript = json.loads(body)
    assert (transcript["text"], transcript["duration"], transcript["language"]) == (words(6), 600.0, "en")
    assert [segment["id"] for segment in transcript["segments"]] == list(range(6))
    assert [segment["start"] for segment in transcript["segments"]] == [100.0 * number for number in range(6)]
    assert "missing" not in transcript
    assert "diarization" not in transcript
    run = answer["run"]
    assert (run["steps"], run["attempts"], run["work"]["segments"]) == (6 + MERGED_AND_CUT, 1, 6)
    eventually(lambda: tapes(stage.daemon) == [])


def test_segments_come_in_the_order_of_the_audio(stage: Stage) -> None:
    """The second chunk is done long before the first one; nothing of it may be seen until then."""
    first = [{"do": "speak", "text": " a"}, {"do": "sleep", "s": 2.0}, {"do": "speak", "text": " b"}]
    chunks = [first, [{"do": "speak", "text": " c"}, {"do": "speak", "text": " d"}], [{"do": "speak", "text": " e"}]]
    wire, looker = stage.daemon.wire(), stage.daemon.wire()
    submit(wire, chunks, "ordered", reply="stream")
    seen: list[list[str]] = []

    def others_are_done() -> bool:
        answer, texts = so_far(looker, "ordered")
        seen.append(texts)
        return bool(answer.get("done", 0.0) > 200.0)

    eventually(others_are_done)
    assert seen[-1] == ["a"]
    told: list[tuple[int, str]] = []
    answer, body = wire.receive()
    while answer["type"] != "completed":
        assert answer["type"] in ("accepted", "progress", "segment"), answer
        if answer["type"] == "segment":
            told.append((answer["index"], json.loads(body)["text"].strip()))
        answer, body = wire.receive()
    assert told == list(enumerate("abcde"))
    assert json.loads(body)["text"] == "a b c d e"


def test_who_comes_later_gets_what_may_be_seen_and_then_the_rest(stage: Stage) -> None:
    wire, late = stage.daemon.wire(), stage.daemon.wire()
    submit(wire, [chunk(0), chunk(1, s=1.5), chunk(2), chunk(3)], "late")
    eventually(lambda: so_far(late, "late")[1] == ["w0"])
    late.send("wait", job="late", stream=True, timeout=30.0)
    told = []
    answer, body = late.receive()
    while answer["type"] != "completed":
        told += [(answer["index"], json.loads(body)["text"].strip())] if answer["type"] == "segment" else []
        answer, body = late.receive()
    assert told == [(number, f"w{number}") for number in range(4)]


def test_a_short_job_does_not_wait_for_a_long_one(stage: Stage) -> None:
    wire = stage.daemon.wire()
    submit(wire, [chunk(number, s=0.4) for number in range(12)], "long")
    eventually(lambda: so_far(wire, "long")[1])
    assert wire.play({"do": "speak", "text": "short"})[0]["type"] == "completed"
    answer, texts = so_far(wire, "long")
    assert (answer["type"], len(texts) < 10) == ("pending", True)
    assert json.loads(end_of(stage.daemon, "long")[1])["text"] == words(12)


def test_audio_that_is_not_long_leaves_no_tape(stage: Stage) -> None:
    wire = stage.daemon.wire()
    stage.order("look", [{"do": "sleep", "s": 1.5}])
    script = [{"do": "obey", "order": "look"}, {"do": "speak", "text": "short"}]
    wire.send("submit", b"audio", job="short", options={"script": script}, reply="final")
    eventually(lambda: stage.obeyed("look"))
    assert [name.rpartition("-")[0] for name in files(stage.daemon)] == ["short"]
    answer, _ = wire.end_of("short")
    assert (answer["run"]["steps"], tapes(stage.daemon)) == (1, [])


def test_the_daemon_holds_no_more_files_after_many_long_jobs(stage: Stage) -> None:
    wire, pid = stage.daemon.wire(), stage.daemon.process.pid
    counts: list[int] = []
    for number in range(6):
        submit(wire, [chunk(0), chunk(1)], f"many-{number}", reply="final")
        assert wire.end_of()[0]["type"] == "completed"
        stage.rest()
        if number < 2:
            counts.append(holding(pid).descriptors)
    eventually(lambda: holding(pid).descriptors <= max(counts) + 2)


def test_a_release_leaves_no_file_behind(stage: Stage) -> None:
    wire = stage.daemon.wire()
    submit(wire, [chunk(0), chunk(1, {"do": "fail", "code": "bad_audio"})], "failed", reply="final")
    assert wire.end_of("failed")[0]["fault"]["code"] == "bad_audio"
    submit(wire, [chunk(0), chunk(1, {"do": "segfault"})], "poison", reply="final")
    assert wire.end_of("poison")[0]["fault"]["code"] == "poison"
    eventually(lambda: {name.partition("-")[0] for name in files(stage.daemon)} == {"poison"})
    assert len(tapes(stage.daemon)) == 1, "it may be tried again, and what is done of it stays"
    assert wire.ask("release", job="poison")["type"] == "released"
    eventually(lambda: files(stage.daemon) == [])


# --- not all goes well ------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_in_a_chunk_costs_that_chunk_alone(stage: Stage) -> None:
    stage.order("boom", [{"do": "die"}])
    before = begun(stage.daemon)
    wire = stage.daemon.wire()
    chunks = [chunk(number, s=0.1) for number in range(20, 26)]
    chunks[2][-1:-1] = [{"do": "speak", "text": " half"}, {"do": "obey", "order": "boom"}]
    submit(wire, chunks, "wounded", reply="final")
    answer, body = wire.end_of("wounded")
    assert answer["type"] == "completed", answer
    assert json.loads(body)["text"] == "w20 w21 half w22 w23 w24 w25"
    assert answer["run"]["attempts"] == 2
    expected = Counter({20: 1, 21: 1, 22: 2, 23: 1, 24: 1, 25: 1})
    eventually(lambda: begun(stage.daemon) - before == expected)
    assert stage.deaths() == Counter({"SIGKILL": 1})


def test_a_chunk_that_cannot_be_done_is_reported_inside_the_result(stage: Stage) -> None:
    wire = stage.daemon.wire()
    bad = chunk(31, {"do": "speak", "text": " start", "seconds": 7.0}, {"do": "fail", "code": "bad_audio"})
    submit(wire, [chunk(30), bad, chunk(32)], "gap", reply="final", on_chunk_error="report")
    answer, body = wire.end_of("gap")
    assert answer["type"] == "completed", answer
    transcript = json.loads(body)
    assert transcript["text"] == "w30 start w32"
    (gap,) = transcript["missing"]
    assert (gap["start"], gap["end"], gap["code"]) == (107.0, 200.0, "bad_audio")


def test_a_chunk_that_kills_is_reported_too(stage: Stage) -> None:
    wire = stage.daemon.wire()
    chunks = [chunk(40), chunk(41, {"do": "segfault"}), chunk(42)]
    submit(wire, chunks, "killer", reply="final", on_chunk_error="report")
    answer, body = wire.end_of("killer")
    assert answer["type"] == "completed", answer
    transcript = json.loads(body)
    assert transcript["text"] == "w40 w42"
    assert [gap["code"] for gap in transcript["missing"]] == ["poison"]
    assert stage.deaths() == Counter({"SIGSEGV": 2})


def test_a_job_without_any_chunk_has_failed_and_a_retry_does_all_of_it(stage: Stage) -> None:
    stage.order("bad-0", [{"do": "fail", "code": "engine_error"}])
    stage.order("bad-1", [{"do": "fail", "code": "engine_error"}])
    wire = stage.daemon.wire()
    chunks = [chunk(50 + number, {"do": "obey", "order": f"bad-{number}"}) for number in range(2)]
    submit(wire, chunks, "barren", reply="final", on_chunk_error="report", retries={"attempts": 1})
    assert wire.end_of("barren")[0]["type"] == "failed"
    assert wire.ask("retry", job="barren")["type"] == "accepted"
    answer, body = end_of(stage.daemon, "barren")
    assert answer["type"] == "completed", answer
    transcript = json.loads(body)
    assert (transcript["text"], "missing" in transcript) == ("w50 w51", False)


def test_a_cancel_in_the_middle_ends_the_job_at_once(stage: Stage) -> None:
    wire, other = stage.daemon.wire(), stage.daemon.wire()
    submit(wire, [chunk(number, s=0.5) for number in range(60, 90)], "unwanted", reply="final")
    eventually(lambda: so_far(other, "unwanted")[1])
    other.send("cancel", job="unwanted")
    answer, _ = wire.end_of("unwanted")
    assert answer["fault"]["code"] == "cancelled"
    stage.rest()
    assert not any(number in begun(stage.daemon) for number in range(75, 90))
    eventually(lambda: files(stage.daemon) == [])


def test_a_chunk_that_never_ends_hears_a_cancel_by_force(stage: Stage) -> None:
    wire = stage.daemon.wire()
    stage.order("stuck", [{"do": "hang"}])
    submit(wire, [chunk(90, {"do": "obey", "order": "stuck"}), chunk(91, s=0.2)], "stuck", reply="final")
    eventually(lambda: stage.obeyed("stuck"))
    stage.daemon.wire().send("cancel", job="stuck")
    assert wire.end_of("stuck")[0]["fault"]["code"] == "cancelled"


def test_chunks_that_all_wait_for_their_next_try_get_it(stage: Stage) -> None:
    for number in range(4):
        stage.order(f"once-{number}", [{"do": "fail", "code": "engine_error"}])
    chunks = [chunk(100 + number, {"do": "obey", "order": f"once-{number}"}) for number in range(4)]
    wire = stage.daemon.wire()
    submit(wire, chunks, "patient", reply="final", retries={"attempts": 3, "delay": 0.5, "backoff": "fixed"})
    answer, body = wire.end_of("patient")
    assert (answer["type"], json.loads(body)["text"]) == ("completed", "w100 w101 w102 w103")
    assert answer["run"]["attempts"] == 5


# --- replaced in between ----------------------------------------------------------------------------------------------


def test_workers_are_replaced_in_the_middle_of_a_long_job() -> None:
    with staged(UNHURRIED + PATIENT + "[pools.default.recycle]\nmax_jobs = 1\n") as stage:
        wire = stage.daemon.wire()
        submit(wire, [chunk(number, s=0.5) for number in range(8)], "recycled", reply="final")
        answer, body = wire.end_of("recycled")
        assert answer["type"] == "completed", answer
        assert (json.loads(body)["text"], answer["run"]["attempts"]) == (words(8), 1)
        assert begun(stage.daemon) == Counter(dict.fromkeys(range(8), 1))
        eventually(lambda: len(stage.tells("worker.recycled")) >= 2)
        assert not stage.deaths()
        sound(stage.daemon)


def test_a_stop_does_not_wait_for_a_long_job_and_the_next_daemon_goes_on() -> None:
    with staged(UNHURRIED + PATIENT) as stage:
        daemon = stage.daemon
        wire = daemon.wire()
        submit(wire, [chunk(number, s=0.5) for number in range(80)], "stopped")
        eventually(lambda: len(so_far(wire, "stopped")[1]) >= 2)
        since = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - since < 16, "80 chunks take 20 s and more"
        done_before = begun(daemon)
        daemon.restart()
        daemon.ready()
        assert daemon.wire().ask("cancel", job="stopped")["type"] in ("failed", "pending")
        eventually(lambda: daemon.ask("jobs")["jobs"][0]["state"] == "cancelled")
        twice = [number for number, count in (begun(daemon)).items() if count > 1]
        assert twice == [], f"a chunk that was done is done ({done_before.total()} were)"
        sound(daemon)


# --- everything is killed ---------------------------------------------------------------------------------------------


def test_a_killed_daemon_does_only_what_was_not_done() -> None:
    with staged(UNHURRIED + PATIENT) as stage:
        daemon = stage.daemon
        wire = daemon.wire()
        submit(wire, [chunk(number, s=0.25) for number in range(12)], "survivor")
        eventually(lambda: len(so_far(wire, "survivor")[1]) >= 6, 30)
        kept = len(so_far(wire, "survivor")[1])
        daemon.kill()
        before = begun(daemon)
        daemon.restart()
        daemon.ready(0)
        _, seen = so_far(daemon.wire(), "survivor")
        assert seen[:kept] == words(kept).split(), "what could be seen before can be seen now"
        answer, body = end_of(daemon, "survivor")
        assert answer["type"] == "completed", answer
        assert json.loads(body)["text"] == words(12)
        again = begun(daemon) - before
        assert all(again[number] == 0 for number in range(kept))
        assert begun(daemon).total() <= 12 + 2, "two workers had one each"
        assert answer["run"]["work"]["segments"] == 12
        eventually(lambda: tapes(daemon) == [])
        sound(daemon)


def test_a_daemon_that_is_killed_again_and_again_gets_to_the_end() -> None:
    """Each time something is done: that is no job that kills the daemon."""
    with staged(UNHURRIED + PATIENT) as stage:
        daemon = stage.daemon
        submit(daemon.wire(), [chunk(number, s=0.25) for number in range(16)], "stubborn")
        for seen in (2, 4, 6, 8, 10):
            looker = daemon.wire()
            eventually(lambda looker=looker, seen=seen: len(so_far(looker, "stubborn")[1]) >= seen, 30)  # type: ignore[misc]
            daemon.kill()
            daemon.restart()
            daemon.ready(0)
        answer, body = end_of(daemon, "stubborn")
        assert answer["type"] == "completed", answer
        assert json.loads(body)["text"] == words(16)
        assert begun(daemon).total() <= 16 + 2 * 5
        sound(daemon)


# --- a worker is killed from outside ----------------------------------------------------------------------------------


def test_killed_workers_cost_their_chunks_alone(stage: Stage) -> None:
    before = begun(stage.daemon)
    wire, looker = stage.daemon.wire(), stage.daemon.wire()
    submit(wire, [chunk(200 + number, s=0.4) for number in range(8)], "hunted", reply="final")
    eventually(lambda: so_far(looker, "hunted")[1])
    (victim, *_) = [worker["pid"] for worker in stage.daemon.workers() if worker["state"] == "busy"]
    os.kill(victim, signal.SIGKILL)
    answer, body = wire.end_of("hunted")
    assert answer["type"] == "completed", answer
    assert json.loads(body)["text"] == " ".join(f"w{200 + number}" for number in range(8))
    assert 8 <= (begun(stage.daemon) - before).total() <= 9


# --- for real ---------------------------------------------------------------------------------------------------------

REAL = """
[pools.default]
model = "tiny.en"
workers = 2
[pools.default.split]
longer_than = 60
chunk = 40
"""
WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])


def joined(speech: Path, seconds: float) -> bytes:
    """The recordings one after another, with half a second between them, until there is enough, as a WAV file."""
    clips = [np.frombuffer(path.read_bytes()[44:], "<i2") for path in sorted(speech.glob("*.wav"))]
    pieces: list[np.ndarray] = []
    while sum(piece.size for piece in pieces) < seconds * 16_000:
        pieces += [clips[len(pieces) // 2 % len(clips)], np.zeros(8_000, "<i2")]
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(np.concatenate(pieces).tobytes())
    return file.getvalue()


@pytest.mark.model
@pytest.mark.timeout(600)
def test_real_speech_that_is_cut_says_what_it_says_at_a_stretch(speech: Path) -> None:
    audio = joined(speech, 240)
    seconds = (len(audio) - 44) / 32_000
    with running(config=REAL) as daemon:
        wire = daemon.ready(timeout=120).wire()
        ends = {}
        for split in (True, False):
            wire.send("submit", audio, job=f"split-{split}", split=split, reply="final")
            eventually(lambda split=split: _ended(daemon, f"split-{split}"), 280, 0.2)  # type: ignore[misc]
            answer, body = wire.end_of(f"split-{split}")
            assert answer["type"] == "completed", answer
            ends[split] = (answer["run"], json.loads(body))
        (run, cut), (plain_run, plain) = ends[True], ends[False]
        assert (run["steps"] >= 4 + MERGED_AND_CUT, plain_run["steps"]) == (True, 1)
        assert cut["duration"] == plain["duration"] == pytest.approx(seconds, abs=0.01)
        assert "missing" not in cut
        wer = jiwer.wer(WORDS(plain["text"]), WORDS(cut["text"]))
        took, at_a_stretch = run["timings"]["total"], plain_run["timings"]["total"]
        tell(f"{seconds:.0f} s of speech: {took:.1f} s cut, {at_a_stretch:.1f} s at a stretch, WER {wer:.3f}")
        assert wer < 0.05
        _orderly(cut["segments"], seconds)
        assert cut["text"] == "".join(segment["text"] for segment in cut["segments"]).strip()
        wire.send("submit", audio[: 44 + 32_000 * 20], job="short", reply="final")
        assert wire.end_of("short")[0]["run"]["steps"] == 1
        eventually(lambda: files(daemon) == [])
        sound(daemon)


def _ended(daemon: Daemon, job: str) -> bool:
    states = {one["job"]: one["state"] for one in daemon.ask("jobs")["jobs"]}
    return states.get(job) in ("completed", "failed", "quarantined")


def _orderly(segments: list[dict[str, Any]], seconds: float) -> None:
    """Times never run backwards, and people who read aloud do not pause for long."""
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    for one, after in itertools.pairwise(segments):
        assert 0 <= one["start"] <= one["end"] <= after["end"]
        assert after["start"] >= one["end"] - 0.5
        assert after["start"] - one["end"] < 4.0, (one, after)
    assert segments[0]["start"] < 4.0
    assert segments[-1]["end"] > seconds - 6.0
