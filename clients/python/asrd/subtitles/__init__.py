"""Subtitles and other written forms of a transcript.

>>> render(transcript, "srt")                           # doctest: +SKIP
>>> render(transcript, "ass", Layout(max_line_width=32))  # doctest: +SKIP
>>> for cue in cues(transcript.segments, Layout()): ...   # doctest: +SKIP
"""

from asrd.subtitles.cue import Cue
from asrd.subtitles.layout import AnyLayout, Layout, SpeakerLabels, WhisperLayout
from asrd.subtitles.plain import Turn, turns
from asrd.subtitles.render import FORMATS, WHISPER_FORMATS, UnknownFormat, cues, render

__all__ = [
    "FORMATS",
    "WHISPER_FORMATS",
    "AnyLayout",
    "Cue",
    "Layout",
    "SpeakerLabels",
    "Turn",
    "UnknownFormat",
    "WhisperLayout",
    "cues",
    "render",
    "turns",
]
