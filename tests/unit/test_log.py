"""The log on a real stderr: three formats, and a reader that has stopped holds nobody up."""

import json
import os
import subprocess
import sys
import threading
from typing import IO, Any

import pytest

CONFIGURED = """
import sys
import structlog
from asrd_supervisor.report.log import configure
writer = configure(sys.argv[1], sys.argv[2])
log = structlog.get_logger("asrd")
"""

EVENTS = (
    CONFIGURED
    + """
log.debug("job.accepted", job="j")
log.info("job.completed", job="j", seat="default/0.1", run={"work": [1, 2]}, text="zwei\\nZeilen \\u00e4")
log.warning("worker.died\\nor not", seat="default/0.1", how="SIGKILL", kind=ValueError)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("defect")
writer.close()
"""
)


def _said(form: str, level: str = "info", script: str = EVENTS) -> list[str]:
    """The lines on stderr."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, form, level], capture_output=True, timeout=10, encoding="utf-8"
    )
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr.splitlines()


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "auto"])
def test_json_is_one_object_a_line(form: str) -> None:
    completed, died, defect = (json.loads(line) for line in _said(form))

    assert completed.pop("timestamp").endswith("Z")
    assert completed == {
        "event": "job.completed",
        "level": "info",
        "job": "j",
        "seat": "default/0.1",
        "run": {"work": [1, 2]},
        "text": "zwei\nZeilen ä",
    }
    assert (died["level"], died["kind"]) == ("warning", "<class 'ValueError'>")
    assert (defect["level"], defect["event"]) == ("error", "defect")
    assert "ZeroDivisionError: division by zero" in defect["exception"]


def test_console_is_for_people() -> None:
    lines = _said("console")

    assert "[info     ] job.completed" in lines[0]
    assert "job=j" in lines[0]
    assert "seat=default/0.1" in lines[0]
    assert "\x1b" not in "".join(lines), "colours are for terminals"
    assert any("[warning  ] worker.died" in line for line in lines)
    assert any("ZeroDivisionError: division by zero" in line for line in lines)


def test_a_terminal_gets_the_console_format_in_colours() -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen([sys.executable, "-P", "-c", EVENTS, "auto", "info"], stderr=theirs)
    os.close(theirs)
    heard = b""
    while b"division by zero" not in heard:
        heard += os.read(ours, 65_536)
    assert process.wait(10) == 0
    os.close(ours)

    assert b"job.completed" in heard
    assert b"\x1b[" in heard
    assert b'"event"' not in heard


def test_journald_gets_the_priority_and_stamps_the_time_itself() -> None:
    completed, died, defect = _said("journal")

    assert completed == (
        "<6>job.completed job='j' seat='default/0.1' run={'work': [1, 2]} text='zwei\\nZeilen ä'"
    )  # fmt: skip
    assert died.startswith("<4>worker.died\\nor not seat='default/0.1' how='SIGKILL'")
    assert defect.startswith("<3>defect exception='Traceback")
    assert "\\nZeroDivisionError: division by zero'" in defect


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_not_written(level: str, count: int) -> None:
    assert len(_said("journal", level)) == count


def test_no_value_can_break_the_log() -> None:
    script = (
        CONFIGURED
        + """
log.info("odd", path="a\\udcff", number=2**70, nothing=None, number_not=float("nan"), raw=b"\\xff", when={1: {2}})
log.info("even")
writer.close()
"""
    )
    for form in ("json", "console", "journal"):
        lines = _said(form, script=script)
        assert "odd" in lines[0]
        assert "even" in lines[-1]


# --- a reader that has stopped ----------------------------------------------------------------------------------------

FLOOD = (
    CONFIGURED
    + """
for number in range(int(sys.argv[3])):
    log.info("x" * 200, number=number)
print("logged", flush=True)
sys.stdin.readline()
writer.close(float(sys.argv[4]))
print("closed", flush=True)
"""
)


class Flood:
    """A process that writes many lines to a stderr that nobody reads."""

    def __init__(self, lines: int, patience: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", FLOOD, "json", "info", str(lines), str(patience)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def says(self, word: str) -> None:
        """Wait for a word."""
        assert self._pipe("stdout").readline() == f"{word}\n"

    def go_on(self) -> None:
        """Let it close its log."""
        self._pipe("stdin").write("\n")
        self._pipe("stdin").flush()

    def stderr(self) -> list[dict[str, Any]]:
        """All that it writes until its end."""
        return [json.loads(line) for line in self._pipe("stderr") if line.endswith("}\n")]

    def _pipe(self, name: str) -> IO[str]:
        pipe: IO[str] = getattr(self.process, name)
        return pipe

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)
        for name in ("stdin", "stdout", "stderr"):
            self._pipe(name).close()


def test_nobody_waits_for_a_reader_that_has_stopped() -> None:
    flood = Flood(30_000, patience=0.2)
    try:
        flood.says("logged")
        flood.go_on()
        flood.says("closed")
        assert flood.process.wait(10) == 0
    finally:
        flood.close()


def test_a_reader_that_comes_back_gets_the_newest_lines_and_is_told_how_many_it_missed() -> None:
    count = 40_000
    flood = Flood(count, patience=20)
    read: list[dict[str, Any]] = []
    try:
        flood.says("logged")
        reader = threading.Thread(target=lambda: read.extend(flood.stderr()))
        reader.start()
        flood.go_on()
        flood.says("closed")
        assert flood.process.wait(10) == 0
        reader.join(10)
    finally:
        flood.close()

    numbers = [line["number"] for line in read if "number" in line]
    dropped = [line["lines"] for line in read if line["event"] == "log lines dropped"]
    assert numbers == sorted(numbers)
    assert numbers[-9_000:] == list(range(count - 9_000, count))
    assert sum(dropped) > 0
    assert len(numbers) + sum(dropped) == count


def test_a_stderr_that_is_closed_is_no_reason_to_fail() -> None:
    script = (
        CONFIGURED
        + """
import os
os.close(2)
for _ in range(2):
    log.info("x")
    while writer._lines:
        pass
writer.close()
os._exit(0)
"""
    )
    assert _said("json", script=script) == []


def test_lines_are_written_soon_without_a_close() -> None:
    flood = Flood(3, patience=1)
    try:
        flood.says("logged")
        assert [json.loads(flood._pipe("stderr").readline())["number"] for _ in range(3)] == [0, 1, 2]
    finally:
        flood.close()
