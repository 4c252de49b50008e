"""Small media files made on the spot: honest ones by FFmpeg's encoders, dishonest ones byte by byte."""

import io
import struct
from functools import cache

import av
import numpy as np
import numpy.typing as npt

Pcm16 = npt.NDArray[np.int16]

PITCH = 440.0
"""Of every tone, Hz."""

KINDS = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "wav-24": ("wav", "pcm_s24le", 48_000),
    "wav-mulaw": ("wav", "pcm_mulaw", 8_000),
    "wav-adpcm": ("wav", "adpcm_ima_wav", 16_000),
    "w64": ("w64", "pcm_s16le", 16_000),
    "aiff": ("aiff", "pcm_s16be", 44_100),
    "caf": ("caf", "pcm_s16be", 16_000),
    "flac": ("flac", "flac", 16_000),
    "mp3": ("mp3", "libmp3lame", 16_000),
    "mp2": ("mp2", "mp2", 16_000),
    "m4a": ("ipod", "aac", 16_000),
    "m4a-alac": ("ipod", "alac", 44_100),
    "mp4-ac3": ("mp4", "ac3", 48_000),
    "aac": ("adts", "aac", 16_000),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "flac", 16_000),
    "ogg": ("ogg", "libopus", 48_000),
    "wma": ("asf", "wmav2", 44_100),
    "amr": ("amr", "libopencore_amrnb", 8_000),
}
"""Muxer, encoder and sample rate of each kind of file that has to be readable."""


def tone(seconds: float, rate: int = 16_000, channels: int = 1) -> Pcm16:
    """A sine of PITCH, of shape (frames, channels)."""
    wave = 0.3 * np.sin(2 * np.pi * PITCH / rate * np.arange(round(seconds * rate)))
    return np.repeat((wave * 32_767).astype(np.int16)[:, np.newaxis], channels, axis=1)


@cache
def made(kind: str, seconds: float = 2.0) -> bytes:
    """A tone as a file of this kind."""
    muxer, codec, rate = KINDS[kind]
    return encoded(tone(seconds, rate), rate, muxer, codec)


def encoded(pcm: Pcm16, rate: int, muxer: str, codec: str, **options: str) -> bytes:
    """Samples of shape (frames, channels) through one of FFmpeg's encoders and muxers."""
    file, layout = io.BytesIO(), {1: "mono", 2: "stereo"}[pcm.shape[1]]
    with av.open(file, "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate, options=options, layout=layout)
        stream.bit_rate = 64_000 if codec != "libopencore_amrnb" else 12_200
        for at in range(0, len(pcm), 4_096):
            frame = _audio_frame(pcm[at : at + 4_096], rate, layout, at)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _audio_frame(pcm: Pcm16, rate: int, layout: str, at: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate, frame.pts = rate, at
    return frame


def movie(seconds: int, sound: bool = True) -> bytes:
    """An mp4 with 25 grey pictures a second and, mostly, a tone."""
    file, pcm = io.BytesIO(), tone(seconds)
    with av.open(file, "w", format="mp4") as container:
        pictures = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        audio = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for number in range(seconds * 25):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="rgb24")
            picture.pts = number
            container.mux(pictures.encode(picture))
            if audio:
                at = number * 640
                container.mux(audio.encode(_audio_frame(pcm[at : at + 640], 16_000, "mono", at)))
        for stream in (pictures, audio) if audio else (pictures,):
            container.mux(stream.encode(None))
    return file.getvalue()


def riff(
    data: bytes, *, rate: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1, size: int | None = None
) -> bytes:
    """A WAV that may lie: ``size`` is what it says of its data, ``tag`` 1 is integer and 3 is float."""
    block = (channels * bits // 8) & 0xFFFF
    about = struct.pack("<HHIIHH", tag, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)
    size = len(data) if size is None else size
    head = struct.pack("<4sI8sI", b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVEfmt ", 16)
    return head + about + struct.pack("<4sI", b"data", size) + data


def table_bomb(samples: int) -> bytes:
    """An mp4 of 2.5 kB whose sample table says that it has so many samples of one byte."""
    entry = struct.pack(">6xH8xHHHHI", 1, 1, 16, 0, 0, 16_000 << 16)
    table = _box(
        b"stbl",
        _table(b"stsd", 1, _box(b"mp4a", entry)),
        _table(b"stts", 1, struct.pack(">II", samples, 1_024)),
        _table(b"stsc", 1, struct.pack(">III", 1, samples, 1)),
        _table(b"stsz", 1, struct.pack(">I", samples)),
        _table(b"stco", 1, struct.pack(">I", 40)),
    )
    reference = _box(b"dinf", _table(b"dref", 1, _box(b"url ", b"\0\0\0\1")))
    media = _box(
        b"mdia",
        _box(b"mdhd", struct.pack(">12xIIHH", 16_000, 16_000, 0, 0)),
        _box(b"hdlr", b"\0" * 8 + b"soun" + b"\0" * 13),
        _box(b"minf", _box(b"smhd", b"\0" * 8), reference, table),
    )
    track = _box(b"trak", _box(b"tkhd", struct.pack(">12xIII60x", 1, 0, 1_000)), media)
    moov = _box(b"moov", _box(b"mvhd", struct.pack(">12xII80x", 1_000, 1_000)), track)
    return _box(b"ftyp", b"M4A \0\0\0\0M4A ") + _box(b"mdat", bytes(2_000)) + moov


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def _table(name: bytes, count: int, content: bytes) -> bytes:
    return _box(name, struct.pack(">4xI", count), content)


def id3(*frames: tuple[bytes, bytes]) -> bytes:
    """An ID3v2.3 tag with these frames, whatever is in them."""
    content = b"".join(name + struct.pack(">I2x", len(text)) + text for name, text in frames)
    size = bytes(len(content) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + content
