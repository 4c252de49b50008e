"""The references of ``dispatch.py``: the least that a broker on ZeroMQ and uvloop can do, with no-op workers.

Both variants have a ROUTER to the clients, a ROUTER to the workers, one job in flight for each worker and a queue for
the rest. They look into no header, keep no record, have no deadline and lose a job with its worker. ``fd`` uses plain
sockets whose descriptors hang in the loop, ``asyncio`` the sockets of ``zmq.asyncio``. Each process is this file, with
the arguments ``broker fd|asyncio DIRECTORY`` or ``worker DIRECTORY``.
"""

import asyncio
import signal
import subprocess
import sys
import tempfile
from collections import deque
from typing import Any, Literal

import uvloop
import zmq
import zmq.asyncio

from children import dies_with_parent, end

Variant = Literal["fd", "asyncio"]
Frames = list[Any]
"""Frames of a message, each ``bytes`` or a ``zmq.Frame``."""

GREETING = b""
"""The only message of a worker that is no answer: it has one frame, answers have three."""


class RawBroker:
    """``with RawBroker("fd", workers=2) as broker``: a broker and its workers, each a process of its own."""

    def __init__(self, variant: Variant, workers: int) -> None:
        self._variant = variant
        self._workers = workers

    def __enter__(self) -> "RawBroker":
        self._directory = tempfile.TemporaryDirectory(prefix="asrd-bench-")
        self.address = f"ipc://{self._directory.name}/front"
        self._broker = _start("broker", self._variant, self._directory.name)
        self._children = [_start("worker", self._directory.name) for _ in range(self._workers)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._children, self._broker):
            end(process, patience=5.0)
        self._directory.cleanup()

    @property
    def pid(self) -> int:
        """The process id of the broker."""
        return self._broker.pid


class Turn:
    """Who is idle and what waits: the whole state of a raw broker."""

    def __init__(self) -> None:
        self._idle: deque[bytes] = deque()
        self._waiting: deque[Frames] = deque()

    def job(self, job: Frames) -> Frames | None:
        """What to send to a worker now that a job has come."""
        if self._idle:
            return [self._idle.popleft(), *job]
        self._waiting.append(job)
        return None

    def idle(self, worker: bytes) -> Frames | None:
        """What to send to a worker now that it has nothing to do."""
        if self._waiting:
            return [worker, *self._waiting.popleft()]
        self._idle.append(worker)
        return None


class FdBroker:
    """Plain sockets: drained until both say EAGAIN, because their descriptors are edge-triggered."""

    def __init__(self, directory: str) -> None:
        self._front = zmq.Socket[bytes](zmq.Context.instance(), zmq.ROUTER)
        self._back = zmq.Socket[bytes](zmq.Context.instance(), zmq.ROUTER)
        _bind(self._front, self._back, directory)
        self._turn = Turn()

    async def run(self) -> None:
        """Serve until the process is ended."""
        loop = asyncio.get_running_loop()
        for socket in (self._front, self._back):
            loop.add_reader(int(socket.getsockopt(zmq.FD)), self._drain)
        self._drain()
        await asyncio.Event().wait()

    def _drain(self) -> None:
        while self._from_workers() + self._from_clients():
            pass

    def _from_clients(self) -> int:
        count = 0
        while job := _receive_job(self._front):
            count += 1
            _send(self._back, self._turn.job(job))
        return count

    def _from_workers(self) -> int:
        count = 0
        while answer := _receive_answer(self._back):
            count += 1
            _send(self._back, self._turn.idle(answer[0]))
            if answer[1:] != [GREETING]:
                _send(self._front, answer[1:])
        return count


class AsyncioBroker:
    """The sockets of ``zmq.asyncio``: what one writes first."""

    def __init__(self, directory: str) -> None:
        context = zmq.asyncio.Context.instance()
        self._front = context.socket(zmq.ROUTER)
        self._back = context.socket(zmq.ROUTER)
        _bind(self._front, self._back, directory)
        self._turn = Turn()

    async def run(self) -> None:
        """Serve until the process is ended."""
        await asyncio.gather(self._from_clients(), self._from_workers())

    async def _from_clients(self) -> None:
        while True:
            if job := self._turn.job(await self._front.recv_multipart(copy=False)):
                await self._back.send_multipart(job, copy=False)

    async def _from_workers(self) -> None:
        while True:
            worker, *answer = await self._back.recv_multipart()
            if job := self._turn.idle(worker):
                await self._back.send_multipart(job, copy=False)
            if answer != [GREETING]:
                await self._front.send_multipart(answer)


def work(directory: str) -> None:
    """A no-op worker: each job is answered with its own header and an empty body."""
    socket = zmq.Socket[bytes](zmq.Context.instance(), zmq.DEALER)
    socket.connect(f"ipc://{directory}/back")
    socket.send(GREETING)
    while True:
        client, header, _body = socket.recv_multipart(copy=False)
        socket.send_multipart([client, header, b""])


def _bind(front: "zmq.Socket[Any]", back: "zmq.Socket[Any]", directory: str) -> None:
    for socket, name in ((front, "front"), (back, "back")):
        socket.set_hwm(0)
        socket.bind(f"ipc://{directory}/{name}")


def _receive_job(socket: "zmq.Socket[bytes]") -> Frames:
    """Client, header and body, the body not copied; empty when there is none."""
    try:
        client = socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        return []
    return [client, socket.recv(), socket.recv(copy=False)]


def _receive_answer(socket: "zmq.Socket[bytes]") -> Frames:
    """Worker, client, header and body, or just the worker that greets; empty when there is none."""
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return []


def _send(socket: "zmq.Socket[bytes]", frames: Frames | None) -> None:
    if frames is not None:
        socket.send_multipart(frames, zmq.NOBLOCK, copy=False)


def _start(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.DEVNULL,
        preexec_fn=dies_with_parent(signal.SIGKILL),
    )


def main(arguments: list[str]) -> None:
    """One process of a raw broker."""
    match arguments:
        case ["broker", "fd", directory]:
            uvloop.run(FdBroker(directory).run())
        case ["broker", "asyncio", directory]:
            uvloop.run(AsyncioBroker(directory).run())
        case ["worker", directory]:
            work(directory)
        case _:
            sys.exit("usage: raw_broker.py broker fd|asyncio DIRECTORY, or raw_broker.py worker DIRECTORY")


if __name__ == "__main__":
    main(sys.argv[1:])
