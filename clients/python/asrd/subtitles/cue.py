"""A cue, the timed block of text of a subtitle file, and who speaks it."""

import msgspec

from asrd.subtitles.layout import SpeakerLabels
from asrd_protocol.model import Segment, Word


class Cue(msgspec.Struct, frozen=True):
    """A text, its lines divided by line ends, and when it is shown, in milliseconds."""

    start: int
    end: int
    text: str
    lit: tuple[int, int] | None = None
    """From where to where in the text the word is that is spoken now, where that is to be seen."""
    speaker: str | None = None


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded before anything is split off, so that 59.9996 s is one minute."""
    return round(seconds * 1000)


def speaker_of(spoken: Segment | Word) -> str | None:
    """Who speaks it; a segment that does not say is spoken by the speaker of its first word. None: not known."""
    if spoken.speaker:
        return spoken.speaker
    return speaker_of(spoken.words[0]) if isinstance(spoken, Segment) and spoken.words else None


def bracketed(speaker: str) -> str:
    """A speaker as the text of a cue names it: in one line, in brackets."""
    return f"[{' '.join(speaker.split())}]"


class Labels:
    """Gives what follows each other the label of its speaker, in the order it is asked."""

    def __init__(self, wanted: SpeakerLabels) -> None:
        self._wanted = wanted
        self._before: str | None = None

    def next(self, speaker: str | None) -> str:
        """The label of the next cue or segment, with the space behind it; empty when it has none."""
        changed = speaker != self._before
        self._before = speaker
        if speaker is None or self._wanted == "none" or (self._wanted == "changes" and not changed):
            return ""
        return f"{bracketed(speaker)}: "
