"""The router over real ZeroMQ: every message is seen, whatever peers do, and nobody waits for anybody."""

import contextlib
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs

from asrd_supervisor.sockets import MAX_UNREAD, TURN, ZERO_COPY, Limits, Parcel, Router
from support.turning import Turning
from support.wait import eventually

Peer = zmq.Socket[bytes]


class Bench:
    """A router on a loop that the test turns, and peers of it."""

    def __init__(self, directory: Path) -> None:
        self.turning = Turning()
        self.path = directory / "r.sock"
        self.parcels: list[Parcel] = []
        self.on_parcel: Callable[[Parcel], None] = self.parcels.append
        self._here: zmq.Context[Peer] = zmq.Context()
        self._there: zmq.Context[Peer] = zmq.Context()
        self._peers: list[Peer] = []
        limits = Limits(max_frame=1_000_000, backlog=50)
        self.router = Router(
            self._here, self.turning.loop, f"ipc://{self.path}", lambda parcel: self.on_parcel(parcel), limits
        )

    def peer(self, kind: int = zmq.DEALER, identity: bytes = b"") -> Peer:
        """A connected socket."""
        socket = self._there.socket(kind)
        self._peers.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        if identity:
            socket.setsockopt(zmq.IDENTITY, identity)
        socket.connect(f"ipc://{self.path}")
        return socket

    def receive(self, count: int = 1) -> list[Parcel]:
        """The next parcels."""
        self.turning.until(lambda: len(self.parcels) >= count)
        parcels, self.parcels[:] = self.parcels[:], []
        assert len(parcels) == count
        return parcels

    def echo(self, parcel: Parcel) -> None:
        """Answer with what came."""
        frames = [parcel.header] if parcel.body is None else [parcel.header, parcel.body]
        assert self.router.send(parcel.identity, frames, delimiter=parcel.delimiter)

    def close(self) -> None:
        self.router.close()
        for peer in self._peers:
            peer.close()
        self._there.term()
        self._here.term()
        self.turning.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


# --- what comes in ----------------------------------------------------------------------------------------------------


def test_a_dealer_sends_a_header_and_maybe_a_body(bench: Bench) -> None:
    dealer = bench.peer(identity=b"me")
    dealer.send_multipart([b"header", b"body"])
    dealer.send_multipart([b"header alone"])

    with_body, alone = bench.receive(2)
    assert (with_body.identity, with_body.delimiter, with_body.header, with_body.surplus) == (
        b"me",
        False,
        b"header",
        0,
    )
    assert with_body.body is not None
    assert with_body.body.bytes == b"body"
    assert (alone.header, alone.body) == (b"header alone", None)


def test_a_req_socket_is_told_by_its_empty_frame_and_answered_behind_one(bench: Bench) -> None:
    req = bench.peer(zmq.REQ)
    req.send_multipart([b"header", b"body"])
    (parcel,) = bench.receive()
    assert (parcel.delimiter, parcel.header, parcel.surplus) == (True, b"header", 0)

    assert bench.router.send(parcel.identity, [b"answer"], delimiter=True)
    assert req.recv_multipart() == [b"answer"]


def test_further_frames_are_counted_and_thrown_away(bench: Bench) -> None:
    dealer = bench.peer()
    dealer.send_multipart([b"header", b"body", *[b"x"] * 20])
    dealer.send_multipart([b"next"])

    odd, after = bench.receive(2)
    assert (odd.header, odd.surplus) == (b"header", 20)
    assert (after.header, after.surplus) == (b"next", 0)


@pytest.mark.parametrize(
    ("frames", "delimiter", "header", "body"),
    [
        ([b""], False, b"", None),
        ([b"", b""], True, b"", None),
        ([b"", b"header", b""], True, b"header", b""),
        ([b"header", b""], False, b"header", b""),
    ],
)
def test_empty_frames(bench: Bench, frames: list[bytes], delimiter: bool, header: bytes, body: bytes | None) -> None:
    bench.peer().send_multipart(frames)

    (parcel,) = bench.receive()
    found = None if parcel.body is None else parcel.body.bytes
    assert (parcel.delimiter, parcel.header, found) == (delimiter, header, body)


def test_a_frame_that_is_too_long_costs_its_sender_the_connection_and_nobody_else(bench: Bench) -> None:
    rude, polite = bench.peer(identity=b"rude"), bench.peer(identity=b"polite")
    rude.send_multipart([b"header", bytes(1_000_001)])
    polite.send_multipart([b"header", bytes(1_000_000)])

    (parcel,) = bench.receive()
    assert parcel.identity == b"polite"
    rude.send_multipart([b"sorry"])  # on a new connection
    assert bench.receive()[0].header == b"sorry"


def test_a_parcel_that_breaks_the_reader_does_not_make_the_socket_deaf(bench: Bench) -> None:
    def _break(parcel: Parcel) -> None:
        bench.parcels.append(parcel)
        raise ValueError("a defect")

    dealer, bench.on_parcel = bench.peer(), _break
    with capture_logs() as logs:
        for _ in range(3):
            dealer.send(b"x")
        bench.receive(3)

    assert [log["event"] for log in logs] == ["defect while reading a message"] * 3


# --- what goes out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, ZERO_COPY - 1, ZERO_COPY, 999_999])
def test_bodies_arrive_as_they_were_sent(bench: Bench, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    bench.on_parcel = bench.echo
    dealer = bench.peer()
    dealer.send_multipart([b"header", body])

    bench.turning.until(lambda: dealer.poll(0))
    assert dealer.recv_multipart() == [b"header", body]


def test_nobody_of_that_name(bench: Bench) -> None:
    assert not bench.router.send(b"nobody", [b"x"])
    assert not bench.router.send(b"nobody", [b"x", bytes(ZERO_COPY)], delimiter=True)


def test_a_peer_that_has_left(bench: Bench) -> None:
    dealer = bench.peer(identity=b"me")
    dealer.send(b"x")
    bench.receive()
    assert bench.router.send(b"me", [b"answer"])
    dealer.close()

    bench.turning.until(lambda: not bench.router.send(b"me", [b"answer"]))


def test_a_peer_that_does_not_read_is_given_up_and_the_others_are_served(bench: Bench) -> None:
    lazy, eager = bench.peer(identity=b"lazy"), bench.peer(identity=b"eager")
    lazy.setsockopt(zmq.RCVHWM, 1)
    for peer in (lazy, eager):
        peer.send(b"x")
    bench.receive(2)

    sent = 0
    while bench.router.send(b"lazy", [b"x", bytes(100_000)]):
        sent += 1
        assert sent < 10_000
    assert bench.router.send(b"eager", [b"y"])
    assert eager.recv_multipart() == [b"y"]


# --- many -------------------------------------------------------------------------------------------------------------


def test_many_at_once_are_all_read_and_others_have_their_turn_in_between(bench: Bench) -> None:
    count, order = 40, []
    dealers = [bench.peer() for _ in range(count)]
    for dealer in dealers:
        for _ in range(count):
            dealer.send(b"x")

    bench.on_parcel = lambda parcel: order.append("parcel")

    def _tick() -> None:
        order.append("tick")
        bench.turning.loop.call_soon(_tick)

    _tick()
    bench.turning.until(lambda: order.count("parcel") == count * count)
    runs = "".join("t" if what == "tick" else "p" for what in order).split("t")
    assert max(map(len, runs)) <= 2 * TURN  # what is left of one turn, and the next


def test_no_message_is_lost_that_comes_while_another_is_sent(bench: Bench) -> None:
    """The descriptor is edge-triggered: libzmq may swallow the edge of a message in the course of a send."""
    rounds, window, peers = 1_500, 4, 3
    done: list[int] = []

    def _ask(dealer: Peer) -> None:
        with contextlib.suppress(zmq.Again):
            for number in range(rounds + window):
                if number >= window:
                    dealer.recv()
                if number < rounds:
                    dealer.send(b"%d" % number)
            done.append(1)

    bench.on_parcel = bench.echo
    threads = [threading.Thread(target=_ask, args=(bench.peer(),)) for _ in range(peers)]
    for thread in threads:
        thread.start()
    heartbeat = bench.turning.loop.call_later(30, lambda: None)
    while any(thread.is_alive() for thread in threads):
        bench.turning.loop.call_later(0.05, bench.turning.loop.stop)
        bench.turning.loop.run_forever()
    heartbeat.cancel()
    for thread in threads:
        thread.join()
    assert len(done) == peers, "somebody waited in vain"


def test_a_message_that_came_before_a_send_by_others_is_seen_without_any_further_edge(bench: Bench) -> None:
    """The send itself eats the edge; the router looks again by itself."""
    dealer = bench.peer(identity=b"me")
    dealer.send(b"first")
    bench.receive()
    for number in range(40):
        dealer.send(b"%d" % number)
        bench.router.send(b"me", [b"x"])
        bench.router.send(b"nobody", [b"x"])
        dealer.recv()
    bench.receive(40)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_socket_is_for_the_owner_and_the_group_and_goes_with_the_router(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert stat.S_IMODE(bench.path.stat().st_mode) == 0o660

    bench.close()
    assert not bench.path.exists()


def test_last_answers_leave_before_the_end(bench: Bench) -> None:
    dealer = bench.peer(identity=b"me")
    dealer.send(b"x")
    bench.receive()
    for number in range(15):
        assert bench.router.send(b"me", [b"%d" % number, bytes(900_000)])
    bench.router.close(linger_ms=10_000)

    assert [dealer.recv_multipart()[0] for _ in range(15)] == [b"%d" % number for number in range(15)]


def test_a_peer_that_does_not_read_is_not_sent_a_whole_memory(bench: Bench) -> None:
    dealer = bench.peer(identity=b"me")
    dealer.send(b"x")
    bench.receive()
    sent = 0
    while bench.router.send(b"me", [b"header", bytes(900_000)]):
        sent += 1
        assert sent < 100
    assert sent >= MAX_UNREAD // 900_000
    assert bench.router.send(b"me", [b"small"]), "what is small still goes"
    for _ in range(sent):
        assert len(dealer.recv_multipart()[1]) == 900_000
    assert dealer.recv_multipart() == [b"small"]
    eventually(lambda: bench.router.send(b"me", [b"header", bytes(900_000)]))
