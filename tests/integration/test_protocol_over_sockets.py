"""What PROTOCOL.md promises, over a real socket, with nothing of the asrd client."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from support.daemon import Daemon, running
from support.stage import ONE, TWO
from support.wait import eventually
from support.wire import Wire

PROTOCOL = Path(__file__).parents[2] / "protocol" / "PROTOCOL.md"
SCRIPT = {"script": [ONE, TWO]}
SLOW = {"script": [ONE, {"do": "sleep", "s": 0.5}, TWO]}
SLOWER = {"script": [ONE, {"do": "sleep", "s": 2.0}, TWO]}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running("--engine", "scripted", "--workers", "2") as daemon:
        yield daemon.ready()


@pytest.fixture
def wire(daemon: Daemon) -> Iterator[Wire]:
    with closing(Wire(daemon.directory)) as wire:
        yield wire


@contextmanager
def _bare(daemon: Daemon, kind: int) -> "Iterator[zmq.Socket[bytes]]":
    """A socket, and nothing more."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        socket = context.socket(kind)
        socket.connect(f"ipc://{daemon.directory}/jobs.sock")
        yield socket
    finally:
        context.destroy(linger=0)


def _id() -> str:
    return uuid.uuid4().hex


# --- the two simplest clients -----------------------------------------------------------------------------------------


def test_zmq_and_json_are_a_client(daemon: Daemon) -> None:
    with _bare(daemon, zmq.REQ) as socket:
        socket.send_multipart([json.dumps({"type": "submit", "options": SCRIPT}).encode(), b"audio"])
        header, body = socket.recv_multipart()
    answer, transcript = json.loads(header), json.loads(body)
    assert answer["type"] == "completed"
    assert transcript["text"] == "one two"
    assert [segment["text"] for segment in transcript["segments"]] == [" one", " two"]


def test_the_python_example_of_the_protocol_text_runs_as_it_stands(daemon: Daemon, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PROTOCOL.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "talk.mp3").write_bytes(b"audio")
    ran = subprocess.run(
        [sys.executable, "-c", example, str(tmp_path / "talk.mp3")],
        env={**os.environ, "ASRD_RUNTIME_DIR": str(daemon.directory)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "\n", ""), "the text of a job that says nothing"
    assert daemon.ask("jobs", limit=1)["jobs"][0]["state"] == "completed"


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
@pytest.mark.parametrize(("encode", "first"), [(msgspec.json.encode, b"{"), (msgspec.msgpack.encode, b"\x84")])
def test_the_answer_comes_in_the_encoding_of_the_question(
    daemon: Daemon, kind: int, encode: Callable[[object], bytes], first: bytes
) -> None:
    question = {"type": "submit", "options": SCRIPT, "reply": "final", "ref": "mine"}
    with _bare(daemon, kind) as socket:
        socket.send_multipart([encode(question), b"audio"])
        header, body = socket.recv_multipart()
    decode = msgspec.json.decode if first == b"{" else msgspec.msgpack.decode
    assert decode(header)["ref"] == "mine"
    assert json.loads(body)["text"] == "one two", "the body is JSON in any case"


# --- submit -----------------------------------------------------------------------------------------------------------


def test_a_streamed_job_tells_each_thing_in_its_turn(wire: Wire) -> None:
    job = _id()
    wire.send("submit", b"audio", job=job, options=SCRIPT, ref="r1")
    answers = [wire.receive() for _ in range(7)]
    kinds = [answer["type"] for answer, _ in answers]
    assert kinds == ["accepted", "progress", "segment", "progress", "segment", "progress", "completed"]
    assert all(answer["job"] == job and answer["ref"] == "r1" for answer, _ in answers)
    assert [json.loads(body)["text"] for answer, body in answers if answer["type"] == "segment"] == [" one", " two"]
    assert [answer["index"] for answer, _ in answers if answer["type"] == "segment"] == [0, 1]
    assert [answer["done"] for answer, _ in answers if answer["type"] == "progress"] == [0.0, 1.0, 2.0]


def test_the_end_of_a_job_says_how_it_ran(wire: Wire) -> None:
    answer, body = wire.run(options={"script": [{"do": "sleep", "s": 0.1}, ONE]})
    run = answer["run"]
    assert re.fullmatch(r"default/\d+\.\d+", run["seat"])
    assert (run["attempts"], run["work"]["segments"], run["work"]["audio_s"]) == (1, 1, 1.0)
    assert run["job_index"] >= 1 and run["worker_uptime"] > 0
    assert 0.1 <= run["timings"]["transcribe"] <= run["timings"]["total"]
    transcript = json.loads(body)
    assert (transcript["language"], transcript["duration"]) == ("en", 1.0)


def test_final_is_one_answer_and_accepted_is_another(wire: Wire) -> None:
    wire.send("submit", b"audio", options=SCRIPT, reply="final")
    assert wire.receive()[0]["type"] == "completed"
    job = _id()
    wire.send("submit", b"audio", job=job, options=SCRIPT, reply="accepted")
    accepted = wire.receive()[0]
    assert (accepted["type"], accepted["job"]) == ("accepted", job)
    assert wire.ask("wait", job=job)["type"] == "completed"


def test_a_req_socket_gets_one_answer_whatever_it_asks_for(daemon: Daemon) -> None:
    wire = daemon.wire("req", "json")
    for reply, end in (("stream", "completed"), ("final", "completed"), ("accepted", "accepted")):
        assert wire.ask("submit", b"audio", options=SCRIPT, reply=reply)["type"] == end
    assert wire.ask("fetch", job="nobody")["fault"]["code"] == "unknown_job", "the answers are not out of step"


def test_many_questions_may_be_open_on_one_connection(wire: Wire) -> None:
    for number in range(30):
        script = {"script": [{"do": "speak", "text": f" {number}"}]}
        wire.send("submit", b"audio", options=script, reply="final", ref=str(number))
    answers = [wire.receive() for _ in range(30)]
    assert {answer["ref"]: json.loads(body)["text"] for answer, body in answers} == {str(n): str(n) for n in range(30)}


def test_a_queued_job_says_how_many_are_ahead(daemon: Daemon, wire: Wire) -> None:
    ahead = []
    for number in range(4):
        script = [{"do": "sleep", "s": 2.0}] if number < 2 else []
        ahead.append(wire.ask("submit", b"audio", options={"script": script}, reply="accepted").get("ahead", 0))
    assert ahead == [0, 0, 0, 1]


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 3_000_000])
def test_audio_of_any_size_arrives(daemon: Daemon, wire: Wire, size: int) -> None:
    answer, body = wire.run(b"a" * size, options=SCRIPT)
    assert answer["type"] == "completed" and json.loads(body)["text"] == "one two"


def test_a_long_transcript_arrives(wire: Wire) -> None:
    said = [{"do": "speak", "text": f" {number} " + "word " * 400} for number in range(100)]
    _, body = wire.run(options={"script": said})
    assert len(json.loads(body)["segments"]) == 100 and len(body) > 200_000


# --- the same job again -----------------------------------------------------------------------------------------------


def test_the_same_submit_again_is_the_same_job(wire: Wire) -> None:
    job = _id()
    wire.send("submit", b"audio", job=job, options=SLOW, reply="final", ref="first")
    wire.send("submit", b"audio", job=job, options=SLOW, reply="final", ref="second")
    first, second = wire.receive(), wire.receive()
    assert {first[0]["ref"], second[0]["ref"]} == {"first", "second"}
    assert first[0]["run"] == second[0]["run"] and first[1] == second[1]
    again, body = wire.run(job=job, options=SLOW)
    assert (again["run"], body) == (first[0]["run"], first[1]), "nothing was computed again"


@pytest.mark.parametrize("state", ["running", "ended"])
def test_another_submit_under_the_same_id_is_a_conflict(wire: Wire, state: str) -> None:
    job = _id()
    wire.send("submit", b"audio", job=job, options=SLOW, reply="accepted")
    wire.receive()
    if state == "ended":
        assert wire.ask("wait", job=job)["type"] == "completed"
    for body, options in ((b"audio", SCRIPT), (b"other audio", SLOW)):
        refused = wire.ask("submit", body, job=job, options=options, reply="final")
        assert (refused["type"], refused["fault"]["code"]) == ("refused", "id_conflict")
        assert job in refused["fault"]["message"]
    assert wire.ask("wait", job=job)["type"] == "completed", "the first one is not harmed"


# --- fetch, wait, release ---------------------------------------------------------------------------------------------


def test_a_result_can_be_fetched_until_it_is_released(daemon: Daemon, wire: Wire) -> None:
    job = _id()
    wire.send("submit", b"audio", job=job, options=SLOWER, reply="accepted")
    assert wire.receive()[0]["type"] == "accepted"
    assert wire.ask("fetch", job=job)["type"] == "pending"
    assert wire.ask("wait", job=job, timeout=0.05)["type"] == "pending", "the wait is over before the job"
    assert wire.ask("release", job=job)["type"] == "pending", "what has not ended cannot be released"
    other = daemon.wire("req", "json")
    other.send("wait", job=job, timeout=30)
    answer, body = other.receive()
    assert (answer["type"], json.loads(body)["text"]) == ("completed", "one two")
    for _ in range(2):
        wire.send("fetch", job=job)
        assert wire.receive()[1] == body
    assert wire.ask("release", job=job) == {"type": "released", "job": job}
    for question in ("fetch", "wait", "release", "cancel"):
        refused = wire.ask(question, job=job)
        assert (refused["type"], refused["fault"]["code"]) == ("refused", "unknown_job")


def test_a_failed_job_can_be_fetched_too(wire: Wire) -> None:
    job = _id()
    wire.play({"do": "fail", "code": "bad_audio", "message": "no sound in it"}, job=job)
    fetched = wire.ask("fetch", job=job)
    assert (fetched["type"], fetched["fault"]["message"]) == ("failed", "no sound in it")


def test_a_wait_gets_all_that_was_said_before_however_much_it_is(daemon: Daemon, wire: Wire) -> None:
    """More than libzmq keeps for a peer: what is not taken at once must not be lost."""
    job, count = _id(), 3000
    words = [{"do": "speak", "text": " w", "seconds": 0.001}] * count
    wire.send("submit", b"audio", job=job, options={"script": [*words, {"do": "sleep", "s": 60}]}, reply="accepted")
    assert wire.receive()[0]["type"] == "accepted"
    eventually(lambda: len(json.loads(_fetched(daemon, job))) == count, 60)
    late = daemon.wire()
    late.send("wait", job=job, stream=True)
    indices = [late.receive()[0]["index"] for _ in range(count)]
    assert indices == list(range(count))
    wire.send("cancel", job=job)
    assert late.end_of(job)[0]["fault"]["code"] == "cancelled"


def _fetched(daemon: Daemon, job: str) -> bytes:
    wire = daemon.wire()
    try:
        wire.send("fetch", job=job, partial=True)
        return wire.receive()[1] or b"[]"
    finally:
        wire.close()


def test_a_wait_can_stream_what_is_still_to_come(daemon: Daemon, wire: Wire) -> None:
    job = _id()
    wire.send("submit", b"audio", job=job, options=SLOWER)
    while wire.receive()[0]["type"] != "segment":
        pass
    late = daemon.wire()
    late.send("wait", job=job, stream=True, ref="late")
    answers = [late.receive()[0] for _ in range(4)]
    assert [answer["type"] for answer in answers] == ["segment", "segment", "progress", "completed"]
    assert [answer["index"] for answer in answers[:2]] == [0, 1], "first what was decoded before"
    assert {answer["ref"] for answer in answers} == {"late"}


def test_a_client_that_leaves_does_not_end_its_job(daemon: Daemon, wire: Wire) -> None:
    job = _id()
    with closing(Wire(daemon.directory)) as leaver:
        leaver.send("submit", b"audio", job=job, options=SLOW)
        assert leaver.receive()[0]["type"] == "accepted"
    assert wire.ask("wait", job=job)["type"] == "completed"


def test_a_pool_is_named_or_the_default(wire: Wire) -> None:
    fields: list[dict[str, Any]] = [{"pool": "default"}, {"pool": None}, {}]
    for field in fields:
        assert wire.run(options=SCRIPT, **field)[0]["type"] == "completed"
