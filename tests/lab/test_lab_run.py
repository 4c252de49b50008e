"""The lab itself: real daemons with a scripted model that is as sick as it is told to be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrd_protocol.exits import Exit
from asrd_supervisor.config import decode
from support.daemon import MARK
from support.opened import begun
from support.wait import eventually

SHORT = ("--jobs", "20", "--seconds", "0.06")


class Place:
    """A directory for reports, one for whatever is temporary, and a mark on all that is started."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="asrd-"))
        self.report = self.root / "report"
        self.temporary = self.root / "t"
        self.temporary.mkdir()
        self._mark = uuid.uuid4().hex

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        environ = {**os.environ, MARK: self._mark, "TMPDIR": str(self.temporary)}
        pipe = subprocess.PIPE
        command = [sys.executable, "-P", "-m", "asrd_lab", *arguments]
        return begun(subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True, cwd=self.root))

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What it says on stdout and on stderr."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=100)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return out, err

    def scripted(self, *arguments: str) -> list[str]:
        return ["--engine", "scripted", "--report", str(self.report), "--workers", "2", *arguments]

    def rows(self) -> list[dict[str, Any]]:
        """The jobs that are written down."""
        file = self.report / "jobs.jsonl"
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return [row for row in map(json.loads, lines) if row["type"] == "job"]

    def found(self) -> dict[str, Any]:
        """The report in JSON."""
        return dict(json.loads((self.report / "report.json").read_text()))

    def leftovers(self) -> list[str]:
        """Processes and temporary files."""
        wanted = f"{MARK}={self._mark}".encode()
        found = [str(path) for path in self.temporary.iterdir()]
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(entry.name)
            except OSError:
                continue
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    """A place that nothing may be left in."""
    made = Place()
    try:
        yield made
        eventually(lambda: not made.leftovers())
    finally:
        shutil.rmtree(made.root, ignore_errors=True)


def test_an_injected_sickness_is_recovered_and_a_policy_comes_of_it(place: Place) -> None:
    sick = ("--inject", "leak=2MB,slow=8%/job", "--experiments", "e4", "--jobs", "24", "--seconds", "0.2")
    out, _ = place.run(*place.scripted(*sick))
    report = place.found()
    advice = report["findings"]["advice"]
    assert report["findings"]["health"] == "both" and report["missing_jobs"] == 0
    assert advice["leak"] == pytest.approx(2e6, rel=0.1)
    assert advice["slow_down"] == pytest.approx(0.08, rel=0.1)
    assert "gets slower and leaks memory" in out and advice["toml"] in out
    assert decode(tomllib.loads(advice["toml"])).pools["default"].recycle.max_jobs == advice["max_jobs"] > 1
    jobs = report["jobs"]
    assert [job["number"] for job in jobs] == list(range(1, 25)) and {job["seat"] for job in jobs} == {"default/0.1"}
    assert jobs[-1]["rss_after"] - jobs[0]["rss_before"] == pytest.approx(24 * 2e6, rel=0.2)
    assert all(0 < job["pss_before"] <= job["rss_before"] for job in jobs)
    assert all(job["work"]["beam_steps"] == 200 for job in jobs)
    assert (place.report / "report.html").read_text().count("<svg") >= 3


def test_every_experiment_does_what_it_says(place: Place) -> None:
    _, err = place.run(*place.scripted(*SHORT, "--experiments", "pool,e1,recycled,e2"))
    assert "E1, a fresh worker for each job: 20 of 20" in err
    seats: dict[str, list[str]] = {}
    for row in place.rows():
        seats.setdefault(row["experiment"], []).append(row["seat"])
        assert row["job_index"] == 1 or row["experiment"] != "e1"
    assert {name: len(done) for name, done in seats.items()} == {"e1": 20, "e2": 20, "pool": 20, "recycled": 20}
    assert len(set(seats["e1"])) == 20, "each job had a worker of its own"
    assert set(seats["e2"]) == {"default/0.1"} and set(seats["pool"]) == {"default/0.1", "default/1.1"}
    assert len(set(seats["recycled"])) > 2
    findings = place.found()["findings"]
    assert findings["reload"]["workers"] >= 20 and 0.05 < findings["reload"]["median_s"] < 30
    assert [one["segments"] for one in findings["lengths"]] == [1, 3, 10]
    assert findings["throughput"]["recycles"] > 0 and findings["throughput"]["without_per_min"] > 60
    assert findings["advice"]["leak"] is None


def test_an_interrupted_run_goes_on_where_it_was(place: Place) -> None:
    arguments = place.scripted(*SHORT, "--experiments", "e3,e4")
    process = place.start(*arguments)
    eventually(lambda: len([row for row in place.rows() if row["experiment"] == "e4"]) >= 4, 60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert f"go on with: asrd lab --resume {place.report}" in err and " of 40 jobs" in err
    assert "jobs are still to be done" in (place.report / "report.html").read_text()
    eventually(lambda: not place.leftovers())
    before = place.rows()

    _, err = place.run("--resume", str(place.report), "--jobs", "30", code=Exit.USAGE)
    assert "--jobs was 20 and is now 30" in err
    place.run("--resume", str(place.report))
    rows = place.rows()
    assert rows[: len(before)] == before
    for name in ("e3", "e4"):
        assert sorted(row["number"] for row in rows if row["experiment"] == name) == list(range(1, 21))
    assert {row["session"] for row in rows} == {1, 2} and place.found()["missing_jobs"] == 0
    place.run(*arguments)
    assert place.rows() == rows, "nothing was left to do"


def test_a_run_that_is_told_to_leave_stops_its_daemon(place: Place) -> None:
    process = place.start(*place.scripted("--jobs", "20", "--experiments", "pool"))
    eventually(lambda: len(place.rows()) >= 2, 60)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], Exit.USAGE, "no recording was given"),
        (["/no/clip.wav"], Exit.FAILED, "there is no file /no/clip.wav"),
        (["--engine", "scripted", "--jobs", "3"], Exit.USAGE, "fewer than 20 jobs"),
        (["--engine", "scripted", "--experiments", "e5"], Exit.USAGE, "there is no 'e5' (there are e1, e2,"),
        (["--engine", "scripted", "--inject", "leak=x"], Exit.USAGE, "--inject leak=x: expected leak=5MB"),
        (["--engine", "scripted", "--report", "/proc/no"], Exit.IO, "/proc/no cannot be written"),
        (["--engine", "scripted", "--compute-type", "int9"], Exit.CONFIG, "compute_type: expected one of 'default'"),
        (["--engine", "scripted", "--seconds", "0"], Exit.USAGE, "expected between 0.001 and 60"),
        (["--resume", "."], Exit.USAGE, "has no run of the lab"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(place: Place, arguments: list[str], code: Exit, said: str) -> None:
    _, err = place.run(*arguments, code=code)
    assert said in err and err.startswith("asrd: ") and err.count("\n") == 1


@pytest.mark.model
def test_a_missing_model_and_a_file_that_is_no_audio_are_one_sentence(place: Place, speech: Path) -> None:
    clip = str(speech / "ss-0880.wav")
    _, err = place.run(clip, "--model", "tinny", code=Exit.CONFIG)
    assert err.startswith("asrd: there is no model 'tinny'; did you mean 'tiny'?")
    assert err.count("\n") == 1
    (place.root / "text.wav").write_text("this is no audio")
    _, err = place.run(str(place.root / "text.wav"), code=Exit.FAILED)
    assert err.startswith("asrd: 'text.wav' is damaged, or no media file of a kind that is read here")
    assert not list(place.root.glob("asrd-lab-*")), "what could not begin leaves nothing"


def test_the_command_hands_over(place: Place) -> None:
    asrd = Path(sys.executable).with_name("asrd")
    done = subprocess.run([asrd, "lab", "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "usage: asrd lab" in done.stdout and "--inject WHAT" in done.stdout
