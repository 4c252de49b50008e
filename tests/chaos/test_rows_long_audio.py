"""Long jobs while workers and daemons are killed at any moment: each ends once, with every word in its place.

``ASRD_ROUNDS=100`` for a thorough run.
"""

import contextlib
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon
from support.invariants import Books, children, sound, spooled, tell
from support.stage import PATIENT, UNHURRIED, Script, staged
from support.wait import eventually

ROUNDS = int(os.environ.get("ASRD_ROUNDS", "10"))

WORKERS = 3

FORGIVING = """
[pools.default.retries]
attempts = 10
deaths = 10
"""
"""A chunk whose worker was shot twice is no poison here."""

MOST_KILLS = 3
"""Of the daemon, in one round: so many without any progress are allowed."""

Segment = dict[str, Any]


class Talk:
    """A job that is said to be long, and what it says."""

    def __init__(self, job: str, dice: random.Random) -> None:
        self.job = job
        self.chunks: list[Script] = []
        self.words: list[str] = []
        self.starts: list[float] = []
        for number in range(dice.randint(6, 16)):
            script: Script = []
            for part in range(dice.randint(0, 3)):
                script += [{"do": "sleep", "s": round(dice.uniform(0.01, 0.12), 3)}]
                script += [{"do": "speak", "text": f" {job}-{number}-{part}", "seconds": 5.0}]
                self.words.append(f"{job}-{number}-{part}")
                self.starts.append(100.0 * number + 5.0 * part)
            self.chunks.append(script)

    @property
    def submit(self) -> dict[str, Any]:
        """What is asked."""
        options = {"script": [], "chunks": [json.dumps(script) for script in self.chunks]}
        return {"job": self.job, "options": options, "reply": "accepted"}

    def check(self, body: bytes) -> None:
        """Every word is there, once, in its place."""
        transcript = json.loads(body)
        segments: list[Segment] = transcript["segments"]
        assert transcript["text"].split() == self.words
        assert [segment["text"].strip() for segment in segments] == self.words
        assert [segment["start"] for segment in segments] == self.starts
        assert [segment["id"] for segment in segments] == list(range(len(segments)))
        assert transcript["duration"] == 100.0 * len(self.chunks)
        assert "missing" not in transcript


class Siege:
    """Rounds of jobs and kills over one place."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self._daemon = daemon
        self._dice = random.Random(seed)
        self._books = Books(daemon)
        self.shot = {"worker": 0, "daemon": 0}
        self.looks = 0

    def round(self, number: int) -> None:
        """Two long jobs, a random number of kills, and a look at everything."""
        talks = [Talk(f"r{number}{name}", self._dice) for name in "ab"]
        for talk in talks:
            answer = self._daemon.wire().ask("submit", b"audio", **talk.submit)
            assert answer["type"] == "accepted", answer
            self._books.accept(talk.job)
        daemons = 0
        for _ in range(self._dice.randint(1, 8)):
            threading.Event().wait(self._dice.uniform(0, 0.4))
            if daemons < MOST_KILLS and self._dice.random() < 0.35:
                daemons += 1
                self._shoot_daemon()
            else:
                self._shoot_worker()
            self._look(talks)
        assert self._books.close() == {"completed": len(talks)}
        for talk in talks:
            self._check_end(talk)
        self._books.release()
        eventually(lambda: spooled(self._daemon) == [])

    def _check_end(self, talk: Talk) -> None:
        end = self._books.ends[talk.job]
        talk.check(end.body)
        run = end.about["run"]
        assert run["steps"] == len(talk.chunks) + 2
        assert run["work"]["segments"] == len(talk.words), "each chunk counts once"

    def _look(self, talks: list[Talk]) -> None:
        """What may be seen of a job is its beginning."""
        wire = self._daemon.wire()
        for talk in talks:
            wire.send("fetch", job=talk.job, partial=True)
            answer, body = wire.receive()
            assert answer["type"] in ("pending", "completed"), answer
            if answer["type"] == "pending":
                seen = [segment["text"].strip() for segment in json.loads(body)]
                assert seen == talk.words[: len(seen)]
                self.looks += 1

    def _shoot_worker(self) -> None:
        workers = [worker["pid"] for worker in self._daemon.workers() if worker["pid"]]
        if workers:
            self.shot["worker"] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._dice.choice(workers), signal.SIGKILL)

    def _shoot_daemon(self) -> None:
        self.shot["daemon"] += 1
        workers = children(self._daemon.process.pid)
        self._daemon.kill()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        self._daemon.restart()
        self._daemon.ready(0)


@pytest.fixture
def siege() -> Iterator[Siege]:
    with staged(UNHURRIED + PATIENT + FORGIVING, workers=WORKERS) as stage:
        yield Siege(stage.daemon, 5)
        stage.rest()
        sound(stage.daemon)


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_a_long_job_outlives_whoever_is_killed(siege: Siege) -> None:
    for number in range(ROUNDS):
        siege.round(number)
    tell(f"{ROUNDS} rounds: {siege.shot['worker']} workers and {siege.shot['daemon']} daemons were shot")
    assert siege.shot["worker"] >= ROUNDS // 2
    assert siege.shot["daemon"] >= ROUNDS // 2
    assert siege.looks >= ROUNDS
