"""Who speaks is a step with a fate of its own: whatever becomes of it, the transcript is delivered."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, running
from support.stage import ONE, TWO, Script, Stage
from support.wait import eventually
from support.wire import Wire

LISTENER = """
[pools.{name}]
engine = "diarize-scripted"
model = ""
workers = {workers}
[pools.{name}.deadlines]
start = "10s"
warm_up = "10s"
busy_floor = "1500ms"
busy_factor = 1.0
stop = "1s"
kill = "300ms"
cancel = "3s"
[pools.{name}.options]
"""
"""A pool that tells speakers apart, with deadlines that a test can wait for."""

SPEAKER = """
[pools.default]
engine = "scripted"
model = ""
workers = 2
"""

TIRELESS = '[pools.{name}.restarts]\nintensity = 100\nperiod = "1s"\ndelay_max = "100ms"\n'

TALK = """script = [
  {do = "obey", order = "1"}, {do = "obey", order = "2"}, {do = "obey", order = "3"},
  {do = "speak", text = "ann"}, {do = "speak", text = "bob"},
]
"""
"""A second of Ann and a second of Bob, after the orders of the day. An order is obeyed once, so by one try."""

MEETING = """script = [{do = "speak", text = "ann", seconds = 100}, {do = "speak", text = "bob", seconds = 200}]
"""
"""As long as three chunks of the scripted engine."""

TURNS = [
    {"start": 0.0, "end": 1.0, "speaker": "SPEAKER_00"},
    {"start": 1.0, "end": 2.0, "speaker": "SPEAKER_01"},
]

FOUND = {"status": "ok", "reason": "", "turns": TURNS, "embeddings": {}}


def listener(name: str, options: str = "", workers: int = 1) -> str:
    """The table of a pool."""
    return LISTENER.format(name=name, workers=workers) + options


def asking(wire: Wire, *script: dict[str, Any], pool: str | None = None, **wanted: Any) -> tuple[dict[str, Any], Any]:
    """A job that wants to know who speaks: how it ended, and its transcript."""
    speakers = {**({"pool": pool} if pool else {}), **wanted}
    end, body = wire.play(*(script or (ONE, TWO)), diarize=speakers)
    return end, json.loads(body) if body else None


def who(transcript: dict[str, Any]) -> list[tuple[str, str]]:
    """Each segment and its speaker."""
    return [(segment["text"], segment.get("speaker", "")) for segment in transcript["segments"]]


def cut(*chunks: Script) -> dict[str, Any]:
    """The options of a job whose audio is long."""
    return {"chunks": [json.dumps(chunk) for chunk in chunks]}


def seats(daemon: Daemon, pool: str) -> dict[str, int]:
    """The processes of a pool, by their seats."""
    return {worker["seat"]: worker["pid"] for worker in daemon.workers() if worker["pool"] == pool}


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    orders = Path(tempfile.mkdtemp(prefix="asrd-orders-"))
    told = f'orders = "{orders}"\n'
    config = SPEAKER + listener("who", told + TALK, workers=2) + TIRELESS.format(name="who")
    try:
        with running(config=config + listener("meeting", MEETING)) as daemon:
            yield Stage(daemon.ready(), orders)
    finally:
        shutil.rmtree(orders)


@pytest.fixture
def stage(shared: Stage) -> Stage:
    return shared.rest()


def failing(stage: Stage, script: Script) -> None:
    """Every try at who speaks ends like this."""
    for order in "123":
        stage.order(order, script)


def goes_on(stage: Stage) -> None:
    """The next job has all it wants."""
    stage.rest()
    _, transcript = asking(stage.daemon.wire())
    assert transcript["diarization"] == FOUND


# --- all is well ---------------------------------------------------------------------------------------------------


def test_a_transcript_says_who_speaks(stage: Stage) -> None:
    end, transcript = asking(stage.daemon.wire())
    assert (end["type"], transcript["text"]) == ("completed", "one two")
    assert transcript["diarization"] == FOUND
    assert who(transcript) == [(" one", "SPEAKER_00"), (" two", "SPEAKER_01")]
    assert end["run"]["steps"] == 3 and end["run"]["attempts"] == 1
    assert end["run"]["timings"]["diarize"] > 0


def test_a_job_that_does_not_ask_is_not_told(stage: Stage) -> None:
    done = sum(worker["jobs_done"] for worker in stage.daemon.workers() if worker["pool"] == "who")
    end, body = stage.daemon.wire().play(ONE)
    transcript = json.loads(body)
    assert "diarization" not in transcript and "speaker" not in transcript["segments"][0]
    assert end["run"]["steps"] == 1
    assert done == sum(worker["jobs_done"] for worker in stage.daemon.workers() if worker["pool"] == "who")


def test_progress_is_streamed_and_segments_are_not(stage: Stage) -> None:
    def answers(**fields: Any) -> list[dict[str, Any]]:
        wire = stage.daemon.wire()
        wire.send("submit", b"audio", options={"script": [ONE, TWO]}, **fields)
        told = [wire.receive()[0]]
        while told[-1]["type"] not in ("completed", "failed", "refused"):
            told.append(wire.receive()[0])
        return told

    told = answers(diarize={})
    kinds = Counter(answer["type"] for answer in told)
    assert kinds["segment"] == 0 and kinds["progress"] >= 2 and kinds["completed"] == 1
    done = [answer["done"] for answer in told if answer["type"] == "progress"]
    assert done == sorted(done) and done[-1] > 0
    assert Counter(answer["type"] for answer in answers())["segment"] == 2


def test_voices_and_the_number_of_speakers_are_had_for_the_asking(stage: Stage) -> None:
    wire = stage.daemon.wire()
    _, plain = asking(wire)
    assert plain["diarization"] == FOUND
    _, known = asking(wire, embeddings=True)
    assert known["diarization"]["embeddings"] == {"SPEAKER_00": [1.0], "SPEAKER_01": [0.0, 1.0]}
    for wanted in ({"num_speakers": 1}, {"max_speakers": 1}):
        _, alone = asking(wire, embeddings=True, **wanted)
        assert list(alone["diarization"]["embeddings"]) == ["SPEAKER_00"]
        assert {speaker for _, speaker in who(alone)} == {"SPEAKER_00"}


def test_long_audio_has_its_speakers_too(stage: Stage) -> None:
    options = cut([{**ONE, "seconds": 90}], [{**TWO, "seconds": 90}], [ONE])
    end, body = stage.daemon.wire().run(options=options, diarize={"pool": "meeting"})
    assert end["type"] == "completed", end
    transcript = json.loads(body)
    assert who(transcript) == [(" one", "SPEAKER_00"), (" two", "SPEAKER_01"), (" one", "SPEAKER_01")]
    assert [segment["start"] for segment in transcript["segments"]] == [0.0, 100.0, 200.0]
    assert transcript["diarization"]["turns"][1] == {"start": 100.0, "end": 300.0, "speaker": "SPEAKER_01"}
    assert end["run"]["steps"] == 6, "cut, three chunks, who speaks, merge"


def test_a_failed_chunk_and_the_speakers_have_each_their_own_fate(stage: Stage) -> None:
    options = cut([{**ONE, "seconds": 90}], [{"do": "fail", "message": "not this"}])
    _, body = stage.daemon.wire().run(options=options, diarize={"pool": "meeting"}, on_chunk_error="report")
    transcript = json.loads(body)
    assert who(transcript) == [(" one", "SPEAKER_00")]
    assert (transcript["missing"][0]["start"], len(transcript["diarization"]["turns"])) == (100.0, 2)


# --- it fails ------------------------------------------------------------------------------------------------------


def test_one_fault_is_tried_again_on_another_worker(stage: Stage) -> None:
    stage.order("1", [{"do": "fail", "code": "out_of_memory", "message": "no room"}])
    end, transcript = asking(stage.daemon.wire())
    assert transcript["diarization"] == FOUND
    assert end["run"]["attempts"] == 2
    (said,) = stage.tells("job.retried", job=end["job"])
    assert said["seat"].startswith("who/") and "no room" in said["why"]


def test_a_worker_that_lies_is_replaced_and_another_one_is_asked(stage: Stage) -> None:
    stage.order("1", [{"do": "lie", "how": "garbage"}])
    end, transcript = asking(stage.daemon.wire())
    assert (transcript["diarization"], end["run"]["attempts"]) == (FOUND, 2)
    assert stage.deaths().total() == 1


@pytest.mark.parametrize(
    ("script", "reason", "deaths"),
    [
        pytest.param({"do": "fail", "code": "out_of_memory", "message": "no room"}, "no room", 0, id="memory"),
        pytest.param({"do": "fail", "message": "all wrong"}, "all wrong", 0, id="exception"),
        pytest.param({"do": "segfault"}, "SIGSEGV", 2, id="segfault"),
        pytest.param({"do": "die", "code": 3}, "exit 3", 2, id="exit"),
        pytest.param({"do": "hang", "how": "c"}, "busy deadline", 2, id="hang"),
        pytest.param({"do": "hang", "how": "gil"}, "busy deadline", 2, id="hang-gil"),
    ],
)
def test_the_transcript_is_delivered_without(stage: Stage, script: dict[str, Any], reason: str, deaths: int) -> None:
    failing(stage, [script])
    speakers = seats(stage.daemon, "default")
    end, transcript = asking(stage.daemon.wire())
    assert (end["type"], transcript["text"]) == ("completed", "one two")
    found = transcript["diarization"]
    assert (found["status"], found["turns"], found["embeddings"]) == ("failed", [], {})
    assert reason in found["reason"]
    assert "quarantine" not in found["reason"], "the job is not"
    assert who(transcript) == [(" one", ""), (" two", "")]
    assert stage.deaths().total() == deaths
    retried = ["who/"] * (1 if deaths else 2)
    eventually(lambda: [line["seat"][:4] for line in stage.tells("job.retried", job=end["job"])] == retried)
    assert seats(stage.daemon, "default") == speakers, "nobody else has suffered"
    goes_on(stage)


def test_workers_that_are_killed_from_outside_are_deaths_too(stage: Stage) -> None:
    failing(stage, [{"do": "sleep", "s": 30}])
    wire = stage.daemon.wire()
    wire.send("submit", b"audio", job=(job := uuid.uuid4().hex), options={"script": [ONE]}, diarize={}, reply="final")
    killed: set[int] = set()

    def busy() -> int | None:
        found = [w["pid"] for w in stage.daemon.workers() if w["pool"] == "who" and w["state"] == "busy"]
        return next((pid for pid in found if pid not in killed), None)

    for order in "12":
        eventually(lambda order=order: stage.obeyed(order), 20)
        pid = eventually(busy, 20)
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
    end, body = wire.end_of(job)
    assert end["type"] == "completed" and "SIGKILL" in json.loads(body)["diarization"]["reason"]
    goes_on(stage)


def test_long_audio_is_delivered_without(stage: Stage) -> None:
    failing(stage, [{"do": "fail", "message": "all wrong"}])
    _, body = stage.daemon.wire().run(options=cut([ONE], [TWO]), diarize={"pool": "who"})
    transcript = json.loads(body)
    assert transcript["text"] == "one two"
    assert "all wrong" in transcript["diarization"]["reason"]
    goes_on(stage)


def test_a_job_that_fails_does_not_wait_for_who_speaks(stage: Stage) -> None:
    stage.order("1", [{"do": "speak", "text": "ann", "seconds": 0.01}, {"do": "sleep", "s": 30}])
    end, transcript = asking(stage.daemon.wire(), {"do": "fail", "code": "bad_audio", "message": "no sound"})
    assert (end["type"], end["fault"]["code"], transcript) == ("failed", "bad_audio", None)
    goes_on(stage)


# --- nobody wants it any more --------------------------------------------------------------------------------------


def cancelled(stage: Stage, script: Script) -> dict[str, int]:
    """A job that is cancelled while its speakers are told apart; the workers afterwards."""
    stage.order("1", script)
    wire, job = stage.daemon.wire(), uuid.uuid4().hex
    wire.send("submit", b"audio", job=job, options={"script": [ONE]}, diarize={}, reply="final")
    eventually(lambda: stage.obeyed("1"), 20)
    eventually(lambda: [w["state"] for w in stage.daemon.workers() if w["pool"] == "default"] == ["idle", "idle"], 20)
    stage.daemon.wire().send("cancel", job=job)
    end, _ = wire.end_of(job)
    assert (end["type"], end["fault"]["code"]) == ("failed", "cancelled")
    stage.rest()
    return seats(stage.daemon, "who")


def test_a_cancel_is_heard_between_two_signs_of_progress(stage: Stage) -> None:
    before = seats(stage.daemon, "who")
    beats: Script = [{"do": "sleep", "s": 0.05}, {"do": "speak", "text": "ann", "seconds": 0.001}]
    assert cancelled(stage, beats * 300) == before, "nobody had to be killed"
    goes_on(stage)


def test_who_hears_no_cancel_is_killed(stage: Stage) -> None:
    before = seats(stage.daemon, "who")
    after = cancelled(stage, [{"do": "sleep", "s": 30}])
    assert len(set(before.values()) & set(after.values())) == 1
    goes_on(stage)


def test_a_deadline_ends_the_job_and_not_only_one_of_its_steps(stage: Stage) -> None:
    stage.order("1", [{"do": "sleep", "s": 30}])
    end, _ = stage.daemon.wire().play(ONE, diarize={}, deadline=0.7)
    assert (end["type"], end["fault"]["code"]) == ("failed", "deadline")
    goes_on(stage)


# --- it cannot be asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"pool": "who"}, "unknown_pool", "'who' tells speakers apart and does not transcribe"),
        ({"diarize": {"pool": "whom"}}, "unknown_pool", "no pool 'whom'; did you mean 'who'?"),
        ({"diarize": {"pool": "default"}}, "bad_option", "'default' does not tell speakers apart"),
        ({"diarize": {"min_speakers": 3, "max_speakers": 2}}, "bad_option", "min_speakers"),
        ({"diarize": {"num_speakers": 0}}, "bad_message", "num_speakers"),
        ({"diarize": {"nun_speakers": 2}}, "bad_message", "nun_speakers"),
    ],
)
def test_what_cannot_be_is_refused(stage: Stage, asked: dict[str, Any], code: str, said: str) -> None:
    end, _ = stage.daemon.wire().play(ONE, **asked)
    assert (end["type"], end["fault"]["code"]) == ("refused", code), end
    assert said in end["fault"]["message"]


def test_without_such_a_pool_the_way_out_is_named() -> None:
    with running("--engine", "scripted", "--workers", "1") as daemon:
        end, _ = daemon.ready().wire().play(ONE, diarize={})
        assert (end["type"], end["fault"]["code"], end["fault"]["blame"]) == ("refused", "bad_option", "caller")
        for part in ("no pool of this daemon tells speakers apart", "diarize-lite", "`asrd engines install diarize`"):
            assert part in end["fault"]["message"]
        assert daemon.wire().play(ONE)[0]["type"] == "completed"


# --- there is nobody -----------------------------------------------------------------------------------------------


def unable(daemon: Daemon, reason: str) -> None:
    """A job gets its transcript soon, and a reason."""
    wire = daemon.wire()
    end, transcript = asking(wire)
    assert (end["type"], transcript["text"]) == ("completed", "one two")
    assert transcript["diarization"]["status"] == "failed"
    assert reason in transcript["diarization"]["reason"]
    assert wire.play(ONE)[0]["type"] == "completed"


def state(daemon: Daemon, pool: str) -> set[str]:
    """Of the workers of a pool, once they can be asked for."""
    if not (daemon.directory / "control.sock").exists():
        return set()
    return {worker["state"] for worker in daemon.workers() if worker["pool"] == pool}


@pytest.mark.parametrize("durability", ["job", "none"])
def test_an_engine_that_cannot_be_loaded_costs_no_transcript(durability: str) -> None:
    broken = 'at_load = [{do = "fail", code = "model_unavailable", message = "no weights here"}]\n'
    journal = f'[journal]\ndurability = "{durability}"\n' if durability == "none" else ""
    with running(config=journal + SPEAKER + listener("who", broken)) as daemon:
        daemon.ready(2)
        eventually(lambda: state(daemon, "who") == {"failed"}, 30)
        unable(daemon, "no weights here")


def test_a_job_does_not_wait_for_an_engine_that_turns_out_not_to_load() -> None:
    broken = 'at_load = [{do = "sleep", s = 1.5}, {do = "fail", code = "model_unavailable", message = "no weights"}]\n'
    with running(config=SPEAKER + listener("who", broken)) as daemon:
        daemon.ready(2)
        unable(daemon, "no weights")


@pytest.mark.parametrize("when", ["before", "after"])
def test_workers_that_always_die_cost_no_transcript(when: str) -> None:
    """Whether the pool has failed when the job comes, or fails while it waits."""
    dying = 'at_load = [{do = "die", code = 7}]\n[pools.who.restarts]\nintensity = 2\ndelay_max = "100ms"\n'
    with running(config=SPEAKER + listener("who", dying)) as daemon:
        daemon.ready(2)
        if when == "before":
            eventually(lambda: state(daemon, "who") == {"failed"}, 30)
        unable(daemon, "exit 7")


def test_a_pool_that_rests_is_woken() -> None:
    resting = SPEAKER + listener("who").replace("workers = 1", 'workers = 1\nidle_ttl = "300ms"')
    with running(config=resting) as daemon:
        daemon.ready()
        eventually(lambda: not seats(daemon, "who"), 20)
        assert asking(daemon.wire())[1]["diarization"] == FOUND


def test_an_interpreter_without_the_packages_costs_no_transcript(tmp_path: Path) -> None:
    """The engine is there and what it needs is not: numpy is hidden from the workers of that pool."""
    (tmp_path / "numpy.py").write_text("raise ImportError('there is no numpy')")
    lite = f"""
[pools.who]
engine = "diarize-lite"
workers = 1
env = {{ PYTHONPATH = "{tmp_path}" }}
"""
    with running(config=SPEAKER + lite) as daemon:
        daemon.ready(2)
        eventually(lambda: state(daemon, "who") == {"failed"}, 30)
        unable(daemon, "`pip install 'asrd[speakers]'`")


def test_a_pool_that_is_gone_after_a_restart_costs_no_transcript() -> None:
    slow = listener("who", 'script = [{do = "sleep", s = 60}]\n').replace('"1500ms"', '"60s"')
    config = SPEAKER + slow
    with running(config=config) as daemon:
        wire = daemon.ready().wire()
        jobs = {name: uuid.uuid4().hex for name in ("short", "long", "waiting")}
        scripts: dict[str, dict[str, Any]] = {
            "short": {"script": [ONE, TWO]},
            "long": cut([ONE], [TWO]),
            "waiting": {"script": [ONE, {"do": "sleep", "s": 0.5}, TWO]},
        }
        for name, job in jobs.items():
            wire.send("submit", b"audio", job=job, options=scripts[name], diarize={"pool": "who"}, reply="accepted")
            assert (answer := wire.receive()[0])["type"] == "accepted", answer
        eventually(lambda: state(daemon, "who") == {"busy"}, 20)
        daemon.kill()
        (daemon.root / "asrd.toml").write_text(SPEAKER)
        daemon.restart()
        daemon.ready()
        for job in jobs.values():
            answer = daemon.wire()
            answer.send("wait", job=job, timeout=30)
            end, body = answer.receive()
            assert end["type"] == "completed", end
            transcript = json.loads(body)
            assert transcript["text"] == "one two"
            assert transcript["diarization"]["status"] == "failed"
            assert "who" in transcript["diarization"]["reason"]


def test_the_turns_of_a_killed_daemon_are_not_looked_for_again() -> None:
    """Who speaks is known, what is said is not yet: the next daemon transcribes and asks nobody for the speakers."""
    with running(config=SPEAKER + listener("who")) as daemon:
        wire, job = daemon.ready().wire(), uuid.uuid4().hex
        script = {"script": [{"do": "sleep", "s": 3}, ONE, TWO]}
        wire.send("submit", b"audio", job=job, options=script, diarize={}, reply="accepted")
        eventually(lambda: [w["jobs_done"] for w in daemon.workers() if w["pool"] == "who"] == [1], 20)
        wire.play(ONE)  # they are counted before they are stored, and this is stored after them
        daemon.kill()
        daemon.restart()
        daemon.ready()
        answer = daemon.wire()
        answer.send("wait", job=job, timeout=30)
        assert json.loads(answer.receive()[1])["diarization"] == FOUND
        assert [w["jobs_done"] for w in daemon.workers() if w["pool"] == "who"] == [0]


# --- with words, and by the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speaking() -> Iterator[Daemon]:
    """Real speech recognition, and two people who take turns in whatever they hear."""
    real = '[pools.default]\nmodel = "tiny.en"\nworkers = 1\n'
    talk = 'script = [{do = "speak", text = "ann", seconds = 2}, {do = "speak", text = "bob", seconds = 30}]\n'
    with running(config=real + listener("who", talk)) as daemon:
        yield daemon.ready()


def command(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The real one, from outside."""
    environ = {**os.environ, "ASRD_RUNTIME_DIR": str(daemon.directory), "NO_COLOR": "1"}
    line = [str(Path(sys.executable).parent / "asrd"), *arguments]
    return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.model
def test_segments_are_cut_between_the_words_of_two_speakers(speaking: Daemon, speech: Path) -> None:
    clip = (speech / "ss-0880.wav").read_bytes()
    _, plain = speaking.wire().run(clip, options={"word_timestamps": True})
    _, body = speaking.wire().run(clip, options={"word_timestamps": True}, diarize={})
    one, other = json.loads(plain), json.loads(body)

    assert other["text"] == one["text"], "no word is lost, and none is moved"
    first, second = other["segments"]
    assert (first["speaker"], second["speaker"]) == ("SPEAKER_00", "SPEAKER_01")
    assert len(one["segments"]) == 1, "it was one sentence"
    assert all((word["start"] + word["end"]) / 2 <= 2.0 for word in first["words"])
    assert all((word["start"] + word["end"]) / 2 >= 2.0 for word in second["words"])
    words = [word["word"] for segment in (first, second) for word in segment["words"]]
    assert words == [word["word"] for word in one["segments"][0]["words"]]
    assert [segment["id"] for segment in other["segments"]] == [0, 1]


@pytest.mark.model
def test_the_command_writes_subtitles_with_speakers(speaking: Daemon, speech: Path) -> None:
    clip = str(speech / "ss-0880.wav")
    srt = command(speaking, "transcribe", clip, "--diarize", "-f", "srt", "-q")
    assert srt.returncode == 0, srt.stderr
    assert "[SPEAKER_00]:" in srt.stdout and "[SPEAKER_01]:" in srt.stdout
    rttm = command(speaking, "transcribe", clip, "--diarize", "--speakers-pool", "who", "-f", "rttm", "-q")
    fields = [line.split() for line in rttm.stdout.splitlines()]
    assert [(line[0], line[3], line[7]) for line in fields] == [
        ("SPEAKER", "0.000", "SPEAKER_00"),
        ("SPEAKER", "2.000", "SPEAKER_01"),
    ]
    assert command(speaking, "transcribe", clip, "-f", "txt", "-q").stdout.count("SPEAKER") == 0


def test_the_command_says_when_speakers_are_not_known(stage: Stage, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"audio")
    failing(stage, [{"do": "fail", "message": "all wrong"}])
    script = json.dumps([ONE, TWO])
    ran = command(stage.daemon, "transcribe", str(clip), "--diarize", f"--set=script={script}")
    assert ran.returncode == 0, ran.stderr
    assert "warning: speakers could not be told apart: the engine failed" in ran.stderr.replace("\n", " ")
    assert ran.stdout.split() == ["one", "two"]
    refused = command(stage.daemon, "transcribe", str(clip), "--diarize", "--speakers-pool", "whom", "-q")
    assert refused.returncode == 1 and "there is no pool 'whom'" in refused.stderr
