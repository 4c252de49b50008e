"""Raw samples: what every kind of audio becomes, and the body of a ``pcm`` job.

An engine gets 16 kHz mono float32 in -1..1. On the way there, whatever has to be resampled or mixed down passes through
int16: those are, sample for sample, the ones that whisper's own decoder feeds its models, and they take half the room.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt
from av import AudioFifo, AudioFrame, AudioResampler

from asrd_protocol.faults import Code
from asrd_protocol.messages import Pcm
from asrd_worker.blob import Body

SAMPLE_RATE = 16_000
"""Samples a second, of everything that is decoded."""

Samples = npt.NDArray[np.float32]

PEAK = 10.0
"""The largest float32 sample that is taken. Above 1 it is clipped; above this it was never scaled to -1..1."""

BLOCK = 1 << 16
"""Samples that are resampled at a time: a call for each packet of a compressed file costs more than its resampling."""

MAX_SPLICES = 100
"""How often the rate, layout or format may change within one recording. Joined files change a few times."""

_FULL_SCALE = np.float32(32_768)


class Unusable(Exception):
    """Audio that gives no samples; ``said`` is the sentence about it without its subject."""

    def __init__(self, code: Code, said: str) -> None:
        super().__init__(said)
        self.code = code
        self.said = said


class Decoded(msgspec.Struct, frozen=True, eq=False):
    """What an engine listens to."""

    samples: Samples
    """Mono, at SAMPLE_RATE, in -1..1, of shape (n,), n > 0."""
    duration: float
    """Seconds."""
    warnings: list[str]
    """What was odd, but no reason to fail."""


def too_long(max_audio_s: float) -> Unusable:
    """The fault of audio that is longer than a job may be."""
    return Unusable(Code.AUDIO_TOO_LONG, f"is longer than {max_audio_s:g} s, the limit for one job; cut it into parts")


class Tape:
    """Joins frames of any rate, layout and format to one mono recording at SAMPLE_RATE.

    It holds 2 bytes a sample in one piece, where as many small pieces would leave as many holes in the heap.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """The length of what was added."""
        self._shape: tuple[str, str, int] | None = None
        self._splices = -1
        self._fifo = AudioFifo()
        self._resampler = _resampler()
        self._pcm = bytearray()

    def add(self, frame: AudioFrame) -> None:
        """Append a frame.

        Raises:
            Unusable: its rate, layout or format differs from that of its predecessor, once too often.
        """
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._splice(shape)
        self.seconds += frame.samples / frame.sample_rate
        frame.pts = None  # a gap in the time stamps is no reason to refuse the frame
        self._fifo.write(frame)
        if self._fifo.samples >= BLOCK:
            self._resample(self._fifo.read())

    def finish(self) -> Samples:
        """The recording, of shape (n,); n is 0 when nothing was added. The tape has ended then."""
        self._flush()
        return np.divide(np.frombuffer(self._pcm, np.int16), _FULL_SCALE, dtype=np.float32)

    def _splice(self, shape: tuple[str, str, int]) -> None:
        """A resampler knows one kind of frame: end the old one and start another."""
        self._flush()
        self._splices += 1
        if self._splices > MAX_SPLICES:
            raise Unusable(Code.BAD_AUDIO, f"changes its rate, layout or format more than {MAX_SPLICES} times")
        self._shape = shape
        self._fifo = AudioFifo()
        self._resampler = _resampler()

    def _flush(self) -> None:
        if self._fifo.samples:
            self._resample(self._fifo.read())
        self._resample(None)

    def _resample(self, frame: AudioFrame | None) -> None:
        for out in self._resampler.resample(frame):
            self._pcm += out.to_ndarray().tobytes()


def _resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def decode_pcm(audio: Pcm, body: Body, max_audio_s: float) -> tuple[Samples, list[str]]:
    """The samples of a ``pcm`` body, copied out of it, and what was odd about them.

    Raises:
        Unusable: the body is no whole number of samples, is too long, or holds what no sample can be.
    """
    dtype = np.dtype("<f4" if audio.dtype == "float32" else "<i2")
    if len(body) % dtype.itemsize:
        raise Unusable(Code.BAD_AUDIO, f"has {len(body)} bytes, which is no whole number of {audio.dtype} samples")
    if len(body) // dtype.itemsize > max_audio_s * audio.rate:
        raise too_long(max_audio_s)
    raw = np.frombuffer(body[:], dtype)
    if audio.dtype == "int16":
        return _resampled(raw, audio.rate) if audio.rate != SAMPLE_RATE else np.divide(raw, _FULL_SCALE), []
    samples, warnings = _clipped(raw)
    return _resampled(samples, audio.rate) if audio.rate != SAMPLE_RATE else samples, warnings


def _clipped(raw: Samples) -> tuple[Samples, list[str]]:
    """The samples within -1..1: what lies a little beyond is overshoot, which every integer format cuts off too."""
    low, high = float(raw.min()), float(raw.max())
    peak = max(-low, high)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Unusable(Code.BAD_AUDIO, "has samples that are not finite numbers")
    if peak > PEAK:
        way_out = "divide int16 samples by 32768, or send them as dtype int16"
        raise Unusable(Code.BAD_AUDIO, f"has samples as large as {peak:g} where -1..1 is meant; {way_out}")
    warnings = [f"samples beyond -1..1, as large as {peak:.3g}, were clipped"] if peak > 1 else []
    return np.clip(raw, -1, 1), warnings


def _resampled(raw: npt.NDArray[np.float32] | npt.NDArray[np.int16], rate: int) -> Samples:
    tape = Tape()
    for at in range(0, raw.size, BLOCK):
        block = raw[np.newaxis, at : at + BLOCK]
        frame = AudioFrame.from_ndarray(block, format="flt" if raw.dtype == np.float32 else "s16", layout="mono")
        frame.sample_rate = rate
        tape.add(frame)
    return tape.finish()
