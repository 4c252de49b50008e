"""Media files that are too long, damaged, or made to hurt."""

import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asrd_protocol.faults import Code
from asrd_worker import audio
from asrd_worker.audio import SAMPLE_RATE, AudioFault, Decoded
from support.listening import FOUR_HOURS, decoded, fault, pitch
from support.media import PITCH, encoded, made, riff, table_bomb, tone

SECOND = tone(1).tobytes()


# --- length -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff"])
def test_as_long_as_allowed_is_not_too_long(kind: str) -> None:
    body = made(kind, seconds=3)
    assert decoded(body, max_audio_s=3.0).duration == pytest.approx(3.0, abs=0.01)
    assert fault(body, max_audio_s=2.9).code is Code.AUDIO_TOO_LONG
    assert "2.9 s" in fault(body, max_audio_s=2.9).message


def test_a_header_that_says_nothing_of_the_length_hides_none() -> None:
    assert fault(riff(SECOND * 3, size=100_000_000), max_audio_s=2).code is Code.AUDIO_TOO_LONG
    assert fault(made("mp3", seconds=4)[-12_000:], max_audio_s=0.5).code is Code.AUDIO_TOO_LONG


def test_what_unfolds_beyond_reason_is_refused() -> None:
    silence = np.zeros((4_000 * 2_400, 1), np.int16)
    body = encoded(silence, 4_000, "flac", "flac", frame_size="65535")
    assert len(body) < 14_000
    refused = fault(body)
    assert refused.code is Code.BAD_AUDIO
    assert "unfolds" in refused.message


MEASURE = """
import json, re, sys
from pathlib import Path
from asrd_protocol.messages import MediaFile
from asrd_worker.audio import AudioFault, decode

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

body = Path(sys.argv[1]).read_bytes()
before, answer, seconds = peak(), "", 0.0
try:
    seconds = decode(MediaFile(), body, float(sys.argv[2])).duration
except AudioFault as error:
    answer = error.fault.code
print(json.dumps([answer, seconds, peak() - before]))
"""


def measured(body: bytes, folder: Path, max_audio_s: float) -> tuple[str, float, int]:
    """The fault or "", the seconds decoded, and the bytes by which a fresh process grew at most."""
    (folder / "body").write_bytes(body)
    command = [sys.executable, "-c", MEASURE, str(folder / "body"), str(max_audio_s)]
    answer, seconds, grown = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer, seconds, grown


def test_an_hour_of_silence_takes_no_more_than_twice_its_samples(tmp_path: Path) -> None:
    body = encoded(np.zeros((SAMPLE_RATE * 3_600, 1), np.int16), SAMPLE_RATE, "flac", "flac")
    assert len(body) < 2 << 20
    samples = SAMPLE_RATE * 3_600 * 4
    answer, seconds, grown = measured(body, tmp_path, FOUR_HOURS)
    assert (answer, seconds) == ("", 3_600.0)
    assert samples < grown < 2 * samples
    answer, _, grown = measured(body, tmp_path, 60)
    assert answer == "audio_too_long"
    assert grown < samples / 4


def test_a_table_that_takes_gigabytes_gets_none(tmp_path: Path) -> None:
    """Without a fence 40 million samples take 1.4 GiB before the first is decoded."""
    answer, _, grown = measured(table_bomb(40_000_000), tmp_path, FOUR_HOURS)
    assert answer == "bad_audio"
    assert grown < 1.5 * audio.ROOM


def test_memory_is_limited_only_while_decoding() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    decoded(made("flac"))
    fault(b"no media at all")
    fault(table_bomb(40_000_000))
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


# --- damage -----------------------------------------------------------------------------------------------------------


def partial(result: Decoded) -> tuple[float, float]:
    """The two figures of the one warning about missing audio."""
    (found,) = [re.fullmatch(r"partial audio: (\S+) of (\S+) s", w) for w in result.warnings if "partial" in w]
    assert found
    return float(found[1]), float(found[2])


@pytest.mark.parametrize("kind", ["flac", "mp3", "webm", "aiff"])
def test_a_file_cut_short_gives_what_is_there_and_a_warning(kind: str) -> None:
    body = made(kind, seconds=10)
    result = decoded(body[: len(body) // 2])
    there, stated = partial(result)
    assert 1 < there < 7
    assert there == pytest.approx(result.duration, abs=0.1)
    assert stated == pytest.approx(10, abs=0.1)
    assert pitch(result) == pytest.approx(PITCH, abs=2)


def test_a_wav_that_claims_a_gigabyte_is_partial() -> None:
    result = decoded(riff(SECOND, size=1_000_000_000))
    assert result.duration == 1
    assert partial(result) == (1.0, 31_250.0)


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF])
def test_a_wav_written_to_a_pipe_is_whole(size: int) -> None:
    result = decoded(riff(SECOND, size=size))
    assert (result.duration, result.warnings) == (1, [])


def test_a_guessed_length_is_no_promise() -> None:
    """An mp3 of varying bit rate without an info header: FFmpeg guesses its length from its first frames."""
    loud = (np.random.default_rng(0).normal(0, 8_000, (160_000, 1))).astype(np.int16)
    pcm = np.concatenate([loud, np.zeros((320_000, 1), np.int16)])
    body = encoded(pcm, 16_000, "mp3", "libmp3lame", flags="+qscale", global_quality="472")
    frames = body[body.index(b"\xff\xf3", body.index(b"Info") if b"Info" in body else body.index(b"Xing")) :]
    assert decoded(frames).warnings == []


def test_flipped_bytes_cost_their_packets_only() -> None:
    body = bytearray(encoded(np.tile(tone(1), (11, 1)), 16_000, "flac", "flac"))
    for at in range(5_000, len(body), 400):
        body[at] ^= 0xFF
    result = decoded(bytes(body))
    there, stated = partial(result)
    assert 2 < there < 10
    assert stated == 11


def test_damage_is_counted() -> None:
    result = decoded(made("flac", seconds=10)[:-3_000])
    assert "1 damaged packet left out" in result.warnings


def test_a_file_damaged_throughout_is_bad() -> None:
    body = made("flac")
    noise = random.Random(1).randbytes(len(body))
    refused = fault(body[:200] + noise[200:])
    assert refused.code is Code.BAD_AUDIO
    assert "nothing of it can be decoded" in refused.message


def overwritten(adts: bytes, fill: Callable[[int], bytes], first: int) -> bytes:
    """Raw AAC with the content of all packets from ``first`` on replaced, their headers kept."""
    body, at, number = bytearray(adts), 0, 0
    while at + 7 <= len(body):
        size = (body[at + 3] & 3) << 11 | body[at + 4] << 3 | body[at + 5] >> 5
        if number >= first:
            body[at + 7 : at + size] = fill(size - 7)
        at, number = at + size, number + 1
    return bytes(body)


def test_damage_without_end_is_given_up() -> None:
    result = decoded(overwritten(made("aac", seconds=80), bytes, first=10))
    assert result.duration == pytest.approx(0.64)
    assert result.warnings == [f"{audio.MAX_DAMAGED_RUN} damaged packets left out"]


def test_noise_that_decodes_is_damage_too() -> None:
    """A packet of noise is now and then a frame, even one of 32 channels."""
    result = decoded(overwritten(made("aac", seconds=80), random.Random(0).randbytes, first=10))
    assert 0.6 < result.duration < 5
    assert "damaged packets left out" in result.warnings[-1]


def test_one_sample_is_audio() -> None:
    assert decoded(riff(b"\0\x40")).samples.tolist() == [0.5]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_floats_that_are_no_samples_stay_within_bounds(value: float) -> None:
    result = decoded(riff(np.full(16_000, value, "<f4").tobytes(), tag=3, bits=32))
    assert result.duration == 1


def test_no_mutation_raises_anything_else() -> None:
    """300 files damaged at random: each gives samples or an AudioFault."""
    chance = random.Random(20)
    seeds = [made(kind, seconds=0.5) for kind in ("wav", "flac", "mp3", "ogg", "m4a", "webm")]
    faults = 0
    for _ in range(300):
        body = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 3, 10, 40))):
            at = chance.randrange(min(len(body), chance.choice((100, 400, len(body)))))
            match chance.randrange(4):
                case 0:
                    body[at] ^= 1 << chance.randrange(8)
                case 1:
                    body[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
                case 2:
                    del body[at : at + chance.randrange(1, 100)]
                case 3:
                    body[at:at] = chance.randbytes(chance.randrange(1, 50))
        try:
            decoded(bytes(body))
        except AudioFault:
            faults += 1
    assert 50 < faults < 250
