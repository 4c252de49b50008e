"""Headers in and out, and the table of faults."""

import json
from typing import Any

import msgspec
import pytest

from asrd_protocol import VERSION
from asrd_protocol import messages as msg
from asrd_protocol.codec import MAX_HEADER, Codec, Encoding, Unreadable, did_you_mean, encode
from asrd_protocol.faults import BLAME, Blame, Code, Fault, severity_of

QUESTIONS: Codec[msg.JobQuestion] = Codec(msg.JobQuestion)
CONTROL: Codec[msg.ControlQuestion] = Codec(msg.ControlQuestion)

MESSAGES: list[msgspec.Struct] = [
    msg.Submit(ref="r", job="a", options={"language": "en", "temperature": [0.0, 0.2], "vad_filter": True}),
    msg.Submit(audio=msg.Pcm(dtype="int16", rate=8000), reply="final", pool="default"),
    msg.Cancel(job="a"),
    msg.Fetch(job="a", ref="é"),
    msg.Wait(job="a", timeout=2.5, stream=True),
    msg.Release(job="a"),
]


def refusal(header: bytes) -> Unreadable:
    """What is said of a header that is no message."""
    with pytest.raises(Unreadable) as caught:
        QUESTIONS.decode(header)
    return caught.value


def encoded(header: dict[str, Any], encoding: Encoding) -> bytes:
    """Any map as a header."""
    return msgspec.msgpack.encode(header) if encoding is Encoding.MSGPACK else msgspec.json.encode(header)


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_went(message: msgspec.Struct, encoding: Encoding) -> None:
    header = encode(message, encoding)

    assert Encoding.of(header) is encoding
    assert QUESTIONS.decode(header) == message


def test_the_first_byte_tells_the_encoding() -> None:
    json_bytes = {bytes([first]) for first in range(256) if Encoding.of(bytes([first])) is Encoding.JSON}

    assert json_bytes == {b"{", b"[", b'"', b" ", b"\t", b"\n", b"\r"}
    assert Encoding.of(b"") is Encoding.MSGPACK


def test_no_msgpack_map_is_taken_for_json() -> None:
    maps = [*range(0x80, 0x90), 0xDE, 0xDF]

    assert {Encoding.of(bytes([first])) for first in maps} == {Encoding.MSGPACK}


@pytest.mark.parametrize("codec", [QUESTIONS, CONTROL], ids=["jobs", "control"])
def test_the_types_of_a_socket_are_sorted_and_complete(codec: Codec[Any]) -> None:
    union = msg.JobQuestion if codec is QUESTIONS else msg.ControlQuestion

    assert codec.types == sorted({kind.__struct_config__.tag for kind in union.__args__})


def test_answers_leave_out_what_has_its_default() -> None:
    assert json.loads(encode(msg.Accepted(job="a"), Encoding.JSON)) == {"type": "accepted", "job": "a"}


def test_an_answer_may_have_fields_that_are_new() -> None:
    assert Codec(msg.JobAnswer).decode(b'{"type":"released","job":"a","why":"because"}') == msg.Released(job="a")


def test_the_longest_header_is_read_and_a_longer_one_is_not() -> None:
    bare = b'{"type":"fetch","job":"a"}'
    longest = bare + b" " * (MAX_HEADER - len(bare))

    assert QUESTIONS.decode(longest) == msg.Fetch(job="a")
    assert refusal(longest + b" ").fault.code is Code.FRAME_TOO_LARGE


def test_a_longer_header_is_not_even_looked_at() -> None:
    refused = refusal(b'{"ref":"r"' + b"\xff" * MAX_HEADER)

    assert refused.fault.code is Code.FRAME_TOO_LARGE
    assert refused.ref == ""
    assert str(MAX_HEADER) in refused.fault.message


@pytest.mark.parametrize("encoding", Encoding)
def test_another_version_is_named_before_anything_else(encoding: Encoding) -> None:
    header = encoded({"v": VERSION + 1, "type": "sing", "ref": "r", "song": 1}, encoding)
    refused = refusal(header)

    assert refused.fault.code is Code.UNSUPPORTED_VERSION
    assert refused.ref == "r"
    assert f"v={VERSION + 1}" in refused.fault.message


@pytest.mark.parametrize("encoding", Encoding)
def test_a_mistyped_message_gets_the_nearest_name(encoding: Encoding) -> None:
    refused = refusal(encoded({"type": "relaese", "ref": "r"}, encoding))

    assert refused.fault.code is Code.UNKNOWN_MESSAGE
    assert "did you mean 'release'" in refused.fault.message
    assert refused.fault.context == {"known": QUESTIONS.types}


def test_a_ref_that_is_none_is_not_echoed() -> None:
    assert refusal(b'{"type":"fetch","ref":"' + b"r" * 65 + b'"}').ref == ""
    assert refusal(b'{"type":"fetch","ref":{"a":1}}').ref == ""
    assert refusal(b'{"type":"fetch","ref":"' + b"r" * 64 + b'"}').ref == "r" * 64


def test_did_you_mean_says_nothing_when_nothing_is_near() -> None:
    assert did_you_mean("beem_size", ["beam_size", "best_of"]) == "; did you mean 'beam_size'?"
    assert did_you_mean("zzz", ["beam_size", "best_of"]) == ""
    assert did_you_mean("", []) == ""


def test_what_engines_need_may_be_an_option() -> None:
    options = {
        "language": "en",
        "beam_size": 5,
        "temperature": [0.0, 0.2],
        "vad_filter": True,
        "max_new_tokens": None,
        "vad_parameters": {"threshold": 0.5, "min_silence_duration_ms": 500},
        "script": [{"do": "speak", "text": "hello", "seconds": 1.5}],
        "clips": [[0.0, 1.5], [2.0, 3.5]],
    }
    submit = {"type": "submit", "options": options}

    assert all(QUESTIONS.decode(encoded(submit, encoding)) == msg.Submit(options=options) for encoding in Encoding)


# --- faults -----------------------------------------------------------------------------------------------------------


def test_every_code_has_a_blame() -> None:
    assert set(BLAME) == set(Code)
    assert set(BLAME.values()) == set(Blame)


@pytest.mark.parametrize("code", Code)
def test_a_repeat_may_help_unless_the_caller_is_to_blame(code: Code) -> None:
    fault = Fault.of(code, "why", retry_after=1.5, seat="default/0.1")

    assert fault == Fault(
        code=code,
        blame=BLAME[code],
        message="why",
        severity=severity_of(code),
        retry=BLAME[code] is not Blame.CALLER,
        retry_after=1.5,
        context={"seat": "default/0.1"},
    )
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault


@pytest.mark.parametrize("code", Code)
def test_codes_are_words_in_small_letters(code: Code) -> None:
    assert code.value == code.name.lower()
    assert code.value.replace("_", "").isalpha()


def test_what_everybody_relies_on() -> None:
    """The blames that decide whether a job is tried again or its worker replaced."""
    by_blame = {blame: {code for code in Code if BLAME[code] is blame} for blame in Blame}

    assert by_blame[Blame.WORKER] == {Code.WORKER_DIED, Code.WORKER_HUNG, Code.ENGINE_ERROR}
    assert by_blame[Blame.US] == {Code.INTERNAL}
    assert {Code.OVERLOADED, Code.DRAINING, Code.SHUTTING_DOWN, Code.OUT_OF_MEMORY} < by_blame[Blame.HOST]
    assert {Code.POISON, Code.CANCELLED, Code.BAD_AUDIO, Code.BAD_OPTION} < by_blame[Blame.CALLER]
