"""Each job that may be cut gets an open file for its samples. However the job ends, and wherever it was then, a daemon
at rest holds none of them open: each would keep its room on the disk, 115 MB for an hour of audio, and a descriptor."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon
from support.invariants import sound
from support.stage import ONE, PATIENT, QUICK, Script, Stage, staged
from support.wait import eventually
from support.wire import Answer, Wire

UNHURRIED = QUICK.replace('"1500ms"', '"20s"')
SLEEP: dict[str, Any] = {"do": "sleep", "s": 20.0}
BRIEF: dict[str, Any] = {"do": "sleep", "s": 1.0}
"""Long enough to be looked at, and well below the grace of who is told to stop."""

BEGUN: dict[str, Any] = {"do": "obey", "order": "begun"}
FAIL: dict[str, Any] = {"do": "fail", "code": "bad_audio"}
DIE: dict[str, Any] = {"do": "segfault"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged(UNHURRIED + PATIENT) as stage:
        with closing(Wire(stage.daemon.directory)) as wire:
            _run(wire, "first", [ONE], [[ONE], [ONE]])  # whatever is opened once is open now
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """A daemon at rest, which holds after the test what it held before."""
    shared.rest()
    assert _samples(shared.daemon) == []
    before = _open_files(shared.daemon)
    yield shared
    shared.rest()
    eventually(lambda: _samples(shared.daemon) == [], 5)
    eventually(lambda: _open_files(shared.daemon).total() <= before.total(), 5)
    sound(shared.daemon)


def _open_files(daemon: Daemon) -> Counter[str]:
    """Of the supervisor, by what they are."""
    found: Counter[str] = Counter()
    for path in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        try:
            found[str(path.readlink())] += 1
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def _samples(daemon: Daemon) -> list[str]:
    """Open files in the spool: with a name, or with none."""
    spool = str(daemon.root / "state" / "spool") + "/"
    return [name for name in _open_files(daemon).elements() if name.startswith(spool)]


def _submit(wire: Wire, job: str, script: Script, chunks: list[Script], **fields: Any) -> None:
    options = {"script": script, "chunks": [json.dumps(chunk) for chunk in chunks]}
    wire.send("submit", b"audio", job=job, options=options, reply="final", **fields)


def _run(wire: Wire, job: str, script: Script, chunks: list[Script], **fields: Any) -> Answer:
    _submit(wire, job, script, chunks, **fields)
    return wire.end_of(job)[0]


def _code(answer: Answer) -> str:
    return str(answer["fault"]["code"]) if answer["type"] == "failed" else "completed"


@pytest.fixture
def wire(stage: Stage) -> Iterator[Wire]:
    with closing(Wire(stage.daemon.directory)) as wire:
        yield wire


# --- while it is cut --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "chunks", "code"),
    [
        ([], [[ONE], [ONE]], "completed"),
        ([ONE], [], "completed"),
        ([FAIL], [[ONE], [ONE]], "bad_audio"),
        ([DIE], [[ONE], [ONE]], "poison"),
        ([], [[ONE], [FAIL], [ONE]], "bad_audio"),
        ([], [[ONE], [DIE], [ONE]], "poison"),
        ([], [[FAIL], [FAIL]], "bad_audio"),
    ],
    ids=["done", "not long", "cannot be cut", "dies of the cut", "a chunk fails", "a chunk kills", "all chunks fail"],
)
def test_an_end_of_each_kind_leaves_nothing_open(
    stage: Stage, wire: Wire, script: Script, chunks: list[Script], code: str
) -> None:
    for number in range(4):
        assert _code(_run(wire, f"{code}-{len(chunks)}-{len(script)}-{number}", script, chunks)) == code


@pytest.mark.parametrize(("pause", "deaths"), [(BRIEF, 0), (SLEEP, 2)], ids=["heeded", "killed"])
def test_who_cancels_while_it_is_cut_leaves_nothing_open(
    stage: Stage, wire: Wire, pause: dict[str, Any], deaths: int
) -> None:
    with closing(Wire(stage.daemon.directory)) as other:
        for number in range(2):
            job = f"cancelled-{pause['s']}-{number}"
            stage.order("begun", [pause])
            _submit(wire, job, [BEGUN], [[ONE], [ONE]])
            eventually(lambda: stage.obeyed("begun"))
            assert _samples(stage.daemon), "there was a file to let go of"
            other.ask("cancel", job=job)
            assert _code(wire.end_of(job)[0]) == "cancelled"
    assert stage.deaths().total() == deaths


def test_who_cancels_while_chunks_are_done_leaves_nothing_open(stage: Stage, wire: Wire) -> None:
    with closing(Wire(stage.daemon.directory)) as other:
        for number in range(2):
            stage.order("begun", [BRIEF])
            _submit(wire, f"chunks-{number}", [], [[ONE], [BEGUN, ONE], [BRIEF], [BRIEF]])
            eventually(lambda: stage.obeyed("begun"))
            other.ask("cancel", job=f"chunks-{number}")
            assert _code(wire.end_of(f"chunks-{number}")[0]) == "cancelled"


@pytest.mark.parametrize("where", ["cut", "chunks"])
def test_a_deadline_leaves_nothing_open(stage: Stage, wire: Wire, where: str) -> None:
    script, chunks = ([SLEEP], [[ONE]]) if where == "cut" else ([], [[ONE], [SLEEP], [SLEEP]])
    for number in range(2):
        assert _code(_run(wire, f"late-{where}-{number}", script, chunks, deadline=0.3)) == "deadline"


def test_a_worker_that_is_told_to_leave_meanwhile_leaves_nothing_open(stage: Stage, wire: Wire) -> None:
    before = _recycled(stage)
    stage.order("begun", [BRIEF])
    _submit(wire, "recycled", [BEGUN], [[ONE], [ONE]])
    eventually(lambda: stage.obeyed("begun"))
    stage.daemon.ask("recycle", pool="default")
    assert _code(wire.end_of("recycled")[0]) == "completed"
    eventually(lambda: _recycled(stage) == before + 2)


def _recycled(stage: Stage) -> int:
    """How many were told to leave, and have left."""
    return int(stage.daemon.ask("stats")["recycles"].get("requested", 0))


def test_many_at_once_leave_nothing_open(stage: Stage, wire: Wire) -> None:
    ends = [[ONE], [FAIL], [{"do": "sleep", "s": 0.2}, ONE], [ONE]]
    for number in range(24):
        _submit(wire, f"many-{number}", [FAIL] if number % 6 == 5 else [], [[ONE], ends[number % 4]])
    told = Counter(_code(wire.end_of()[0]) for _ in range(24))
    assert told == {"completed": told["completed"], "bad_audio": told["bad_audio"]}
    assert told["bad_audio"] == len([n for n in range(24) if n % 6 == 5 or n % 4 == 1])
