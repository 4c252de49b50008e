"""The audio of a job: its body in, 16 kHz mono samples out.

The body may be hostile, and FFmpeg is large. So it reads a dozen formats and their codecs, not its hundreds; it opens
nothing but the body; nothing that a header claims is believed, limits count what was really decoded; and while it
works, the whole process may grow by no more than an honest file of that size can need.

Damage is no fault: what can be decoded is decoded, and a warning says what is missing. All faults are the caller's.
"""

import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Audio, LocalFile, MediaFile, Pcm
from asrd_worker.blob import Body
from asrd_worker.pcm import SAMPLE_RATE, Decoded, Samples, Tape, Unusable, decode_pcm, too_long

__all__ = ["CODECS", "FORMATS", "SAMPLE_RATE", "AudioFault", "Decoded", "decode"]

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


def decode(audio: Audio, body: Body, max_audio_s: float) -> Decoded:
    """The audio of a job as samples. Nothing else in the process should need much memory meanwhile.

    Raises:
        AudioFault: with one of ``no_audio``, ``no_audio_stream``, ``bad_audio`` and ``audio_too_long``.
    """
    try:
        if not len(body):
            raise Unusable(Code.NO_AUDIO, "is empty")
        match audio:
            case MediaFile() | LocalFile():
                samples, warnings = _decode_media(body, max_audio_s)
            case Pcm():
                samples, warnings = decode_pcm(audio, body, max_audio_s)
        if not samples.size:
            raise Unusable(Code.NO_AUDIO, "has no samples")
    except Unusable as unusable:
        raise AudioFault(Fault.of(unusable.code, f"{_subject(audio)} {unusable.said}")) from unusable
    return Decoded(samples=samples, duration=samples.size / SAMPLE_RATE, warnings=warnings)


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


def _decode_media(body: Body, max_audio_s: float) -> tuple[Samples, list[str]]:
    limit_s, fault = max_audio_s, too_long(max_audio_s)
    if (unfolded_s := FREE_S + len(body) / BYTES_PER_S) < max_audio_s:
        said = f"unfolds to more than {unfolded_s:.0f} s out of {len(body)} bytes, as no recording does"
        limit_s, fault = unfolded_s, Unusable(Code.BAD_AUDIO, said)
    with _opened(body) as container, _fence(ROOM + int(limit_s * SAMPLE_RATE) * 8):
        try:
            return _recorded(container, body, limit_s, fault)
        except _UNREADABLE as error:
            raise Unusable(Code.BAD_AUDIO, f"cannot be decoded ({_reason(error)})") from error


def _recorded(container: InputContainer, body: Body, limit_s: float, over_limit: Unusable) -> tuple[Samples, list[str]]:
    """All that can be decoded of the first audio stream, and what is missing."""
    stream = _audio_stream(container)
    frames = _Frames(container, stream)
    tape = Tape()
    for frame in frames:
        if tape.seconds + frame.samples / frame.sample_rate > limit_s + ROUNDING_S:
            raise over_limit
        tape.add(frame)
    stated_s = _stated_s(container, stream, body, tape.seconds)
    if not tape.seconds and (stated_s or frames.damaged):
        raise Unusable(Code.BAD_AUDIO, "is damaged: nothing of it can be decoded")
    return tape.finish(), _warnings(tape.seconds, stated_s, frames.damaged)


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


def _warnings(seconds: float, stated_s: float, damaged: int) -> list[str]:
    warnings = []
    # Codecs pad: a tenth of a second is nothing, however short the clip.
    if stated_s - seconds > max(0.02 * stated_s, 0.1):
        warnings.append(f"partial audio: {seconds:.1f} of {stated_s:.1f} s")
    if damaged:
        warnings.append(f"{damaged} damaged packet{'s' if damaged > 1 else ''} left out")
    return warnings


def _stated_s(container: InputContainer, stream: AudioStream, body: Body, seconds: float) -> float:
    """The seconds of audio that the file says it has; 0 when it does not say, and FFmpeg only guesses."""
    kind = container.format.name
    if kind == "wav" and (share := _wav_share(body)) < 1:
        return seconds / share
    stated_s = 0.0
    if stream.duration and stream.time_base:
        stated_s = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        stated_s = container.duration / av.time_base
    if kind in ("mp3", "aac", "amr"):
        # They need not state a length; FFmpeg then divides size by bit rate, and what the size tells is no claim.
        sized_s = len(body) * 8 / (stream.codec_context.bit_rate or 1)
        return stated_s if sized_s < 0.98 * stated_s else 0.0
    return stated_s


def _wav_share(body: Body) -> float:
    """The share of a WAV's samples that is there: FFmpeg takes the end of the body for the end of the samples."""
    at = 12
    for _ in range(64):
        if at + 8 >= len(body):
            break
        name, size = struct.unpack("<4sI", body[at : at + 8])
        at += 8
        if name == b"data":
            # Programs that write to a pipe put a length near 2 or 4 GB there, for want of the real one.
            return min(1.0, (len(body) - at) / size) if 0 < size < 0x7FFF_0000 else 1.0
        at += size + size % 2
    return 1.0


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
