"""``PROTOCOL.md`` says what the code does: every message, field, default, bound, fault and topic, and no others."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from msgspec import inspect

from asrd_protocol import VERSION, link, messages, model
from asrd_protocol.codec import MAX_HEADER
from asrd_protocol.faults import BLAME, Blame, Code, Fault
from asrd_protocol.schema import UNIONS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "protocol" / "PROTOCOL.md").read_text(encoding="utf-8")

Row = dict[str, str]
Kind = type[msgspec.Struct]


def headings() -> list[tuple[int, str, int]]:
    """Level, text and position of every heading."""
    bare = re.sub(r"^```.*?^```$", lambda m: " " * len(m.group()), TEXT, flags=re.S | re.M)
    return [(len(m[1]), m[2], m.start()) for m in re.finditer(r"^(#+) (.+)$", bare, flags=re.M)]


def section(heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    found = headings()
    (place,) = [i for i, (_, text, _) in enumerate(found) if text == heading]
    level, _, start = found[place]
    end = next((position for other, _, position in found[place + 1 :] if other <= level), len(TEXT))
    return TEXT[start:end]


def tables(text: str) -> Iterator[list[Row]]:
    """The tables in a piece of text."""
    for block in re.findall(r"(?:^\|.*\n)+", text + "\n", flags=re.M):
        head, _, *rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines()]
        yield [dict(zip(head, row, strict=True)) for row in rows]


def fields(heading: str) -> dict[str, Row]:
    """The rows of the field table below a heading, by the field's name."""
    rows = [row for table in tables(section(heading)) for row in table if "Default" in row]
    return {row["Field"].strip("`"): row for row in rows}


def tag(kind: Kind) -> str:
    """The name on the wire."""
    return str(kind.__struct_config__.tag)


def on_sockets() -> list[Kind]:
    """Every message of the two sockets, once."""
    return list(dict.fromkeys(kind for (socket, _), u in UNIONS.items() if socket != "link" for kind in u.__args__))


SHAPES = [
    Fault,
    *(model.Transcript, model.Segment, model.Word, model.Run, model.Timings, model.Work),
    *(messages.JobCount, messages.WorkerCount, messages.WorkerReport, messages.JobReport, messages.PoolReport),
]
DOCUMENTED: dict[str, Kind] = {
    **{f"`{tag(kind)}`": kind for kind in on_sockets()},
    "`file`": messages.MediaFile,
    "`pcm`": messages.Pcm,
    **{f"The shape `{kind.__name__}`": kind for kind in SHAPES},
}
EVERYWHERE = {"type", "v", "ref"}


def told(kind: Kind) -> set[str]:
    """The names that a reader needs besides those in every header."""
    names = set(kind.__struct_encode_fields__) - EVERYWHERE
    return names | {"kind"} if kind.__struct_config__.tag_field == "kind" else names


@pytest.mark.parametrize("heading", DOCUMENTED)
def test_the_table_has_each_field_and_no_other(heading: str) -> None:
    assert set(fields(heading)) == told(DOCUMENTED[heading])


@pytest.mark.parametrize("heading", DOCUMENTED)
def test_the_table_has_the_defaults_of_the_code(heading: str) -> None:
    written = fields(heading)
    for field in msgspec.structs.fields(DOCUMENTED[heading]):
        if field.encode_name in EVERYWHERE:
            continue
        default = written[field.encode_name]["Default"]
        if field.required:
            assert default == "required", field.name
        else:
            value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            assert json.loads(default.strip("`")) == json.loads(msgspec.json.encode(value)), field.name


@pytest.mark.parametrize("heading", DOCUMENTED)
def test_the_table_has_types_and_bounds_of_the_code(heading: str) -> None:
    written = fields(heading)
    for field in inspect.type_info(DOCUMENTED[heading]).fields:
        if field.encode_name not in EVERYWHERE:
            said = written[field.encode_name]["Type"]
            missing = [word for word in words_for(field.type) if word not in said]
            assert not missing, f"{field.name}: {missing} is not in {said!r}"


def words_for(kind: inspect.Type) -> list[str]:
    """What the column for the type has to say."""
    match kind:
        case inspect.UnionType(types=types) if not any(isinstance(t, inspect.StructType) for t in types):
            return [word for part in types for word in words_for(part)]
        case inspect.NoneType():
            return ["null"]
        case inspect.LiteralType(values=values):
            return [f'"{value}"' for value in values if value not in messages.Status.__args__]
        case inspect.StrType(pattern=str(pattern)):
            return ["job id" if "64" in pattern else "pool name"]
        case inspect.StrType(max_length=most):
            return [] if most is None else ["string", str(most)]
        case inspect.IntType(ge=least, le=most) | inspect.FloatType(ge=least, le=most):
            return [str(bound) for bound in (least, most) if bound is not None]
        case inspect.BoolType():
            return ["truth value"]
        case inspect.ListType():
            return ["list"]
        case inspect.DictType():
            return ["map"]
        case _:
            return []


def test_no_message_is_described_that_does_not_exist() -> None:
    described = {text for level, text, _ in headings() if level == 3 and ("`" in text)}

    assert described == set(DOCUMENTED)


def test_a_word_on_every_field_that_all_headers_have() -> None:
    rows = fields("Headers")

    assert set(rows) == EVERYWHERE
    assert rows["v"]["Default"] == f"`{VERSION}`"
    assert "64" in rows["ref"]["Type"]


def test_every_message_of_the_private_link_has_its_row() -> None:
    (table,) = tables(section("The private link"))
    kinds = {tag(kind): kind for union in (link.ToWorker, link.FromWorker) for kind in union.__args__}

    assert {row["Message"].strip("`"): re.findall(r"`(\w+)`", row["Fields"]) for row in table} == {
        name: list(kind.__struct_encode_fields__) for name, kind in kinds.items()
    }


def test_every_fault_has_its_row_with_blame_and_retry() -> None:
    rows = [row for table in tables(section("Faults")) for row in table if "Comes in" in row]

    assert {row["Code"].strip("`"): (row["Blame"], row["Retry"]) for row in rows} == {
        str(code): (str(BLAME[code]), "yes" if Fault.of(code, "").retry else "no") for code in Code
    }
    assert {row["Blame"].strip("`") for t in tables(section("Faults")) for row in t if "A client" in row} == set(Blame)


def test_every_status_has_its_row() -> None:
    (table,) = tables(section("Status"))

    assert {row["Word"].strip("`") for row in table} == set(messages.Status.__args__)


def test_every_topic_that_the_core_announces_is_described() -> None:
    core = ROOT / "supervisor" / "asrd_supervisor" / "core"
    source = "".join(path.read_text(encoding="utf-8") for path in core.glob("*.py"))
    announced = set(re.findall(r'"((?:worker|job|daemon)\.[a-z_]+)"', source))

    assert announced <= set(re.findall(r"`([a-z]+\.[a-z_]+)`", section("Events socket")))


def test_the_limits_are_those_of_the_code() -> None:
    assert str(MAX_HEADER) in section("Limits")


def test_the_folders_are_described_as_they_are() -> None:
    named = set(re.findall(r"`(\w+\.json)`", section("Vectors and schema")))

    assert named == {path.name for path in (ROOT / "protocol" / "vectors").iterdir()}


def test_links_within_the_document_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text, _ in headings()}

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


# --- the example ------------------------------------------------------------------------------------------------------


def answer_once(socket: "zmq.Socket[bytes]", frames: list[bytes], heard: list[list[bytes]]) -> None:
    """Play the daemon for one question."""
    identity, *rest = socket.recv_multipart()
    heard.append(rest)
    socket.send_multipart([identity, b"", *frames])


def run_example(directory: Path, frames: list[bytes]) -> tuple[subprocess.CompletedProcess[str], list[list[bytes]]]:
    """The Python example against a ROUTER socket that answers with these frames; what it said and was asked."""
    (example,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.S | re.M)
    (directory / "talk.wav").write_bytes(b"RIFF")
    heard: list[list[bytes]] = []
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.RCVTIMEO, 30_000)
        socket.bind(f"ipc://{directory}/jobs.sock")
        daemon = threading.Thread(target=answer_once, args=(socket, frames, heard))
        daemon.start()
        done = subprocess.run(
            [sys.executable, "-c", example, str(directory / "talk.wav")],
            env={"ASRD_RUNTIME_DIR": str(directory)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        daemon.join()
    return done, heard


def vector(file: str, name: str) -> dict[str, Any]:
    """One golden vector."""
    vectors = json.loads((ROOT / "protocol" / "vectors" / file).read_text(encoding="utf-8"))
    return next(v for v in vectors if v["name"] == name)


def test_the_example_prints_the_text(tmp_path: Path) -> None:
    body = vector("bodies.json", "transcript")
    answer = vector("jobs.json", "completed")["json"].encode()
    done, heard = run_example(tmp_path, [answer, body["json"].encode()])

    assert (done.returncode, done.stdout, done.stderr) == (0, body["value"]["text"] + "\n", "")
    ((delimiter, question, audio),) = heard
    assert (delimiter, audio) == (b"", b"RIFF")
    assert isinstance(msgspec.json.decode(question, type=messages.JobQuestion), messages.Submit)


def test_the_example_says_why_not(tmp_path: Path) -> None:
    answer = vector("jobs.json", "failed, the caller's blame")
    done, _ = run_example(tmp_path, [answer["json"].encode()])

    assert (done.returncode, done.stdout, done.stderr) == (1, "", answer["value"]["fault"]["message"] + "\n")
