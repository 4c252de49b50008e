"""The golden vectors: what is in ``protocol/vectors`` is what this release reads and writes, byte for byte."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from asrd_protocol import messages
from asrd_protocol.codec import Codec, Encoding, Unreadable, encode
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Segment, Transcript
from asrd_protocol.schema import MESSAGE_FILES, UNIONS, vectors

FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"
BODIES = {"segment": Segment, "completed": Transcript}


def read(name: str) -> list[dict[str, Any]]:
    """The vectors of one file."""
    return list(json.loads((FOLDER / name).read_text(encoding="utf-8")))


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    """As parameters of a test, with their names."""
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def header(vector: dict[str, Any]) -> bytes:
    """The bytes of a vector that has its header as text or in hex."""
    return str(vector["json"]).encode() if "json" in vector else bytes.fromhex(vector["hex"])


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """What the field has when nobody says anything."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


MESSAGES = [vector for name in MESSAGE_FILES for vector in read(name)]
ON_SOCKETS = [vector for vector in MESSAGES if vector["socket"] != "link"]


@pytest.mark.parametrize("vector", named(MESSAGES))
def test_both_encodings_say_the_value_and_are_what_is_written(vector: dict[str, Any]) -> None:
    union = UNIONS[vector["socket"], vector["direction"]]
    text, packed = vector["json"].encode(), bytes.fromhex(vector["msgpack_hex"])
    message = msgspec.convert(vector["value"], union)

    assert msgspec.json.decode(text, type=union) == message
    assert msgspec.msgpack.decode(packed, type=union) == message
    assert encode(message, Encoding.JSON) == text
    assert encode(message, Encoding.MSGPACK) == packed


@pytest.mark.parametrize("vector", named(MESSAGES))
def test_the_value_is_what_any_json_library_reads(vector: dict[str, Any]) -> None:
    assert json.loads(vector["json"]) == vector["value"]
    packed = msgspec.msgpack.decode(bytes.fromhex(vector["msgpack_hex"]))
    assert msgspec.to_builtins(packed) == vector["value"]  # bytes, which the private link alone has, are base64 there


@pytest.mark.parametrize("vector", named(ON_SOCKETS))
def test_the_codec_of_the_socket_reads_both_encodings(vector: dict[str, Any]) -> None:
    union = UNIONS[vector["socket"], vector["direction"]]
    codec: Codec[msgspec.Struct] = Codec(union)
    message = msgspec.convert(vector["value"], union)

    assert codec.decode(vector["json"].encode()) == message
    assert codec.decode(bytes.fromhex(vector["msgpack_hex"])) == message


@pytest.mark.parametrize(("socket", "direction"), UNIONS)
def test_every_message_has_a_vector(socket: str, direction: str) -> None:
    mine = [v["value"] for v in MESSAGES if (v["socket"], v["direction"]) == (socket, direction)]
    shown = {value[0] if isinstance(value, list) else value["type"] for value in mine}

    assert shown == {str(kind.__struct_config__.tag) for kind in UNIONS[socket, direction].__args__}


def structs_in(value: Any) -> Iterator[msgspec.Struct]:
    """A message and its parts, and theirs."""
    match value:
        case msgspec.Struct():
            yield value
            for part in msgspec.structs.astuple(value):
                yield from structs_in(part)
        case list() | tuple():
            for part in value:
                yield from structs_in(part)


def optional(kind: type[msgspec.Struct]) -> set[tuple[str, str]]:
    """The fields of a struct that may be left out, each with the name of the struct."""
    fields = msgspec.structs.fields(kind)
    return {(kind.__name__, field.name) for field in fields if field.name != "v" and not field.required}


def everything() -> Iterator[msgspec.Struct]:
    """What the vectors of messages and bodies say."""
    for vector in MESSAGES:
        yield msgspec.convert(vector["value"], UNIONS[vector["socket"], vector["direction"]])
    for vector in read("bodies.json"):
        yield msgspec.convert(vector["value"], BODIES[vector["type"]])


def test_every_field_is_shown_with_a_value_of_its_own() -> None:
    """A vector in which all fields have their defaults shows nothing of them."""
    kinds = [*(kind for union in UNIONS.values() for kind in union.__args__), *BODIES.values()]
    wanted = {name for kind in kinds for name in optional(kind)}
    shown: set[tuple[str, str]] = set()
    for said in everything():
        for struct in structs_in(said):
            wanted |= optional(type(struct))
            fields = [field for field in msgspec.structs.fields(struct) if not field.required]
            shown |= {(type(struct).__name__, f.name) for f in fields if getattr(struct, f.name) != default_of(f)}

    assert wanted <= shown, sorted(wanted - shown)


def test_the_faults_that_are_shown_are_as_their_codes_make_them() -> None:
    """A client learns from the vectors what may be tried again, and what is grave."""
    shown = [
        value
        for vector in MESSAGES
        for value in (vector["value"].values() if isinstance(vector["value"], dict) else vector["value"])
        if isinstance(value, dict) and "blame" in value
    ]
    for value in shown:
        made = Fault.of(Code(value["code"]), "")
        fault = msgspec.convert(value, Fault)
        assert (fault.blame, fault.severity, fault.retry) == (made.blame, made.severity, made.retry), value["code"]

    assert len(shown) > 8


def test_every_kind_of_audio_has_a_vector() -> None:
    kinds = {kind.__struct_config__.tag for kind in get_args(messages.Audio)}
    values = [vector["value"] for vector in MESSAGES]

    assert {value["audio"]["kind"] for value in values if "audio" in value and isinstance(value, dict)} == kinds
    assert {value[2]["kind"] for value in values if isinstance(value, list) and value[0] == "RunStep"} == kinds


def test_names_of_vectors_are_unique_within_their_file() -> None:
    for path in FOLDER.glob("*.json"):
        names = [vector["name"] for vector in read(path.name)]
        assert len(names) == len(set(names)), path.name


def test_the_files_are_current() -> None:
    """``python -m asrd_protocol.schema`` makes them so."""
    assert {name: (FOLDER / name).read_text(encoding="utf-8") for name in vectors(FOLDER)} == vectors(FOLDER)


@pytest.mark.parametrize("vector", named(read("bodies.json")))
def test_bodies(vector: dict[str, Any]) -> None:
    kind = BODIES[vector["type"]]
    body = msgspec.json.decode(vector["json"], type=kind)

    assert body == msgspec.convert(vector["value"], kind)
    assert msgspec.json.encode(body) == vector["json"].encode()


def test_every_kind_of_body_has_a_vector() -> None:
    assert {vector["type"] for vector in read("bodies.json")} == set(BODIES)


@pytest.mark.parametrize("vector", named(read("variants.json")))
def test_other_ways_to_write_a_message(vector: dict[str, Any]) -> None:
    union = UNIONS[vector["socket"], vector["direction"]]
    codec: Codec[msgspec.Struct] = Codec(union)
    message = msgspec.convert(vector["value"], union)

    assert codec.decode(header(vector)) == message
    assert header(vector) not in [encode(message, encoding) for encoding in Encoding], "this is the usual way"


@pytest.mark.parametrize("vector", named(read("invalid.json")))
def test_what_is_refused(vector: dict[str, Any]) -> None:
    codec: Codec[msgspec.Struct] = Codec(UNIONS[vector["socket"], "question"])

    with pytest.raises(Unreadable) as caught:
        codec.decode(header(vector))

    assert caught.value.fault.code == Code(vector["code"])
    assert caught.value.ref == vector["ref"]
    assert vector["names"] in caught.value.fault.message
