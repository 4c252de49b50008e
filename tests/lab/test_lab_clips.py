"""Clips of about 1, 3 and 10 segments out of whatever was given."""

import wave
from pathlib import Path

import pytest

from asrd_lab.alone import Alone
from asrd_lab.clips import RATE, WIDTH, cut, joined, made, saved, wav
from asrd_lab.errors import LabError
from asrd_lab.plan import Plan, recording
from asrd_lab.store import Store

NAMES = ("ss-0880.wav", "ss-0890.wav", "ss-0930.wav")
SECOND = RATE * WIDTH


def test_a_clip_is_cut_where_segments_begin_and_nothing_is_lost() -> None:
    pcm = bytes(range(256)) * (5 * SECOND // 256)
    pieces = cut("a", pcm, [(0.5, 1.0), (1.5, 2.0), (3.0, 9.9)])
    assert b"".join(piece.pcm for piece in pieces) == pcm
    assert [len(piece.pcm) / SECOND for piece in pieces] == [1.5, 1.5, 2.0]


def test_a_clip_without_speech_is_one_piece_and_times_beyond_its_end_are_none() -> None:
    assert [len(piece.pcm) for piece in cut("a", bytes(SECOND), [])] == [SECOND]
    assert len(cut("a", bytes(SECOND), [(0, 0.5), (7.0, 8.0)])) == 1


def test_pieces_are_taken_around_again() -> None:
    pieces = cut("a", b"\1\0" * RATE + b"\2\0" * RATE, [(0, 1), (1, 2)])
    assert joined(pieces, 3) == b"\1\0" * RATE + b"\2\0" * RATE + b"\1\0" * RATE


def test_samples_become_a_wave_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(bytes(SECOND)))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()) == (RATE, 1, 2, RATE)


@pytest.mark.model
def test_real_recordings_give_clips_of_each_length(tmp_path: Path, speech: Path) -> None:
    plan = Plan(audio=[recording(speech / name) for name in NAMES])
    store = Store(tmp_path, plan)
    settings = {"model": "tiny.en", "threads": 1}
    with Alone("faster-whisper", settings, tmp_path / "log") as alone:
        clips = made(plan, store, alone)
        assert [clip.segments for clip in clips.by_length] == [1, 3, 10]
        assert [clip.name for clip in clips.own] == [f"{i} {name}" for i, name in enumerate(NAMES, start=1)]
        three, ten = (clip.path for clip in clips.by_length[1:])
        assert 2 <= len(alone.transcribe(1, three, {}).spans) <= 5
        assert alone.decode(ten, tmp_path / "ten") > 1.5 * alone.decode(three, tmp_path / "three")
        with pytest.raises(LabError, match=r"'text\.wav' is damaged, or no media file"):
            (tmp_path / "text.wav").write_text("this is no audio")
            alone.decode(str(tmp_path / "text.wav"), tmp_path / "out")
    assert saved(store) == clips
    store.close()
