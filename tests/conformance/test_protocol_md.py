"""``PROTOCOL.md`` says what the code does: every message, field, default, bound, fault and topic, and no others."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import zmq
from msgspec import inspect

from asrd_protocol import VERSION, link, messages, model, sheaf
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Blame, Code, Fault, Severity
from asrd_protocol.schema import UNIONS
from conformance.page import ROOT, TEXT, fields, headings, section, tables

Kind = type[msgspec.Struct]


def tag(kind: Kind) -> str:
    """The name on the wire."""
    return str(kind.__struct_config__.tag)


def on_sockets() -> list[Kind]:
    """Every message of the two sockets, once."""
    return list(dict.fromkeys(kind for (socket, _), u in UNIONS.items() if socket != "link" for kind in u.__args__))


SHAPES = [
    Fault,
    *(messages.Retries, messages.Speakers),
    *(model.Transcript, model.Segment, model.Word, model.MissingStretch, model.Diarization, model.Turn),
    *(model.Run, model.Timings, model.Work),
    *(messages.JobCount, messages.WorkerCount, messages.WorkerReport, messages.JobReport, messages.PoolReport),
    *(messages.RecycleReport, messages.Insight),
]
DOCUMENTED: dict[str, Kind] = {
    **{f"`{tag(kind)}`": kind for kind in on_sockets()},
    "`file`": messages.MediaFile,
    "`pcm`": messages.Pcm,
    "`path`": messages.LocalFile,
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
        elif field.default is msgspec.UNSET:
            assert default == "absent", field.name
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


WORDS: dict[str, tuple[str, ...]] = {
    "Status": get_args(messages.PoolStatus),
    "Condition": get_args(messages.Condition),
}
"""Closed lists of words that have a table of their own, by its heading; a field may do with some of them."""

PATTERNS = {"{1,64}": "job id", "{1,32}": "pool name", "^/": "absolute path"}
"""What a pattern is called, by a part of it."""


def words_for(kind: inspect.Type) -> list[str]:
    """What the column for the type has to say."""
    match kind:
        case inspect.UnionType(types=types):
            return [word for part in types for word in words_for(part)]
        case inspect.StructType(cls=part):
            return [f"`{tag(part)}`" if part.__struct_config__.tag_field == "kind" else f"`{part.__name__}`"]
        case inspect.NoneType():
            return ["null"]
        case inspect.LiteralType(values=values):
            own = [heading for heading, words in WORDS.items() if set(values) <= set(words)]
            return [f"(#{heading.lower()})" for heading in own] or [f'"{value}"' for value in values]
        case inspect.StrType(pattern=str(pattern), max_length=most):
            (name,) = [name for part, name in PATTERNS.items() if part in pattern]
            return [name, *([] if most is None else [str(most)])]
        case inspect.StrType(max_length=most):
            return [] if most is None else ["string", str(most)]
        case inspect.IntType(ge=least, le=most):
            return ["integer", *(str(bound) for bound in (least, most) if bound is not None)]
        case inspect.FloatType(ge=least, gt=above, le=most):
            bounds = [str(bound) for bound in (least, most) if bound is not None]
            return bounds if above is None else [*bounds, f"above {above}"]
        case inspect.BoolType():
            return ["truth value"]
        case inspect.ListType(item_type=item):
            return ["list", *words_for(item)]
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
    kinds = {tag(kind): kind for union in (link.ToWorker, link.FromWorker) for kind in union.__args__}

    assert on_the_link("Message") == {name: list(kind.__struct_encode_fields__) for name, kind in kinds.items()}


def test_every_list_within_a_message_of_the_private_link_has_its_row() -> None:
    kinds = [link.Chunking, link.Cut, link.Offers, link.CanaryRun, sheaf.Sheaf, sheaf.Part]

    assert on_the_link("List") == {kind.__name__: list(kind.__struct_encode_fields__) for kind in kinds}


def on_the_link(column: str) -> dict[str, list[str]]:
    """The fields of what the private link's table with such a column describes, by name and in order."""
    (table,) = [table for table in tables(section("The private link")) if column in table[0]]
    return {row[column].strip("`"): re.findall(r"`(\w+)`", row["Fields"]) for row in table}


def test_every_fault_has_its_row_with_what_follows_from_its_code() -> None:
    rows = [row for table in tables(section("Faults")) for row in table if "Comes in" in row]
    faults = [Fault.of(code, "") for code in Code]

    assert {row["Code"].strip("`"): (row["Blame"], row["Retry"], row["Severity"]) for row in rows} == {
        str(fault.code): (str(fault.blame), "yes" if fault.retry else "no", str(fault.severity)) for fault in faults
    }
    assert len(rows) == len(faults)


@pytest.mark.parametrize(("column", "kind"), [("Blame", Blame), ("Severity", Severity)])
def test_every_word_of_a_fault_has_its_row(column: str, kind: type[Blame | Severity]) -> None:
    said = [
        row[column].strip("`")
        for table in tables(section("Faults"))
        for row in table
        if "Code" not in row and column in row
    ]

    assert said == list(kind)
    assert kind is Blame or set(re.findall(r"`(\w+)`", fields("The shape `Fault`")["severity"]["Meaning"])) == set(kind)


def test_every_exit_code_has_its_row() -> None:
    (table,) = tables(section("Exit codes"))

    assert [(int(row["Code"]), row["Name"].strip("`")) for row in table] == [(int(code), code.name) for code in Exit]


@pytest.mark.parametrize("socket", ["jobs", "control"])
def test_every_question_says_what_it_is_answered_by(socket: str) -> None:
    place, cells = ("The life of a job", "Question") if socket == "jobs" else ("Control socket", "Question")
    rows = [row for table in tables(section(place)) for row in table if cells in row]
    asked = {name for row in rows for name in re.findall(r"`(\w+)`", row[cells])}
    answered = {name for row in rows for cell in list(row)[1:] for name in re.findall(r"`(\w+)`", row[cell])}

    assert {tag(kind) for kind in UNIONS[socket, "question"].__args__} <= asked
    assert {tag(kind) for kind in UNIONS[socket, "answer"].__args__} - {"refused"} <= answered


def test_the_jobs_socket_lists_what_is_said_on_it() -> None:
    intro = section("Jobs socket").partition(" has 1 to 64")[0]
    said = {tag(kind) for side in ("question", "answer") for kind in UNIONS["jobs", side].__args__}

    assert set(re.findall(r"\[`(\w+)`\]", intro)) == said


@pytest.mark.parametrize("heading", WORDS)
def test_every_word_of_a_closed_list_has_its_row(heading: str) -> None:
    (table,) = tables(section(heading))

    assert sorted(row["Word"].strip("`") for row in table) == sorted(WORDS[heading])


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
