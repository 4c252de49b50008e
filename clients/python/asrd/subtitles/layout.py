"""The two ways to set a transcript in cues, and their settings: whisper's own, and one made for reading."""

import math
from typing import Literal

import msgspec

SpeakerLabels = Literal["all", "changes", "none"]
"""Which cues begin with ``[SPEAKER]: ``, where speakers are known: all, those where the speaker changes, or none."""


class WhisperLayout(msgspec.Struct, frozen=True, kw_only=True):
    """What openai-whisper makes of words, byte for byte; None and 0 mean no limit. Without word times, and with no
    option given, a cue is a segment.

    Raises:
        ValueError: when a limit is negative.
    """

    max_line_width: int | None = None
    """Characters in a line; one longer word still gets a line."""
    max_line_count: int | None = None
    """Lines in a cue."""
    highlight_words: bool = False
    """One cue for each word, with that word underlined."""
    max_words_per_line: int | None = None
    """Words in a cue; whisper ignores it when both the width and the count of lines are given."""
    speaker_labels: SpeakerLabels = "all"

    def __post_init__(self) -> None:
        """Refuse what would have no meaning."""
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            _not_negative(name, getattr(self, name))

    @property
    def flows(self) -> bool:
        """Whether words flow over the borders of segments; pauses then end a cue instead."""
        return bool(self.max_line_width and self.max_line_count)

    @property
    def needs_words(self) -> bool:
        """Whether something is asked for that has no effect without word times."""
        limits = (self.max_line_width, self.max_line_count, self.max_words_per_line)
        return self.highlight_words or any(limit is not None for limit in limits)


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Cues that are easy to read: cut at sentences, clauses and pauses, in balanced lines, long enough on screen.

    Widths are columns: a Chinese, Japanese or Korean character takes two. Durations are seconds. None and 0 mean no
    limit. Words without times get them by their share of the text.

    Raises:
        ValueError: when a setting is negative, or the shortest cue longer than the longest.
    """

    max_line_width: int | None = 42
    """Columns in a line; a longer word still gets a line."""
    max_line_count: int | None = 2
    """Lines in a cue."""
    max_words_per_line: int | None = None
    """Words in a cue, as whisper counts them in spite of the name."""
    highlight_words: bool = False
    """One cue for each word, with that word underlined."""
    min_subtitle_duration: float = 1.0
    """A cue is shown at least so long, unless the next one begins."""
    max_subtitle_duration: float | None = 7.0
    """A cue is never shown longer."""
    pause: float = 1.0
    """Silence after which a new cue begins; shorter ones make it likelier. 0: it never matters."""
    min_gap: float = 0.08
    """Time with nothing on screen between two cues; it yields to ``min_subtitle_duration``."""
    bridge: float = 0.5
    """A shorter time with nothing on screen is filled, down to ``min_gap``, by showing the cue before it longer."""
    speaker_labels: SpeakerLabels = "all"

    def __post_init__(self) -> None:
        """Refuse what would have no meaning."""
        for name in self.__struct_fields__:
            if name not in ("highlight_words", "speaker_labels"):
                _not_negative(name, getattr(self, name))
        if self.max_subtitle_duration and self.min_subtitle_duration > self.max_subtitle_duration:
            raise ValueError(
                f"min_subtitle_duration is {self.min_subtitle_duration:g}, "
                f"longer than max_subtitle_duration, {self.max_subtitle_duration:g}"
            )


AnyLayout = WhisperLayout | Layout


def _not_negative(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; it is a number from 0 on")
