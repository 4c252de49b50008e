"""An engine that hears the speakers that its pool is told of: for self-tests and faults, never for speech.

``script = [{do = "speak", text = "ann", seconds = 2}, {do = "segfault"}]`` is a turn of two seconds, and death. Each
turn follows the one before it and is reported as progress; one of nobody (``text = ""``) is a pause. It reads no audio.
"""

from typing import TYPE_CHECKING, cast

import msgspec

from asrd_protocol.messages import Audio, Speakers
from asrd_protocol.model import Diarization, Segment, Turn
from asrd_worker.engines.base import Diarizer, Listening, Outline, Voices
from asrd_worker.engines.script import Do, Script, ScriptSettings, Speak
from asrd_worker.engines.scripted import Scripted

if TYPE_CHECKING:
    from asrd_worker.blob import Body
    from asrd_worker.recording import Decoded


class ListenerSettings(ScriptSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the workers of the pool behave, and what they do with each job."""

    script: list[Do] = msgspec.field(default_factory=lambda: [Speak(text="ann"), Speak(text="bob")])
    """What is spoken is a turn of whom the text names. Orders are obeyed anew for each job."""
    seconds: float = 0.0
    """Length of the pretended audio; 0 for what the script itself speaks."""


class _Room(msgspec.Struct, frozen=True):
    """Audio that nobody listens to."""

    duration: float
    warnings: list[str] = []
    chunk: None = None


class DiarizeScripted(Diarizer):
    """Plays scripts, as :class:`Scripted` does."""

    Settings = ListenerSettings

    def __init__(self, settings: ListenerSettings, seat: str) -> None:
        super().__init__(settings, seat)
        self._player = Scripted(settings, seat)

    def load(self) -> None:
        """Take the time that loading takes, and do what the settings say."""
        self._player.load()

    def warm_up(self) -> None:
        """Do what the settings say."""
        self._player.warm_up()

    def canary(self) -> str:
        """Play the clip's script; what it speaks is the answer."""
        return self._player.canary()

    def close(self) -> None:
        """Do what the settings say."""
        self._player.close()

    def read(self, audio: Audio, body: "Body", max_audio_s: float, moved: object = None) -> "Decoded":
        """Pretend."""
        settings: ListenerSettings = self.settings
        spoken = sum(do.seconds for do in settings.script if isinstance(do, Speak))
        return cast("Decoded", _Room(settings.seconds or spoken))

    def diarize(self, heard: "Decoded", options: Speakers) -> Listening:
        """Play the pool's script. With a largest number of speakers, whoever is one too many is the last of those."""
        self._player.say = self.say
        settings: ListenerSettings = self.settings
        said = self._player.transcribe(heard, Script(script=settings.script, seconds=heard.duration))
        names: list[str] = []
        turns: list[Turn] = []
        while True:
            try:
                segment = next(said)
            except StopIteration as end:
                outline: Outline = end.value
                voices = {_name(number): _voice(number) for number in range(len(names))} if options.embeddings else {}
                return Voices(diarization=Diarization(turns=turns, embeddings=voices), work=outline.work)
            turns += _turn(segment, names, options.num_speakers or options.max_speakers or 64)
            yield segment.end


def _turn(segment: Segment, names: list[str], most: int) -> list[Turn]:
    """The turn that was spoken; none of nobody. ``names`` are those heard so far."""
    if not segment.text:
        return []
    if segment.text not in names and len(names) < most:
        names.append(segment.text)
    number = names.index(segment.text) if segment.text in names else len(names) - 1
    return [Turn(start=segment.start, end=segment.end, speaker=_name(number))]


def _name(number: int) -> str:
    return f"SPEAKER_{number:02}"


def _voice(number: int) -> list[float]:
    """Of unit length, and unlike those of the other speakers."""
    return [0.0] * number + [1.0]
