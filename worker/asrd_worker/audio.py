"""The audio of a job: its body in, 16 kHz mono samples out.

The body may be hostile, and FFmpeg is large. So it reads a dozen formats and their codecs, not its hundreds; it opens
nothing but the body; nothing that a header claims is believed, limits count what was really decoded; and while it
works, the whole process may grow by no more than an honest file of that size can need.

Damage is no fault: what can be decoded is decoded, and a warning says what is missing. All faults are the caller's.
"""

import math
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import overload

import av
from av import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Audio, LocalFile, MediaFile, Pcm
from asrd_worker.blob import Body
from asrd_worker.claims import stated, warnings_of
from asrd_worker.pcm import Splicer, Unusable, decode_pcm, too_long
from asrd_worker.recording import SAMPLE_RATE, Decoded, NoRoom, Recording, Sink

__all__ = ["CODECS", "FORMATS", "SAMPLE_RATE", "AudioFault", "Decoded", "Recording", "decode"]

FORMATS = "wav,flac,mp3,mov,matroska,ogg,aac,aiff,caf,amr,asf,w64"
"""FFmpeg's demuxers that may run. ``mov`` reads mp4 and m4a too, ``matroska`` webm, ``asf`` wma."""

CODECS = (
    "pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"
    "pcm_alaw,pcm_mulaw,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,g722,gsm,gsm_ms,amrnb,amrwb,libopencore_amrnb,"
    "libopencore_amrwb,speex,opus,libopus,vorbis,flac,alac,mp1,mp1float,mp2,mp2float,mp3,mp3float,aac,ac3,eac3,"
    "wmav1,wmav2,wmapro,wmavoice,wmalossless"
)
"""FFmpeg's decoders that may run: no video among them."""

KINDS = "wav, flac, mp3, mp4, m4a, mov, webm, mkv, ogg, opus, aac, aiff, caf, amr, wma, w64"
"""The same for people."""

RATES = range(4_000, 384_001)
CHANNELS = range(1, 9)

FREE_S = 600.0
BYTES_PER_S = 8
"""A body may give FREE_S seconds, and one more for each BYTES_PER_S of it. A silent FLAC has 50 and more."""

ROUNDING_S = 0.001
"""Added up over a hundred thousand frames, seconds are not exact."""

ROOM = 256 << 20
"""Bytes by which the process may grow beyond what the samples themselves need while FFmpeg is at work."""

MAX_DAMAGED_RUN = 1_000
"""Packets in a row that cannot be decoded, before the rest of the body is given up."""

_OPTIONS = {
    "format_whitelist": FORMATS,
    "codec_whitelist": CODECS,
    "protocol_whitelist": "",
    "probesize": str(1 << 20),
    "max_streams": "100",
    # FFmpeg looks for DTS inside of PCM: that is half of the time a short WAV takes, and no speech.
    "max_probe_packets": "1",
}

_UNREADABLE = (av.error.FFmpegError, ValueError, LookupError, ArithmeticError, EOFError, RuntimeError)
"""What PyAV raises over bytes that it cannot read."""


class AudioFault(Exception):
    """The audio of a job gives nothing to transcribe; carries the ``fault`` to answer."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@overload
def decode(
    audio: Audio, body: Body, max_audio_s: float, tape: None = None, *, moved: Callable[[float], None] | None = None
) -> Decoded: ...


@overload
def decode(
    audio: Audio,
    body: Body,
    max_audio_s: float,
    tape: int | None,
    keep_s: float = math.inf,
    moved: Callable[[float], None] | None = None,
) -> Decoded | Recording: ...


def decode(
    audio: Audio,
    body: Body,
    max_audio_s: float,
    tape: int | None = None,
    keep_s: float = math.inf,
    moved: Callable[[float], None] | None = None,
) -> Decoded | Recording:
    """The audio of a job as samples. Nothing else in the process should need much memory meanwhile.

    With ``tape``, an empty file open for reading and writing, audio of more than ``keep_s`` seconds goes there, and the
    memory that it takes does not depend on its length. ``moved`` is called about once a minute of audio, with the
    seconds that are done; what it raises ends the decoding.

    Raises:
        AudioFault: with one of ``no_audio``, ``no_audio_stream``, ``bad_audio``, ``audio_too_long`` and
            ``insufficient_storage``. There may be samples in the tape then.
    """
    sink = Sink(tape, keep_s, moved)
    try:
        if not len(body):
            raise Unusable(Code.NO_AUDIO, "is empty")
        match audio:
            case MediaFile() | LocalFile():
                result = sink.finish(_decode_media(body, max_audio_s, sink))
            case Pcm():
                result = decode_pcm(audio, body, max_audio_s, sink)
        if not result.duration:
            raise Unusable(Code.NO_AUDIO, "has no samples")
    except Unusable as unusable:
        raise AudioFault(Fault.of(unusable.code, f"{_subject(audio)} {unusable.said}")) from unusable
    except NoRoom as full:
        raise AudioFault(Fault.of(Code.INSUFFICIENT_STORAGE, str(full), retry_after=10.0)) from full
    return result


def _subject(audio: Audio) -> str:
    match audio:
        case MediaFile(name=name) if name:
            return repr(name)
        case LocalFile(path=path):
            return repr(path.rpartition("/")[2])
        case MediaFile():
            return "the media file"
        case Pcm():
            return "the PCM audio"


def _decode_media(body: Body, max_audio_s: float, sink: Sink) -> list[str]:
    """Wind all that can be decoded of the first audio stream onto the sink; what is odd about it."""
    limit_s, fault = max_audio_s, too_long(max_audio_s)
    if (unfolded_s := FREE_S + len(body) / BYTES_PER_S) < max_audio_s:
        said = f"unfolds to more than {unfolded_s:.0f} s out of {len(body)} bytes, as no recording does"
        limit_s, fault = unfolded_s, Unusable(Code.BAD_AUDIO, said)
    with _opened(body) as container, _fence(ROOM + int(min(limit_s, sink.keep_s) * SAMPLE_RATE) * 8):
        try:
            return _recorded(container, body, limit_s, fault, sink)
        except _UNREADABLE as error:
            raise Unusable(Code.BAD_AUDIO, f"cannot be decoded ({_reason(error)})") from error


def _recorded(container: InputContainer, body: Body, limit_s: float, over_limit: Unusable, sink: Sink) -> list[str]:
    stream = _audio_stream(container)
    frames = _Frames(container, stream)
    splicer = Splicer(sink)
    for frame in frames:
        if splicer.seconds + frame.samples / frame.sample_rate > limit_s + ROUNDING_S:
            raise over_limit
        splicer.add(frame)
    stated_s = stated(container, stream, body, splicer.seconds)
    if not splicer.seconds and (stated_s or frames.damaged):
        raise Unusable(Code.BAD_AUDIO, "is damaged: nothing of it can be decoded")
    splicer.finish()
    return warnings_of(splicer.seconds, stated_s, frames.damaged)


def _audio_stream(container: InputContainer) -> AudioStream:
    """The first audio stream, set up for decoding.

    Raises:
        Unusable: there is none, or it is one that is not decoded here.
    """
    if not container.streams.audio:
        raise Unusable(Code.NO_AUDIO_STREAM, "has no audio stream")
    stream = container.streams.audio[0]
    context = stream.codec_context
    codec = context.codec.name if context else "unknown"
    if codec not in CODECS.split(","):
        raise Unusable(Code.NO_AUDIO_STREAM, f"has audio of a kind that is not read here ({codec}); convert it to flac")
    rate, channels = context.sample_rate, context.layout.nb_channels
    if rate not in RATES:
        raise Unusable(Code.BAD_AUDIO, f"has a sample rate of {rate} Hz; {RATES[0]} to {RATES[-1]} Hz are read")
    if channels not in CHANNELS:
        said = f"has {channels} channels" if channels else "has no channels, or too many to count"
        raise Unusable(Code.BAD_AUDIO, f"{said}; {CHANNELS[0]} to {CHANNELS[-1]} are read")
    context.thread_count = 1
    return stream


class _Frames:
    """The frames of a stream; what cannot be decoded is left out and counted."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._packets = container.demux(stream)
        self.damaged = 0
        """Packets left out so far."""

    def __iter__(self) -> Iterator[AudioFrame]:
        run = 0
        while run < MAX_DAMAGED_RUN:
            try:
                packet = next(self._packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except _UNREADABLE:
                self.damaged += 1
                run += 1
                continue
            run = 0
            for frame in frames:
                # A damaged packet may well decode, to one frame of 32 channels.
                if frame.sample_rate in RATES and frame.layout.nb_channels in CHANNELS:
                    yield frame
                else:
                    self.damaged += 1


@contextmanager
def _opened(body: Body) -> Iterator[InputContainer]:
    try:
        with _fence(ROOM):
            container = av.open(_Reader(body), "r", options=_OPTIONS, metadata_errors="ignore")
    except EOFError as error:
        raise Unusable(Code.NO_AUDIO, "ends before any audio is found") from error
    except _UNREADABLE as error:
        said = f"is damaged, or no media file of a kind that is read here ({_reason(error)}); send one of {KINDS}"
        raise Unusable(Code.NO_AUDIO_STREAM, said) from error
    with container:
        yield container


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, av.error.FFmpegError) else str(error)) or type(error).__name__


class _Reader:
    """A file over the body, without a copy of it."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._at = 0

    def read(self, size: int) -> bytes:
        piece = bytes(self._body[self._at : self._at + size])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, len(self._body))[whence]
        if at < 0:
            raise ValueError("before the start of the body")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at


@contextmanager
def _fence(room: int) -> Iterator[None]:
    """The process may grow by ``room`` bytes; what FFmpeg wants beyond, it does not get.

    A few hundred bytes of mp4 can state a sample table that takes gigabytes to unfold, before any frame is decoded.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    limits = [limit for limit in (used + room, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
