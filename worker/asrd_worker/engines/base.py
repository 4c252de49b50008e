"""What an engine is: load, warm up, prove itself, read audio, transcribe it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from asrd_protocol import mistakes
from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Audio, Speakers
from asrd_protocol.model import Diarization, Segment, Work
from asrd_worker.whole import Long, Whole

if TYPE_CHECKING:
    from asrd_worker.blob import Body
    from asrd_worker.recording import Decoded


class LoadError(Exception):
    """The engine cannot be loaded, and another try with the same configuration cannot help."""


class DeviceError(LoadError):
    """It cannot be loaded on this device, whatever it is that is wrong with it. On another one it may be."""

    def __init__(self, message: str, device: str) -> None:
        super().__init__(message)
        self.device = device


class EngineFault(Exception):
    """A step has no result; ``leave`` when the process is not to be trusted with another one."""

    def __init__(self, fault: Fault, *, leave: bool = False) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.leave = leave


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a transcript besides its segments."""

    language: str
    language_probability: float = 1.0
    duration_after_vad: float | None = None
    vad_s: float = 0.0
    align_s: float = 0.0
    work: Work = Work()
    warnings: list[str] = []


Transcription = Generator[Segment, None, Outline]
"""Segments as they are decoded; the outline is the generator's return value."""


class Voices(msgspec.Struct, frozen=True, kw_only=True):
    """Who speaks when, and how much work it was to find out."""

    diarization: Diarization
    work: Work = Work()


Listening = Generator[float, None, Voices]
"""Seconds of audio that are done; the voices are the generator's return value."""


class Engine(ABC):
    """What every pool's engine has. Its constructor takes the settings of the pool."""

    Settings: ClassVar[type[msgspec.Struct]]
    """What the pool may set; unknown keys are refused."""
    Options: ClassVar[type[msgspec.Struct]]
    """What a job may ask; unknown keys are refused."""

    say: Callable[[list[bytes]], None]
    """The raw link to the supervisor. Only the scripted engine uses it: to lie."""

    heard: str = ""
    """The language of the job at hand, as soon as the engine has heard it."""

    def __init__(self, settings: Any, seat: str) -> None:
        self.settings = settings
        self.seat = seat

    @abstractmethod
    def load(self) -> None:
        """Load the model.

        Raises:
            LoadError: another try cannot help.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Decode something for real: missing libraries and slow first calls show here and not in the first job.

        Raises:
            LoadError: another try cannot help.
        """

    @abstractmethod
    def canary(self) -> str:
        """The text of the built-in clip, transcribed once and greedily: a healthy engine always gives the same. One
        that does not transcribe says what it finds in it in other words.

        No job may see a trace of it, in its counters least of all.
        """

    def read(
        self, audio: Audio, body: "Body", max_audio_s: float, moved: Callable[[float], None] | None = None
    ) -> "Decoded":
        """The samples of a job's audio. ``moved`` is told now and then how many seconds are decoded.

        Raises:
            AudioFault: the audio cannot be used.
        """
        from asrd_worker.audio import decode

        return decode(audio, body, max_audio_s, moved=moved)

    def close(self) -> None:  # noqa: B027 - most engines have nothing to do here: the process ends
        """The worker has been told to leave."""


class Transcriber(Engine):
    """One implementation of speech recognition."""

    synonyms: ClassVar[dict[str, str]] = {}
    """Other names of options, and what they are called here."""
    languages: ClassVar[list[str]] = []
    """What the option ``language`` may be; empty where that is not known."""

    @property
    def aligned(self) -> list[str] | None:
        """For which languages a job may ask ``align``, once the models are loaded; None where it may for all."""
        return None

    @abstractmethod
    def transcribe(self, heard: "Decoded", options: Any) -> Transcription:
        """Decode the samples, a segment at a time."""

    # --- long audio: it is cut, and its chunks are jobs of their own --------------------------------------------------

    def divisible(self, options: Any) -> bool:
        """Whether a job with these options gives the same when its audio is cut at silences."""
        return True

    def read_long(
        self,
        audio: Audio,
        body: "Body",
        max_audio_s: float,
        tape: int,
        keep_s: float,
        moved: Callable[[float], None],
    ) -> "Decoded | Long":
        """As :meth:`read`; audio of more than ``keep_s`` seconds goes to the open file ``tape``. ``moved`` is told how
        many seconds are decoded.

        Raises:
            AudioFault: the audio cannot be used.
        """
        from asrd_worker.audio import decode
        from asrd_worker.recording import Recording

        heard = decode(audio, body, max_audio_s, tape, keep_s, moved)
        return Long(heard, heard.duration) if isinstance(heard, Recording) else heard

    def overview(self, long: Long, options: Any) -> Whole:
        """What has to be known of the whole, so that its chunks are not each taken for something else."""
        return Whole(duration=long.duration, warnings=long.recording.warnings)

    def cut(self, long: Long, chunk_s: float, ways: int, moved: Callable[[float], None]) -> list[tuple[float, float]]:
        """Stretches of about ``chunk_s`` seconds, for so many workers, as start and end in seconds. ``moved`` is told
        of each."""
        from asrd_worker.cuts import cut

        return cut(long.recording, chunk_s, ways, moved)

    def stretch(self, tape: int, start: float, end: float) -> "Decoded":
        """The samples of a chunk, out of what was written when the recording was decoded."""
        from asrd_worker.recording import SAMPLE_RATE, Decoded, Recording

        samples = Recording(tape).samples(start, end)
        return Decoded(samples, samples.size / SAMPLE_RATE, [])

    def narrowed(self, options: Any, whole: Whole, *, first: bool) -> Any:
        """The options of a chunk, out of those of the job: what is meant for the beginning is for the first one."""
        return options


class Diarizer(Engine):
    """One way to tell speakers apart. What a job may ask of it is the same for all of them."""

    Options = Speakers

    @abstractmethod
    def diarize(self, heard: "Decoded", options: Speakers) -> Listening:
        """Find the turns. Yields how far it is, at least every ten seconds or so: silence counts as a hang.

        The turns are in the order of their starts, within the audio, and none is empty; speakers are named
        ``SPEAKER_00``, ``SPEAKER_01``, ... in the order in which they are first heard.
        """


def options_of(engine: type[Engine], given: dict[str, Any]) -> msgspec.Struct:
    """The options of a job, checked.

    Raises:
        EngineFault: naming the option that is unknown or wrong, with the nearest known name.
    """
    try:
        return msgspec.convert(given, engine.Options)
    except msgspec.ValidationError as error:
        raise EngineFault(Fault.of(Code.BAD_OPTION, _explain(error, engine.Options, given, "option"))) from None


def settings_of(engine: type[Engine], given: dict[str, Any]) -> msgspec.Struct:
    """The settings of a pool, checked; empty ones stand for the engine's defaults.

    Raises:
        LoadError: naming the setting that is unknown or wrong.
    """
    known = {field.name for field in msgspec.structs.fields(engine.Settings)}
    common = {"model", "device", "device_index", "compute_type", "threads", "offline"}
    passed = {key: value for key, value in given.items() if key in known or key not in common}
    try:
        return msgspec.convert(passed, engine.Settings)
    except msgspec.ValidationError as error:
        raise LoadError(_explain(error, engine.Settings, passed, "engine setting")) from None


def _explain(error: msgspec.ValidationError, kind: type[msgspec.Struct], given: dict[str, Any], what: str) -> str:
    mistake = mistakes.find(error, given, kind)
    if mistake.said:
        return f"{what} {mistake.path}: {mistake.said}{mistake.hint}"
    *outer, unknown = mistake.keys
    where = f" in {'.'.join(outer)}" if outer else ""
    return f"unknown {what} {unknown!r}{where}{mistake.hint}"
