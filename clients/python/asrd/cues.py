"""The layout of openai-whisper under its former name; see :mod:`asrd.subtitles`."""

from asrd.subtitles import WhisperLayout as Layout

__all__ = ["Layout"]
