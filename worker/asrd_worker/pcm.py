"""Raw samples: what every kind of audio becomes, and the body of a ``pcm`` job.

An engine gets 16 kHz mono float32 in -1..1. On the way there, whatever has to be resampled or mixed down passes through
int16: those are, sample for sample, the ones that whisper's own decoder feeds its models, and they take half the room.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from av import AudioFifo, AudioFrame, AudioResampler

from asrd_protocol.faults import Code
from asrd_protocol.messages import Pcm
from asrd_worker.blob import Body
from asrd_worker.recording import FULL_SCALE, SAMPLE_RATE, Decoded, Recording, Samples, Sink

__all__ = ["SAMPLE_RATE", "Decoded", "Pcm16", "Samples", "Splicer", "Unusable", "decode_pcm", "too_long"]

Pcm16 = npt.NDArray[np.int16]

PEAK = 10.0
"""The largest float32 sample that is taken. Above 1 it is clipped; above this it was never scaled to -1..1."""

BLOCK = 1 << 16
"""Samples that are resampled at a time: a call for each packet of a compressed file costs more than its resampling."""

MAX_SPLICES = 100
"""How often the rate, layout or format may change within one recording. Joined files change a few times."""


class Unusable(Exception):
    """Audio that gives no samples; ``said`` is the sentence about it without its subject."""

    def __init__(self, code: Code, said: str) -> None:
        super().__init__(said)
        self.code = code
        self.said = said


def too_long(max_audio_s: float) -> Unusable:
    """The fault of audio that is longer than a job may be."""
    return Unusable(Code.AUDIO_TOO_LONG, f"is longer than {max_audio_s:g} s, the limit for one job; cut it into parts")


class Splicer:
    """Joins frames of any rate, layout and format to one mono recording at SAMPLE_RATE, on a sink."""

    def __init__(self, sink: Sink) -> None:
        self.seconds = 0.0
        """The length of what was added."""
        self._sink = sink
        self._shape: tuple[str, str, int] | None = None
        self._splices = -1
        self._fifo = AudioFifo()
        self._resampler = _resampler()

    def add(self, frame: AudioFrame) -> None:
        """Append a frame.

        Raises:
            Unusable: its rate, layout or format differs from that of its predecessor, once too often.
            NoRoom: the sink is full.
        """
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._splice(shape)
        self.seconds += frame.samples / frame.sample_rate
        frame.pts = None  # a gap in the time stamps is no reason to refuse the frame
        self._fifo.write(frame)
        if self._fifo.samples >= BLOCK:
            self._resample(self._fifo.read())

    def finish(self) -> None:
        """Wind up what is left. Nothing can be added then.

        Raises:
            NoRoom: the sink is full.
        """
        if self._fifo.samples:
            self._resample(self._fifo.read())
        self._resample(None)

    def _splice(self, shape: tuple[str, str, int]) -> None:
        """A resampler knows one kind of frame: end the old one and start another."""
        self.finish()
        self._splices += 1
        if self._splices > MAX_SPLICES:
            raise Unusable(Code.BAD_AUDIO, f"changes its rate, layout or format more than {MAX_SPLICES} times")
        self._shape = shape
        self._fifo = AudioFifo()
        self._resampler = _resampler()

    def _resample(self, frame: AudioFrame | None) -> None:
        for out in self._resampler.resample(frame):
            self._sink.add(out.to_ndarray().tobytes())


def _resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def decode_pcm(audio: Pcm, body: Body, max_audio_s: float, sink: Sink) -> Decoded | Recording:
    """The samples of a ``pcm`` body, copied out of it, and what was odd about them. It is read a block at a time.

    Floats at SAMPLE_RATE stay what they are when the sink would hold them anyway; all others pass through int16.

    Raises:
        Unusable: the body is no whole number of samples, is too long, or holds what no sample can be.
        NoRoom: the sink is full.
    """
    dtype = np.dtype("<f4" if audio.dtype == "float32" else "<i2")
    if len(body) % dtype.itemsize:
        raise Unusable(Code.BAD_AUDIO, f"has {len(body)} bytes, which is no whole number of {audio.dtype} samples")
    count = len(body) // dtype.itemsize
    if count > max_audio_s * audio.rate:
        raise too_long(max_audio_s)
    if audio.dtype == "int16":
        _wind(_Ints(body), audio.rate, sink)
        return sink.finish([])
    floats = _Floats(body)
    if audio.rate == SAMPLE_RATE and sink.holds(count):
        samples = np.concatenate(list(floats))
        return Decoded(samples=samples, duration=count / SAMPLE_RATE, warnings=floats.warnings())
    _wind(floats, audio.rate, sink)
    return sink.finish(floats.warnings())


class _Ints:
    """The int16 samples of a body, a block at a time."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __iter__(self) -> Iterator[Pcm16]:
        for at in range(0, len(self._body), 2 * BLOCK):
            yield np.frombuffer(self._body[at : at + 2 * BLOCK], np.dtype("<i2"))


class _Floats:
    """The float32 samples of a body, a block at a time, within -1..1.

    What lies a little beyond is overshoot, which every integer format cuts off too.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._peak = 0.0

    def __iter__(self) -> Iterator[Samples]:
        for at in range(0, len(self._body), 4 * BLOCK):
            raw = np.frombuffer(self._body[at : at + 4 * BLOCK], np.dtype("<f4"))
            self._check(float(raw.min()), float(raw.max()))
            yield np.clip(raw, -1, 1)

    def _check(self, low: float, high: float) -> None:
        if not (math.isfinite(low) and math.isfinite(high)):
            raise Unusable(Code.BAD_AUDIO, "has samples that are not finite numbers")
        self._peak = max(self._peak, -low, high)
        if self._peak > PEAK:
            way_out = "divide int16 samples by 32768, or send them as dtype int16"
            raise Unusable(Code.BAD_AUDIO, f"has samples as large as {self._peak:g} where -1..1 is meant; {way_out}")

    def warnings(self) -> list[str]:
        """What was odd about the blocks so far."""
        too_large = self._peak > 1
        return [f"samples beyond -1..1, as large as {self._peak:.3g}, were clipped"] if too_large else []


def _wind(blocks: Iterable[Samples] | Iterable[Pcm16], rate: int, sink: Sink) -> None:
    """Put all blocks on the sink, at its rate and as its integers."""
    splicer = Splicer(sink)
    for block in blocks:
        if rate == SAMPLE_RATE:
            sink.add(_integers(block).tobytes())
        else:
            form = "flt" if block.dtype == np.float32 else "s16"
            frame = AudioFrame.from_ndarray(block[np.newaxis], format=form, layout="mono")
            frame.sample_rate = rate
            splicer.add(frame)
    splicer.finish()


def _integers(block: Samples | Pcm16) -> Pcm16:
    if block.dtype == np.int16:
        return block.astype(np.int16, copy=False)
    scaled: Pcm16 = np.clip(np.rint(block * FULL_SCALE), -32_768, 32_767).astype(np.int16)
    return scaled
