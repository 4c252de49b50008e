"""Recipes, the tools that carry them out, and the pool that is written: everything that needs no installation."""

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asrd_supervisor.__main__ import ENGINES
from asrd_supervisor.config import PoolConfig, decode
from asrd_supervisor.sizing import diarizes
from asrd_worker import engines
from asrd_worker.engines.base import LoadError
from asrd_worker.environments import inside, inventory, recipe, tools
from asrd_worker.environments.faults import InstallFailed, Misasked
from asrd_worker.environments.places import Places, Receipt
from asrd_worker.environments.recipe import Recipe, Step, Variant
from asrd_worker.environments.tools import Tools
from support.recipes import write_recipe

OURS = recipe.load({})
EMPTY = Variant(1, 1, [])


def a_recipe(**fields: Any) -> Recipe:
    """One that asks for nothing."""
    return Recipe(**{"engine": "toy", "about": "a toy", "modules": [], "default": EMPTY, **fields})


# --- recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", sorted(OURS))
def test_every_recipe_of_ours_is_for_an_engine_of_ours_and_has_what_workers_need(engine: str) -> None:
    ours = OURS[engine]

    assert engine in engines.OWN
    for way in filter(None, (ours.default, ours.cpu)):
        asked = " ".join(part for step in way.steps for part in step.install)
        assert "msgspec" in asked and "pyzmq" in asked
        assert 0 < way.download_mb < way.disk_mb
    assert {"msgspec", "zmq", "numpy", "av"} <= set(ours.modules)
    assert decode({"pools": {"p": {"engine": engine, "python": "/x", **ours.pool}}}).pools["p"].engine == engine


def test_a_machine_without_a_gpu_needs_less_where_that_makes_a_difference() -> None:
    for engine in ("whisperx", "diarize"):
        name, way = OURS[engine].variant(cpu=True)
        assert name == "cpu" and way.disk_mb * 3 < OURS[engine].default.disk_mb
        assert way.discard == ["torchaudio/lib/_torchaudio*.so"]
    assert OURS["diarize-lite"].variant(cpu=True) == ("default", OURS["diarize-lite"].default)
    assert OURS["whisperx"].variant(cpu=False)[0] == "default"


def test_whisperx_goes_in_without_its_pins_over_a_newer_torch() -> None:
    steps = OURS["whisperx"].variant(cpu=True)[1].steps

    assert [step.install for step in steps if not step.deps] == [["whisperx==3.8.6"]]
    assert any("torch==2.13.0" in step.install and not step.index for step in steps)


def test_which_pythons_fit() -> None:
    bounded = a_recipe(oldest="3.11", below="3.14")

    assert [bounded.fits((3, minor)) for minor in (9, 10, 11, 13, 14)] == [False, False, True, True, False]
    assert a_recipe().fits((3, 20)) and a_recipe().fits((4, 0))
    assert not OURS["whisperx"].fits((3, 14)), "its metadata says so"
    assert bounded.pythons == "Python 3.11 or newer, below 3.14"


def test_recipes_of_ones_own_go_over_ours(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    (tmp_path / "recipes" / "mine.toml").write_text(
        'engine = "whisperx"\nabout = "mine"\nmodules = []\ndefault = {disk_mb = 2, download_mb = 1, steps = []}'
    )
    found = recipe.load({"ASRD_ENGINE_RECIPES": str(tmp_path / "recipes")})

    assert set(found) == {*OURS, "toy"}
    assert found["whisperx"].about == "mine"


@pytest.mark.parametrize("text", ["engine = ", 'engine = "x"', "\xff"])
def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(Misasked, match=r"cannot read the recipe .*bad\.toml"):
        recipe.load({"ASRD_ENGINE_RECIPES": str(tmp_path)})


def test_an_engine_without_a_recipe() -> None:
    assert recipe.find(OURS, "diarize") is OURS["diarize"]
    with pytest.raises(Misasked, match=r"'whisprx'.*did you mean 'whisperx'"):
        recipe.find(OURS, "whisprx")


# --- engines by name --------------------------------------------------------------------------------------------------


def test_engines_of_ours_are_found_without_any_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.metadata, "entry_points", lambda group: ())

    assert engines.find("scripted").__name__ == "Scripted"
    assert engines.names() == ["diarize", "diarize-lite", "diarize-scripted", "faster-whisper", "scripted", "whisperx"]


def test_engines_for_tests_are_offered_to_nobody() -> None:
    assert {name for name in engines.OWN if name.endswith("scripted")} == engines.FOR_TESTS
    assert engines.FOR_TESTS.isdisjoint(OURS)
    with pytest.raises(LoadError, match=r"\(known: diarize, diarize-lite, faster-whisper, whisperx\)$"):
        engines.find("unheard-of")


def test_the_help_of_the_daemon_names_the_engines_that_transcribe() -> None:
    assert sorted(ENGINES) == [name for name in sorted(OURS) if not diarizes(PoolConfig(engine=name))]


def test_an_engine_without_a_recipe_says_what_it_is_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = engines.metadata.EntryPoint("theirs", "nowhere:Nothing", "asrd.engines")
    monkeypatch.setattr(engines.metadata, "entry_points", lambda group: (point,))
    found = {entry.engine: entry for entry in inventory.entries({}, Places(tmp_path))}

    assert found.keys() == {*engines.OWN, "theirs"}
    assert {name for name, entry in found.items() if entry.for_tests} == engines.FOR_TESTS
    assert found["theirs"].about == "brought by another package"
    assert found["scripted"].about.endswith("for tests")


def test_what_is_said_of_an_engine_is_true_wherever_it_lives() -> None:
    assert OURS["faster-whisper"].about == "the default engine"


def test_nobody_can_take_the_name_of_an_engine_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    point = engines.metadata.EntryPoint("scripted", "nowhere:Nothing", "asrd.engines")
    monkeypatch.setattr(engines.metadata, "entry_points", lambda group: (point,))

    assert engines.find("scripted").__name__ == "Scripted"


def test_an_engine_that_nobody_knows() -> None:
    with pytest.raises(LoadError, match=r"no engine 'whisperX'; did you mean 'whisperx'\? \(known: diarize, "):
        engines.find("whisperX")


@pytest.mark.parametrize(
    ("engine", "way"),
    [
        ("whisperx", "; `asrd engines install whisperx` makes an environment for it"),
        ("faster-whisper", "; `pip install 'asrd[whisper]'` there, or `asrd engines install faster-whisper`"),
        ("theirs", f"needs a package that {sys.executable} lacks (No module named 'x')"),
    ],
)
def test_what_is_missing_is_said_with_the_way_out(engine: str, way: str) -> None:
    said = str(engines.missing(engine, ImportError("No module named 'x'")))

    assert said.startswith(f"the engine {engine!r} needs a package that {sys.executable} lacks (No module named 'x')")
    assert said.endswith(way)


# --- tools ------------------------------------------------------------------------------------------------------------


def test_pip_is_asked_for_wheels_into_the_environment() -> None:
    command = Tools("", True).install(Path("/e/bin/python"), Step(["a==1", "b"], deps=False))

    assert command[:5] == ["/e/bin/python", "-P", "-m", "pip", "install"]
    assert command[-3:] == ["--no-deps", "a==1", "b"]
    assert "--no-deps" not in Tools("", True).install(Path("/e"), Step(["a"]))


def test_uv_is_told_the_environment() -> None:
    uv = Tools("/bin/uv", False)

    assert uv.install(Path("/e/bin/python"), Step(["a"]))[:5] == [
        "/bin/uv",
        "pip",
        "install",
        "--python",
        "/e/bin/python",
    ]
    assert uv.make("/p", Path("/e"))[0] == "/bin/uv" and uv.make("/p", Path("/e"))[-2:] == ["/p", "/e"]


def test_torchs_own_index_is_for_those_who_have_no_mirror() -> None:
    steps = [Step(["torch"], index="https://example.org/cpu"), Step(["torch", "more"])]

    assert Tools("", True).steps(steps) == steps[1:]
    assert Tools("", False).steps(steps) == steps
    assert Tools("", False).install(Path("/e"), steps[0])[-3:] == ["--index-url", "https://example.org/cpu", "torch"]


def test_uv_does_the_work_unless_only_pip_knows_where_packages_are(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    plain = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    told = {**plain, "PIP_INDEX_URL": "https://mirror.example/simple"}

    assert tools.choose(plain) == Tools(str(uv), False)
    assert tools.choose({**plain, "UV_FIND_LINKS": "/wheels"}) == Tools(str(uv), True)
    assert tools.choose(told) == Tools("", True)
    assert tools.choose({**plain, "PATH": "/nowhere"}) == Tools("", False)


def test_the_tools_are_not_led_astray_by_the_environment_that_asrd_lives_in(tmp_path: Path) -> None:
    found = tools.clean({"PYTHONPATH": "/a", "VIRTUAL_ENV": "/b", "PIP_TARGET": "/c", "PIP_INDEX_URL": "x"}, tmp_path)

    assert found == {"PIP_INDEX_URL": "x", "TMPDIR": str(tmp_path)}


def test_the_interpreter_is_asrds_own_if_it_fits_else_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minor in (12, 13):
        program = tmp_path / f"python3.{minor}"
        program.write_text(f"#!/bin/sh\necho 3 {minor}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    here = "{}.{}".format(*sys.version_info[:2])

    assert tools.interpreter(a_recipe(), None) == sys.executable
    assert tools.interpreter(a_recipe(oldest="3.12", below="3.13"), None) == str(tmp_path / "python3.12")
    assert tools.interpreter(a_recipe(), "python3.13") == str(tmp_path / "python3.13")
    with pytest.raises(InstallFailed, match=r"toy needs Python 4\.0 or newer, and there is none"):
        tools.interpreter(a_recipe(oldest="4.0"), None)
    with pytest.raises(Misasked, match=f"--python {sys.executable} is Python {here}, and toy needs Python 4.0"):
        tools.interpreter(a_recipe(oldest="4.0"), sys.executable)
    for odd in ("/no/such/python", "/bin/true"):
        with pytest.raises(Misasked, match="that is no Python interpreter"):
            tools.interpreter(a_recipe(), odd)


# --- looking from inside ----------------------------------------------------------------------------------------------


def test_what_an_interpreter_has() -> None:
    found = inside.look(["msgspec", "no_such_module", "no_such.part"], ["msgspec", "no-such-package"])

    assert found["missing"] == {"no_such_module": "it is not installed", "no_such.part": "it is not installed"}
    assert found["versions"] == {"msgspec": msgspec.__version__}


def test_a_module_that_is_there_but_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_toy.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert inside.look(["broken_toy"], [])["missing"] == {}
    assert inside.look(["broken_toy"], [], really=True)["missing"] == {
        "broken_toy": "OSError: libcudart.so.13: cannot open"
    }


# --- the directory ----------------------------------------------------------------------------------------------------


def test_what_is_half_made_has_no_name_and_goes(tmp_path: Path) -> None:
    places = Places(tmp_path / "engines")
    with pytest.raises(KeyError), places.building("toy", 0) as directory:
        (directory / "half").write_text("")
        assert places.receipt("toy") is None and not places.folder("toy").exists()
        places.sweep()
        assert directory.exists(), "somebody is at work in it"
        raise KeyError

    assert list(places.root.iterdir()) == []


def test_what_a_killed_process_has_left_goes_with_the_next(tmp_path: Path) -> None:
    places = Places(tmp_path)
    (tmp_path / ".toy-left").mkdir()
    (tmp_path / ".toy-left.link").symlink_to(".toy-left")
    with places.building("toy", 0) as directory:
        places.name(directory, Receipt("toy", "default", "", "3.11", {}, 1))

    assert sorted(path.name for path in tmp_path.iterdir()) == [directory.name, "toy"]


def test_a_new_one_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    places = Places(tmp_path)
    made = []
    for size in (1, 2):
        with places.building("toy", 0) as directory:
            places.name(directory, Receipt("toy", "default", "", "3.11", {}, size))
            made.append(directory)

    receipt = places.receipt("toy")
    assert receipt and receipt.size == 2
    assert [directory.exists() for directory in made] == [False, True]
    places.remove("toy")
    assert list(tmp_path.iterdir()) == []


def test_there_has_to_be_room(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match=r"about 10\d* MB are needed in .*, and \d+ MB are free"):
        Places(tmp_path).building("toy", 10**21).__enter__()
    assert list(tmp_path.iterdir()) == []
