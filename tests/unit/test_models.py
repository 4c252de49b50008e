"""From a model's name to its directory: what is there is found without a network, what is not is named."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from asrd_worker.engines.base import LoadError
from asrd_worker.models import _BUNDLED_SHA256, bundled_directory, checked, resolve, verified

HUB_FOLDER = "models--Systran--faster-whisper-{}"
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with files of the right names."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (directory / name).write_text(name)
    return directory


@pytest.fixture
def cache(tmp_path: Path, model: Path) -> Path:
    """A cache of the hub's client with ``base``, as the client itself lays it out."""
    repository = tmp_path / "hub" / HUB_FOLDER.format("base")
    snapshot = repository / "snapshots" / REVISION
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    snapshot.parent.mkdir()
    (repository / "blobs").mkdir()
    snapshot.mkdir()
    for file in model.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundled model."""
    source = bundled_directory()
    assert source, "the tests run with the extra [dev], which has the bundled model"
    return Path(shutil.copytree(source, tmp_path_factory.mktemp("bundle") / "model"))


def _complaint(name: str, root: str | None = None) -> str:
    with pytest.raises(LoadError) as caught:
        resolve(name, offline=True, root=root)
    return str(caught.value)


# --- directories ------------------------------------------------------------------------------------------------------


def test_a_directory_is_taken_as_it_is(model: Path) -> None:
    assert resolve(str(model), offline=True) == model


def test_a_directory_goes_before_a_name(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    model.rename(model.parent / "tiny.en")

    assert resolve("tiny.en", offline=True) == Path("tiny.en")


def test_either_vocabulary_will_do(model: Path) -> None:
    (model / "vocabulary.txt").rename(model / "vocabulary.json")

    assert checked(model) == model


@pytest.mark.parametrize("name", ["config.json", "model.bin", "tokenizer.json", "vocabulary.txt"])
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()

    assert _complaint(str(model)) == f"the model directory {model} lacks {name}"


def test_so_are_several(tmp_path: Path) -> None:
    lacks = "config.json, model.bin, tokenizer.json, vocabulary.txt"

    assert _complaint(str(tmp_path)) == f"the model directory {tmp_path} lacks {lacks}"


@pytest.mark.parametrize("path", ["/no/such/model", "./no-such-model", "../no-such-model", "~/no-such-model"])
def test_a_path_is_never_taken_for_a_repository(path: str) -> None:
    assert _complaint(path) == f"there is no model directory {path}"


def test_a_path_that_the_system_refuses() -> None:
    name = "/" + "x" * 5000

    assert _complaint(name) == f"cannot read the model {name}: File name too long"


# --- the bundled model ------------------------------------------------------------------------------------------------


def test_the_default_model_comes_with_the_demo_extra_and_is_the_published_one() -> None:
    assert resolve("tiny.en", offline=True) == bundled_directory()


def test_every_file_that_is_needed_is_verified() -> None:
    assert set(_BUNDLED_SHA256) == {"config.json", "model.bin", "tokenizer.json", "vocabulary.txt"}


@pytest.mark.parametrize("name", sorted(_BUNDLED_SHA256))
def test_one_flipped_bit_is_noticed(bundle: Path, name: str) -> None:
    assert verified(bundle) == bundle
    with (bundle / name).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (last,) = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    try:
        with pytest.raises(LoadError, match=f"/{name} is damaged .*reinstall it"):
            verified(bundle)
    finally:
        with (bundle / name).open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last]))


# --- the hub's cache --------------------------------------------------------------------------------------------------


def test_a_name_is_found_in_the_cache_without_a_network(cache: Path) -> None:
    found = resolve("base", offline=True, root=str(cache))

    assert found == cache / HUB_FOLDER.format("base") / "snapshots" / REVISION
    assert resolve("Systran/faster-whisper-base", offline=True, root=str(cache)) == found
    assert resolve("base", offline=True, root=str(cache), revision=REVISION) == found


def test_a_half_downloaded_model_is_named_by_what_it_lacks(cache: Path) -> None:
    snapshot = resolve("base", offline=True, root=str(cache))
    (snapshot / "tokenizer.json").unlink()

    assert _complaint("base", str(cache)) == f"the model directory {snapshot} lacks tokenizer.json"


@pytest.mark.parametrize("name", ["small", "org/model"])
def test_what_is_not_in_the_cache_is_not_fetched_and_the_way_out_is_told(cache: Path, name: str) -> None:
    said = _complaint(name, str(cache))

    assert said.startswith(f"the model '{name}' is not on this machine; set offline = false in the pool to download it")


def test_a_revision_that_is_not_in_the_cache(cache: Path) -> None:
    with pytest.raises(LoadError, match="'base' is not on this machine"):
        resolve("base", offline=True, root=str(cache), revision="f" * 40)


@pytest.mark.parametrize(
    ("name", "hint"), [("large-v4", "; did you mean 'large-v"), ("tiny.enn", "; did you mean 'tiny.en'?"), ("qqq", ";")]
)
def test_an_unknown_name_is_told_the_nearest(name: str, hint: str) -> None:
    said = _complaint(name)

    assert said.startswith(f"there is no model '{name}'{hint}")
    assert said.endswith("give a directory, a repository or a name such as tiny.en")


@pytest.mark.parametrize("name", ["a/b/c", "org/a name", "org/..", "a\0b"])
def test_a_name_that_no_repository_has(name: str, cache: Path) -> None:
    assert name.split("/")[0] in _complaint(name, str(cache)) or "\\x00" in _complaint(name, str(cache))
