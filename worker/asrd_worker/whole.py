"""A recording that is cut: what is known of the whole is carried to the workers that do its chunks, and merge them."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from asrd_worker.recording import Recording


class Long(msgspec.Struct, frozen=True, eq=False):
    """A recording that is too long to be transcribed at a stretch."""

    recording: "Recording"
    duration: float
    """Seconds."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """One recording."""

    duration: float = 0.0
    """Seconds."""
    language: str = ""
    """Empty where the engine has not looked for it."""
    language_probability: float = 1.0
    warnings: list[str] = []


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Whole).decode
