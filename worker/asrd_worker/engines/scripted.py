"""An engine that does what the job says: for self-tests, faults and timing, never for speech.

``{"script": [{"do": "speak", "text": "hello"}, {"do": "segfault"}]}`` says one segment and dies. It reads no audio.
"""

import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Audio
from asrd_protocol.model import Segment, Work
from asrd_worker.engines.base import Engine, EngineFault, LoadError, Outline, Transcription

if TYPE_CHECKING:
    from asrd_worker.audio import Decoded


class _Do(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag=str.lower, forbid_unknown_fields=True):
    pass


class Speak(_Do, frozen=True, kw_only=True):
    """Say one segment of so many seconds."""

    text: str
    seconds: float = 1.0


class Sleep(_Do, frozen=True, kw_only=True):
    """Wait, with the GIL given up."""

    s: float


class Spin(_Do, frozen=True, kw_only=True):
    """Compute."""

    s: float


class Leak(_Do, frozen=True, kw_only=True):
    """Keep so much memory for ever."""

    mb: float


class Hang(_Do, frozen=True, kw_only=True):
    """Make no progress: in C with the GIL, in C without it, in Python, or stopped by a signal."""

    how: Literal["gil", "c", "python", "stopped"] = "c"


class Die(_Do, frozen=True, kw_only=True):
    """End the process: by an exit code or by a signal that it sends to itself."""

    code: int | None = None
    signal: str = "SIGKILL"


class Segfault(_Do, frozen=True, kw_only=True):
    """Read address 0."""


class Fail(_Do, frozen=True, kw_only=True):
    """Raise: a fault of this code, or a plain exception without one."""

    message: str = "scripted"
    code: Code | None = None
    leave: bool = False


class Print(_Do, frozen=True, kw_only=True):
    """Write so much text to stderr."""

    text: str = "scripted output"
    times: int = 1


class Lie(_Do, frozen=True, kw_only=True):
    """Send the supervisor what no healthy worker sends."""

    how: Literal["garbage", "attempt", "ready", "twice"] = "garbage"


class Deafen(_Do, frozen=True, kw_only=True):
    """Ignore SIGTERM and SIGABRT from now on."""


Do = Speak | Sleep | Spin | Leak | Hang | Die | Segfault | Fail | Print | Lie | Deafen


class ScriptSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the workers of the pool behave."""

    start_s: float = 0.0
    """Time that loading takes."""
    model: str = ""
    at_load: list[Do] = []
    at_warm_up: list[Do] = []
    at_exit: list[Do] = []
    generations: int = 0
    """Only workers up to this generation do what ``at_load`` and ``at_warm_up`` say; 0 for all."""
    slow_per_job: float = 0.0
    """Sleeps and spins take this share longer with each job of the worker."""
    leak_mb_per_job: float = 0.0


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the job does, in order."""

    script: list[Do] = []
    seconds: float = 1.0
    """Length of the pretended audio."""


class _Silence(msgspec.Struct, frozen=True):
    """Audio that nobody listens to."""

    duration: float = 1.0
    warnings: list[str] = []


class Scripted(Engine):
    """Plays scripts."""

    Settings = ScriptSettings
    Options = Script

    def __init__(self, settings: ScriptSettings, seat: str) -> None:
        super().__init__(settings, seat)
        self._kept: list[bytearray] = []
        self._jobs = 0
        self._attempt_said = 0
        generation = int(seat.rpartition(".")[2])
        self._misbehaves = not settings.generations or generation <= settings.generations

    def load(self) -> None:
        """Take the time that loading takes, and do what the settings say."""
        time.sleep(self.settings.start_s)
        if self._misbehaves:
            self._play_all(self.settings.at_load)

    def warm_up(self) -> None:
        """Do what the settings say."""
        if self._misbehaves:
            self._play_all(self.settings.at_warm_up)

    def read(self, audio: Audio, body: memoryview, max_audio_s: float) -> "Decoded":
        """Pretend."""
        return cast("Decoded", _Silence())

    def transcribe(self, heard: "Decoded", options: Script) -> Transcription:
        """Play the script."""
        self._jobs += 1
        if self.settings.leak_mb_per_job:
            self._play(Leak(mb=self.settings.leak_mb_per_job))
        at, count = 0.0, 0
        for do in options.script:
            if isinstance(do, Speak):
                yield Segment(id=count, seek=0, start=at, end=at + do.seconds, text=do.text)
                at, count = at + do.seconds, count + 1
            else:
                self._play(do)
        return Outline(language="en", work=Work(audio_s=max(at, options.seconds), windows=1, segments=count))

    def _play_all(self, script: list[Do]) -> None:
        for do in script:
            self._play(do)

    def _play(self, do: Do) -> None:
        slower = 1 + self.settings.slow_per_job * max(0, self._jobs - 1)
        match do:
            case Sleep(s=s):
                time.sleep(s * slower)
            case Spin(s=s):
                end = time.process_time() + s * slower
                while time.process_time() < end:
                    pass
            case Leak(mb=mb):
                self._kept.append(bytearray(os.urandom(1024)) * int(mb * 1024))
            case Print(text=text, times=times):
                for _ in range(times):
                    os.write(2, text.encode() + b"\n")
            case Lie(how=how):
                self._lie(how)
            case Fail(message=message, code=code, leave=leave):
                _fail(message, code, leave)
            case _:
                _misbehave(do)

    def _lie(self, how: str) -> None:
        from asrd_protocol import link

        encode = msgspec.msgpack.encode
        match how:
            case "garbage":
                self.say([b"\xc1\xff\x00garbage"])
            case "attempt":
                self.say([encode(link.StepFailed(10**9, Fault.of(Code.ENGINE_ERROR, "not mine"))), b"{}"])
            case "ready":
                self.say([encode(link.Ready(0.0, 0.0, {}))])
            case _:
                self.say([encode(link.Hello(os.getpid(), 1))])


def _fail(message: str, code: Code | None, leave: bool) -> None:
    if code is None:
        raise RuntimeError(message)
    if code is Code.MODEL_UNAVAILABLE:
        raise LoadError(message)
    raise EngineFault(Fault.of(code, message), leave=leave)


def _misbehave(do: Do) -> None:
    match do:
        case Hang(how="gil"):
            ctypes.PyDLL(None).sleep(3600)
        case Hang(how="c"):
            ctypes.CDLL(None).sleep(3600)
        case Hang(how="python"):
            while True:
                pass
        case Hang():
            os.kill(os.getpid(), signal.SIGSTOP)
        case Die(code=None, signal=name):
            os.kill(os.getpid(), getattr(signal, name))
            signal.pause()
        case Die(code=code):
            os._exit(code or 0)
        case Segfault():
            ctypes.string_at(0)
        case Deafen():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
