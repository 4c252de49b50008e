"""A transcript as the text of a file; see :mod:`asrd.subtitles`, where this lives."""

from asrd.subtitles import FORMATS, UnknownFormat, render
from asrd.subtitles import WhisperLayout as Layout

__all__ = ["FORMATS", "Layout", "UnknownFormat", "render"]
