"""What no client should send: each gets one clear answer, harms nobody, and costs no worker."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import zmq

from support.daemon import Daemon, running
from support.stage import ONE
from support.wire import Wire

MAX_BODY = 2_000_000
CONFIG = f"""
[pools.default]
engine = "scripted"
model = ""
workers = 2
[pools.default.recycle]
max_jobs = 0
[audio]
max_body = {MAX_BODY}
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    with running(config=CONFIG) as daemon:
        yield daemon.ready()


@pytest.fixture
def daemon(shared: Daemon) -> Iterator[Daemon]:
    """The same two workers before and after, and both still do their work."""
    before = [(worker["seat"], worker["pid"]) for worker in shared.workers()]
    yield shared
    wire = Wire(shared.directory, timeout=10)
    seats: set[str] = set()
    while len(seats) < 2:  # one of them may be at the clip when its turn comes
        seats.add(wire.play(ONE)[0]["run"]["seat"])
    wire.close()
    assert [(worker["seat"], worker["pid"]) for worker in shared.workers()] == before
    assert seats == {seat for seat, _ in before}
    assert shared.ask("health")["status"] == "ready"


@pytest.fixture
def wire(daemon: Daemon) -> Iterator[Wire]:
    wire = Wire(daemon.directory, timeout=10)
    yield wire
    wire.close()


def _refusal(wire: Wire, *frames: bytes) -> tuple[str, str]:
    """Code and message of the refusal of these frames; that the caller is to blame is checked here."""
    wire.send_raw(list(frames))
    answer, body = wire.receive()
    assert (answer["type"], answer["fault"]["blame"], body) == ("refused", "caller", b"")
    assert not answer["fault"].get("retry"), "a repeat cannot help"
    assert len(answer["fault"]["message"]) < 1000, "what a stranger wrote comes back in a bounded length"
    return answer["fault"]["code"], answer["fault"]["message"]


def _submit(**fields: Any) -> bytes:
    return json.dumps({"type": "submit", "reply": "final", **fields}).encode()


def _deep(depth: int) -> bytes:
    return b'{"type":"submit","reply":"final","options":{"script":' + b"[" * depth + b"]" * depth + b"}}"


def _deep_msgpack(depth: int) -> bytes:
    head = b"\x83\xa4type\xa6submit\xa5reply\xa5final\xa7options\x81\xa6script"
    return head + b"\x91" * (depth - 1) + b"\x90"


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"\x00",
        b"\xc1",
        b"garbage",
        b"{",
        b'{"type":"submit"',
        b"[1, 2]",
        b'"submit"',
        b"\x93\x01\x02\x03",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\x7f\xff\xff\xff\x01",
        b'{"type":"\xff\xfe"}',
        b"\x81\xa4type\xa2\xff\xfe",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
    ],
)
def test_what_is_no_map_is_called_so(wire: Wire, header: bytes) -> None:
    assert _refusal(wire, header, b"audio") == ("bad_message", "the header is neither a msgpack nor a JSON map")


@pytest.mark.parametrize("text", [b"submit\xff", b"sub\x00mit", "submít".encode()])
def test_bad_text_in_a_field_is_refused(wire: Wire, text: bytes) -> None:
    code, _ = _refusal(wire, b'{"type":"submit","pool":"' + text + b'"}', b"audio")
    assert code == "bad_message"


@pytest.mark.parametrize("version", [0, 2, -1, 99, "1", None, [1], 1.5])
def test_another_version_is_named_beside_ours(wire: Wire, version: object) -> None:
    code, message = _refusal(wire, _submit(v=version), b"audio")
    assert code == "unsupported_version"
    assert "version 1" in message and f"v={version!r}" in message


@pytest.mark.parametrize(
    ("kind", "hint"), [("submut", "; did you mean 'submit'?"), ("cancle", "; did you mean 'cancel'?"), ("zzz", "'zzz'")]
)
def test_an_unknown_type_gets_the_nearest_one(wire: Wire, kind: str, hint: str) -> None:
    code, message = _refusal(wire, json.dumps({"type": kind, "ref": "r"}).encode())
    assert code == "unknown_message"
    assert message.endswith(hint)


@pytest.mark.parametrize("kind", ["health", "stop", "completed", "", 7, None, ["submit"], "submit" * 100_000])
def test_what_is_no_question_of_this_socket_is_unknown(wire: Wire, kind: object) -> None:
    code, _ = _refusal(wire, json.dumps({"type": kind}).encode())
    assert code == "unknown_message"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"optoins": {}}, "optoins"),
        ({"options": []}, "options"),
        ({"options": {"a" * 65: 1}}, "options"),
        ({"job": "a b"}, "job"),
        ({"job": "a" * 65}, "job"),
        ({"job": "../../etc/passwd"}, "job"),
        ({"job": "line\n"}, "job"),
        ({"job": 7}, "job"),
        ({"pool": "no/such"}, "pool"),
        ({"reply": "everything"}, "reply"),
        ({"audio": {"kind": "path", "path": "/etc/passwd"}}, "audio"),
        ({"audio": {"kind": "pcm", "rate": 0}}, "rate"),
        ({"audio": {"kind": "file", "name": "n" * 256}}, "name"),
        ({"ref": "r" * 65}, "ref"),
    ],
)
def test_a_wrong_field_is_named(wire: Wire, fields: dict[str, Any], names: str) -> None:
    code, message = _refusal(wire, _submit(**fields), b"audio")
    assert code == "bad_message"
    assert names in message


def test_the_mark_of_a_question_that_cannot_be_read_whole_comes_back(wire: Wire) -> None:
    wire.send_raw([b'{"type":"nonsense","ref":"mine"}'])
    assert wire.receive()[0]["ref"] == "mine"


@pytest.mark.parametrize("number", [2**63, 2**64, 10**30, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_refused(wire: Wire, number: int) -> None:
    code, _ = _refusal(wire, _submit(options={"seed": number}), b"audio")
    assert code == "bad_message"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_in_json_is_refused(wire: Wire, value: str) -> None:
    code, _ = _refusal(wire, f'{{"type":"submit","options":{{"seed":{value}}}}}'.encode(), b"audio")
    assert code == "bad_message"


@pytest.mark.parametrize("depth", [10, 100, 900, 960, 970, 980, 985, 990, 993, 996, 1000, 2000, 500_000])
@pytest.mark.parametrize("build", [_deep, _deep_msgpack])
def test_deep_nesting_is_refused(wire: Wire, build: Any, depth: int) -> None:
    code, _ = _refusal(wire, build(depth), b"audio")
    assert code == "bad_message"


def test_a_million_keys_are_too_large_a_header(wire: Wire) -> None:
    header = b"\x82\xa4type\xa6submit\xa7options\xdf" + (1_000_000).to_bytes(4, "big") + b"\xa1k\x01" * 1_000_000
    code, message = _refusal(wire, header, b"audio")
    assert (code, f"{len(header)} bytes" in message) == ("frame_too_large", True)


def test_as_many_keys_as_fit_are_answered_by_name(wire: Wire) -> None:
    options = dict.fromkeys(map(str, range(80_000)), 1)
    wire.send_raw([msgspec.msgpack.encode({"type": "submit", "reply": "final", "options": options}), b"audio"])
    fault = wire.end_of()[0]["fault"]
    assert (fault["code"], fault["message"]) == ("bad_option", "unknown option '0'")


def test_a_header_over_a_mebibyte_is_refused(wire: Wire) -> None:
    code, message = _refusal(wire, _submit(pool="p" * (1 << 20)), b"audio")
    assert (code, "1048576 are allowed" in message) == ("frame_too_large", True)


# --- bodies and frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [[], [b""]])
def test_a_submit_without_audio_is_refused(wire: Wire, frames: list[bytes]) -> None:
    code, message = _refusal(wire, _submit(), *frames)
    assert (code, "second frame" in message) == ("no_audio", True)


@pytest.mark.parametrize("more", [1, 2, 500])
def test_more_frames_than_two_are_refused(wire: Wire, more: int) -> None:
    code, message = _refusal(wire, _submit(), b"audio", *[b"more"] * more)
    assert (code, f"{more} frames more" in message) == ("too_many_frames", True)


def test_a_body_over_the_limit_is_refused_with_the_limit_and_one_at_it_is_taken(daemon: Daemon, wire: Wire) -> None:
    code, message = _refusal(wire, _submit(), b"a" * (MAX_BODY + 1))
    assert code == "frame_too_large"
    assert str(MAX_BODY) in message and "audio.max_body" in message
    assert daemon.ask("health")["max_body"] == MAX_BODY
    assert wire.run(b"a" * MAX_BODY, options={"script": [ONE]})[0]["type"] == "completed"


@pytest.mark.parametrize("place", ["body", "header"])
def test_a_frame_over_the_hard_cap_cuts_its_sender_off_and_nobody_else(daemon: Daemon, wire: Wire, place: str) -> None:
    ends: list[zmq.Socket[bytes]] = []

    def listen(socket: "zmq.Socket[bytes]") -> None:
        ends.append(socket.get_monitor_socket(zmq.EVENT_DISCONNECTED))

    sender = Wire.to(f"ipc://{daemon.directory}/jobs.sock", prepare=listen, timeout=10)
    huge = b"a" * (2 * MAX_BODY + 1)
    sender.send_raw([_submit(options={"script": [ONE]}), huge] if place == "body" else [huge])
    assert wire.play(ONE)[0]["type"] == "completed"
    assert ends[0].poll(10_000), "its connection is closed"
    assert sender.ask("fetch", job="nobody", ref="next")["ref"] == "next", "what was in the frame gets no answer"
    sender.close()


@pytest.fixture
def dealer(daemon: Daemon) -> Iterator["zmq.Socket[bytes]"]:
    """A socket whose answers are seen frame by frame."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.connect(f"ipc://{daemon.directory}/jobs.sock")
    yield socket
    context.destroy(linger=0)


def test_a_dealer_that_sends_an_empty_frame_first_is_taken_for_a_req(dealer: "zmq.Socket[bytes]") -> None:
    dealer.send_multipart([b"", json.dumps({"type": "submit", "options": {"script": [ONE]}}).encode(), b"audio"])
    delimiter, header, body = dealer.recv_multipart()
    assert (delimiter, json.loads(header)["type"], json.loads(body)["text"]) == (b"", "completed", "one")


@pytest.mark.parametrize("frames", [[b""], [b"", b""], [b"", b"", b""], [b"", b"", b"", b"", b""], [b"", b"audio"]])
def test_empty_frames_are_answered_as_to_a_req(dealer: "zmq.Socket[bytes]", frames: list[bytes]) -> None:
    dealer.send_multipart(frames)
    delimiter, header = dealer.recv_multipart() if len(frames) > 1 else [b"", *dealer.recv_multipart()]
    assert delimiter == b""
    assert msgspec.msgpack.decode(header)["fault"]["code"] == "bad_message"


# --- pools, jobs, options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "hint"), [("defualt", "; did you mean 'default'?"), ("other", "'other'")])
def test_an_unknown_pool_gets_the_nearest_one(wire: Wire, pool: str, hint: str) -> None:
    code, message = _refusal(wire, _submit(pool=pool), b"audio")
    assert (code, message.endswith(hint)) == ("unknown_pool", True)


@pytest.mark.parametrize("question", ["fetch", "wait", "cancel", "release"])
def test_an_unknown_job_is_named(wire: Wire, question: str) -> None:
    code, message = _refusal(wire, json.dumps({"type": question, "job": "who-1"}).encode())
    assert (code, "'who-1'" in message) == ("unknown_job", True)


def test_an_option_that_the_engine_does_not_have_is_refused_by_name(wire: Wire) -> None:
    code, message = _refusal(wire, _submit(options={"scirpt": []}), b"audio")
    assert (code, message) == ("bad_option", "unknown option 'scirpt'; did you mean 'script'?")


@pytest.mark.parametrize("options", [{"script": [{"do": "spaek", "text": "x"}]}, {"script": 7}])
def test_a_value_that_the_engine_does_not_know_fails_the_job_by_name(wire: Wire, options: dict[str, Any]) -> None:
    answer, _ = wire.run(options=options)
    assert (answer["type"], answer["fault"]["code"], answer["attempts"]) == ("failed", "bad_option", 1)
    assert "script" in answer["fault"]["message"]


# --- the private link -------------------------------------------------------------------------------------------------


def test_a_stranger_on_the_workers_socket_is_ignored(daemon: Daemon) -> None:
    """Only we can enter its directory; but whoever does speaks for no seat."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    for identity in (b"", b"stranger", b"default/0.99", b"default/99.1", b"nowhere/0.1", b"default/0.1x"):
        socket = context.socket(zmq.DEALER)
        if identity:
            socket.setsockopt(zmq.IDENTITY, identity)
        socket.connect(f"ipc://{daemon.directory}/workers/link.sock")
        for frames in ([b"\xc1"], [msgspec.msgpack.encode(["Hello", 1, 1])], [b"", b"", b"", b""]):
            socket.send_multipart(frames)
        socket.close(linger=1000)
    context.term()
    assert daemon.ask("health")["status"] == "ready"
