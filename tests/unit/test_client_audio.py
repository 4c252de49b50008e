"""What callers give as audio: what is sent of it, and what is said about what cannot be sent."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from asrd.audio import Sound, load, named, size
from asrd.errors import AudioError
from asrd_protocol.messages import LocalFile, MediaFile, Pcm


def test_a_path_is_read_and_named_without_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a talk.mp3"
    path.write_bytes(b"data")
    for given in (path, str(path)):
        assert load(given) == Sound(str(path), MediaFile(name="a talk.mp3"), b"data")
        assert size(given) == 4


def test_a_path_that_is_only_named_is_real_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real.mp3").touch()
    (tmp_path / "link").symlink_to("real.mp3")
    monkeypatch.chdir(tmp_path)
    real = LocalFile(path=os.path.realpath(tmp_path / "real.mp3"))
    for given in ("real.mp3", "./link", Path("link"), tmp_path / "link"):
        sound = named(given)
        assert (sound.audio, sound.body) == (real, b"")
        assert named(sound) is sound and load(sound, limit=1) is sound, "an empty body is no fault here"
    with pytest.raises(AudioError, match="given by its path"):
        named(load(b"data"))


@pytest.mark.parametrize("given", [b"data", bytearray(b"data"), memoryview(b"data")])
def test_bytes_are_a_media_file_without_a_name(given: bytes) -> None:
    sound = load(given)
    assert (sound.audio, sound.body, type(sound.body)) == (MediaFile(), b"data", bytes)
    assert size(given) == 4


def test_a_file_object_is_read_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"0123")
    with path.open("rb") as file:
        file.seek(2)
        assert load(file) == Sound(str(path), MediaFile(name="x.wav"), b"23")
    assert load(io.BytesIO(b"data")).body == b"data"


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"streamed",))
    writer.start()
    assert load(path).body == b"streamed"
    writer.join()
    assert size(path) is None


@pytest.mark.parametrize(("dtype", "named"), [("<f4", "float32"), ("<i2", "int16")])
def test_an_array_is_sent_as_it_lies_in_c_order(dtype: str, named: str) -> None:
    array = np.arange(6).astype(dtype)
    assert load(array, 8_000) == Sound("the array", Pcm(dtype=named, rate=8_000), array.tobytes())
    every_second = array[::2]
    assert load(every_second).body == np.ascontiguousarray(every_second).tobytes()
    assert size(array) == array.nbytes


def test_a_sample_rate_may_be_a_numpy_integer() -> None:
    assert load(np.zeros(2, np.int16), np.int64(44_100)).audio == Pcm(dtype="int16", rate=44_100)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (np.zeros((2, 2), np.float32), r"shape \(2, 2\)"),
        (np.zeros((), np.float32), r"shape \(\)"),
        (np.zeros(3), "float64"),
        (np.zeros(3, ">f4"), ">f4"),
        (np.zeros(3, bool), "bool"),
        (np.zeros(0, np.float32), "the array is empty"),
        (b"", "the audio is empty"),
        (io.BytesIO(b""), "the file object is empty"),
        (io.StringIO("text"), "binary mode"),
        (7, "type int"),
        (None, "type NoneType"),
        ([0.1, 0.2], "type list"),
        ("http://example.org/x.mp3", "there is no file"),
        ("a\0b", "null byte"),
        ("/dev/null", "neither a file nor a pipe"),
    ],
)
def test_what_cannot_be_sent_is_named(given: object, named: str) -> None:
    with pytest.raises(AudioError, match=named):
        load(given)  # type: ignore[arg-type]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    for path, reason in [
        (tmp_path, "is a directory"),
        (tmp_path / "empty.wav", "is empty"),
        (tmp_path / "none.wav", "there is no file"),
        (tmp_path / "empty.wav" / "x", "cannot be read"),
    ]:
        with pytest.raises(AudioError, match=reason) as caught:
            load(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("rate", [0, 3_999, 384_001, -1, 16_000.5, "16000", None])
def test_a_sample_rate_that_is_none_is_refused(rate: object) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        load(np.zeros(3, np.int16), rate)  # type: ignore[arg-type]


def test_more_than_the_limit_is_neither_read_nor_sent(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"0123456789")
    assert load(path, limit=10).body == b"0123456789"
    for given in (path, b"0123456789", io.BytesIO(b"0123456789"), Sound("x", MediaFile(), b"0123456789")):
        with pytest.raises(AudioError, match="larger than"):
            load(given, limit=9)


def test_a_name_that_is_no_utf8_is_shown_as_well_as_can_be(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(b"data")
    audio = load(path).audio
    assert isinstance(audio, MediaFile) and audio.name == "caf?.wav"


def test_a_file_object_that_fails_is_named() -> None:
    closed = io.BytesIO(b"data")
    closed.close()
    with pytest.raises(AudioError, match="cannot be read"):
        load(closed)
