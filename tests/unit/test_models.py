"""From a model's name to its directory: what is there is found without a network, what is not is named."""

import shutil
from pathlib import Path

import pytest

from asrd_worker.engines.base import LoadError
from asrd_worker.models import bundled_directory, checked, resolve, verified
from asrd_worker.models.catalogue import Catalogue
from asrd_worker.models.places import models_dir
from asrd_worker.models.pulling import lock_in_place
from asrd_worker.models.resolve import cached
from support.models import flip, write_cache, write_model

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "Systran/faster-whisper-{}"
BUNDLED = sorted(Catalogue.load({}).models["tiny.en"].files)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with files of the right names."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (directory / name).write_text(name)
    return directory


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of the hub's client with some revision of ``base``."""
    write_cache(tmp_path / "hub", repository=REPOSITORY.format("base"), commit=REVISION)
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
    assert BUNDLED == ["config.json", "model.bin", "tokenizer.json", "vocabulary.txt"]


@pytest.mark.parametrize("name", BUNDLED)
def test_one_flipped_bit_is_noticed(bundle: Path, name: str) -> None:
    assert verified(bundle) == bundle
    flip(bundle / name)
    try:
        with pytest.raises(LoadError, match=f"/{name} is damaged .*reinstall it"):
            verified(bundle)
    finally:
        flip(bundle / name)


# --- the hub's cache --------------------------------------------------------------------------------------------------


def test_a_name_is_found_in_the_cache_without_a_network(cache: Path) -> None:
    found = resolve("base", offline=True, root=str(cache))

    assert found == cache / "models--Systran--faster-whisper-base" / "snapshots" / REVISION
    assert resolve("Systran/faster-whisper-base", offline=True, root=str(cache)) == found
    assert resolve("base", offline=True, root=str(cache), revision=REVISION) == found


def test_the_pinned_revision_goes_before_a_later_one(cache: Path) -> None:
    model = Catalogue.load({}).models["base"]
    pinned = write_cache(cache, repository=model.repository, commit=model.revision)
    (pinned.parent.parent / "refs" / "main").write_text(REVISION)

    assert resolve("base", offline=True, root=str(cache)) == pinned


@pytest.mark.parametrize("name", ["config.json", "model.bin", "tokenizer.json", "vocabulary.txt"])
def test_a_flipped_bit_in_the_cache_is_noticed_as_well(cache: Path, name: str) -> None:
    snapshot = resolve("base", offline=True, root=str(cache))
    blob = (snapshot / name).resolve()
    flip(blob)

    said = _complaint("base", str(cache))

    assert said.startswith(f"{snapshot / name} is damaged ")
    assert said.endswith(f"remove {blob} and download it again")


def test_a_link_to_nothing_is_named(cache: Path) -> None:
    snapshot = resolve("base", offline=True, root=str(cache))
    (snapshot / "preprocessor_config.json").symlink_to((snapshot / "model.bin").resolve().with_name("0" * 64))

    assert "cannot read the model base" in _complaint("base", str(cache))


def test_files_in_folders_that_no_speech_model_reads_are_not_judged(cache: Path) -> None:
    snapshot = resolve("base", offline=True, root=str(cache))
    (snapshot / "onnx").mkdir()
    wrong = (snapshot / "model.bin").resolve().with_name("0" * 64)
    wrong.write_bytes(b"something else")
    (snapshot / "onnx" / "config.json").symlink_to(wrong)

    assert resolve("base", offline=True, root=str(cache)) == snapshot


def test_checksums_of_a_mirrors_own_making_are_not_judged(cache: Path) -> None:
    snapshot = resolve("base", offline=True, root=str(cache))
    blob = (snapshot / "config.json").resolve()
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(blob.rename(blob.with_name('W-"some-etag"')))

    assert resolve("base", offline=True, root=str(cache)) == snapshot


def test_a_half_downloaded_model_is_named_by_what_it_lacks(cache: Path) -> None:
    snapshot = resolve("base", offline=True, root=str(cache))
    (snapshot / "tokenizer.json").unlink()

    assert _complaint("base", str(cache)) == f"the model directory {snapshot} lacks tokenizer.json"


@pytest.mark.parametrize("name", ["small", "org/model"])
def test_what_is_not_on_this_machine_is_not_fetched_and_the_way_out_is_told(cache: Path, name: str) -> None:
    said = _complaint(name, str(cache))

    assert said.startswith(f"the model '{name}' is not on this machine; `asrd models pull {name}` brings it")


def test_a_revision_that_is_not_in_the_cache(cache: Path) -> None:
    with pytest.raises(LoadError, match="'base' is not on this machine"):
        resolve("base", offline=True, root=str(cache), revision="f" * 40)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("large-v4", "; did you mean 'large-v"),
        ("tiny.enn", "; did you mean 'tiny.en'?"),
        ("qqq", "; give a directory, a repository or a name such as tiny.en"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name: str, hint: str) -> None:
    assert _complaint(name).startswith(f"there is no model '{name}'{hint}")


@pytest.mark.parametrize("name", ["a/b/c", "org/a name", "org/..", "a\0b"])
def test_a_name_that_no_repository_has(name: str, cache: Path) -> None:
    assert name.split("/")[0] in _complaint(name, str(cache)) or "\\x00" in _complaint(name, str(cache))


PIPELINE = {"config.yaml": b"pipeline: {}", "segmentation/pytorch_model.bin": b"weights" * 99}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """What another library has in the cache, in folders."""
    (tmp_path / "hub" / "models--org--voices" / "snapshots" / REVISION / "segmentation").mkdir(parents=True)
    files = {name.replace("/", "--"): data for name, data in PIPELINE.items()}
    snapshot = write_cache(tmp_path / "hub", files, "org/voices", REVISION)
    blob = (snapshot / "segmentation--pytorch_model.bin").resolve()
    (snapshot / "segmentation--pytorch_model.bin").unlink()
    (snapshot / "segmentation" / "pytorch_model.bin").symlink_to(blob)
    return snapshot


@pytest.mark.parametrize("revision", [None, "main", REVISION])
@pytest.mark.parametrize("name", sorted(PIPELINE))
def test_what_other_libraries_have_there_is_held_against_the_names_of_its_blobs(
    pipeline: Path, name: str, revision: str | None
) -> None:
    root = str(pipeline.parents[2])
    assert cached("org/voices", revision, root) == "org/voices"

    flip(pipeline / name)
    with pytest.raises(LoadError) as caught:
        cached("org/voices", revision, root)
    assert str(caught.value).startswith(f"{pipeline / name} is damaged (its checksum is not the one in the hub's cache")


@pytest.mark.parametrize(
    ("name", "revision"), [("org/other", None), ("org/voices", "v2"), ("org/voices", "f" * 40), ("voices", None)]
)
def test_what_is_not_there_is_for_the_library_to_ask_for(pipeline: Path, name: str, revision: str | None) -> None:
    flip(pipeline / "config.yaml")

    assert cached(name, revision, str(pipeline.parents[2])) == name


def test_the_cache_is_the_clients_unless_the_pool_names_another(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(pipeline / "config.yaml")
    monkeypatch.setenv("HF_HUB_CACHE", str(pipeline.parents[2]))

    with pytest.raises(LoadError, match="is damaged"):
        cached("org/voices", None, None)


# --- the models directory ---------------------------------------------------------------------------------------------


def _installed(name: str) -> Path:
    directory = write_model(models_dir() / name)
    lock_in_place(directory)
    return directory


@pytest.mark.parametrize("name", ["tiny.en", "base", "Systran/faster-whisper-base"])
def test_what_was_pulled_goes_before_the_bundle_and_the_cache(cache: Path, name: str) -> None:
    directory = _installed(name.removeprefix("Systran/faster-whisper-"))

    assert resolve(name, offline=True, root=str(cache)) == directory


def test_an_alias_is_the_model_that_it_means() -> None:
    directory = _installed("large-v3-turbo")

    assert resolve("turbo", offline=True) == directory
    assert resolve("mobiuslabsgmbh/faster-whisper-large-v3-turbo", offline=True) == directory


def test_another_repository_has_a_directory_of_its_own() -> None:
    directory = _installed("org--model")

    assert resolve("org/model", offline=True) == directory


def test_an_altered_one_is_refused_although_the_cache_has_a_sound_one(cache: Path) -> None:
    directory = _installed("base")
    flip(directory / "model.bin")

    assert _complaint("base", str(cache)).startswith(f"{directory / 'model.bin'} is damaged")


def test_another_revision_than_the_pools_is_passed_over(cache: Path) -> None:
    _installed("base")

    assert resolve("base", offline=True, root=str(cache), revision=REVISION).parent.parent.parent == cache


def test_what_somebody_has_put_there_without_a_lock_is_taken() -> None:
    directory = write_model(models_dir() / "small")

    assert resolve("small", offline=True) == directory
    (directory / "model.bin").unlink()
    assert _complaint("small") == f"the model directory {directory} lacks model.bin"


def test_the_directory_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_dir({"ASRD_MODELS_DIR": "/m", "ASRD_STATE_DIR": "/s"}) == Path("/m")
    assert models_dir({"ASRD_STATE_DIR": "/s"}) == Path("/s/models")
    monkeypatch.setenv("ASRD_MODELS_DIR", str(tmp_path / "elsewhere"))
    directory = write_model(tmp_path / "elsewhere" / "medium")

    assert resolve("medium", offline=True) == directory
