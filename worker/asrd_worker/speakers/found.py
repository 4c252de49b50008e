"""What a library has found out about speakers, in asrd's own terms."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asrd_protocol.model import Diarization, Turn

DECIMALS = 3
"""Of times, in seconds."""


class Spoken(NamedTuple):
    """Somebody speaks, from ``start`` to ``end`` seconds; ``label`` is the library's own name for whom."""

    start: float
    end: float
    label: str


class Found(NamedTuple):
    """Who speaks when, in any order; ``voices`` has a vector of shape (n,) for labels whose voice is known."""

    spoken: Iterable[Spoken]
    voices: Mapping[str, npt.NDArray[np.floating]]


def diarization(found: Found, duration: float, *, embeddings: bool) -> Diarization:
    """Turns within the audio, in order, none of them empty; speakers named in the order in which they are first heard.

    A voice is left out where it is not known: no vector, or one without a length.
    """
    spoken = sorted(piece for piece in (_within(piece, duration) for piece in found.spoken) if piece.start < piece.end)
    names: dict[str, str] = {}
    for piece in spoken:
        names.setdefault(piece.label, f"SPEAKER_{len(names):02d}")
    turns = [Turn(start=piece.start, end=piece.end, speaker=names[piece.label]) for piece in spoken]
    voices = {name: _unit(found.voices[label]) for label, name in names.items() if label in found.voices}
    return Diarization(turns=turns, embeddings={name: v for name, v in voices.items() if v} if embeddings else {})


def _within(piece: Spoken, duration: float) -> Spoken:
    """Rounded, but not beyond the end."""
    end = round(float(piece.end), DECIMALS)
    return Spoken(max(0.0, round(float(piece.start), DECIMALS)), end if end <= duration else duration, piece.label)


def _unit(vector: npt.NDArray[np.floating]) -> list[float]:
    """The same direction with length 1; empty where there is none."""
    exact = np.asarray(vector, np.float64)
    length = float(np.linalg.norm(exact))
    if not np.isfinite(length) or length == 0:
        return []
    return [round(float(x), 6) for x in exact / length]
