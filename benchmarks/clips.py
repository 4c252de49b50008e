"""The clips of ``asr.py``: the five LibriVox sentences of the tests, alone and one after the other."""

import io
import wave
from pathlib import Path

import msgspec

SPEECH = Path(__file__).parent.parent / "tests" / "data" / "librivox"


class Clip(msgspec.Struct, frozen=True):
    """One WAV file in memory."""

    wav: bytes
    seconds: float


def clips(*, quick: bool) -> list[Clip]:
    """30 clips of 3 to 16 s (10 with ``quick``), the same in every run, longest first: no run ends on a long one."""
    sentences = [_frames(path) for path in sorted(SPEECH.glob("*.wav"))]
    count = len(sentences)
    alone = [[i] for i in range(count)]
    threes = [[i, (i + 1) % count, (i + 2) % count] for i in range(count)]
    pairs = [] if quick else [[i, (i + step) % count] for i in range(count) for step in range(1, count)]
    joined = [_clip(b"".join(sentences[i] for i in indexes)) for indexes in (*alone, *pairs, *threes)]
    return sorted(joined, key=lambda clip: -clip.seconds)


def _frames(path: Path) -> bytes:
    with wave.open(str(path), "rb") as recording:
        if recording.getparams()[:3] != (1, 2, 16_000):
            raise ValueError(f"{path} is not 16 kHz, mono, 16 bit")
        return recording.readframes(recording.getnframes())


def _clip(frames: bytes) -> Clip:
    written = io.BytesIO()
    with wave.open(written, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(16_000)
        recording.writeframes(frames)
    return Clip(written.getvalue(), len(frames) / 32_000)
