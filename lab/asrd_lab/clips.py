"""The clips of the experiments: the user's own, and those of about 1, 3 and 10 segments that are made of them."""

import io
import wave
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from asrd_lab.alone import Alone
from asrd_lab.plan import SEGMENTS, Clip, Plan
from asrd_lab.store import Store

RATE = 16_000
WIDTH = 2
"""Bytes of a sample."""

SHARES = {1: 0.4, 3: 1.0, 10: 2.0}
"""How long a script of so many segments takes, against the one of three."""

SAVED = "clips.json"


class Clips(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to be transcribed."""

    own: list[Clip]
    """The given ones."""
    by_length: list[Clip]
    """One of about each number of segments."""


class Piece(msgspec.Struct, frozen=True):
    """One segment of a clip as samples."""

    clip: str
    pcm: bytes


def scripted(seconds: float) -> Clips:
    """Scripts that take a known time: so much, less and more."""
    lengths = [_script(segments, seconds * SHARES[segments]) for segments in SEGMENTS]
    return Clips(own=lengths[1:2], by_length=lengths)


def _script(segments: int, seconds: float) -> Clip:
    spoken = [{"do": "speak", "text": f" {number}"} for number in range(segments)]
    options: dict[str, Any] = {"script": [{"do": "sleep", "s": seconds}, *spoken]}
    return Clip(name=f"script of {segments}", segments=segments, options={**options, "seconds": float(segments)})


def saved(store: Store) -> Clips | None:
    """The clips that an earlier run has made."""
    path = store.directory / SAVED
    return msgspec.json.decode(path.read_bytes(), type=Clips) if path.exists() else None


def made(plan: Plan, store: Store, alone: Alone) -> Clips:
    """Transcribes every given clip once, and joins their segments to clips of the lengths that E2 needs.

    Raises:
        LabError: a clip cannot be decoded or transcribed, or the disk is full.
    """
    own, pieces = [], []
    for number, audio in enumerate(plan.audio, start=1):
        samples = store.directory / "clips" / f"{number}.pcm"
        alone.decode(audio.path, samples)
        done = alone.transcribe(number, audio.path, {})
        own.append(Clip(name=f"{number} {Path(audio.path).name}", path=audio.path, segments=len(done.spans)))
        pieces += cut(own[-1].name, samples.read_bytes(), done.spans)
        samples.unlink()
    lengths = [_of_length(segments, own, pieces, store) for segments in SEGMENTS]
    clips = Clips(own=[msgspec.structs.replace(clip, segments=0) for clip in own], by_length=lengths)
    store.write(SAVED, msgspec.json.encode(clips))
    return clips


def cut(clip: str, pcm: bytes, spans: Sequence[tuple[float, float]]) -> list[Piece]:
    """The samples of each segment, up to where the next one begins; what comes before the first belongs to it."""
    starts = [0.0, *(start for start, _ in spans[1:])]
    edges = [min(len(pcm), round(start * RATE) * WIDTH) for start in starts] + [len(pcm)]
    found = [Piece(clip, pcm[one:other]) for one, other in pairwise(edges)]
    return [piece for piece in found if piece.pcm]


def joined(pieces: Sequence[Piece], count: int) -> bytes:
    """So many pieces one after the other, from the first on and around again."""
    return b"".join(pieces[i % len(pieces)].pcm for i in range(count))


def _of_length(segments: int, own: Sequence[Clip], pieces: Sequence[Piece], store: Store) -> Clip:
    """A given clip if one has just so many segments, else one that is made."""
    name = f"{segments} segment{'s' if segments > 1 else ''}"
    for clip in own:
        if clip.segments == segments:
            return Clip(name=f"{name} ({clip.name})", path=clip.path, segments=segments)
    path = store.write(f"clips/{segments}.wav", wav(joined(pieces, segments)))
    return Clip(name=f"{name} (joined)", path=str(path.resolve()), segments=segments)


def wav(pcm: bytes) -> bytes:
    """The samples as a file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(WIDTH)
        file.setframerate(RATE)
        file.writeframes(pcm)
    return buffer.getvalue()
