"""What the tests on a GPU share: whether there is one, a daemon on it, what its memory holds, somebody who takes it."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import jiwer

from asrd_supervisor import placing
from asrd_supervisor.config import PoolConfig
from asrd_supervisor.environment import CUDA
from asrd_supervisor.probes.seen import Seen, seen
from support.daemon import Daemon
from support.wait import eventually
from support.wire import Wire

MB = 1 << 20
KIND = "cuda"
USUAL = "float16"
"""With what is computed there, if nobody says anything else."""

SLACK = 500 * MB
"""What may stay in use after a job, above what a warm worker has."""

READY_S = 300.0
"""The kernels of a GPU that is newer than the library are compiled once."""

ANSWER_S = 300.0

HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}

_WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])


@functools.cache
def found(libraries: str | None = None) -> Seen:
    """What a worker sees here; ``libraries`` in the place of LD_LIBRARY_PATH."""
    told = {} if libraries is None else {"LD_LIBRARY_PATH": libraries}
    return seen({**os.environ, **CUDA, **told})


def missing() -> str:
    """Why nothing can be tested here; empty if something can."""
    here = found()
    return "" if here.gpus else f"needs a GPU, but {here.why}"


# --- a daemon on the first GPU ----------------------------------------------------------------------------------------


def config(*lines: str) -> str:
    """One worker with real tiny.en on the first GPU that there is; with more lines for its table, and tables after."""
    first = ["[pools.default]", 'device = "auto"', "device_index = 0", 'model = "tiny.en"']
    told = lines if any(line.startswith("workers") for line in lines) else ("workers = 1", *lines)
    return "\n".join([*first, *told])


def logged(daemon: Daemon, topic: str) -> list[dict[str, Any]]:
    """What the daemon has said under this name; waits until it is written, for at least one line."""

    def lines() -> list[dict[str, Any]]:
        told = (json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in told if line["event"] == topic]

    return eventually(lines)


def pool_of(daemon: Daemon, name: str = "default") -> dict[str, Any]:
    """The pool, as operators see it."""
    return next(pool for pool in daemon.ask("pools")["pools"] if pool["name"] == name)


def pid_of(daemon: Daemon) -> int:
    """The process of the only worker."""
    (worker,) = daemon.workers()
    assert isinstance(worker["pid"], int)
    return worker["pid"]


def transcribed(daemon: Daemon, audio: bytes, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The transcript of a job that has to be completed, and its figures."""
    wire = Wire(daemon.directory, timeout=ANSWER_S)
    try:
        answer, body = wire.run(audio, **fields)
    finally:
        wire.close()
    assert answer["type"] == "completed", answer
    return json.loads(body), answer["run"]


def words(text: str) -> str:
    """The words alone."""
    cleaned: str = _WORDS(text.replace("-", " "))
    return cleaned


def joined(speech: Path, times: int = 1) -> bytes:
    """All recordings one after the other, so many times."""
    target = io.BytesIO()
    with wave.open(target, "wb") as out:
        for number, clip in enumerate(sorted(speech.glob("*.wav")) * times):
            with wave.open(str(clip)) as part:
                if not number:
                    out.setparams(part.getparams())
                out.writeframes(part.readframes(part.getnframes()))
    return target.getvalue()


def mapped(pid: int, name: str) -> set[Path]:
    """Files with this in their name that a process has in its memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = {Path(fields[5]) for line in lines if len(fields := line.split(maxsplit=5)) == 6}
    return {path for path in paths if name in path.name}


# --- its memory -------------------------------------------------------------------------------------------------------


class Card:
    """The first GPU that a worker sees, as the driver speaks of it. Nothing of asrd's own probes is used."""

    def __init__(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml = pynvml
        (name,) = placing.names(PoolConfig(device="cuda", device_index=0))
        self._handle = self._find(name.removeprefix("cuda:"))

    def _find(self, which: str) -> Any:
        if which.isdecimal():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(which))
        if which.startswith("MIG-"):
            return self._nvml.nvmlDeviceGetHandleByUUID(which)
        every = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        return next(one for one in every if self._nvml.nvmlDeviceGetUUID(one).startswith(which))

    def free(self) -> int:
        """Bytes."""
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).free)

    def of(self, pid: int) -> int | None:
        """Bytes of a process; None where the driver does not tell it: in a container with process ids of its own."""
        told = [one.usedGpuMemory for one in self._processes() if one.pid == pid]
        return None if not told or None in told else int(sum(told))

    def lists(self, pid: int) -> bool:
        """Whether the process is on the GPU, for all that the driver says."""
        return any(one.pid == pid for one in self._processes())

    def _processes(self) -> list[Any]:
        return list(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))


class Meter:
    """How much of a GPU a daemon has taken, from before it was started."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._before = card.free()

    def taken(self, pid: int) -> int:
        """Bytes of a worker; by what is free less, where the driver does not tell it of a process."""
        told = self._card.of(pid)
        return self._before - self._card.free() if told is None else told

    def back(self) -> bool:
        """Whether what was taken is free again."""
        return self._before - self._card.free() < SLACK


# --- somebody who takes it --------------------------------------------------------------------------------------------

_TAKER = """
import ctypes
import sys

cuda = ctypes.CDLL("libcuda.so.1")


def must(error):
    assert error == 0, error


def take(size):
    memory = ctypes.c_void_p()
    return cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(size)) == 0


def free():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    must(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    return free.value


def leave(size):
    step = 1 << 30
    while step >= 1 << 20:
        if free() - size < step or not take(step):
            step //= 2
    return True


must(cuda.cuInit(0))
context, device = ctypes.c_void_p(), ctypes.c_int()
must(cuda.cuDeviceGet(ctypes.byref(device), 0))
must(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
must(cuda.cuCtxSetCurrent(context))
print("context", flush=True)
for line in sys.stdin:
    order, size = line.split()
    assert {"take": take, "leave": leave}[order](int(size)), line
    print("done", flush=True)
"""


class Taker:
    """A process with a CUDA context on a GPU."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin
        assert process.stdout
        self.pid = process.pid
        self._process = process
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout
        assert self._stdout.readline() == "context\n", "no CUDA context; the reason is on stderr"

    def take(self, size: int) -> None:
        """Some more bytes."""
        self._tell(f"take {size}")

    def leave(self, size: int) -> None:
        """All but so many bytes."""
        self._tell(f"leave {size}")

    def end(self) -> None:
        """Let go of all of it."""
        self._stdin.close()
        assert self._process.wait(30) == 0

    def _tell(self, order: str) -> None:
        self._stdin.write(f"{order}\n")
        self._stdin.flush()
        assert self._stdout.readline() == "done\n", "it has died; the reason is on stderr"


@contextlib.contextmanager
def taking(**environ: str) -> Iterator[Taker]:
    """One on the first GPU that it sees; it lets go at the end."""
    command = [sys.executable, "-c", _TAKER]
    told = {**os.environ, **CUDA, **environ}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=told, stdin=pipe, stdout=pipe, text=True) as process:
        yield Taker(process)
