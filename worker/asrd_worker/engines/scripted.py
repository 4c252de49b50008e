"""An engine that does what the job says: for self-tests, faults and timing, never for speech.

``{"script": [{"do": "speak", "text": "hello"}, {"do": "segfault"}]}`` says one segment and dies. It reads no audio.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Audio
from asrd_protocol.model import Segment, Work
from asrd_worker.engines import script as word
from asrd_worker.engines.base import EngineFault, LoadError, Outline, Transcriber, Transcription
from asrd_worker.engines.script import Do, Script, ScriptSettings
from asrd_worker.whole import Long, Whole

if TYPE_CHECKING:
    from asrd_worker.blob import Body
    from asrd_worker.recording import Decoded, Recording

CHUNK_S = 100.0
"""Seconds of each chunk of a recording that is pretended to be long."""

_orders = msgspec.json.Decoder(list[Do])


class _Silence(msgspec.Struct, frozen=True):
    """Audio that nobody listens to."""

    duration: float = 1.0
    warnings: list[str] = []
    chunk: int | None = None


class Scripted(Transcriber):
    """Plays scripts."""

    Settings = ScriptSettings
    Options = Script

    def __init__(self, settings: ScriptSettings, seat: str) -> None:
        super().__init__(settings, seat)
        self._kept: list[bytearray] = []
        self._jobs = 0
        self._told = 1.0
        self._chunks = 0
        _, _, worker = seat.rpartition("/")
        slot, generation = (int(part) for part in worker.split("."))
        here = not settings.only_slots or slot in settings.only_slots
        self._misbehaves = here and (not settings.generations or generation <= settings.generations)

    def load(self) -> None:
        """Take the time that loading takes, and do what the settings say."""
        time.sleep(self.settings.start_s)
        if self._misbehaves:
            self._play_all(self.settings.at_load)

    def warm_up(self) -> None:
        """Do what the settings say."""
        if self._misbehaves:
            self._play_all(self.settings.at_warm_up)

    def canary(self) -> str:
        """Play the clip's script; what it speaks is the text."""
        if self._mute:
            return ""
        return "".join(spoken.text for spoken in self._spoken(self.settings.canary)).strip()

    def close(self) -> None:
        """Do what the settings say."""
        if self._misbehaves:
            self._play_all(self.settings.at_exit)

    def read(self, audio: Audio, body: "Body", max_audio_s: float, moved: object = None) -> "Decoded":
        """Pretend."""
        return cast("Decoded", _Silence())

    def divisible(self, options: Script) -> bool:
        """If the job says so."""
        return bool(options.chunks)

    def read_long(
        self, audio: Audio, body: "Body", max_audio_s: float, tape: int, keep_s: float, moved: object
    ) -> "Decoded | Long":
        """Pretend."""
        return Long(cast("Recording", None), 0.0)

    def overview(self, long: Long, options: Script) -> Whole:
        """Play the job's own script, and remember how many chunks there are."""
        self._play_all(options.script)
        self._chunks = len(options.chunks)
        return Whole(duration=CHUNK_S * self._chunks, language="en")

    def cut(self, long: Long, chunk_s: float, ways: int, moved: object) -> list[tuple[float, float]]:
        """One after the other."""
        return [(CHUNK_S * at, CHUNK_S * (at + 1)) for at in range(self._chunks)]

    def stretch(self, tape: int, start: float, end: float) -> "Decoded":
        """Pretend."""
        return cast("Decoded", _Silence(CHUNK_S, chunk=round(start / CHUNK_S)))

    def transcribe(self, heard: "Decoded", options: Script) -> Transcription:
        """Play the script. Its sleeps and spins are the work, in milliseconds as they stand there."""
        self._jobs += 1
        if self._misbehaves and self.settings.leak_mb_per_job:
            self._play(word.Leak(mb=self.settings.leak_mb_per_job))
        chunk = cast(_Silence, heard).chunk
        script = options.script if chunk is None else _orders.decode(options.chunks[chunk])
        script = [] if self._mute else script
        at, count = 0.0, 0
        for spoken in self._spoken(script):
            yield Segment(id=count, seek=0, start=at, end=at + spoken.seconds, text=spoken.text)
            at, count = at + spoken.seconds, count + 1
        work = Work(
            audio_s=max(at, options.seconds),
            windows=1,
            attempts=1,
            beam_steps=_milliseconds(script),
            segments=count,
            kind=self.settings.kind,
        )
        return Outline(language="en", work=work)

    @property
    def _mute(self) -> bool:
        return self._misbehaves and 0 < self.settings.mute_after <= self._jobs

    @property
    def _slower(self) -> float:
        """How many times as long sleeps and spins take."""
        if not self._misbehaves:
            return self._told
        settings: ScriptSettings = self.settings
        stepped = settings.slow_factor if self._jobs >= settings.slow_after else 1.0
        return self._told * stepped * (1 + settings.slow_per_job * max(0, self._jobs - 1))

    def _spoken(self, script: list[Do]) -> Iterator[word.Speak]:
        """Play a script, and stop at everything that it speaks."""
        for do in script:
            match do:
                case word.Speak():
                    yield do
                case word.Obey(order=order):
                    yield from self._spoken(self._take(order))
                case _:
                    self._play(do)

    def _play_all(self, script: list[Do]) -> None:
        """Play a script that nobody listens to."""
        for _ in self._spoken(script):
            pass

    def _play(self, do: Do) -> None:
        match do:
            case word.Sleep(s=s):
                time.sleep(s * self._slower)
            case word.Spin(s=s):
                end = time.process_time() + s * self._slower
                while time.process_time() < end:
                    pass
            case word.Slow(factor=factor):
                self._told = factor
            case word.Leak(mb=mb):
                self._kept.append(bytearray(os.urandom(1024)) * int(mb * 1024))
            case word.Print(text=text, times=times):
                for _ in range(times):
                    os.write(2, text.encode() + b"\n")
            case word.Later(s=s, script=script):
                later = threading.Timer(s, self._play_all, [script])
                later.daemon = True
                later.start()
            case word.Lie(how=how):
                self._lie(how)
            case _:
                _misbehave(do)

    def _take(self, order: str) -> list[Do]:
        """The script of an order that nobody else has taken; removing the file is what decides."""
        path = Path(self.settings.orders) / order
        if not self.settings.orders or not path.exists():
            return []
        try:
            text = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return []
        return _orders.decode(text)

    def _lie(self, how: str) -> None:
        from asrd_protocol import link

        encode = msgspec.msgpack.encode
        match how:
            case "garbage":
                self.say([b"\xc1\xff\x00garbage"])
            case "attempt":
                self.say([encode(link.StepFailed(10**9, Fault.of(Code.ENGINE_ERROR, "not mine"))), b"{}"])
            case "ready":
                self.say([encode(link.Ready(0.0, 0.0, link.Offers(), link.CanaryRun([0.0], ""), 0))])
            case _:
                self.say([encode(link.Hello(os.getpid(), 1))])


def _milliseconds(script: list[Do]) -> int:
    """What the script itself takes: an order, or what is done later, is something that happens to the worker."""
    return round(1000 * sum(do.s for do in script if isinstance(do, word.Sleep | word.Spin)))


def _fail(message: str, code: Code | None, leave: bool) -> None:
    if code is None:
        raise RuntimeError(message)
    if code is Code.MODEL_UNAVAILABLE:
        raise LoadError(message)
    raise EngineFault(Fault.of(code, message), leave=leave)


def _misbehave(do: Do) -> None:
    match do:
        case word.Hang(how="gil"):
            ctypes.PyDLL(None).sleep(3600)
        case word.Hang(how="c"):
            ctypes.CDLL(None).sleep(3600)
        case word.Hang(how="python"):
            while True:
                pass
        case word.Hang():
            os.kill(os.getpid(), signal.SIGSTOP)
        case word.Die(code=None, signal=name):
            os.kill(os.getpid(), getattr(signal, name))
            signal.pause()
        case word.Die(code=code):
            os._exit(code or 0)
        case word.Segfault():
            ctypes.string_at(0)
        case word.Fail(message=message, code=code, leave=leave):
            _fail(message, code, leave)
        case word.Deafen():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
