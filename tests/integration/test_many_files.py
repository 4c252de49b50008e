"""One command for many files: each is written when it is done, whatever becomes of the others."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrd_protocol.exits import Exit
from support.daemon import Daemon
from support.opened import begun
from support.stage import PATIENT, UNHURRIED, Stage, staged
from support.wait import eventually

ASRD = str(Path(sys.executable).parent / "asrd")


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Two workers that take orders."""
    with staged(UNHURRIED + PATIENT) as stage:
        yield stage


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The scripted engine does not listen."""
    paths = [tmp_path / f"{name}.wav" for name in ("one", "two", "three")]
    for path in paths:
        path.write_bytes(b"audio")
    return paths


def begin(daemon: Daemon, files: list[Path], out: Path, *script: dict[str, Any]) -> "subprocess.Popen[str]":
    """The command, under way."""
    environ = {**os.environ, "ASRD_RUNTIME_DIR": str(daemon.directory)}
    said = [*script, {"do": "speak", "text": "done"}]
    options = ["--set", f"script={json.dumps(said)}", "-q", "--output-dir", str(out)]
    command = subprocess.Popen(
        [ASRD, "transcribe", *map(str, files), *options],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    return begun(command)


def written(out: Path) -> list[str]:
    """What is in the files that are there."""
    return [path.read_text() for path in sorted(out.glob("*.txt")) if path.is_file()]


def test_what_is_done_is_not_lost_with_what_is_not(stage: Stage, files: list[Path], tmp_path: Path) -> None:
    stage.order("hold", [{"do": "sleep", "s": 60}])
    out = tmp_path / "out"
    command = begin(stage.daemon, files, out, {"do": "obey", "order": "hold"})
    eventually(lambda: written(out) == ["done\n"] * 2)
    command.send_signal(signal.SIGINT)
    assert command.wait(30) == 130
    assert written(out) == ["done\n"] * 2


def test_a_file_that_cannot_be_written_does_not_stop_the_others(
    stage: Stage, files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "one.txt").mkdir(parents=True)
    command = begin(stage.daemon, files, out)
    _, complaint = command.communicate(timeout=60)
    assert command.returncode == Exit.FAILED
    assert f"asrd: {files[0]}: its transcript cannot be written" in complaint
    assert written(out) == ["done\n"] * 2


def test_a_directory_that_cannot_be_one_is_refused_before_any_work(stage: Stage, files: list[Path]) -> None:
    command = begin(stage.daemon, files, files[0])
    _, complaint = command.communicate(timeout=60)
    assert command.returncode == Exit.USAGE
    assert complaint == f"asrd: --output-dir {files[0]} cannot be a directory: it is a file\n"
    assert stage.daemon.ask("jobs")["jobs"] == []
