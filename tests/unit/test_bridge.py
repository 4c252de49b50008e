"""The bridge: what workers in another environment are given of asrd, and what they must not get of the daemon's."""

import errno
import os
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from asrd_supervisor import bridge
from asrd_supervisor.bridge import Bridge, foreign, interpreter, way_out
from support.interpreters import bare


@pytest.fixture
def links(tmp_path: Path) -> Bridge:
    return Bridge.beside(f"ipc://{tmp_path}/run/workers/link.sock")


def seen_by(python: str, code: str, env: dict[str, str], *flags: str) -> str:
    """What a program prints that another interpreter runs."""
    done = subprocess.run([python, *flags, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_nothing_is_written_before_it_is_needed(links: Bridge) -> None:
    links.close()

    assert not links.folder.exists()


def test_the_folder_has_two_links_and_nobody_else_may_look(links: Bridge) -> None:
    links.environment({})

    assert sorted(path.name for path in links.folder.iterdir()) == ["asrd_protocol", "asrd_worker"]
    assert all(path.is_symlink() and (path / "__init__.py").is_file() for path in links.folder.iterdir())
    assert stat.S_IMODE(links.folder.stat().st_mode) == 0o700
    links.close()
    assert not links.folder.exists()
    assert metadata.version("asrd") and (Path(bridge.__file__)).is_file(), "the links went, not what they lead to"


def test_links_that_somebody_has_cleared_away_are_made_anew(links: Bridge) -> None:
    links.environment({})
    (links.folder / "asrd_worker").unlink()
    links.environment({})

    assert (links.folder / "asrd_worker" / "__main__.py").is_file()


def test_it_goes_with_the_daemon_whatever_ends_it(links: Bridge, tmp_path: Path) -> None:
    """The janitor sweeps the runtime directory as the daemon itself does."""
    from asrd_protocol.addresses import Addresses
    from asrd_supervisor.ground import Ground, clear

    addresses = Addresses(tmp_path / "run")
    ground = Ground(addresses)
    links.environment({})
    clear(addresses, remove_directory=ground.made)
    os.close(ground.lock_fd)

    assert not addresses.directory.exists()


@pytest.mark.parametrize("flags", [(), ("-P",)])
def test_a_bare_interpreter_gets_asrd_and_nothing_else_of_ours(
    links: Bridge, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    python = bare(tmp_path / "other")
    code = """
import importlib.util, sys
import asrd_protocol, asrd_worker
found = [name for name in ("msgspec", "zmq", "asrd_supervisor", "asrd", "pytest") if importlib.util.find_spec(name)]
print(sys.flags.safe_path, found)
"""
    assert seen_by(python, code, links.environment({}), *flags) == "True []"


def test_asrd_of_another_version_over_there_is_not_taken(links: Bridge, tmp_path: Path) -> None:
    python = bare(tmp_path / "other")
    (site,) = (tmp_path / "other" / "lib").glob("python*/site-packages")
    for name in bridge.PACKAGES:
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("VERSION = 'theirs'")
    code = "import asrd_protocol, asrd_worker; print(asrd_protocol.VERSION, hasattr(asrd_worker, 'VERSION'))"

    assert seen_by(python, code, {}) == "theirs True"
    assert seen_by(python, code, links.environment({})) == "1 False"


def test_what_the_pool_puts_on_the_path_comes_after(links: Bridge) -> None:
    found = links.environment({"PYTHONPATH": "/opt/mine", "LANG": "C"})

    assert found["PYTHONPATH"] == f"{links.folder}:/opt/mine"
    assert found["LANG"] == "C"
    assert links.environment({"PYTHONPATH": ""})["PYTHONPATH"] == str(links.folder)


def test_a_folder_that_no_path_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="':' in its name") as caught:
        Bridge(tmp_path / "a:b").environment({})
    assert caught.value.errno in bridge.NO_INTERPRETER
    assert caught.value.errno == errno.EINVAL


def test_which_interpreter_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    python = bare(tmp_path / "other")

    assert not foreign("")
    assert not foreign(sys.executable)
    assert foreign(python), "although the file behind both links is the same"
    assert foreign("/no/such/python")
    assert interpreter("~/other/bin/python") == python
    assert foreign("~/other/bin/python")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert not foreign(Path(sys.executable).name), "found in the path"


def test_the_way_out_depends_on_the_engine() -> None:
    from asrd_worker.environments import recipe

    assert set(bridge.INSTALLABLE) == set(recipe.load({})), "each of these has a recipe, and nothing else has"
    assert "`asrd engines install whisperx`" in way_out({"ASRD_ENGINE": "whisperx"})
    assert way_out({"ASRD_ENGINE": "theirs"}) == "set `python` of the pool to one with msgspec and pyzmq"
