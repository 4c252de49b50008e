"""The references of ``asr.py``: faster-whisper processes with nothing around them.

The clips that are to be done are a pipe that all processes read one byte at a time, so that sharing them costs
nothing. Each process is this file with the arguments ``THREADS TASKS_FD MODEL CLIP...``; it prints one JSON line when
it is warm and one for each clip.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from children import dies_with_parent, end

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What takes the page faults out of CTranslate2's large buffers; asrd gives it to its workers."""

DECODING: dict[str, Any] = {"beam_size": 5, "condition_on_previous_text": False}
"""The decode options, the same for bare processes and for the daemon."""

PATIENCE = 300.0
"""Seconds for one clip, or for one model to load."""


def plain_environment() -> dict[str, str]:
    """The environment of somebody who has set nothing."""
    ours = (*ALLOCATOR, "LD_PRELOAD")
    return {k: v for k, v in os.environ.items() if k not in ours and not k.startswith(("OMP_", "KMP_", "CT2_"))}


def worker_environment(threads: int) -> dict[str, str]:
    """The environment that asrd gives a worker with so many threads."""
    return {**plain_environment(), **ALLOCATOR, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}


class Transcribed(msgspec.Struct, frozen=True):
    """One pass over the clips."""

    wall: float
    """Seconds."""
    texts: list[str]


class BareWhisper:
    """``with BareWhisper(...) as bare``: processes with a warm model each.

    Raises:
        RuntimeError: from ``with`` and ``transcribe``, when a process ends or says nothing for five minutes.
    """

    def __init__(
        self, processes: int, threads: int, environment: Mapping[str, str], model: Path, clips: Sequence[bytes]
    ) -> None:
        self._processes = processes
        self._threads = threads
        self._environment = environment
        self._model = model
        self._clips = clips

    def __enter__(self) -> "BareWhisper":
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asrd-bench-")))
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._start(stack, _written(self._clips, directory))
            for _ in range(self._processes):
                self._line()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def transcribe(self) -> Transcribed:
        """All clips once, handed out in their order."""
        texts = [""] * len(self._clips)
        start = time.perf_counter()
        os.write(self._tasks, bytes(range(len(self._clips))))
        for _ in self._clips:
            index, text = self._line()
            texts[index] = text
        return Transcribed(time.perf_counter() - start, texts)

    def _start(self, stack: contextlib.ExitStack, clips: list[str]) -> None:
        reading, self._tasks = os.pipe()
        stack.callback(os.close, self._tasks)
        for _ in range(self._processes):
            process = subprocess.Popen(
                [sys.executable, __file__, str(self._threads), str(reading), str(self._model), *clips],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=(reading,),
                env=dict(self._environment),
                preexec_fn=dies_with_parent(signal.SIGKILL),
            )
            stack.callback(end, process, 5.0)
            self._selector.register(process.stdout or reading, selectors.EVENT_READ)
        os.close(reading)
        self._lines = self._read()

    def _line(self) -> Any:
        return next(self._lines)

    def _read(self) -> Iterator[Any]:
        while ready := self._selector.select(PATIENCE):
            for key, _ in ready:
                line = key.fileobj.readline()  # type: ignore[union-attr]
                if not line:
                    raise RuntimeError("a bare faster-whisper process has ended")
                yield json.loads(line)
        raise RuntimeError(f"no bare faster-whisper process said anything for {PATIENCE:.0f} s")


def _written(clips: Sequence[bytes], directory: Path) -> list[str]:
    paths = [directory / f"{index:03}.wav" for index in range(len(clips))]
    for path, clip in zip(paths, clips, strict=True):
        path.write_bytes(clip)
    return [str(p) for p in paths]


def main(threads: int, tasks: int, model: str, clips: list[str]) -> None:
    """One bare process: load, warm up with the first clip, then transcribe what the pipe says."""
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(clip: str) -> str:
        segments, _info = whisper.transcribe(clip, **DECODING)
        return "".join(segment.text for segment in segments)

    print(json.dumps([-1, transcribe(clips[0])]), flush=True)
    while task := os.read(tasks, 1):
        print(json.dumps([task[0], transcribe(clips[task[0]])]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
