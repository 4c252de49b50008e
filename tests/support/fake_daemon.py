"""A daemon that says what a test wants, over real sockets: for what a healthy daemon never does.

And a line to a healthy one on which bytes get lost.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import zmq

from asrd_protocol import messages as m
from asrd_protocol.codec import Codec, encode
from asrd_protocol.model import Run, Segment, Transcript

Says = m.AnyAnswer | tuple[m.AnyAnswer, bytes] | bytes
Script = Callable[[m.JobQuestion | m.ControlQuestion, bytes], Sequence[Says]]


class FakeDaemon:
    """Binds the sockets in a directory; ``script`` gives the answers to each question, their ``ref`` is filled in."""

    def __init__(self, directory: Path, script: Script) -> None:
        self.asked: list[m.JobQuestion | m.ControlQuestion] = []
        self._script = script
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._codecs = {
            "jobs": Codec[m.JobQuestion](m.JobQuestion),
            "control": Codec[m.ControlQuestion](m.ControlQuestion),
        }
        self._sockets = {name: self._bind(directory / f"{name}.sock") for name in self._codecs}
        self._ear, self._mouth = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        self._ear.bind("inproc://stop")
        self._mouth.connect("inproc://stop")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "FakeDaemon":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bind(self, path: Path) -> "zmq.Socket[bytes]":
        router = self._context.socket(zmq.ROUTER)
        path.unlink(missing_ok=True)
        router.bind(f"ipc://{path}")
        return router

    def kinds(self) -> list[str]:
        """The types of the questions so far."""
        return [type(question).__name__ for question in self.asked]

    def close(self) -> None:
        """Goes away; what is said already still leaves."""
        if self._thread.is_alive():
            self._mouth.send(b"")
            self._thread.join(10)
        self._context.destroy(linger=500)

    def _serve(self) -> None:
        poller = zmq.Poller()
        for listening in (*self._sockets.values(), self._ear):
            poller.register(listening, zmq.POLLIN)
        while self._ear not in (ready := dict(poller.poll())):
            for name, router in self._sockets.items():
                if router in ready:
                    self._answer(name, router)

    def _answer(self, name: str, router: "zmq.Socket[bytes]") -> None:
        peer, header, *body = router.recv_multipart()
        question = self._codecs[name].decode(header)
        self.asked.append(question)
        for said in self._script(question, b"".join(body)):
            router.send_multipart([peer, *_frames(said, question.ref)])


def _frames(said: Says, ref: str) -> list[bytes]:
    if isinstance(said, bytes):
        return [said]
    answer, body = said if isinstance(said, tuple) else (said, None)
    header = encode(msgspec.structs.replace(answer, ref=answer.ref or ref))
    return [header] if body is None else [header, body]


class BadLine:
    """Stands between a client in ``directory`` and the daemon in ``beyond``, and loses what a test wants lost."""

    def __init__(self, directory: Path, beyond: Path) -> None:
        self.deaf = False
        """Whether the daemon hears nothing more; until the line is cut."""
        self.mute = False
        """Whether the client hears nothing more; until the line is cut."""
        self._ends: list[socket.socket] = []
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        for name in ("jobs.sock", "control.sock"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(directory / name))
            listener.listen()
            self._listeners.append(listener)
            self._start(self._accept, listener, str(beyond / name))

    def __enter__(self) -> "BadLine":
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            _hang_up(listener)
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Every connection breaks; the next ones are good."""
        ends, self._ends = self._ends, []
        for end in ends:
            _hang_up(end)
        self.deaf = self.mute = False

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket, target: str) -> None:
        with contextlib.suppress(OSError), listener:
            while True:
                near, far = listener.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect(target)
                self._ends += [near, far]
                self._start(self._pass_on, near, far, lambda: self.deaf)
                self._start(self._pass_on, far, near, lambda: self.mute)

    def _pass_on(self, source: socket.socket, sink: socket.socket, lost: Callable[[], bool]) -> None:
        with contextlib.suppress(OSError), source:
            while data := source.recv(65_536):
                if not lost():
                    sink.sendall(data)
        _hang_up(sink)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def segment(index: int, text: str = "") -> Segment:
    """One second of speech."""
    return Segment(id=index, seek=0, start=float(index), end=index + 1.0, text=text or f" {index}")


def decoded(job: str, index: int, attempt: int = 1) -> tuple[m.SegmentDecoded, bytes]:
    """The push of one segment."""
    return m.SegmentDecoded(job=job, index=index, attempt=attempt), msgspec.json.encode(segment(index))


def completed(job: str, segments: int = 1) -> tuple[m.Completed, bytes]:
    """The end of a job with so many segments."""
    spoken = [segment(index) for index in range(segments)]
    text = "".join(one.text for one in spoken)
    transcript = Transcript(text=text, language="en", segments=spoken, duration=float(segments))
    return m.Completed(job=job, run=Run(seat="default/0.1")), msgspec.json.encode(transcript)
