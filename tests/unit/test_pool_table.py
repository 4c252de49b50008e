"""A pool is put into the configuration file, and what people have written there stays as it is."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from asrd_supervisor.config import decode
from asrd_worker.environments import pool_table
from asrd_worker.environments.faults import InstallFailed, Misasked

KEYS: dict[str, Any] = {"engine": "toy", "python": "/env/bin/python", "model": "", "workers": 1}


def put(file: Path, pool: str = "toy", keys: dict[str, Any] = KEYS) -> dict[str, Any]:
    """The pools of the file after a pool was written into it."""
    text = pool_table.edited(file, pool, keys)
    assert text is not None
    pool_table.write(file, text)
    pools: dict[str, Any] = tomllib.loads(file.read_text())["pools"]
    decode({"pools": pools})
    return pools


def test_a_new_file_keeps_the_pool_that_there_was_without_one(tmp_path: Path) -> None:
    """Else the new pool would be the only one, and take all jobs."""
    assert list(put(tmp_path / "new" / "asrd.toml")) == ["default", "toy"]
    assert put(tmp_path / "new" / "asrd.toml", "other")["other"] == KEYS


def test_comments_and_order_stay(tmp_path: Path) -> None:
    file = tmp_path / "asrd.toml"
    text = '# mine\ndefault_pool = "a" # yes\n\n[pools.a] # the first\nmodel = "tiny.en"'
    file.write_text(text)
    file.chmod(0o640)

    assert list(put(file)) == ["a", "toy"]
    assert file.read_text().startswith(text + "\n\n[pools.toy]\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["asrd.toml"]


def test_a_pool_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "asrd.toml"
    put(file)

    assert pool_table.edited(file, "toy", {**KEYS, "workers": 9}) is None


@pytest.mark.parametrize(
    "body",
    [
        'engine = "toy"\nworkers = 3 # three\n',
        '# before\npython = "/old/python" # why\nengine = "toy"\nworkers = 3\n',
        'engine = "toy"\nworkers = 3\n\n[pools.toy.recycle]\nmax_jobs = 5\n\n[pools.z]\nworkers = 2\n',
    ],
)
def test_only_the_interpreter_of_a_pool_with_the_same_engine_changes(tmp_path: Path, body: str) -> None:
    file = tmp_path / "asrd.toml"
    file.write_text(f"[pools.toy]\n{body}")
    before = tomllib.loads(file.read_text())["pools"]

    assert put(file) == {**before, "toy": {**before["toy"], "python": "/env/bin/python"}}
    for comment in ("# three", "# before", "# why"):
        assert (comment in file.read_text()) == (comment in body)


def test_a_pool_with_another_engine_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "asrd.toml"
    file.write_text("[pools.toy]\nworkers = 1\n")

    with pytest.raises(Misasked, match="has a pool 'toy' with another engine; --pool NAME"):
        pool_table.edited(file, "toy", KEYS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "pools = {a = {workers = 1}}\n",
            r"put it there yourself: 'toy' needs python = \"/env/bin/python\" in \[pools.toy\]",
        ),
        ("pools = 3", "one table each"),
        ("[pools.a", "asrd.toml: "),
    ],
)
def test_a_file_that_the_pool_cannot_be_put_into(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "asrd.toml"
    file.write_text(text)

    with pytest.raises(InstallFailed, match=said):
        pool_table.edited(file, "toy", KEYS)
    assert file.read_text() == text


def test_a_name_that_no_pool_can_have(tmp_path: Path) -> None:
    with pytest.raises(Misasked, match="1 to 32 letters"):
        pool_table.edited(tmp_path / "asrd.toml", "a.b", KEYS)


def test_a_path_with_odd_letters_stays_what_it_is(tmp_path: Path) -> None:
    odd = '/tmp/ä "x" \\y/python'

    assert put(tmp_path / "asrd.toml", keys={**KEYS, "python": odd})["toy"]["python"] == odd
    assert put(tmp_path / "asrd.toml", keys={**KEYS, "python": odd + "2"})["toy"]["python"] == odd + "2"
