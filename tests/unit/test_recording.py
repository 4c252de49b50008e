"""Long audio goes to a file while it is decoded: the same samples, in memory that does not grow."""

import io
import itertools
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from asrd_protocol.faults import Blame, Code, Fault
from asrd_protocol.messages import Audio, MediaFile, Pcm
from asrd_worker import audio
from asrd_worker.audio import AudioFault, Decoded, decode
from asrd_worker.recording import SAMPLE_RATE, Recording
from support.listening import FOUR_HOURS
from support.media import KINDS, encoded, made, riff, table_bomb, tone

MEDIA = MediaFile(name="talk.bin")
NOISE = np.random.default_rng(5).integers(-32_768, 32_768, 5 * 44_100).astype("<i2")


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[int]:
    """An empty file, open for reading and writing."""
    fd = os.open(tmp_path / "tape", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def taped(body: bytes, fd: int, keep_s: float = 0.5, kind: Audio = MEDIA) -> Recording:
    """The body as a recording, checked for what holds of all that is taped."""
    result = decode(kind, body, FOUR_HOURS, fd, keep_s)
    assert isinstance(result, Recording)
    assert result.duration == os.fstat(fd).st_size / 2 / SAMPLE_RATE
    return result


def refused(body: bytes, fd: int, kind: Audio = MEDIA, max_audio_s: float = FOUR_HOURS) -> Fault:
    """Why the body gives nothing."""
    with pytest.raises(AudioFault) as caught:
        decode(kind, body, max_audio_s, fd, 0.5)
    return caught.value.fault


# --- the same samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taped_is_what_is_held(tape: int, kind: str) -> None:
    whole = decode(MEDIA, made(kind), FOUR_HOURS)
    recording = taped(made(kind), tape)
    assert np.array_equal(recording.samples(), whole.samples)
    assert recording.samples().dtype == np.float32
    assert (recording.duration, recording.warnings) == (whole.duration, whole.warnings)


@pytest.mark.parametrize("rate", [4_000, 16_000, 44_100])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_raw_samples_are_taped_as_they_are_held(tape: int, rate: int, dtype: str) -> None:
    pcm = NOISE if dtype == "int16" else (NOISE / np.float32(32_768)).astype("<f4")
    kind = Pcm(dtype=dtype, rate=rate)  # type: ignore[arg-type]
    whole = decode(kind, pcm.tobytes(), FOUR_HOURS)
    recording = taped(pcm.tobytes(), tape, kind=kind)
    assert np.array_equal(recording.samples(), whole.samples)
    assert recording.warnings == []


def test_floats_are_rounded_to_the_nearest_integer_sample(tape: int) -> None:
    floats = np.random.default_rng(6).uniform(-0.999, 0.999, SAMPLE_RATE).astype("<f4")
    floats[:2] = 1.0, -1.0
    recording = taped(floats.tobytes(), tape, kind=Pcm())
    error = np.abs(recording.samples() - floats)
    assert error.max() == 1 / 32_768  # 1.0 has no integer; all others are half as far at most
    assert np.sort(error)[-2] <= 0.5 / 32_768 + 1e-7


def test_the_clip_warning_is_about_all_blocks(tape: int) -> None:
    floats = np.zeros(5 * SAMPLE_RATE, "<f4")
    floats[0], floats[-1] = 1.5, -1.25
    recording = taped(floats.tobytes(), tape, kind=Pcm())
    assert recording.warnings == ["samples beyond -1..1, as large as 1.5, were clipped"]
    assert recording.samples(recording.duration - 1 / SAMPLE_RATE).tolist() == [-1.0]


@pytest.mark.parametrize("cut_off", [3_000, 20_000])
def test_damage_is_told_as_ever(tape: int, cut_off: int) -> None:
    body = made("flac", seconds=10)[:-cut_off]
    whole = decode(MEDIA, body, FOUR_HOURS)
    recording = taped(body, tape)
    assert recording.warnings == whole.warnings != []
    assert np.array_equal(recording.samples(), whole.samples)


def test_a_recording_that_changes_its_rate_is_taped_whole(tape: int) -> None:
    body = made("mp3") + encoded(tone(2, 44_100, channels=2), 44_100, "mp3", "libmp3lame")
    assert np.array_equal(taped(body, tape).samples(), decode(MEDIA, body, FOUR_HOURS).samples)


# --- what is short ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MEDIA, Pcm(dtype="int16")])
def test_as_long_as_may_be_kept_is_not_taped(tape: int, kind: Audio) -> None:
    pcm = tone(3)
    body = riff(pcm.tobytes()) if kind is MEDIA else pcm.tobytes()
    kept = decode(kind, body, FOUR_HOURS, tape, 3.0)
    assert isinstance(kept, Decoded)
    assert np.array_equal(kept.samples, pcm[:, 0] / np.float32(32_768))
    assert os.fstat(tape).st_size == 0
    assert isinstance(decode(kind, body, FOUR_HOURS, tape, 2.999), Recording)


def test_short_floats_stay_what_they_are(tape: int) -> None:
    floats = np.random.default_rng(6).uniform(-1, 1, SAMPLE_RATE).astype("<f4")
    kept = decode(Pcm(), floats.tobytes(), FOUR_HOURS, tape, 1.0)
    assert isinstance(kept, Decoded)
    assert np.array_equal(kept.samples, floats)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def recording(tape: int) -> Recording:
    return taped(riff(NOISE.tobytes()), tape)


def test_a_part_is_what_lies_between_its_times(recording: Recording) -> None:
    whole = NOISE / np.float32(32_768)
    assert np.array_equal(recording.samples(1.25, 2.5), whole[20_000:40_000])
    assert np.array_equal(recording.samples(13.0), whole[208_000:])
    parts = [recording.samples(at, at + 0.01) for at in np.arange(0, 13.79, 0.01).round(2)]
    assert np.array_equal(np.concatenate(parts), whole[: 1_379 * 160])


@pytest.mark.parametrize(("start", "end", "size"), [(20, None, 0), (3, 2, 0), (-1, 1, 16_000), (13, 99, 12_500)])
def test_beyond_the_ends_is_nothing(recording: Recording, start: float, end: float | None, size: int) -> None:
    assert recording.samples(start, end).shape == (size,)


def test_a_recording_cut_short_behind_its_back_is_an_error(recording: Recording, tape: int) -> None:
    os.ftruncate(tape, 32_000)
    assert recording.samples(0, 1).size == SAMPLE_RATE
    with pytest.raises(OSError, match="shorter than it was"):
        recording.samples(0.5, 1.5)


def test_the_file_stays_open(tape: int) -> None:
    taped(made("wav"), tape)
    os.fstat(tape)
    assert Recording(tape).samples().size == 2 * SAMPLE_RATE


# --- progress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fd", [True, False])
def test_it_is_told_how_far_it_is(tape: int, fd: bool) -> None:
    body, seen = riff(bytes(2 * SAMPLE_RATE * 305)), list[float]()
    decode(MEDIA, body, FOUR_HOURS, tape if fd else None, 1.0, seen.append)
    steps = [later - earlier for earlier, later in itertools.pairwise([0.0, *seen])]
    assert len(seen) == 4  # a little more than a minute each
    assert all(60 <= step < 70 for step in steps)


def test_whoever_is_told_may_end_it(tape: int) -> None:
    class EnoughError(Exception):
        pass

    def stop(_: float) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        decode(MEDIA, riff(bytes(2 * SAMPLE_RATE * 100)), FOUR_HOURS, tape, 1.0, stop)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


# --- no room ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MEDIA, Pcm(dtype="int16"), Pcm()])
def test_a_full_disk_is_told(kind: Audio) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    silence = bytes(8 * SAMPLE_RATE)
    fault = refused(riff(silence) if kind is MEDIA else silence, full, kind)
    os.close(full)
    assert (fault.code, fault.blame) == (Code.INSUFFICIENT_STORAGE, Blame.HOST)
    assert fault.message == "no room for the decoded audio after 0 MiB of it (No space left on device)"


def test_a_limit_for_files_is_told(tape: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, before[1]))
    try:
        fault = refused(riff(bytes(8 << 20)), tape)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fault.code is Code.INSUFFICIENT_STORAGE
    assert "after 3 MiB" in fault.message


def test_a_file_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "tape").touch()
    fd = os.open(tmp_path / "tape", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        decode(MEDIA, made("wav"), FOUR_HOURS, fd, 0.5)
    os.close(fd)


# --- bombs ------------------------------------------------------------------------------------------------------------


def test_the_limits_count_what_is_taped(tape: int) -> None:
    silence = encoded(np.zeros((4_000 * 2_400, 1), np.int16), 4_000, "flac", "flac", frame_size="65535")
    fault = refused(silence, tape)
    assert fault.code is Code.BAD_AUDIO
    assert "unfolds" in fault.message
    assert os.fstat(tape).st_size < 2_400 * 32_000
    assert refused(made("flac", seconds=3), tape, max_audio_s=2.9).code is Code.AUDIO_TOO_LONG
    assert refused(bytes(4 * SAMPLE_RATE), tape, Pcm(dtype="int16"), 1.9).code is Code.AUDIO_TOO_LONG
    assert refused(table_bomb(40_000_000), tape).code is Code.BAD_AUDIO


@pytest.mark.parametrize(("value", "said"), [(np.nan, "not finite"), (np.inf, "not finite"), (32_767.0, "int16")])
def test_floats_that_are_no_samples_are_found_in_every_block(tape: int, value: float, said: str) -> None:
    floats = np.zeros(5 * SAMPLE_RATE, "<f4")
    floats[-1] = value
    fault = refused(floats.tobytes(), tape, Pcm())
    assert fault.code is Code.BAD_AUDIO
    assert said in fault.message


def test_the_fence_is_no_wider_than_what_may_be_kept(tape: int) -> None:
    room = list[int]()

    def measure(_: float) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        room.append(resource.getrlimit(resource.RLIMIT_DATA)[0] - used)

    body = riff(bytes(2 * SAMPLE_RATE * 100))
    decode(MEDIA, body, FOUR_HOURS, None, moved=measure)
    decode(MEDIA, body, FOUR_HOURS, tape, 10.0, measure)
    held, on_tape = room
    assert held > FOUR_HOURS * SAMPLE_RATE * 7 / 2
    assert audio.ROOM / 2 < on_tape < 1.5 * audio.ROOM


# --- memory -----------------------------------------------------------------------------------------------------------

MEASURE = """
import json, os, re, sys
from pathlib import Path
from asrd_protocol.messages import MediaFile, Pcm
from asrd_worker.audio import decode
from asrd_worker.blob import Blob

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

kind = Pcm() if sys.argv[1].endswith("f32") else MediaFile()
tape = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT | os.O_TRUNC)
before = peak()
body = Blob(os.open(sys.argv[1], os.O_RDONLY))
recording = decode(kind, body, 14_400.0, tape, 30.0)
print(json.dumps([recording.duration, peak() - before]))
"""


def measured(body: Path) -> tuple[float, int]:
    """The seconds that were taped, and the bytes by which a fresh process grew at most."""
    tape = body.with_suffix(".tape")
    answer = subprocess.run([sys.executable, "-c", MEASURE, body, tape], check=True, capture_output=True).stdout
    tape.unlink()
    seconds, grown = json.loads(answer)
    return seconds, grown


def silent_flac(seconds: int, path: Path) -> None:
    silence = np.zeros((SAMPLE_RATE * seconds, 1), np.int16)
    path.write_bytes(encoded(silence, SAMPLE_RATE, "flac", "flac", frame_size="16384"))


def silent_opus(seconds: int, path: Path) -> None:
    """Encoding takes its time: one second of packets over and over."""
    with av.open(io.BytesIO(encoded(np.zeros((48_000, 1), np.int16), 48_000, "ogg", "libopus"))) as second:
        packets = [bytes(packet) for packet in second.demux(audio=0) if packet.size][:50]
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        stream.codec_context.open()
        for at in range(seconds * 50):
            packet = av.Packet(packets[at % 50])
            packet.stream, packet.time_base = stream, Fraction(1, 48_000)
            packet.pts = packet.dts = at * 960
            packet.duration = 960
            container.mux(packet)


def silent_floats(seconds: int, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(seconds * SAMPLE_RATE * 4)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("make", "name", "minutes"),
    [(silent_flac, "long.flac", 180), (silent_opus, "long.opus", 60), (silent_floats, "long.f32", 180)],
)
def test_memory_is_flat(tmp_path: Path, make: Callable[[int, Path], None], name: str, minutes: int) -> None:
    grown: dict[int, int] = {}
    for length in (10, minutes):
        make(length * 60, tmp_path / name)
        seconds, grown[length] = measured(tmp_path / name)
        assert seconds == pytest.approx(length * 60, abs=1)
    assert grown[minutes] < grown[10] + (8 << 20)
    assert grown[minutes] < 40 << 20
