"""Faults of jobs and of those who send them, by their rows in the fault list.

The rows that are not here are elsewhere: see README.md beside this file.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
import zmq

from support.daemon import Daemon, running
from support.invariants import MIB, WINDOW, Books, House, tell
from support.stage import ONE, PATIENT, QUICK, TWO, UNHURRIED, Stage, staged
from support.wait import eventually
from support.wire import Wire

Script = list[dict[str, Any]]


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged(UNHURRIED + PATIENT) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """Nothing is left over when the test is done."""
    yield shared.rest()
    kept = [
        job["job"] for job in shared.rest().daemon.ask("jobs", limit=10_000, states=["failed", "quarantined"])["jobs"]
    ]
    House(shared.daemon).check(kept=kept)


# --- 18: poison -------------------------------------------------------------------------------------------------------

GOOD: Script = [{"do": "sleep", "s": 0.004}, ONE]
POISON: Script = [ONE, {"do": "segfault"}]


def test_row_18_poison_among_good_jobs() -> None:
    with staged(UNHURRIED + PATIENT, workers=3) as stage:
        daemon = stage.daemon
        house, calm = House.warmed(daemon), _rate(daemon, {f"calm-{number}": GOOD for number in range(1000)})
        scripts = {f"good-{number}": GOOD for number in range(1000)}
        names = list(scripts)
        for number in range(5):
            scripts[f"poison-{number}"] = POISON
            names.insert(200 * number + 100, f"poison-{number}")
        mixed = _rate(daemon, {name: scripts[name] for name in names})
        tell(f"{calm:.0f} jobs/s calm, {mixed:.0f} jobs/s with poison: {mixed / calm:.0%}")
        assert mixed > 0.1 * calm, "0.6 on a machine of its own; another test may be at work in one of the two"
        assert stage.rest().daemon.ask("stats")["deaths"] == {"SIGSEGV": 10}
        house.check(kept=[name for name in names if name.startswith("poison")])


def _rate(daemon: Daemon, scripts: dict[str, Script]) -> float:
    """Jobs a second; those that are good are all done at the first try, unless a death took them along."""
    books = Books(daemon)
    begun = time.monotonic()
    books.submit(scripts, scripts.values())
    poison = sum(name.startswith("poison") for name in scripts)
    wanted = {"completed": len(scripts) - poison} | ({"quarantined": poison} if poison else {})
    eventually(lambda: not sum(daemon.ask("stats")["jobs"][state] for state in ("queued", "running")), 60)
    took = time.monotonic() - begun
    assert books.close() == wanted
    for job, end in books.ends.items():
        if job.startswith("poison"):
            assert (end.about["fault"]["code"], end.about["attempts"]) == ("poison", 2)
        else:
            assert end.about["run"]["attempts"] == 1
    return len(scripts) / took


# --- 19, 20: workers that lie -----------------------------------------------------------------------------------------

ROGUE = """
import os, sys, time
import msgspec, zmq
from asrd_protocol import VERSION, link
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work

how, *given = sys.argv[1:]
given = dict(zip(given[::2], given[1::2]))
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.IDENTITY, given["--seat"].encode())
socket.connect(given["--link"])

def say(message, *bodies):
    socket.send_multipart([msgspec.msgpack.encode(message), *bodies])

def hear(kind):
    while not isinstance(message := link.to_worker.decode(socket.recv()), kind):
        if isinstance(message, link.StopWorker):
            sys.exit(0)
    return message

say(link.Hello(os.getpid(), VERSION))
hear(link.Load)
say(link.Ready(0.0, 0.0, link.Offers(), link.CanaryRun([0.01], "canary"), 0))
at = hear(link.RunStep).attempt
stolen = b'{"text":"stolen"}'
match how:
    case "random":
        socket.send_multipart([os.urandom(200), os.urandom(200)])
    case "another":
        for other in {*range(at - 20, at + 20)} - {at}:
            say(link.StepDone(other, Timings(), Work(), "en", 0), stolen)
    case "huge":
        socket.send_multipart([bytes(64 << 20)])
    case "frames":
        say(link.StepDone(at, Timings(), Work(), "en", 0), *[stolen] * 1000)
    case "no body":
        say(link.StepDone(at, Timings(), Work(), "en", 0))
    case "deep":
        socket.send_multipart([b"\\x91" * 500_000])
    case "no number":
        for number in (float("nan"), float("inf"), -1.0, 1e308):
            say(link.StepProgress(at, number, number))
        say(link.StepProgress(at, 0.5, float("nan")))
    case "segments":
        for index in (7, -1, 2**62, 0, 0):
            say(link.StepSegment(at, index, float("nan")), b"{}")
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def lied_to() -> Iterator[Stage]:
    with staged(QUICK + PATIENT) as stage:
        yield stage


LIES = {
    "random": "breach: an unreadable message",
    "another": "breach: it spoke of a step that it does not have",
    "huge": "breach: an unreadable message",
    "frames": "breach: too many frames",
    "no body": "breach: a result without a body",
    "deep": "breach: an unreadable message",
    "no number": "b",
    "segments": "b",
}


@pytest.mark.parametrize(("how", "death"), LIES.items(), ids=LIES.keys())
def test_row_19_and_20_a_worker_that_lies_is_killed_and_its_job_is_done_by_another(
    lied_to: Stage, tmp_path: Path, how: str, death: str
) -> None:
    daemon = lied_to.rest().daemon
    house, books = House(daemon), Books(daemon)
    rogue = _seat_a_rogue(lied_to, tmp_path, how)
    before = house.rss()
    scripts = [[{"do": "sleep", "s": 0.1}, {"do": "speak", "text": f" {number}"}] for number in range(6)]
    jobs = [f"{how.replace(' ', '-')}-{number}" for number in range(6)]
    wire = Wire(daemon.directory)
    for job, script in zip(jobs, scripts, strict=True):
        wire.send("submit", b"audio", job=job, options={"script": script})
    told = [wire.receive()]
    while sum(answer["type"] == "completed" for answer, _ in told) < 6:
        told.append(wire.receive())
        assert told[-1][0]["type"] != "failed"
    wire.close()
    books.accept(*jobs)
    assert books.close() == {"completed": 6}
    for end in books.ends.values():
        assert json.loads(end.body)["text"] == end.about["job"].rpartition("-")[2], "each has its own result"
    assert sorted(end.about["run"]["attempts"] for end in books.ends.values()) == [1, 1, 1, 1, 1, 2]
    assert all(end.about["run"]["seat"] != rogue for end in books.ends.values())
    (name,) = lied_to.deaths()
    assert name.startswith(death), name
    assert house.rss() - before < 32 * MIB
    house.check()
    books.release()
    _only_numbers(told)


def _seat_a_rogue(stage: Stage, place: Path, how: str) -> str:
    """Replace one worker by a process that only looks like one; its seat."""
    (place / "rogue.py").write_text(ROGUE)
    old = stage.daemon.workers()
    stage.order("start", f"shift 2; exec '{sys.executable}' -P '{place}/rogue.py' '{how}' \"$@\"")
    stage.daemon.ask("recycle", seat=old[0]["seat"])
    eventually(lambda: old[0]["seat"] not in [worker["seat"] for worker in stage.daemon.workers()])
    assert stage.obeyed("start")
    new = eventually(lambda: [w for w in stage.daemon.workers() if w["state"] == "idle" and w["jobs_done"] == 0])
    return next(worker["seat"] for worker in new if worker["seat"] not in [worker["seat"] for worker in old])


def _only_numbers(told: list[tuple[dict[str, Any], bytes]]) -> None:
    """Nothing that is no number comes to a client, and segments come in their order."""
    expected: dict[tuple[str, int], int] = {}
    for answer, _ in told:
        if answer["type"] == "progress":
            assert 0 <= answer["done"] <= 1e6 and 0 <= answer["duration"] <= 1e6, answer
        elif answer["type"] == "segment":
            place = (answer["job"], answer.get("attempt", 1))
            assert answer["index"] == expected.get(place, 0), answer
            expected[place] = answer["index"] + 1


# --- 21, 22: clients --------------------------------------------------------------------------------------------------


def test_row_21_clients_that_leave_before_the_end_or_before_the_result_find_it_later(stage: Stage) -> None:
    daemon, books = stage.daemon, Books(stage.daemon)
    for number in range(60):
        wire, job = Wire(daemon.directory), f"left-{number}"
        wire.send("submit", b"audio", job=job, options={"script": [ONE, {"do": "sleep", "s": 0.01}, TWO]})
        until = random.Random(number).choice(["accepted", "progress", "segment", "completed"])
        while wire.receive()[0]["type"] != until:
            pass
        wire.close()
        books.accept(job)
    assert books.close() == {"completed": 60}
    assert {json.loads(end.body)["text"] for end in books.ends.values()} == {"one two"}
    books.release()


def test_row_22_one_job_that_ten_clients_submit_at_once_is_run_once(stage: Stage) -> None:
    daemon, books = stage.daemon, Books(stage.daemon)
    before = daemon.ask("stats")["jobs"]["completed"]
    told: list[tuple[dict[str, Any], bytes]] = []

    def submit() -> None:
        wire = Wire(daemon.directory)
        for number in range(20):
            script = [{"do": "sleep", "s": 0.005}, {"do": "speak", "text": f" {number}"}]
            wire.send("submit", b"audio" * 9999, job=f"same-{number}", options={"script": script}, reply="final")
        told.extend(wire.end_of() for _ in range(20))
        wire.close()

    clients = [Thread(target=submit) for _ in range(10)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(told) == 200
    for answer, body in told:
        books.accept(answer["job"])
        books.note(answer, body)
    assert books.close() == {"completed": 20}
    assert daemon.ask("stats")["jobs"]["completed"] == before + 20, "each was run once"
    wire = daemon.wire()
    for number in range(20):
        answer, _ = wire.run(b"other audio", job=f"same-{number}", options={"script": []})
        assert (answer["type"], answer["fault"]["code"]) == ("refused", "id_conflict")
    assert books.close() == {"completed": 20}
    books.release()


# --- 45: a client that does not read ----------------------------------------------------------------------------------

LARGE: Script = [{"do": "speak", "text": "\x01" * 85_000}]
"""A result of 1 MiB: each byte of the text is six in JSON, and comes twice."""


@pytest.fixture(scope="module")
def unread() -> Iterator[tuple[Daemon, Books, int]]:
    """A daemon that has done 150 jobs for a client that does not read, and by how much it has grown."""
    with staged(UNHURRIED + PATIENT) as stage:
        daemon, context = stage.daemon, zmq.Context[Any]()
        books, house = Books(daemon), House(daemon)
        lazy = context.socket(zmq.DEALER)
        lazy.setsockopt(zmq.RCVHWM, 1)
        lazy.setsockopt(zmq.RCVBUF, 4096)
        lazy.connect(f"ipc://{daemon.directory}/jobs.sock")
        for number in range(150):
            submit = {"type": "submit", "job": f"unread-{number}", "reply": "final", "options": {"script": LARGE}}
            lazy.send_multipart([msgspec.msgpack.encode(submit), b"audio"])
            books.accept(f"unread-{number}")
        eventually(lambda: daemon.ask("stats")["jobs"]["completed"] == 150, 60)
        yield daemon, books, house.grown()
        context.destroy(linger=0)
        books.release()


def test_row_45_results_that_a_client_does_not_read_wait_to_be_fetched(unread: tuple[Daemon, Books, int]) -> None:
    daemon, books, _ = unread
    assert books.close(window=4) == {"completed": 150}
    assert min(len(end.body) for end in books.ends.values()) > 1_000_000
    assert daemon.wire().play(ONE)[0]["type"] == "completed", "others are served"
    books.accept(daemon.ask("jobs", limit=1)["jobs"][0]["job"])


def test_row_45_results_that_a_client_does_not_read_are_not_kept_in_memory(unread: tuple[Daemon, Books, int]) -> None:
    grown = unread[2]
    tell(f"the supervisor grew by {grown / MIB:.0f} MiB")
    assert grown < 64 * MIB


# --- 46: a long queue -------------------------------------------------------------------------------------------------

MANY = 10_000
SIZE = int(os.environ.get("ASRD_QUEUED_BYTES", "32000"))
"""Of each of them; all together are more than the memory that the daemon may take."""


@pytest.mark.timeout(600)
def test_row_46_ten_thousand_jobs_wait_on_the_disk() -> None:
    config = '[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 1\n'
    with running("--durability", "process", config=config) as daemon:
        house, wire = House(daemon.ready()), daemon.wire()
        wire.run(b"audio", options={"script": [ONE]})
        wire.send("submit", b"audio", job="first", reply="accepted", options={"script": [{"do": "sleep", "s": 600}]})
        assert wire.receive()[0]["type"] == "accepted"
        eventually(lambda: daemon.ask("stats")["jobs"]["running"] == 1)
        rate = _fill(daemon, MANY)
        peak = max(house.rss(), _peak(daemon))
        lag = house.lag()
        tell(f"{rate:.0f} jobs/s accepted, supervisor at most {peak / MIB:.0f} MiB, loop held up {lag * 1000:.0f} ms")
        refused = wire.ask("submit", bytes(SIZE), job="one-more", options={"script": [ONE]})
        assert (refused["type"], refused["fault"]["code"], refused["fault"]["retry"]) == ("refused", "overloaded", True)
        assert refused["fault"]["retry_after"] > 0
        assert house.rss() < 150 * MIB
        assert lag < 2
        assert daemon.wire().ask("fetch", job="queued-9999")["type"] == "pending"
        _recover(daemon)


def _fill(daemon: Daemon, count: int) -> float:
    """So many jobs, all of them accepted; jobs a second."""
    wire, body, begun = Wire(daemon.directory), random.Random(46).randbytes(SIZE), time.monotonic()
    for number in range(count + WINDOW):
        if number < count:
            wire.send("submit", body, job=f"queued-{number}", reply="accepted", options={"script": [ONE]})
        if number >= WINDOW:
            answer, _ = wire.receive()
            assert answer["type"] == "accepted", answer
    wire.close()
    assert daemon.ask("stats")["jobs"]["queued"] == count
    return count / (time.monotonic() - begun)


def _peak(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def _recover(daemon: Daemon) -> None:
    """The next daemon has all of them."""
    daemon.kill()
    eventually(lambda: not daemon.leftovers(), 10)
    begun = time.monotonic()
    daemon.restart()
    daemon.ready(timeout=180)
    tell(f"recovered in {time.monotonic() - begun:.1f} s")
    jobs = daemon.ask("stats")["jobs"]
    assert jobs["queued"] + jobs["running"] + jobs["completed"] == MANY + 1
    assert daemon.ask("stop", now=True)["type"] == "done"
    assert daemon.process.wait(30) == 0


# --- 55: cancels ------------------------------------------------------------------------------------------------------

KINDS: dict[str, Script] = {
    "quick": [ONE],
    "finishing": [{"do": "sleep", "s": 0.01}, ONE],
    "slow": [ONE, {"do": "sleep", "s": 0.02}] * 500,
    "deaf": [ONE, {"do": "hang", "how": "c"}],
}
GRACE = 3.0
"""Seconds from a cancel to the signal."""


def test_row_55_a_thousand_cancels_at_any_moment_end_each_job_once_and_soon(stage: Stage) -> None:
    daemon, chance, books = stage.daemon, random.Random(55), Books(stage.daemon)
    asker, canceller = Wire(daemon.directory), Wire(daemon.directory)
    jobs: list[str] = []
    slowest, unknown, cancels = 0.0, 0, 0
    while cancels < 1000:
        for _ in range(8):
            kind = chance.choices(list(KINDS), [50, 25, 24, 1])[0]
            jobs.append(f"{kind}-{len(jobs)}")
            asker.send("submit", b"audio", job=jobs[-1], options={"script": KINDS[kind]}, reply="accepted")
            books.accept(asker.receive()[0]["job"])
        running = [worker["job"] for worker in daemon.workers() if worker.get("job")]
        targets = [*running, *running, *jobs[-8:], *chance.choices(jobs, k=6), "nobody", f"nobody-{cancels}"]
        chance.shuffle(targets)
        begun = time.monotonic()
        for number, job in enumerate(targets):
            canceller.send("cancel", job=job, ref=str(number))
        refs = set()
        for _ in targets:
            answer, body = canceller.receive()
            slowest = max(slowest, time.monotonic() - begun)
            refs.add(answer["ref"])
            if answer["type"] == "refused":
                assert (answer["fault"]["code"], answer["job"][:6]) == ("unknown_job", "nobody")
                unknown += 1
            else:
                books.note(answer, body)
        assert refs == set(map(str, range(len(targets))))
        cancels += len(targets)
    asker.close()
    canceller.close()
    ended = books.close()
    tell(f"{cancels} cancels of {len(jobs)} jobs, {dict(ended)}, {unknown} unknown; the slowest took {slowest:.2f} s")
    assert set(ended) == {"completed", "cancelled"} and min(ended.values()) > 10
    assert unknown >= 2 * cancels // 30
    assert slowest < GRACE + 5, "the stack dump takes 0.3 s; the rest is for a machine that has other work"
    for job, end in books.ends.items():
        assert end.type == "completed" or end.about["fault"]["code"] == "cancelled"
        assert end.type == "failed" or not job.startswith(("slow", "deaf"))
    books.release()
