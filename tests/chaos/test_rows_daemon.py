"""Faults of the daemon itself and of the machine around it, by their rows in the fault list.

The rows that are not here are elsewhere: see README.md beside this file.
"""

import itertools
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from asrd_protocol.exits import Exit
from support.daemon import Daemon, running
from support.fuzz import connected
from support.invariants import MIB, Books, House, holding, stopped, tell
from support.stage import ONE, PATIENT, TWO, UNHURRIED, staged
from support.wait import eventually
from support.wire import Wire

ENDLESS: list[dict[str, Any]] = [ONE, {"do": "sleep", "s": 600}]
SHORT: list[dict[str, Any]] = [{"do": "sleep", "s": 0.3}, ONE]
QUICKLY = 'drain_timeout = "1s"\n[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 3\n'
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


# --- 33: the wall clock -----------------------------------------------------------------------------------------------

CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* The wall clock is as many seconds wrong as the file says; the others are right. */
static long wrong(void) {
    char said[32] = {0};
    int fd = open(getenv("ASRD_TEST_CLOCK"), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    if (read(fd, said, sizeof said - 1) < 0) said[0] = 0;
    close(fd);
    return atol(said);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    long done = syscall(SYS_clock_gettime, clock, at);
    if (!done && clock == CLOCK_REALTIME) at->tv_sec += wrong();
    return done;
}
"""


@pytest.fixture
def clock(tmp_path: Path) -> dict[str, str]:
    """The environment of a daemon whose wall clock is set by the file of that name in it."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler")
    (tmp_path / "clock.c").write_text(CLOCK)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(tmp_path / "clock.so"), str(tmp_path / "clock.c")]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "wrong").write_text("0")
    return {"LD_PRELOAD": str(tmp_path / "clock.so"), "ASRD_TEST_CLOCK": str(tmp_path / "wrong")}


def test_row_33_a_wall_clock_that_jumps_ends_nothing_and_loses_nothing(clock: dict[str, str]) -> None:
    with running("--engine", "scripted", "--workers", "2", environ=clock) as daemon:
        books = Books(daemon.ready())
        books.submit(["before"], [[ONE]])
        assert books.close() == {"completed": 1}
        books.submit(["running"], [[ONE, {"do": "sleep", "s": 1.5}, TWO]], deadline=60.0)
        for number, jump in enumerate(["3600", "-3600", "7200", "0"]):
            Path(clock["ASRD_TEST_CLOCK"]).write_text(jump)
            books.submit([f"after-{number}"], [[{"do": "sleep", "s": 0.1}, ONE]], deadline=60.0)
            if jump == "3600":
                assert daemon.ask("jobs", states=["completed"])["jobs"][0]["age_s"] > 3000, "the clock did jump"
        assert books.close() == {"completed": 6}
        assert {end.about["run"]["attempts"] for end in books.ends.values()} == {1}
        timings = [end.about["run"]["timings"]["total"] for end in books.ends.values()]
        assert min(timings) >= 0 and max(timings) < 60
        stats = daemon.ask("stats")
        assert (stats["deaths"], stats["retries"], stats["recycles"]) == ({}, 0, {})
        assert all(0 <= job["age_s"] < 10_000 for job in daemon.ask("jobs")["jobs"])


# --- 35, 36: starts and long lives ------------------------------------------------------------------------------------


def test_row_35_a_daemon_that_is_killed_while_it_starts_leaves_no_worker() -> None:
    chance = random.Random(35)
    with running("--engine", "scripted", "--workers", "3") as daemon:
        for _ in range(12):
            begun, delay = time.monotonic(), chance.uniform(0.1, 0.6)
            eventually(lambda begun=begun, delay=delay: time.monotonic() - begun > delay, step=0.005)
            daemon.kill()
            eventually(lambda: not daemon.processes(), 5)
            daemon.restart()
        daemon.ready()
        assert daemon.wire().play(ONE)[0]["type"] == "completed"


def test_row_36_after_many_jobs_and_many_workers_nothing_has_grown() -> None:
    config = '[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 2\n[pools.default.recycle]\nmax_jobs = 40\n'
    with running("--durability", "process", config=config) as daemon:
        _round(daemon.ready(), 0)
        house = House.warmed(daemon)
        sizes = []
        for number in range(1, 5):
            _round(daemon, number)
            sizes.append(house.rss())
        eventually(lambda: [worker["state"] for worker in daemon.workers()] == ["idle"] * 2, 20)
        recycles = daemon.ask("stats")["recycles"]["max_jobs"]
        tell(f"2000 jobs, {recycles} workers replaced, RSS {[round(size / MIB, 1) for size in sizes]} MiB")
        assert recycles >= 10
        house.check()
        assert sizes[-1] - sizes[0] < 10 * MIB


def _round(daemon: Daemon, number: int) -> None:
    books = Books(daemon)
    books.submit([f"{number}-{job}" for job in range(400)], itertools.repeat([ONE]))
    assert books.close() == {"completed": 400}
    books.release()


# --- 37, 38: the place ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["jobs.sock", "workers", "asrd.lock"])
def test_row_37_what_is_in_the_place_of_a_socket_and_cannot_be_replaced_is_named(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o750)
    if name == "workers":
        (tmp_path / name).write_text("")
    else:
        (tmp_path / name).mkdir()
    command = [sys.executable, "-P", "-m", "asrd_supervisor", "serve", "--engine", "scripted"]
    done = subprocess.run([*command, "--runtime-dir", str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert str(tmp_path) in done.stderr
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("how", ["bound", "removed"])
def test_row_38_a_daemon_whose_socket_is_not_its_own_any_more_does_not_go_on_as_if_it_were(how: str) -> None:
    with running("--engine", "scripted", "--workers", "1") as daemon:
        daemon.ready()
        foreign = zmq.Context[Any]()
        if how == "bound":
            intruder = foreign.socket(zmq.ROUTER)
            intruder.bind(f"ipc://{daemon.directory}/jobs.sock")
        else:
            (daemon.directory / "jobs.sock").unlink()
        try:
            assert daemon.process.wait(20) == Exit.TEMPFAIL
        finally:
            foreign.destroy(linger=0)
        assert '"level":"error"' in daemon.log.read_text(), "it is said, and not by silence"


# --- 39: the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["drain", "twice", "killed"])
def test_row_39_a_stop_under_load_loses_nothing(how: str) -> None:
    with running(config=QUICKLY) as daemon:
        books = Books(daemon.ready())
        books.submit(["endless"], [ENDLESS])
        books.submit([f"short-{number}" for number in range(22)], [SHORT] * 22)
        eventually(lambda: daemon.ask("stats")["jobs"]["running"] == 3)
        begun = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        if how != "drain":
            eventually(lambda: daemon.ask("health")["status"] == "draining")
            daemon.process.send_signal(signal.SIGTERM if how == "twice" else signal.SIGKILL)
        assert daemon.process.wait(15) == (-signal.SIGKILL if how == "killed" else 0)
        assert time.monotonic() - begun < 1 + 5 + 4
        eventually(lambda: not daemon.leftovers(), 5)
        daemon.restart()
        wire = daemon.ready().wire()
        assert daemon.ask("stats")["jobs"]["queued"] + daemon.ask("stats")["jobs"]["running"] >= 1
        wire.send("cancel", job="endless")
        assert wire.receive()[0]["fault"]["code"] == "cancelled"
        assert books.close() == {"completed": 22, "cancelled": 1}
        assert {end.about["run"]["attempts"] for end in books.ends.values() if end.type == "completed"} <= {1, 2}


# --- 47: connections --------------------------------------------------------------------------------------------------


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process, and the daemon that it starts, may open many files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 8192:
        pytest.skip("too few files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_row_47_two_thousand_silent_connections_and_a_crowd_that_comes_and_goes_harm_nobody() -> None:
    with running("--engine", "scripted", "--workers", "2") as daemon:
        house = House.warmed(daemon.ready())
        polite, control = Wire(daemon.directory), Wire(daemon.directory, socket="control")
        silent, times = [], []
        for number in range(2000):
            silent.append(connected(daemon.directory / ("jobs.sock", "control.sock")[number % 2]))
            if number % 50 == 0:
                begun = time.monotonic()
                assert control.ask("health")["status"] == "ready"
                times.append(time.monotonic() - begun)
        assert polite.play(ONE)[0]["type"] == "completed"
        for number in range(200):
            wire = Wire(daemon.directory)
            wire.send("fetch" if number % 2 else "nonsense", job="nobody")
            if number % 3:
                assert wire.receive()[0]["type"] == "refused"
            wire.close()
        tell(f"health took {max(times) * 1000:.0f} ms at most; {holding(daemon.process.pid).descriptors} descriptors")
        assert max(times) < 2
        eventually(lambda: holding(daemon.process.pid).descriptors < house.before.descriptors + 100, 10)
        polite.close()
        control.close()
        for line in silent:
            line.close()
        house.check()
        assert house.grown() < 32 * MIB
        stopped(daemon)


# --- 54: somebody else ------------------------------------------------------------------------------------------------

STRANGER = """
import json, os, sys
import zmq
socket = zmq.Context().socket(zmq.DEALER)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
socket.setsockopt(zmq.RCVTIMEO, int(sys.argv[2]))
socket.setsockopt(zmq.LINGER, 0)
socket.connect("ipc://" + sys.argv[1])
for question in json.loads(sys.argv[3]):
    socket.send_multipart([json.dumps(question).encode(), b"audio"] if question["type"] == "submit" else
                          [json.dumps(question).encode()])
    try:
        print(socket.recv_multipart()[0].decode(), flush=True)
    except zmq.Again:
        print("null", flush=True)
"""


def _stranger(daemon: Daemon, name: str, *questions: dict[str, Any], timeout: int = 10_000) -> list[Any]:
    """What a user without any right is told; None where there was no answer."""
    command = [sys.executable, "-P", "-c", STRANGER, str(daemon.directory / name), str(timeout), json.dumps(questions)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _let_in(daemon: Daemon) -> None:
    """Whatever the file modes are for, they let everybody in now."""
    for place in (daemon.root, daemon.directory):
        place.chmod(0o755)
    for name in ("jobs.sock", "control.sock"):
        (daemon.directory / name).chmod(0o666)


SUBMIT: dict[str, Any] = {"type": "submit", "job": "strange", "reply": "final", "options": {"script": [ONE]}}


@root
def test_row_54_the_file_modes_keep_a_stranger_out() -> None:
    with running("--engine", "scripted", "--workers", "1") as daemon:
        daemon.ready()
        daemon.root.chmod(0o755)
        assert _stranger(daemon, "jobs.sock", SUBMIT, timeout=500) == [None]
        daemon.directory.chmod(0o755)
        assert _stranger(daemon, "jobs.sock", SUBMIT, timeout=500) == [None], "the socket has modes of its own"
        assert daemon.ask("jobs")["jobs"] == []


@root
def test_row_54_a_user_who_is_not_on_the_list_is_refused_everything() -> None:
    config = '[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 1\n[access]\nuids = [12345]\n'
    with running(config=config) as daemon:
        _let_in(daemon.ready())
        others = [{"type": kind, "job": "strange"} for kind in ("fetch", "wait", "cancel", "release", "retry")]
        control = [
            {"type": kind} for kind in ("health", "stats", "workers", "jobs", "pools", "recycle", "drain", "stop")
        ]
        told = _stranger(daemon, "jobs.sock", SUBMIT, *others) + _stranger(daemon, "control.sock", *control)
        assert {(answer["type"], answer["fault"]["code"]) for answer in told} == {("refused", "not_allowed")}
        assert len(told) == 14
        assert daemon.ask("jobs")["jobs"] == [] and daemon.ask("health")["status"] == "ready"
        assert daemon.wire().play(ONE)[0]["type"] == "completed", "root is not a stranger"


@root
def test_row_54_a_user_may_ask_and_not_command() -> None:
    with running("--engine", "scripted", "--workers", "1") as daemon:
        _let_in(daemon.ready())
        commands = [{"type": kind} for kind in ("recycle", "drain", "stop")]
        told = _stranger(daemon, "control.sock", {"type": "health"}, *commands)
        assert [answer["type"] for answer in told] == ["health_report"] + ["refused"] * 3
        assert {answer["fault"]["code"] for answer in told[1:]} == {"not_allowed"}
        assert daemon.ask("health")["status"] == "ready"


def test_row_54_a_key_that_is_only_claimed_counts_for_nothing() -> None:
    """On a unix socket a peer may write any property into its greeting, a user's key among them."""
    with running("--engine", "scripted", "--workers", "1") as daemon:
        daemon.ready().wire().play(ONE, job="ours")
        line = connected(daemon.directory / "jobs.sock")
        line.settimeout(10)
        line.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48))
        while len(line.recv(64, socket.MSG_PEEK)) < 64:
            pass
        line.recv(64)
        ready = b"\x05READY" + _property(b"Socket-Type", b"DEALER") + _property(b"Identity", b"")
        ready += _property(b"User-Id", b"somebody-elses-key")
        line.sendall(bytes([4, len(ready)]) + ready)
        line.recv(1_000)
        question = b'{"v":1,"type":"fetch","job":"ours"}'
        line.sendall(bytes([0, len(question)]) + question)
        answer = line.recv(10_000)
        line.close()
        assert b"completed" in answer, "it is this user, and not the key, whose job it is"


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


@root
def test_row_54_a_user_does_not_see_the_jobs_of_another_one() -> None:
    with staged(UNHURRIED + PATIENT) as stage:
        daemon, books = stage.daemon, Books(stage.daemon)
        _let_in(daemon)
        books.submit(["ours"], [[ONE]])
        assert books.close() == {"completed": 1}
        asked = [{"type": kind, "job": "ours"} for kind in ("fetch", "wait", "cancel", "release", "retry")]
        told = _stranger(daemon, "jobs.sock", *asked, {**SUBMIT, "job": "ours"}, SUBMIT)
        codes = [answer.get("fault", {}).get("code") for answer in told]
        assert codes == ["unknown_job"] * 5 + ["id_conflict", None] and told[-1]["type"] == "completed"
        (jobs,) = _stranger(daemon, "control.sock", {"type": "jobs"})
        assert [job["job"] for job in jobs["jobs"]] == ["strange"]
        books.accept("strange")
        assert books.close() == {"completed": 2}, "root sees both, and nothing was released"
