"""The life of a worker from the inside: greet, load, warm up, then one step at a time until told to leave.

Everything is said by the thread that computes. A side thread that answers "I am alive" would be a lie when the
computation hangs.
"""

import time
from collections.abc import Callable, Iterator

import msgspec
import zmq

from asrd_protocol import VERSION, link
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_worker.blob import Door, Files
from asrd_worker.diarizing import Diarizing
from asrd_worker.engines import find
from asrd_worker.engines.base import (
    DeviceError,
    Diarizer,
    Engine,
    EngineFault,
    LoadError,
    Transcriber,
    settings_of,
)
from asrd_worker.failures import failure_of, ran_out
from asrd_worker.line import Line
from asrd_worker.memory import Tidy, rss_bytes
from asrd_worker.merging import merge
from asrd_worker.text.options import TextOptions
from asrd_worker.transcribing import Transcribing

_TEXT_MAX = 4096
"""Characters of the clip's text on the link. An engine that loops says much more than it should."""


class Worker:
    """One engine on one link."""

    def __init__(self, link_socket: "zmq.Socket[bytes]", door: Door, seat: str, pid: int) -> None:
        self._line = Line(link_socket)
        self._door = door
        self._seat = seat
        self._pid = pid
        self._max_audio_s = 0.0
        self._tidy = Tidy()

    def run(self) -> Exit:
        """Work until told to leave."""
        self._line.say(link.Hello(self._pid, VERSION))
        try:
            engine = self._engine()
        except LoadError as error:
            self._line.say(link.LoadFailed(_load_fault(error)))
            return Exit.CONFIG
        except EngineFault as error:  # somebody else's doing, such as a service that cannot be reached
            self._line.say(link.LoadFailed(error.fault))
            return Exit.FAILED
        except (RuntimeError, MemoryError) as error:
            if ran_out(error):
                said = f"there is no memory for the model: {error}"
                self._line.say(link.LoadFailed(Fault.of(Code.OUT_OF_MEMORY, said)))
            raise
        while True:
            message = self._line.hear()
            match message:
                case link.RunStep() | link.RunChunk() | link.RunSpeakers() | link.RunMerge():
                    self._run(engine, message)
                    self._tidy.step_done()
                case link.RunCanary():
                    self._prove(engine, message)
                case link.StopWorker():
                    engine.close()
                    return Exit.OK
                case _:
                    pass  # a cancel that crossed our answer

    def _engine(self) -> Engine:
        message = self._line.hear()
        if not isinstance(message, link.Load):
            raise LoadError(f"expected a load, got {type(message).__name__}")
        kind = find(message.engine)
        engine = kind(settings_of(kind, message.settings), self._seat)
        engine.say = self._line.say_raw
        self._max_audio_s = message.max_audio_s
        start = time.perf_counter()
        engine.load()
        loaded = time.perf_counter()
        engine.warm_up()
        canary = _canary(engine, 1)
        self._tidy.settle()
        warm_up_s = time.perf_counter() - loaded
        self._line.say(link.Ready(round(loaded - start, 3), round(warm_up_s, 3), _offers(engine), canary, rss_bytes()))
        return engine

    # --- one step -----------------------------------------------------------------------------------------------------

    def _run(self, engine: Engine, step: link.Step) -> None:
        """Do a step and say how it went."""
        try:
            with self._door.take(step.attempt) as files:
                self._step(engine, step)(files)
        except Exception as error:
            self._line.say(link.StepFailed(step.attempt, *failure_of(error)))

    def _step(self, engine: Engine, step: link.Step) -> Callable[[Files], None]:
        """What is to be done with the files of a step.

        Raises:
            EngineFault: the engine does not do such a thing.
        """
        match step, engine:
            case link.RunStep(), Transcriber():
                return lambda files: Transcribing(engine, self._line, self._max_audio_s).whole(step, files)
            case link.RunChunk(), Transcriber():
                return lambda files: Transcribing(engine, self._line, self._max_audio_s).chunk(step, files)
            case link.RunSpeakers(), Diarizer():
                return lambda files: Diarizing(engine, self._line, self._max_audio_s).run(step, files)
            case link.RunMerge(), _:
                return lambda files: merge(step, files, self._line)
            case _:
                said = f"a worker of this pool cannot do a {type(step).__name__}"
                raise EngineFault(Fault.of(Code.INTERNAL, said))

    def _prove(self, engine: Engine, asked: link.RunCanary) -> None:
        """Transcribe the built-in clip. An engine that cannot even do that is not to be trusted with a job."""
        try:
            run = _canary(engine, asked.runs)
        except Exception as error:
            self._line.say(link.StepFailed(asked.attempt, failure_of(error).fault, True))
        else:
            self._line.say(link.CanaryDone(asked.attempt, run, rss_bytes()))


def _load_fault(error: LoadError) -> Fault:
    """With the device, if that is why: the supervisor may have another one."""
    if isinstance(error, DeviceError):
        return Fault.of(Code.MODEL_UNAVAILABLE, str(error), device=error.device)
    return Fault.of(Code.MODEL_UNAVAILABLE, str(error))


def _offers(engine: Engine) -> link.Offers:
    """The options that a job may have here: the engine's own, those under other names, and those about text."""
    if not isinstance(engine, Transcriber):
        return link.Offers()
    names = {*_names(engine.Options), *engine.synonyms, *TextOptions.__struct_fields__}
    return link.Offers(sorted(names), engine.languages, engine.aligned)


def _names(options: type[msgspec.Struct]) -> Iterator[str]:
    """Of all options, and, as ``vad_parameters.threshold``, of those within one."""
    for field in msgspec.structs.fields(options):
        yield field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from (f"{field.name}.{inner}" for inner in _names(field.type))


def _canary(engine: Engine, runs: int) -> link.CanaryRun:
    """The built-in clip, so many times."""
    took, text = [], ""
    for _ in range(runs):
        start = time.perf_counter()
        text = engine.canary()
        took.append(round(time.perf_counter() - start, 6))
    return link.CanaryRun(took, text[:_TEXT_MAX])
