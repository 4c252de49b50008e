"""The wire for other languages: JSON Schema of the messages, and the bytes of the golden vectors.

``python -m asrd_protocol.schema`` rewrites ``schema/`` and ``vectors/`` beside this package in a checkout; run it after
a message has changed. The ``value`` of a vector is written by hand, and may leave out what has a default: that and the
encoded forms are filled in. ``variants.json`` and ``invalid.json`` are written by hand altogether.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from asrd_protocol import link, messages, model
from asrd_protocol.codec import Encoding, encode
from asrd_protocol.exits import Exit

ROOT = Path(__file__).resolve().parent.parent
"""The folder ``protocol`` of a checkout."""

UNIONS: dict[tuple[str, str], Any] = {
    ("jobs", "question"): messages.JobQuestion,
    ("jobs", "answer"): messages.JobAnswer,
    ("control", "question"): messages.ControlQuestion,
    ("control", "answer"): messages.ControlAnswer,
    ("link", "to_worker"): link.ToWorker,
    ("link", "from_worker"): link.FromWorker,
}
"""What may be said, by socket and direction."""

BODIES: dict[str, type[msgspec.Struct]] = {"segment": model.Segment, "completed": model.Transcript}
"""What the body is, by the type of the answer that it follows."""

MESSAGE_FILES = ("jobs.json", "control.json", "link.json")
"""The vectors of the messages; ``bodies.json``, ``variants.json`` and ``invalid.json`` are of other shapes."""

_TITLES: dict[str, tuple[str, Any]] = {
    "jobs.questions": ("What a client says on the jobs socket", messages.JobQuestion),
    "jobs.answers": ("What the daemon says on the jobs socket", messages.JobAnswer),
    "control.questions": ("What an operator says on the control socket", messages.ControlQuestion),
    "control.answers": ("What the daemon says on the control socket", messages.ControlAnswer),
    "transcript": ("The body of completed; its Segment is the body of segment", model.Transcript),
}


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One message as a value and as the exact header in both encodings."""

    name: str
    socket: str
    direction: str
    value: Any
    json: str = ""
    msgpack_hex: str = ""


class BodyVector(msgspec.Struct, frozen=True, kw_only=True):
    """One body as a value and as its exact JSON; ``type`` is that of the answer it follows."""

    name: str
    type: str
    value: Any
    json: str = ""


def schemas() -> dict[str, str]:
    """The text of every file in ``schema/``, by file name."""
    return {f"{name}.json": _schema(title, union) for name, (title, union) in _TITLES.items()}


def vectors(folder: Path = ROOT / "vectors") -> dict[str, str]:
    """The text that the files of golden vectors should have, by file name.

    Raises:
        msgspec.ValidationError: when a value is not the message that it says it is.
    """
    files = {name: _pretty([_message(v) for v in _read(folder / name, Vector)]) for name in MESSAGE_FILES}
    files["bodies.json"] = _pretty([_body(v) for v in _read(folder / "bodies.json", BodyVector)])
    return files


def main() -> Exit:
    """Rewrite both folders."""
    if not (ROOT / "vectors").is_dir():
        sys.stderr.write(f"{ROOT} is no checkout of asrd: there is no vectors/ in it\n")
        return Exit.USAGE
    for folder, files in (("schema", schemas()), ("vectors", vectors())):
        for name, text in files.items():
            (ROOT / folder / name).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{folder}/{name}\n")
    return Exit.OK


def _schema(title: str, union: Any) -> str:
    (top,), components = msgspec.json.schema_components([union], ref_template="#/$defs/{name}")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return _pretty({**head, **top, "$defs": components})


def _read(path: Path, kind: type[msgspec.Struct]) -> Any:
    return msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]


def _message(vector: Vector) -> Vector:
    message = msgspec.convert(vector.value, UNIONS[vector.socket, vector.direction])
    return msgspec.structs.replace(
        vector,
        value=msgspec.to_builtins(message),
        json=encode(message, Encoding.JSON).decode(),
        msgpack_hex=encode(message, Encoding.MSGPACK).hex(),
    )


def _body(vector: BodyVector) -> BodyVector:
    body = msgspec.convert(vector.value, BODIES[vector.type])
    return msgspec.structs.replace(vector, value=msgspec.to_builtins(body), json=encode(body, Encoding.JSON).decode())


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.exit(main())
