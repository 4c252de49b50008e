"""The output of a worker on a real pipe and a real loop: every line once, whole, and never too many."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd_supervisor.output import LINE, RATE, TAIL, TURN, Output
from support.turning import Turning


class Pipe:
    """A pipe that an ``Output`` reads, and what it has logged."""

    def __init__(self, turning: Turning, logs: list[Any]) -> None:
        self.turning = turning
        self._logs = logs
        self.reader, self.writer = os.pipe()
        self.written = 0
        """Lines."""
        self.output = Output(turning.loop, self.reader, "default/0.1", 4711)

    def write(self, data: bytes) -> None:
        """As the worker does."""
        os.write(self.writer, data)
        self.written += data.count(b"\n")

    def hang_up(self) -> None:
        """The last writer is gone."""
        os.close(self.writer)
        self.writer = -1

    def logged(self, event: str = "worker output") -> list[Any]:
        """The lines of the log with this event."""
        return [log for log in self._logs if log["event"] == event]

    def lines(self) -> list[str]:
        """What was logged of the output."""
        return [log["line"] for log in self.logged()]

    def shows(self, *lines: str) -> None:
        """Wait until these lines, and no others, are logged."""
        self.turning.until(lambda: len(self.lines()) >= len(lines))
        assert self.lines() == list(lines)

    def close(self) -> None:
        self.output.finish()
        for fd in (self.reader, self.writer):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    turning = Turning()
    with capture_logs() as logs:
        made = Pipe(turning, logs)
        yield made
        made.close()
    turning.close()


def test_a_line_is_logged_with_its_worker(pipe: Pipe) -> None:
    pipe.write(b"hello\n")
    pipe.shows("hello")

    assert pipe.logged() == [
        {"event": "worker output", "log_level": "info", "line": "hello", "seat": "default/0.1", "pid": 4711}
    ]


def test_a_line_in_pieces_is_one_line(pipe: Pipe) -> None:
    for piece in (b"one ", b"tw", b"o\nthr", b"ee\n\n\nfo"):
        pipe.write(piece)
        pipe.turning.turn()

    pipe.shows("one two", "three")
    pipe.write(b"ur\n")
    pipe.shows("one two", "three", "four")


def test_whatever_bytes_come(pipe: Pipe) -> None:
    pipe.write("schön\r\n".encode() + b"\xff\xfe\0 \x1b[31m\n   \n\t\n")

    pipe.shows("schön", "\ufffd\ufffd\0 \x1b[31m")


def test_a_letter_that_is_cut_in_two_by_the_pipe_is_one_letter(pipe: Pipe) -> None:
    first, second = "ö".encode()[:1], "ö".encode()[1:]
    pipe.write(b"sch" + first)
    pipe.turning.turn()
    pipe.write(second + b"n\n")

    pipe.shows("schön")


def test_a_long_line_is_cut(pipe: Pipe) -> None:
    pipe.write(b"x" * (LINE + 1) + b"\nshort\n")

    pipe.shows("x" * LINE, "short")


def test_the_end_gives_the_last_lines_the_unfinished_one_included(pipe: Pipe) -> None:
    count = TAIL + 10
    pipe.write(b"".join(b"%d\n" % number for number in range(count)) + b"half a li")

    tail = pipe.output.finish()
    assert tail == (*map(str, range(count - TAIL + 1, count)), "half a li")
    assert pipe.lines()[-1] == "half a li"
    assert pipe.output.finish() == tail, "it may be asked again"
    assert len(pipe.lines()) == count + 1


def test_nothing_is_read_after_the_end(pipe: Pipe) -> None:
    pipe.output.finish()
    pipe.write(b"late\n")
    for _ in range(5):
        pipe.turning.turn()

    assert pipe.lines() == []


def _watched(fd: int) -> bool:
    """Whether some epoll of this process waits for it."""
    infos = [info.read_text() for info in Path("/proc/self/fdinfo").iterdir() if info.exists()]
    return any(line.split()[1] == str(fd) for info in infos for line in info.splitlines() if line.startswith("tfd:"))


def test_the_reader_goes_when_the_last_writer_has(pipe: Pipe) -> None:
    pipe.write(b"last words\nand ha")
    pipe.hang_up()
    pipe.shows("last words")

    pipe.turning.until(lambda: not _watched(pipe.reader))  # else the loop would spin on the closed pipe
    assert pipe.output.finish() == ("last words", "and ha")


def test_a_worker_that_talks_too_much_is_heard_in_part(pipe: Pipe) -> None:
    pipe.write(b"".join(b"%d\n" % number for number in range(RATE + 50)))
    pipe.turning.until(lambda: len(pipe.lines()) >= RATE)
    pipe.turning.turn()
    assert pipe.lines() == [str(number) for number in range(RATE)]
    assert pipe.logged("worker output dropped") == []

    (dropped,) = pipe.turning.until(lambda: pipe.logged("worker output dropped"))
    pipe.turning.until(lambda: _heard_again(pipe))
    assert (dropped["lines"], dropped["log_level"], dropped["seat"]) == (50, "warning", "default/0.1")
    pipe.write(b"x\n" * RATE)
    pipe.output.finish()
    assert len(pipe.lines()) + sum(log["lines"] for log in pipe.logged("worker output dropped")) == pipe.written


def _heard_again(pipe: Pipe) -> bool:
    pipe.write(b"again\n")
    pipe.turning.turn()
    return pipe.lines()[-1] == "again"


def test_what_was_dropped_is_told_at_the_end_too(pipe: Pipe) -> None:
    pipe.write(b"x\n" * (RATE + 7))
    tail = pipe.output.finish()

    assert [log["lines"] for log in pipe.logged("worker output dropped")] == [7]
    assert tail == ("x",) * TAIL, "the tail is of all lines"


@pytest.mark.parametrize("line", [b"y" * 99 + b"\n", b"z" * 100], ids=["lines", "no end of a line"])
def test_ten_megabytes_pass_and_everybody_else_has_a_turn(pipe: Pipe, line: bytes) -> None:
    count, turns = 100_000, 0

    def _write() -> None:
        data = memoryview(line * count)
        while data:
            data = data[os.write(pipe.writer, data) :]
        pipe.hang_up()

    writer = threading.Thread(target=_write)
    writer.start()
    while writer.is_alive():
        pipe.turning.turn()
        turns += 1
    writer.join()

    tail = pipe.output.finish()
    assert turns > len(line) * count / TURN / 4
    assert {*tail} == {line.strip().decode() if b"\n" in line else "z" * LINE}
    seconds = len(pipe.logged("worker output dropped"))
    assert len(pipe.lines()) <= RATE * (seconds + 1)
    assert len(pipe.lines()) + sum(log["lines"] for log in pipe.logged("worker output dropped")) == (
        count if b"\n" in line else 1
    )
