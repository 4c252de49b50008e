"""What workers print: never in anybody's way, and there when it is wanted."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.stage import ONE, Stage, staged
from support.wait import eventually
from support.wire import Wire


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    return shared.rest()


def test_100_megabytes_hold_up_neither_worker_nor_control_socket(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    wire = daemon.wire()
    loud = {"script": [ONE, {"do": "print", "text": "x" * 999, "times": 100_000}, ONE]}
    wire.send("submit", b"audio", options=loud, reply="final", ref="loud")
    eventually(lambda: "xxxx" in daemon.log.read_text())
    answers = 0
    while daemon.ask("stats")["jobs"]["running"]:
        assert wire.play(ONE, ref="quiet")[0]["ref"] in ("quiet", "loud")
        answers += 1
    assert answers > 5
    stats = daemon.ask("stats")
    assert (stats["jobs"]["failed"], stats["deaths"]) == (0, {})

    def dropped() -> list[int]:
        wire.play({"do": "print", "text": "and now in a low voice"}, ONE)
        found = [line for line in daemon.log.read_text().split("\n")[:-1] if "worker output dropped" in line]
        return [json.loads(line)["lines"] for line in found]

    eventually(lambda: sum(dropped()) > 50_000)  # it is said how much is not in the log
    assert daemon.log.stat().st_size < 5_000_000


def test_what_it_prints_is_logged_with_its_seat(stage: Stage) -> None:
    end, _ = stage.daemon.wire().play({"do": "print", "text": "a word from inside"}, ONE)
    (line,) = stage.tells("worker output", line="a word from inside")
    assert line["seat"] == end["run"]["seat"]
    assert line["pid"] in [worker["pid"] for worker in stage.daemon.workers() if worker["seat"] == line["seat"]]


def test_a_line_without_end_and_odd_bytes_do_no_harm(stage: Stage) -> None:
    stage.order("job", [{"do": "print", "text": "y" * 3_000_000}, {"do": "print", "text": '\x00\x1b[31m"\\ \u2028 ü'}])
    assert stage.daemon.wire().play({"do": "obey", "order": "job"}, ONE)[0]["type"] == "completed"
    stage.tells("worker output", line='\x00\x1b[31m"\\ \u2028 ü')
    lines = stage.daemon.log.read_text().splitlines()
    assert max(map(len, lines)) < 5_000
    assert all(json.loads(line) for line in stage.daemon.log.read_text().split("\n")[:-1])


def test_a_poison_job_comes_back_with_the_last_words_of_its_worker(stage: Stage) -> None:
    script = [{"do": "print", "text": "about to read address 0"}, {"do": "segfault"}]
    fault = stage.daemon.wire().play(*script)[0]["fault"]
    assert (fault["code"], fault["context"]["death"]) == ("poison", "SIGSEGV")
    tail = "\n".join(fault["context"]["log_tail"])
    assert "about to read address 0" in tail
    assert "Segmentation fault" in tail and "scripted.py" in tail, "the stack of the worker"
    assert fault["context"]["seat"].startswith("default/")


def test_a_hung_job_comes_back_with_the_stack_where_it_hung(stage: Stage) -> None:
    fault = stage.daemon.wire().play({"do": "hang", "how": "c"})[0]["fault"]
    tail = "\n".join(fault["context"]["log_tail"])
    assert "Fatal Python error: Aborted" in tail and "_misbehave" in tail


def test_a_reader_of_the_log_that_stops_reading_does_not_stop_the_daemon(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "asrd_supervisor", "serve", "--engine", "scripted", "--workers", "1"]
    command += ["--runtime-dir", str(tmp_path), "--log-format", "json"]
    tmp_path.chmod(0o750)
    reader, writer = os.pipe()
    daemon = subprocess.Popen(command, stderr=writer)
    os.close(writer)
    try:
        eventually(lambda: (tmp_path / "jobs.sock").exists())
        with closing(Wire(tmp_path)) as wire:
            for _ in range(20):
                script = [{"do": "print", "text": "z" * 400, "times": 100}, {"do": "sleep", "s": 0.05}, ONE]
                assert wire.play(*script)[0]["type"] == "completed"
        daemon.terminate()
        assert daemon.wait(10) == 0, "nor its end"
    finally:
        daemon.kill()
        daemon.wait()
        os.close(reader)
