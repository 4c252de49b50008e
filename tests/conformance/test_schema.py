"""The generated JSON Schema: it is current, takes what the daemon takes and refuses what the daemon refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from asrd_protocol.schema import UNIONS, schemas

PROTOCOL = Path(__file__).parents[2] / "protocol"
SIDES = [side for side in UNIONS if side[0] != "link"]


def validator(name: str, **override: str) -> Draft202012Validator:
    """By a file in ``schema/``."""
    schema = json.loads((PROTOCOL / "schema" / f"{name}.json").read_text(encoding="utf-8"))
    return Draft202012Validator({**schema, **override})


def read(*names: str) -> list[dict[str, Any]]:
    """The vectors of these files."""
    texts = [(PROTOCOL / "vectors" / name).read_text(encoding="utf-8") for name in names]
    return [vector for text in texts for vector in json.loads(text)]


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    """As parameters of a test, with their names."""
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def can_be_judged(vector: dict[str, Any]) -> bool:
    """Whether it is JSON that any library reads, refused for what it says.

    A schema knows nothing of versions, and a number of more than 64 bits is as good as any other to it.
    """
    if "json" not in vector or vector["code"] == "unsupported_version" or "64 bits" in vector["name"]:
        return False
    try:
        json.dumps(json.loads(vector["json"]), allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


JUDGED = [vector for vector in read("invalid.json") if can_be_judged(vector)]


def test_the_files_are_current_and_there_are_no_others() -> None:
    """``python -m asrd_protocol.schema`` makes them so."""
    assert {path.name: path.read_text(encoding="utf-8") for path in (PROTOCOL / "schema").iterdir()} == schemas()


@pytest.mark.parametrize("name", schemas())
def test_the_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(schemas()[name]))


@pytest.mark.parametrize(("socket", "direction"), SIDES)
def test_the_schema_knows_every_message(socket: str, direction: str) -> None:
    schema = json.loads(schemas()[f"{socket}.{direction}s.json"])
    tags = {str(kind.__struct_config__.tag) for kind in UNIONS[socket, direction].__args__}

    assert set(schema["discriminator"]["mapping"]) == tags


@pytest.mark.parametrize("vector", named(read("jobs.json", "control.json", "variants.json")))
def test_good_messages_pass(vector: dict[str, Any]) -> None:
    judge = validator(f"{vector['socket']}.{vector['direction']}s")

    judge.validate(vector["value"])
    if "json" in vector:
        judge.validate(json.loads(vector["json"]))


@pytest.mark.parametrize("vector", named(read("bodies.json")))
def test_good_bodies_pass(vector: dict[str, Any]) -> None:
    shape = {"segment": "Segment", "completed": "Transcript"}[vector["type"]]

    validator("transcript", **{"$ref": f"#/$defs/{shape}"}).validate(vector["value"])


def test_the_schema_has_something_to_refuse() -> None:
    assert len(JUDGED) > 25


@pytest.mark.parametrize("vector", named(JUDGED))
def test_bad_messages_fail(vector: dict[str, Any]) -> None:
    assert not validator(f"{vector['socket']}.questions").is_valid(json.loads(vector["json"]))
