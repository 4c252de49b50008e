"""A question for what a job has said so far, with no time to wait: over real sockets, for a job that has said much."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from support.daemon import Daemon, running
from support.invariants import sound
from support.wait import eventually
from support.wire import Answer, Wire

SAID = 3000
"""Segments: more than a socket takes, and many more than are sent between two looks at everything else."""

CONFIG = """
[pools.default]
engine = "scripted"
model = ""
workers = 1
[pools.default.deadlines]
busy_floor = "1h"
stall = "1h"
"""
TALK: dict[str, Any] = {
    "script": [*({"do": "speak", "text": f" w{number}"} for number in range(SAID)), {"do": "sleep", "s": 3000.0}]
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with a job that has said so much and says no more."""
    with running(config=CONFIG) as daemon:
        daemon.ready()
        wire = daemon.wire()
        wire.send("submit", b"audio", job="talk", options=TALK, reply="accepted")
        assert wire.receive()[0]["type"] == "accepted"
        eventually(lambda: len(partial(wire)) == SAID, 30)
        yield daemon
        wire.send("cancel", job="talk")
        wire.end_of("talk")
        sound(daemon)


def partial(wire: Wire) -> list[dict[str, Any]]:
    """The segments so far, as one answer."""
    wire.send("fetch", job="talk", partial=True)
    segments: list[dict[str, Any]] = json.loads(wire.receive()[1])
    return segments


def waited(daemon: Daemon, **fields: Any) -> tuple[list[int], Answer]:
    """The indices that came, and the answer after them."""
    with closing(Wire(daemon.directory)) as wire:
        wire.send("wait", job="talk", **fields)
        told: list[int] = []
        answer, body = wire.receive()
        while answer["type"] in ("segment", "progress"):
            if answer["type"] == "segment":
                assert json.loads(body)["text"] == f" w{answer['index']}"
                told.append(answer["index"])
            answer, body = wire.receive()
        return told, answer


@pytest.mark.parametrize("timeout", [0, 0.001, 1.5])
@pytest.mark.parametrize("since", [0, 150, SAID - 1])
def test_all_that_is_decoded_comes_before_the_time_is_up(daemon: Daemon, timeout: float, since: int) -> None:
    """As PROTOCOL.md has it of ``since``: what is decoded already comes first."""
    told, answer = waited(daemon, stream=True, timeout=timeout, since=since)
    assert answer["type"] == "pending"
    assert told == list(range(since, SAID))


@pytest.mark.parametrize("since", [SAID, SAID + 1, 10**6])
def test_who_has_all_gets_none_again(daemon: Daemon, since: int) -> None:
    assert waited(daemon, stream=True, timeout=0, since=since) == ([], waited(daemon, timeout=0)[1])


def test_without_stream_there_are_none(daemon: Daemon) -> None:
    told, answer = waited(daemon, timeout=0)
    assert (told, answer["type"]) == ([], "pending")


def test_who_asks_again_and_again_from_where_it_is_gets_all(daemon: Daemon) -> None:
    """Each answer goes on where the last one ended, with nothing twice and nothing left out."""
    got: list[int] = []
    for _ in range(SAID):
        told, answer = waited(daemon, stream=True, timeout=0, since=len(got))
        assert answer["type"] == "pending"
        if not told:
            break
        got += told
    assert got == list(range(SAID))


def test_it_is_the_last_answer_to_the_question(daemon: Daemon) -> None:
    """Nothing comes after ``pending``: what comes next is the answer to the next question."""
    with closing(Wire(daemon.directory)) as wire:
        for ref in ("one", "two", "three"):
            wire.send("wait", job="talk", stream=True, timeout=0, ref=ref)
            refs = set()
            while True:
                answer, _ = wire.receive()
                refs.add(answer["ref"])
                if answer["type"] == "pending":
                    break
            assert refs == {ref}
        assert len(partial(wire)) == SAID


def test_a_wait_that_is_over_holds_nothing_up(daemon: Daemon) -> None:
    """Many of them at once, none of which reads; somebody else is answered as ever."""
    deaf = [Wire(daemon.directory) for _ in range(20)]
    for wire in deaf:
        wire.send("wait", job="talk", stream=True, timeout=0)
    with closing(Wire(daemon.directory)) as wire:
        assert len(partial(wire)) == SAID
    for wire in deaf:
        wire.close()
    with closing(Wire(daemon.directory)) as wire:
        assert len(partial(wire)) == SAID
