"""The processes of the workers: spawn, watch, drain their output, kill.

A process is started by exec from the loop's thread, never forked from one that holds a model, in a process group of
its own. Its end is seen through a pidfd, at once and without polling. Its stdout and stderr are read whatever it
writes, so that no worker ever blocks on a full pipe.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

import msgspec

from asrd_protocol.exits import Exit
from asrd_supervisor.core.events import WorkerExited
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.output import Output


class LaunchSpec(msgspec.Struct, frozen=True):
    """How the workers of a pool are started."""

    python: str
    env: dict[str, str]


class Process:
    """One running worker."""

    def __init__(self, seat: Seat, popen: subprocess.Popen[bytes], output: Output) -> None:
        self.seat = seat
        self.popen = popen
        self.output = output
        self.pidfd = os.pidfd_open(popen.pid)


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

    def pid(self, seat: Seat) -> int | None:
        """The process id of a running worker."""
        process = self._running.get(seat)
        return process.popen.pid if process else None

    def spawn(self, seat: Seat) -> None:
        """Start a worker. A process that cannot be started counts as one that left at once."""
        spec = self._specs[seat.pool]
        command = [spec.python or sys.executable, "-P", "-m", "asrd_worker", "--seat", str(seat)]
        command += ["--link", self._address, "--parent", str(os.getpid())]
        try:
            popen = subprocess.Popen(
                command,
                env=spec.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:
            how = f"cannot start {command[0]}: {error.strerror}"
            self._post(WorkerExited(seat, how, hopeless=isinstance(error, FileNotFoundError | PermissionError)))
            return
        assert popen.stdout is not None
        output = Output(self._loop, popen.stdout.fileno(), str(seat), popen.pid)
        process = self._running[seat] = Process(seat, popen, output)
        self._loop.add_reader(process.pidfd, self._exited, process)

    def kill(self, seat: Seat, *, dump: bool) -> None:
        """End a worker and what it has started; never waits for it."""
        process = self._running.get(seat)
        if process is None:
            return
        if dump:
            self._signal(process.popen.pid, signal.SIGABRT)
        else:
            self._signal_group(process.popen.pid)

    def close(self) -> None:
        """Kill whatever still runs, and reap it."""
        for process in list(self._running.values()):
            self._loop.remove_reader(process.pidfd)
            self._signal_group(process.popen.pid)
            process.popen.wait()
            self._forget(process)

    def _exited(self, process: Process) -> None:
        self._loop.remove_reader(process.pidfd)
        # While the process is not reaped its group id cannot belong to anybody else.
        self._signal_group(process.popen.pid)
        code = process.popen.wait()
        tail = process.output.finish()
        self._forget(process)
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        self._post(WorkerExited(process.seat, how, code == Exit.CONFIG, tail))

    def _forget(self, process: Process) -> None:
        process.output.finish()
        os.close(process.pidfd)
        assert process.popen.stdout is not None
        process.popen.stdout.close()
        self._running.pop(process.seat, None)

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    @staticmethod
    def _signal_group(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
