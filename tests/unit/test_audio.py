"""Media files in, 16 kHz mono samples out; what is no such file is refused, and opens nothing else."""

import random
import socket
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from asrd_protocol.faults import Code
from asrd_protocol.messages import MediaFile
from asrd_worker import audio
from asrd_worker.audio import SAMPLE_RATE, AudioFault, decode
from support.listening import FOUR_HOURS, decoded, fault, pitch
from support.media import KINDS, PITCH, encoded, id3, made, movie, riff, tone
from support.wait import eventually

SECOND = tone(1).tobytes()


# --- honest files -----------------------------------------------------------------------------------------------------


def test_real_speech_is_taken_sample_for_sample(speech: Path) -> None:
    clips = sorted(speech.glob("*.wav"))
    assert len(clips) == 5
    for clip in clips:
        with wave.open(str(clip)) as recording:
            pcm = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
        result = decoded(clip.read_bytes())
        assert np.array_equal(result.samples, pcm.astype(np.float32) / 32_768)
        assert result.warnings == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_read(kind: str) -> None:
    result = decoded(made(kind))
    assert result.duration == pytest.approx(2.0, abs=0.15)
    assert pitch(result) == pytest.approx(PITCH, abs=2)
    assert result.samples.max() == pytest.approx(0.3, abs=0.1)
    assert result.warnings == []


@pytest.mark.parametrize("rate", [4_000, 11_025, 22_050, 44_100, 192_000, 384_000])
def test_every_rate_becomes_16_khz(rate: int) -> None:
    result = decoded(riff(tone(1, rate).tobytes(), rate=rate))
    assert result.samples.size == pytest.approx(SAMPLE_RATE, abs=16)
    assert pitch(result) == pytest.approx(PITCH, abs=2)


@pytest.mark.parametrize("channels", range(1, 9))
def test_up_to_eight_channels_become_one(channels: int) -> None:
    result = decoded(riff(tone(1, channels=channels).tobytes(), channels=channels))
    assert result.duration == 1
    assert pitch(result) == pytest.approx(PITCH, abs=2)


def test_a_body_may_be_a_memoryview() -> None:
    body = made("flac")
    assert np.array_equal(decoded(memoryview(body)).samples, decoded(body).samples)


def test_of_a_movie_the_sound_is_decoded() -> None:
    result = decoded(movie(2))
    assert pitch(result) == pytest.approx(PITCH, abs=2)
    assert result.warnings == []


def test_files_that_were_joined_are_read_to_the_end() -> None:
    second = encoded(tone(2, 44_100, channels=2), 44_100, "mp3", "libmp3lame")
    result = decoded(made("mp3") + second)
    assert result.duration == pytest.approx(4.0, abs=0.2)
    assert pitch(result) == pytest.approx(PITCH, abs=2)
    assert not [warning for warning in result.warnings if "partial" in warning]


def test_no_tag_is_too_odd() -> None:
    words = (b"TIT2", b"\3\xff\xfe\xfd\xc3\x28"), (b"TXXX", b"\0\x80\x81\0\xff"), (b"T\xff\xfeX", b"\0abc")
    picture = (b"APIC", b"\0image/jpeg\0\3\0\xff\xd8" + random.Random(1).randbytes(2 << 20))
    result = decoded(id3(*words, picture) + made("mp3"))
    assert result.duration == pytest.approx(2.0, abs=0.1)


def test_the_white_lists_name_what_ffmpeg_has() -> None:
    assert set(audio.FORMATS.split(",")) <= av.format.formats_available
    # Which outside libraries are in is the packager's choice.
    missing = set(audio.CODECS.split(",")) - av.codecs_available
    assert not [codec for codec in missing if not codec.startswith("lib")]


# --- nothing to transcribe --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", Code.NO_AUDIO, "is empty"),
        (riff(b""), Code.NO_AUDIO, "no samples"),
        (random.Random(1).randbytes(20_000), Code.NO_AUDIO_STREAM, "no media file"),
        (b"hello world\n" * 100, Code.NO_AUDIO_STREAM, "no media file"),
        (b"fLaC", Code.NO_AUDIO_STREAM, "is damaged"),
        (b"OggS" + bytes(100), Code.NO_AUDIO, "ends before"),
        (riff(SECOND, rate=0), Code.NO_AUDIO_STREAM, "is damaged"),
        (riff(SECOND, rate=0xFFFFFFFF), Code.NO_AUDIO_STREAM, "is damaged"),
        (riff(bytes(2_000), rate=1), Code.BAD_AUDIO, "a sample rate of 1 Hz"),
        (riff(SECOND, rate=3_999), Code.BAD_AUDIO, "a sample rate of 3999 Hz"),
        (riff(SECOND, rate=384_001), Code.BAD_AUDIO, "a sample rate of 384001 Hz"),
        (riff(SECOND, channels=0), Code.BAD_AUDIO, "no channels"),
        (riff(tone(1, channels=9).tobytes(), channels=9), Code.BAD_AUDIO, "9 channels"),
        (riff(SECOND, channels=1_000), Code.BAD_AUDIO, "channels"),
        (riff(SECOND, channels=65_535), Code.BAD_AUDIO, "channels"),
    ],
)
def test_the_fault_names_what_is_wrong(body: bytes, code: Code, said: str) -> None:
    refused = fault(body)
    assert refused.code is code
    assert said in refused.message


def test_a_file_without_a_name_is_called_the_media_file() -> None:
    with pytest.raises(AudioFault, match=r"^the media file is empty$"):
        decode(MediaFile(), b"", FOUR_HOURS)


def test_a_movie_without_sound_has_no_audio_stream() -> None:
    assert fault(movie(1, sound=False)).code is Code.NO_AUDIO_STREAM


def test_no_video_decoder_runs() -> None:
    with audio._opened(memoryview(movie(1))) as container:
        assert container.streams.video[0].pix_fmt is None  # only its decoder knows


def test_a_codec_off_the_list_is_named() -> None:
    refused = fault(encoded(tone(1), 16_000, "matroska", "tta"))
    assert refused.code is Code.NO_AUDIO_STREAM
    assert "(tta)" in refused.message


@pytest.mark.parametrize(("muxer", "codec"), [("au", "pcm_s16be"), ("avi", "pcm_s16le"), ("mpegts", "aac")])
def test_a_format_off_the_list_is_refused(muxer: str, codec: str) -> None:
    refused = fault(encoded(tone(1), 16_000, muxer, codec))
    assert refused.code is Code.NO_AUDIO_STREAM
    assert "wav, flac, mp3" in refused.message


def test_lists_of_other_files_open_nothing(tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(riff(SECOND))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        host = f"127.0.0.1:{server.getsockname()[1]}"
        for target in (f"http://{host}/a.ts", f"tcp://{host}", f"file://{tmp_path}/other.wav"):
            segment = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
            for playlist in (segment, f"ffconcat version 1.0\nfile '{target}'\n"):
                assert fault(playlist.encode()).code is Code.NO_AUDIO_STREAM
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_session_description_binds_no_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] & ~1
    media = f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    body = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{media}".encode()

    def bound() -> bool:
        return f":{port:04X} " in Path("/proc/self/net/udp").read_text()

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fault, body)
        eventually(lambda: answer.done() or bound())
        assert not bound()
        assert answer.result().code is Code.NO_AUDIO_STREAM
