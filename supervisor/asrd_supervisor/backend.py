"""The private link to the workers: their messages become events, the core's actions become messages."""

import asyncio
import itertools
from collections.abc import Callable, Mapping

import msgspec
import zmq

from asrd_protocol import VERSION, link
from asrd_protocol.codec import UNDECODABLE
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.sockets import Limits, Parcel, Router

MAX_FRAME = 256 << 20
"""Bytes of a transcript. The transcript of a day of speech is some 10 MB."""

MOST = 1e9
"""Seconds, and things that are counted: no step takes or has more of anything."""

_encode = msgspec.msgpack.Encoder().encode


class Backend:
    """One ROUTER socket; a worker's identity there is the name of its seat."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        loop: asyncio.AbstractEventLoop,
        address: str,
        loads: Mapping[str, link.Load],
        post: Callable[[ev.Event], None],
    ) -> None:
        self._loads = loads
        self._post = post
        self._offers: dict[str, link.Offers] = {}
        self._router = Router(context, loop, address, self._on_parcel, Limits(MAX_FRAME))

    def offers(self, pool: str) -> link.Offers:
        """What the workers of a pool can do, as the last one that was ready has said."""
        return self._offers.get(pool, link.Offers())

    def close(self) -> None:
        """Stop listening."""
        self._router.close()

    # --- to workers ---------------------------------------------------------------------------------------------------

    def load(self, seat: Seat, changed: link.Load | None = None) -> None:
        """Tell a worker which engine to load: that of the configuration, or what operators have made of it."""
        self._send(seat, changed or self._loads[seat.pool])

    def run(self, seat: Seat, step: link.Step) -> None:
        """Give a worker a step; what it is about has been handed over as an open file."""
        self._send(seat, step)

    def canary(self, seat: Seat, attempt: int, runs: int) -> None:
        """Have a worker transcribe the built-in clip."""
        self._send(seat, link.RunCanary(attempt, runs))

    def cancel(self, seat: Seat, attempt: int) -> None:
        """Ask a worker to give its step up."""
        self._send(seat, link.CancelStep(attempt))

    def stop(self, seat: Seat) -> None:
        """Ask a worker to leave."""
        self._send(seat, link.StopWorker())

    def _send(self, seat: Seat, message: link.ToWorker) -> None:
        # An unreachable worker needs no handling here: its exit, or the deadline of its state, is on the way.
        self._router.send(str(seat).encode(), [_encode(message)])

    # --- from workers -------------------------------------------------------------------------------------------------

    def _on_parcel(self, parcel: Parcel) -> None:
        seat = Seat.parse(parcel.identity.decode("utf-8", "replace"))
        if seat is None:
            return
        try:
            message = link.from_worker.decode(parcel.header)
        except UNDECODABLE as error:
            self._post(ev.WorkerBroke(seat, f"an unreadable message ({_where(error)})"))
            return
        if parcel.surplus:
            self._post(ev.WorkerBroke(seat, "too many frames"))
            return
        if isinstance(message, link.Ready):
            self._offers[seat.pool] = message.offers
        self._post(_event(seat, message, parcel.body))


def _event(seat: Seat, message: link.FromWorker, body: zmq.Frame | None) -> ev.Event:
    if breach := _breach(message, body):
        return ev.WorkerBroke(seat, breach)
    match message:
        case link.Hello(pid=pid):
            return ev.WorkerGreeted(seat, pid)
        case link.Ready(load_s, warm_up_s, canary=canary, rss=rss):
            return ev.WorkerWarmed(seat, load_s, warm_up_s, min(canary.took), canary.text, rss)
        case link.CanaryDone(attempt, run, rss):
            return ev.CanaryFinished(seat, attempt, tuple(run.took), run.text, rss)
        case link.LoadFailed(fault):
            return ev.LoadFaulted(seat, fault)
        case link.StepProgress(attempt, done, duration):
            return ev.StepProgressed(seat, attempt, done, duration)
        case link.StepFailed(attempt, fault, leave):
            return ev.StepFaulted(seat, attempt, fault, leave)
        case link.StepSegment(attempt, index, done):
            return ev.SegmentDecoded(seat, attempt, index, done, body)
        case link.StepSplit(attempt, chunks, timings):
            return ev.StepSplit(seat, attempt, tuple((cut.start, cut.end) for cut in chunks), body, timings)
        case link.StepDone(attempt, timings, work, rss=rss):
            return ev.StepFinished(seat, attempt, timings, work, body, rss)


def _breach(message: link.FromWorker, body: zmq.Frame | None) -> str:
    """What no healthy worker would say; empty for nothing."""
    match message:
        case link.Hello(version=version) if version != VERSION:
            return f"it speaks protocol version {version}, the supervisor {VERSION}"
        case link.StepSegment() | link.StepDone() | link.StepSplit() if body is None:
            return "a result without a body"
        case link.StepSplit(chunks=chunks) if not _whole(chunks):
            return "it has cut audio into pieces that do not make a whole"
        case link.StepSplit(timings=timings) if not _sane(timings):
            return "a result with numbers that are none"
        case link.StepDone(timings=timings, work=work) if not (_sane(timings) and _sane(work)):
            return "a result with numbers that are none"
        case _:
            return ""


def _whole(chunks: list[link.Cut]) -> bool:
    """From the start of the audio to its end, with no gap."""
    edges = itertools.pairwise(chunks)
    return chunks[0].start == 0 and all(c.start < c.end for c in chunks) and all(a.end == b.start for a, b in edges)


def _where(error: Exception) -> str:
    """Which part of a message was wrong, without the words that stood there: they may be a user's."""
    path = str(error).rpartition(" - at ")[2] if " - at " in str(error) else ""
    return f"{type(error).__name__} at {path}"[:120] if path else type(error).__name__


def _sane(numbers: msgspec.Struct) -> bool:
    """A worker is not trusted with figures that nobody can compute with."""
    return all(0 <= n <= MOST for n in msgspec.structs.astuple(numbers) if isinstance(n, int | float))
