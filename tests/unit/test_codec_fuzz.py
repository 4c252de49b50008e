"""Hostile headers: only ``Unreadable`` comes out, and what is taken can be carried to a worker."""

import sys
import time
from collections.abc import Callable
from datetime import UTC
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asrd_protocol import link
from asrd_protocol import messages as msg
from asrd_protocol.codec import MAX_HEADER, UNDECODABLE, Codec, Encoding, Unreadable, encode
from asrd_protocol.faults import Code

QUESTIONS: Codec[msg.JobQuestion] = Codec(msg.JobQuestion)
CONTROL: Codec[msg.ControlQuestion] = Codec(msg.ControlQuestion)
ANSWERS: Codec[msg.JobAnswer] = Codec(msg.JobAnswer)

HEADERS = [
    encode(message, encoding)
    for encoding in Encoding
    for message in (
        msg.Submit(
            ref="r", job="a", options={"language": "en", "temperature": [0.0, 0.2], "vad_parameters": {"x": 0.5}}
        ),
        msg.Submit(audio=msg.Pcm(dtype="int16", rate=8000), reply="final", pool="default"),
        msg.Fetch(job="a", ref="é"),
        msg.Wait(job="a", timeout=2.5, stream=True),
        msg.Jobs(limit=7),
        msg.Recycle(pool="default", seat="default/0.17"),
    )
]
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=400)

LONGEST_MESSAGE = 1_000
"""Characters of a fault's sentence: what a stranger wrote must not come back at any length."""


def refusal(header: bytes) -> Unreadable:
    """What is said of a header that is no message."""
    with pytest.raises(Unreadable) as caught:
        QUESTIONS.decode(header)
    return caught.value


def check(header: bytes, codec: Codec[Any] = QUESTIONS) -> None:
    """The one property: a message that can be carried on, or a refusal that can be sent."""
    try:
        message = codec.decode(header)
    except Unreadable as unreadable:
        assert len(unreadable.fault.message) <= LONGEST_MESSAGE
        answer = msg.Refused(fault=unreadable.fault, ref=unreadable.ref)
        assert ANSWERS.decode(encode(answer, Encoding.of(header))) == answer
        return
    assert encode(codec.decode(encode(message))) == encode(message)
    if isinstance(message, msg.Submit):
        step = deeper(50, lambda: encode(link.RunStep(1, message.audio, message.options, None)))
        assert encode(link.to_worker.decode(step)) == step


def deeper(frames: int, call: Callable[[], bytes]) -> bytes:
    """Call it further down the stack, where the daemon has less left of it."""
    return deeper(frames - 1, call) if frames else call()


def encoded(header: dict[str, Any], encoding: Encoding) -> bytes:
    """Any map as a header."""
    return msgspec.msgpack.encode(header) if encoding is Encoding.MSGPACK else msgspec.json.encode(header)


@CALM
@given(st.binary(max_size=300))
@example(b"")
@example(b"{")
@example(b"\xc1")
def test_any_bytes(header: bytes) -> None:
    check(header)
    check(header, CONTROL)


_LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
_VALUES = st.recursive(
    _LEAVES | st.binary(max_size=8) | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@CALM
@given(
    st.dictionaries(st.sampled_from(["type", "v", "ref", "job", "options", "audio", "reply", "timeout"]), _VALUES),
    st.sampled_from(["submit", "fetch", "wait", None]),
    st.sampled_from(Encoding),
)
def test_any_map(header: dict[str, Any], kind: str | None, encoding: Encoding) -> None:
    check(encoded({**header, "type": kind} if kind else header, encoding))


@CALM
@given(_VALUES, st.sampled_from(Encoding))
def test_any_option(value: Any, encoding: Encoding) -> None:
    check(encoded({"type": "submit", "options": {"x": value}}, encoding))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good header with a few bytes changed, put in, taken out, or swapped for a piece of another one."""
    header = bytearray(draw(st.sampled_from(HEADERS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(header)))
        much = draw(st.integers(0, 4))
        other = draw(st.binary(max_size=4) | st.sampled_from(HEADERS))[: draw(st.integers(0, 12))]
        header[at : at + much] = other
    return bytes(header)


@settings(CALM, max_examples=2_000)
@given(mutated())
def test_any_mutation_of_a_good_header(header: bytes) -> None:
    check(header)
    check(header, CONTROL)


@CALM
@given(st.sampled_from(HEADERS), st.data())
def test_any_beginning_of_a_good_header_is_refused(header: bytes, data: st.DataObject) -> None:
    refusal(header[: data.draw(st.integers(0, len(header) - 1))])


@CALM
@given(st.sampled_from(HEADERS), st.binary(min_size=1, max_size=8).filter(lambda tail: tail.strip(b" \t\r\n")))
def test_nothing_may_follow_a_good_header(header: bytes, tail: bytes) -> None:
    refusal(header + tail)


OPENINGS = {
    "json list": (b"[", b"1", b"]"),
    "json map": (b'{"a":', b"1", b"}"),
    "msgpack list": (b"\x91", b"\x01", b""),
    "msgpack map": (b"\x81\xa1a", b"\x01", b""),
}


@pytest.mark.parametrize("where", ["type", "v", "ref", "options", "unknown", "alone"])
@pytest.mark.parametrize("opening", OPENINGS)
def test_any_depth(opening: str, where: str) -> None:
    """Around the interpreter's limit of recursion each depth counts."""
    first, core, last = OPENINGS[opening]
    limit = sys.getrecursionlimit()
    near = range(limit - 120, limit + 20)
    for depth in (1, 2, 3, 4, 5, 50, 500, *near, 5 * limit, 150 * limit):
        value = first * depth + core + last * depth
        if len(value) < MAX_HEADER - 100:
            check(_around(where, value, json_text=opening.startswith("json")))


def _around(where: str, value: bytes, *, json_text: bool) -> bytes:
    """A submit with this value in this field."""
    if where == "alone":
        return value
    if where == "options":
        value = b'{"x":' + value + b"}" if json_text else b"\x81\xa1x" + value
    if json_text:
        return b'{"type":"submit","' + where.encode() + b'":' + value + b"}"
    return b"\x82\xa4type\xa6submit" + msgspec.msgpack.encode(where) + value


CLAIMS = {
    "map": b"\xdf\xff\xff\xff\xff",
    "list": b"\xdd\xff\xff\xff\xff",
    "text": b"\xdb\xff\xff\xff\xff",
    "bytes": b"\xc6\xff\xff\xff\xff",
    "extension": b"\xc9\xff\xff\xff\xff\x01",
}


@pytest.mark.parametrize("where", ["alone", "type", "ref", "job", "options", "unknown"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_four_gibibytes_that_never_come_are_refused_at_once(claim: str, where: str) -> None:
    header = _around(where, CLAIMS[claim], json_text=False)
    start = time.perf_counter()

    for tail in (b"", b"\x01", b"a" * 1_000):
        assert refusal(header + tail).fault.code in (Code.BAD_MESSAGE, Code.UNKNOWN_MESSAGE)
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf"])
@pytest.mark.parametrize("where", ["type", "ref", "job", "options", "unknown"])
@pytest.mark.parametrize("json_text", [True, False], ids=["json", "msgpack"])
def test_text_that_is_no_utf_8_is_refused(where: str, bad: bytes, json_text: bool) -> None:
    value = b'"' + bad + b'"' if json_text else bytes([0xA0 + len(bad)]) + bad
    header = _around(where, value, json_text=json_text)

    refusal(header)
    check(header)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("field", ["type", "v", "ref", "job", "reply", "unknown"])
def test_a_long_text_does_not_come_back(field: str, encoding: Encoding) -> None:
    header = {"type": "submit", "ref": "r", field: "\n" * 300_000}
    if field == "unknown":
        header = {"type": "submit", "ref": "r", "\n" * 300_000: 1}

    check(encoded(header, encoding))
    assert refusal(encoded(header, encoding)).fault.code


@pytest.mark.parametrize("power", [63, 64, 65, 1_300, 20_000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_any_integer_in_json(power: int, sign: int) -> None:
    """msgspec reads integers of any size from JSON and writes 64 bits to msgpack."""
    for text in (f"{sign * 2**power + off}" if power < 2_000 else "9" * power for off in (-1, 0, 1)):
        for value in (text, f"[{text}]", f'{{"y":{text}}}'):
            check(f'{{"type":"submit","options":{{"x":{value}}}}}'.encode())
        check(f'{{"type":"submit","v":{text}}}'.encode())
        check(f'{{"type":{text}}}'.encode())


def test_the_list_of_what_decoders_raise_is_needed() -> None:
    """Each of the three is raised over some header when the ``type`` is looked for in it."""
    raised = set()
    for header in (b"{", b'{"type":"\xff"}', b'{"type":' + b"[" * 100_000):
        try:
            msgspec.json.decode(header)
        except UNDECODABLE as error:
            raised.add(next(kind for kind in UNDECODABLE if isinstance(error, kind)))

    assert raised == set(UNDECODABLE)
