"""The processes of the workers: spawn, watch, drain their output, kill.

A process is started by exec from the loop's thread, never forked from one that holds a model, in a process group of
its own. Its end is seen through a pidfd, at once and without polling. Its stdout and stderr are read whatever it
writes, so that no worker ever blocks on a full pipe.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping

import msgspec

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.bridge import NO_INTERPRETER, Bridge, foreign, interpreter, way_out
from asrd_supervisor.core.events import WorkerExited
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.output import Output
from asrd_supervisor.probes.proc import oom_kills

REAP_S = 2.0
"""Seconds that the end of the daemon waits for a dead worker that somebody traces."""

OUT_OF_MEMORY = "killed by the kernel, out of memory"

_SAID = "asrd: "
"""How a worker that cannot even greet begins the line that tells why."""


class LaunchSpec(msgspec.Struct, frozen=True):
    """How the workers of a pool are started."""

    python: str
    env: dict[str, str]


class Process:
    """One running worker."""

    def __init__(
        self, seat: Seat, popen: subprocess.Popen[bytes], pidfd: int, output: Output, door: socket.socket
    ) -> None:
        self.seat = seat
        self.popen = popen
        self.pidfd = pidfd
        self.output = output
        self.killed = False
        """By us."""
        self.door = door
        """Our end of the socket on which it is handed open files."""


class Launcher:
    """All running workers, by seat."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: str,
        specs: Mapping[str, LaunchSpec],
        post: Callable[[WorkerExited], None],
    ) -> None:
        self._loop = loop
        self._address = address
        self._specs = specs
        self._post = post
        self._running: dict[Seat, Process] = {}
        self._oom_kills = oom_kills()
        self._bridge = Bridge.beside(address)

    def pid(self, seat: Seat) -> int | None:
        """The process id of a running worker."""
        process = self._running.get(seat)
        return process.popen.pid if process else None

    def spawn(self, seat: Seat) -> None:
        """Start a worker. A process that cannot be started, or not be watched, counts as one that left at once."""
        spec = self._specs[seat.pool]
        try:
            process = self._started(seat, spec)
        except OSError as error:
            self._post(_not_started(seat, spec, error))
            return
        self._running[seat] = process
        self._loop.add_reader(process.pidfd, self._exited, process)

    def _started(self, seat: Seat, spec: LaunchSpec) -> Process:
        """A process, and what is needed to watch it.

        Raises:
            OSError: it cannot be run, or there is no descriptor left for watching it; then nothing is left of it.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as undo:
            undo.enter_context(ours)
            with theirs:
                command = ["--seat", str(seat), "--link", self._address, "--parent", str(os.getpid())]
                popen = self._start(spec, [*command, "--door", str(theirs.fileno())], theirs.fileno())
            undo.callback(_bury, popen)
            pidfd = os.pidfd_open(popen.pid)
            undo.callback(os.close, pidfd)
            ours.setblocking(False)
            assert popen.stdout is not None
            output = Output(self._loop, popen.stdout.fileno(), str(seat), popen.pid)
            undo.pop_all()
        return Process(seat, popen, pidfd, output, ours)

    def _start(self, spec: LaunchSpec, options: list[str], door: int) -> subprocess.Popen[bytes]:
        """Run the worker's program in the interpreter of the pool.

        Raises:
            OSError: it cannot be run.
        """
        python, env = [interpreter(spec.python), "-P"], spec.env
        if foreign(spec.python):
            python, env = python[:1], self._bridge.environment(spec.env)
        return subprocess.Popen(
            [*python, "-m", "asrd_worker", *options],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=(door,),
        )

    def hand_over(self, seat: Seat, attempt: int, *fds: int) -> Fault | None:
        """Give a worker open files for an attempt: it needs no right to the files, and no names of them.

        None, or why that cannot be done; that the worker is about to be gone is no reason, for its exit will tell.
        """
        process = self._running.get(seat)
        try:
            if process:
                socket.send_fds(process.door, [attempt.to_bytes(8, "big")], fds)
        except (BrokenPipeError, ConnectionResetError):
            return None
        except OSError as error:
            return Fault.of(Code.OUT_OF_MEMORY, f"the audio cannot be handed over ({error.strerror})")
        return None

    def kill(self, seat: Seat, *, dump: bool) -> None:
        """End a worker and what it has started; never waits for it."""
        process = self._running.get(seat)
        if process is None:
            return
        process.killed = True
        if dump:
            _signal(process.popen.pid, signal.SIGABRT)
        else:
            _signal_group(process.popen.pid)

    def close(self) -> None:
        """Kill whatever still runs, and reap it."""
        for process in list(self._running.values()):
            self._loop.remove_reader(process.pidfd)
            _signal_group(process.popen.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(REAP_S)
            self._forget(process)
        self._bridge.close()

    def _exited(self, process: Process) -> None:
        self._loop.remove_reader(process.pidfd)
        # While the process is not reaped its group id cannot belong to anybody else.
        _signal_group(process.popen.pid)
        code = process.popen.poll()
        if code is None:  # it is dead, and a tracer has not let go of it yet
            self._reap(process.popen)
        tail = process.output.finish()
        self._forget(process)
        how = "held by a tracer" if code is None else self._how(process, code)
        if code == Exit.CONFIG:
            how = _told(self._specs[process.seat.pool], tail) or how
        self._post(WorkerExited(process.seat, how, code == Exit.CONFIG, tail))

    def _reap(self, popen: subprocess.Popen[bytes]) -> None:
        """Look now and then whether a dead worker can be buried."""
        if popen.poll() is None:
            self._loop.call_later(0.5, self._reap, popen)

    def _how(self, process: Process, code: int) -> str:
        """In a word; the kernel's own SIGKILL looks like anybody's, but for its counter."""
        before, self._oom_kills = self._oom_kills, oom_kills()
        if code == -signal.SIGKILL and not process.killed and self._oom_kills > before:
            return OUT_OF_MEMORY
        return signal.Signals(-code).name if code < 0 else f"exit {code}"

    def _forget(self, process: Process) -> None:
        process.output.finish()
        os.close(process.pidfd)
        process.door.close()
        assert process.popen.stdout is not None
        process.popen.stdout.close()
        self._running.pop(process.seat, None)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _signal_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _bury(popen: subprocess.Popen[bytes]) -> None:
    """End a process that nobody watches."""
    _signal_group(popen.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(REAP_S)
    assert popen.stdout is not None
    popen.stdout.close()


def _not_started(seat: Seat, spec: LaunchSpec, error: OSError) -> WorkerExited:
    """As if it had left at once."""
    how = f"cannot start {interpreter(spec.python)}: {error.strerror}"
    hopeless = error.errno in NO_INTERPRETER
    return WorkerExited(seat, f"{how}; {way_out(spec.env)}" if hopeless else how, hopeless)


def _told(spec: LaunchSpec, tail: tuple[str, ...]) -> str:
    """What a worker said of its interpreter, and what helps; empty when it was of something else that it complained."""
    said = next((line.removeprefix(_SAID) for line in reversed(tail) if line.startswith(_SAID)), "")
    return f"{said}; {way_out(spec.env)}" if said else ""
