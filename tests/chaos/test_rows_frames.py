"""Hostile frames, by their rows in the fault list: nothing escapes, nothing changes, nobody else waits.

``ASRD_FUZZ_FRAMES`` is the number of messages for each socket; a thorough run has a million.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from support.daemon import Daemon, running
from support.fuzz import Fuzz, Line, changes_nothing, framed, garbage, throw
from support.invariants import MIB, Books, House, holding, sound, tell
from support.stage import ONE, TWO
from support.wait import eventually
from support.wire import Wire

COUNT = int(os.environ.get("ASRD_FUZZ_FRAMES", "50000"))
SEED = int(os.environ.get("ASRD_FUZZ_SEED", "48"))


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running("--engine", "scripted", "--workers", "2") as daemon:
        yield daemon.ready()


@pytest.fixture
def books(daemon: Daemon) -> Iterator[Books]:
    """A job that has ended before, and is afterwards as it was; the daemon is as it was too."""
    house, books = House.warmed(daemon), Books(daemon)
    books.submit(["before"], [[ONE, TWO]])
    assert books.close() == {"completed": 1}
    before = _state(daemon)
    yield books
    assert books.close() == {"completed": 1}
    assert _state(daemon) == before
    assert daemon.wire().play(ONE, job="after")[0]["type"] == "completed"
    books.accept("after")
    assert books.close() == {"completed": 2}
    books.release()
    sound(daemon)
    assert house.grown() < 64 * MIB
    assert house.lag() < 2


def _state(daemon: Daemon) -> dict[str, Any]:
    """Everything that a frame could have changed."""
    stats = daemon.ask("stats")
    kept = {key: stats[key] for key in ("jobs", "workers", "recycles", "deaths", "retries", "stored_bytes", "storage")}
    workers = [(worker["seat"], worker["pid"]) for worker in daemon.workers()]
    return {**kept, "workers": workers, "health": daemon.ask("health")["status"]}


def test_row_48_the_traffic_is_what_it_is_meant_to_be() -> None:
    """Most of it is no message, some of it is one, and none of it may be obeyed."""
    for name in ("jobs", "control"):
        messages = Fuzz(name, SEED).messages()
        some = [next(messages) for _ in range(5000)]
        assert len({message[0] for message in some}) > 3500
        assert sum(map(changes_nothing, some)) / len(some) > 0.8
        maps = sum(_is_map(message[0]) for message in some)
        assert 100 < maps < 2500, maps


def _is_map(header: bytes) -> bool:
    decode = msgspec.json.decode if header[:1] == b"{" else msgspec.msgpack.decode
    try:
        return isinstance(decode(header), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


@pytest.mark.timeout(60 + COUNT // 500)
@pytest.mark.parametrize("name", ["jobs", "control"])
def test_row_48_changed_traffic_changes_nothing(daemon: Daemon, books: Books, name: str) -> None:
    begun = time.monotonic()
    frames = throw(daemon.directory / f"{name}.sock", name, COUNT, SEED)
    eventually(lambda: daemon.ask("health")["status"] == "ready")
    took = time.monotonic() - begun
    tell(f"{COUNT} messages, {frames} frames on {name} in {took:.1f} s: {frames / took:.0f}/s")
    assert frames > COUNT


@pytest.mark.parametrize("name", ["jobs", "control"])
def test_row_48_what_is_no_zmtp_harms_nobody(daemon: Daemon, books: Books, name: str) -> None:
    before = holding(daemon.process.pid)
    garbage(daemon.directory / f"{name}.sock", 1500, SEED)
    wire = Wire(daemon.directory, socket="control")
    assert wire.ask("health")["status"] == "ready"
    wire.close()
    eventually(lambda: holding(daemon.process.pid).descriptors <= before.descriptors)


@pytest.mark.parametrize("name", ["jobs", "control"])
def test_row_49_large_messages_hold_up_nobody(daemon: Daemon, books: Books, name: str) -> None:
    """Each is refused, and whoever asks meanwhile has its answer soon."""
    keys = b"\xdf" + (240_000).to_bytes(4, "big") + b"".join(b"\xa3%03d\x01" % (n % 1000) for n in range(200_000))
    hostile = [
        [b"x" * (2 << 20)],
        [b"\x82\xa4type\xa6submit", *[b"y" * (512 << 10)] * 64],
        [b"\x81\xa7options" + keys[:1_000_000]],
        [b"\x91" * 100_000],
        [b"[" * 100_000],
        [b'{"type":"submit","options":{"a":' + b"[" * 100_000],
        [b'{"type":"' + b"\xc3\xa4" * 500_000 + b'"}'],
        [b'{"ref":"' + b"\\" * 1_000_000],
    ]
    line, control = Line(daemon.directory / f"{name}.sock"), Wire(daemon.directory, socket="control", timeout=10)
    longest = 0.0
    for message in hostile * 5:
        had = line.received
        line.send(framed(message))
        begun = time.monotonic()
        assert control.ask("health")["status"] == "ready"
        longest = max(longest, time.monotonic() - begun)
        line.drain(lambda had=had: line.received > had)
    line.close()
    control.close()
    tell(f"health took {longest * 1000:.0f} ms at most")
    assert longest < 1
