"""Odd audio, real speech: each kind through a real daemon with real tiny.en gives its words, or the fault that fits."""

import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import jiwer
import numpy as np
import numpy.typing as npt
import pytest

from support.daemon import Daemon
from support.media import encoded, id3, movie, riff

pytestmark = pytest.mark.model

Pcm16 = npt.NDArray[np.int16]

WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.SubstituteRegexes({r"\bmr\b": "mister"}), jiwer.RemovePunctuation()])


def words(text: str) -> str:
    """The words alone."""
    cleaned: str = WORDS(text.replace("-", " "))
    return cleaned


@pytest.fixture(scope="module")
def clip(speech: Path) -> Callable[[str], Pcm16]:
    """Samples of a recording at 16 kHz, of shape (n, 1)."""
    return lambda name: np.frombuffer((speech / name).read_bytes()[44:], "<i2").reshape(-1, 1)


@pytest.fixture(scope="module")
def truth(speech: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((speech / "transcripts.json").read_text())
    return found


def resampled(pcm: Pcm16, rate: int) -> Pcm16:
    """Samples of shape (n, 1) at another rate."""
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 16_000
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    out = [part.to_ndarray() for given in (frame, None) for part in resampler.resample(given)]
    return np.concatenate(out, axis=1).reshape(-1, 1)


def wide(pcm: Pcm16, channels: int, heard: int) -> bytes:
    """A 16 bit WAV of many channels, one of which is heard."""
    frames = np.zeros((len(pcm), channels), "<i2")
    frames[:, heard] = pcm[:, 0]
    return riff(frames.tobytes(), channels=channels)


def wav24(pcm: Pcm16) -> bytes:
    """The same in 24 bits, with noise where 16 bits end."""
    deep = (pcm[:, 0].astype("<i4") << 8) + np.random.default_rng(1).integers(0, 255, len(pcm), dtype="<i4")
    return riff(deep.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), bits=24)


def video(pcm: Pcm16, form: str, pictures: str, codec: str, rate: int) -> bytes:
    """A file with pictures in the first stream, and sound in the second."""
    file, sound = io.BytesIO(), resampled(pcm, rate)
    with av.open(file, "w", format=form) as container:
        seen = container.add_stream(pictures, rate=25, width=64, height=48, pix_fmt="yuv420p")
        heard = container.add_stream(codec, rate=rate, layout="mono")
        for number in range(len(sound) * 25 // rate + 1):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="rgb24")
            picture.pts = number
            container.mux(seen.encode(picture))
            at = number * rate // 25
            frame = av.AudioFrame.from_ndarray(sound[at : at + rate // 25].reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, at
            container.mux(heard.encode(frame))
        for stream in (seen, heard):
            container.mux(stream.encode(None))
    return file.getvalue()


def chords(seconds: float) -> Pcm16:
    """Music without a voice: four chords, each tone with overtones that fade."""
    rate, bar = 16_000, 2.0
    roots = [(261.6, 329.6, 392.0), (220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (196.0, 246.9, 293.7)]
    at = np.arange(round(seconds * rate)) / rate
    fade = np.exp(-1.5 * (at % bar))
    sound = np.zeros_like(at)
    for number, chord in enumerate(roots):
        on = (at // bar) % len(roots) == number
        for tone in chord:
            for overtone in range(1, 6):
                sound += on * np.sin(2 * np.pi * tone * overtone * at) / overtone**1.5
    return (sound * fade * 4_000).astype(np.int16).reshape(-1, 1)


def answer(daemon: Daemon, body: bytes, **options: Any) -> dict[str, Any]:
    """The transcript of a body."""
    end, transcript = daemon.wire().run(body, options=options)
    assert end["type"] == "completed", end
    found: dict[str, Any] = json.loads(transcript)
    return found


# --- speech in odd clothes --------------------------------------------------------------------------------------------


def with_tags(pcm: Pcm16) -> bytes:
    """An mp3 with tags that lie about their text, a picture of noise, and one tag after the other."""
    text = (b"TIT2", b"\3\xff\xfe\xfd\xc3\x28"), (b"TLEN", b"\0-99999999999"), (b"T\xff\xfeX", b"\0abc")
    picture = (b"APIC", b"\0image/jpeg\0\3\0\xff\xd8" + random.Random(1).randbytes(1 << 20))
    trailer = b"TAG" + b"\xff" * 125
    return id3(*text) + id3(picture) + encoded(pcm, 16_000, "mp3", "libmp3lame") + trailer


KINDS: dict[str, tuple[Callable[[Pcm16], bytes], float]] = {
    "telephone, mu-law": (lambda pcm: encoded(resampled(pcm, 8_000), 8_000, "wav", "pcm_mulaw"), 0.25),
    "telephone, a-law": (lambda pcm: encoded(resampled(pcm, 8_000), 8_000, "wav", "pcm_alaw"), 0.25),
    "telephone, amr": (lambda pcm: encoded(resampled(pcm, 8_000), 8_000, "amr", "libopencore_amrnb"), 0.35),
    "24 bit": (wav24, 0.15),
    "six channels, speech in the centre": (lambda pcm: wide(pcm, 6, 2), 0.15),
    "six channels, speech front left": (lambda pcm: wide(pcm, 6, 0), 0.15),
    "six channels, speech in the left rear": (lambda pcm: wide(pcm, 6, 4), 0.15),
    "mp3 with odd tags": (with_tags, 0.15),
    "mp4 video": (lambda pcm: video(pcm, "mp4", "mpeg4", "aac", 16_000), 0.15),
    "mov video with raw sound": (lambda pcm: video(pcm, "mov", "mpeg4", "pcm_s16le", 48_000), 0.15),
    "webm video, opus": (lambda pcm: video(pcm, "webm", "libvpx", "libopus", 48_000), 0.15),
    "webm, opus": (lambda pcm: encoded(resampled(pcm, 48_000), 48_000, "webm", "libopus"), 0.15),
}
"""How a recording is dressed up, and the share of words that may be wrong then."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_are_heard(whisper: Daemon, clip: Callable[[str], Pcm16], truth: dict[str, str], kind: str) -> None:
    dress, tolerance = KINDS[kind]
    pcm = clip("ss-0870.wav")
    found = answer(whisper, dress(pcm))
    assert jiwer.wer(words(truth["ss-0870.wav"]), words(found["text"])) <= tolerance, found["text"]
    assert found["duration"] == pytest.approx(len(pcm) / 16_000, abs=0.15)
    assert found["warnings"] == []


def test_both_speakers_of_a_call_are_heard(
    whisper: Daemon, clip: Callable[[str], Pcm16], truth: dict[str, str]
) -> None:
    """One on the left channel and, after her, one on the right."""
    left, right = clip("ss-0880.wav"), clip("ss-0890.wav")
    frames = np.zeros((len(left) + len(right), 2), "<i2")
    frames[: len(left), 0] = left[:, 0]
    frames[len(left) :, 1] = right[:, 0]
    found = answer(whisper, riff(frames.tobytes(), channels=2))
    said = f"{truth['ss-0880.wav']} {truth['ss-0890.wav']}"
    assert jiwer.wer(words(said), words(found["text"])) < 0.2, found["text"]


# --- no speech --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda s: np.zeros((s * 16_000, 1), np.int16), chords], ids=["silence", "music"])
def test_where_nobody_speaks_no_text_is_left_with_a_filter(whisper: Daemon, make: Callable[[int], Pcm16]) -> None:
    found = answer(whisper, riff(make(12).tobytes()), vad_filter=True)
    assert (found["text"], found["segments"], found["duration"]) == ("", [], 12.0)
    assert found["duration_after_vad"] == 0


@pytest.mark.parametrize("make", [lambda s: np.zeros((s * 16_000, 1), np.int16), chords], ids=["silence", "music"])
def test_where_nobody_speaks_the_model_alone_says_little(whisper: Daemon, make: Callable[[int], Pcm16]) -> None:
    found = answer(whisper, riff(make(12).tobytes()))
    assert found["duration"] == 12.0
    assert len(words(found["text"]).split()) <= 5, found["text"]


# --- what cannot be answered ------------------------------------------------------------------------------------------


def failed(daemon: Daemon, body: bytes) -> tuple[str, str]:
    """The code and the message of the fault, which is the caller's."""
    end, _ = daemon.wire().run(body)
    assert end["type"] == "failed", end
    assert end["fault"]["blame"] == "caller"
    return end["fault"]["code"], end["fault"]["message"]


def headless(body: bytes) -> bytes:
    """An mp4 whose index, at its end, has not arrived."""
    at = body.index(b"moov") - 4
    return body[:at]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (movie(2, sound=False), "no_audio_stream", "has no audio stream"),
        (headless(movie(2)), "no_audio_stream", "is damaged"),
        (riff(b""), "no_audio", "has no samples"),
        (riff(bytes(32_000), rate=1_000), "bad_audio", "1000 Hz"),
        (riff(bytes(90_000), channels=9), "bad_audio", "9 channels"),
        (b"ID3\3\0\0" + struct.pack(">I", 0x7F7F7F7F) + bytes(5_000), "no_audio_stream", "send one of"),
    ],
    ids=["video without sound", "mp4 without its index", "header alone", "1 kHz", "9 channels", "a tag alone"],
)
def test_the_fault_tells_why(whisper: Daemon, body: bytes, code: str, said: str) -> None:
    found, message = failed(whisper, body)
    assert (found, said in message) == (code, True), message
