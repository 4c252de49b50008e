"""Pools whose workers live in another virtual environment: a real one, with real workers, beside the daemon's own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, running
from support.interpreters import NEEDED, bare
from support.recipes import run, write_recipe
from support.stage import ONE
from support.wait import eventually


def pool(name: str, python: str = "", engine: str = "scripted", more: str = "") -> str:
    """A table with one worker."""
    chosen = f'python = "{python}"\n' if python else ""
    return f'[pools.{name}]\nengine = "{engine}"\nmodel = ""\nworkers = 1\n{chosen}{more}\n'


def worker(daemon: Daemon, name: str, state: str = "idle") -> dict[str, Any]:
    """The worker of a pool, as soon as it is in this state."""

    def found() -> dict[str, Any] | None:
        if not (daemon.directory / "control.sock").exists():
            return None
        return next((w for w in daemon.workers() if w["pool"] == name and w["state"] == state), None)

    return eventually(found, 30)


def program(daemon: Daemon, name: str) -> str:
    """The interpreter that runs the worker of a pool, as it was called."""
    return Path(f"/proc/{worker(daemon, name)['pid']}/cmdline").read_bytes().split(b"\0")[0].decode()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with what a worker needs, and no more."""
    return bare(tmp_path_factory.mktemp("other") / "env", *NEEDED)


def test_two_pools_work_side_by_side_each_in_its_own_interpreter(python: str) -> None:
    with running(config=pool("here") + pool("there", python)) as daemon:
        assert program(daemon, "there") == python != program(daemon, "here")
        bridge = daemon.directory / "spool" / "bridge"
        assert sorted(path.name for path in bridge.iterdir()) == ["asrd_protocol", "asrd_worker"]
        for name in ("here", "there"):
            answer, body = daemon.wire().play(ONE, pool=name)
            assert answer["type"] == "completed" and b" one" in body
            assert answer["run"]["seat"].startswith(f"{name}/")
        assert daemon.stop() == 0
        assert not daemon.directory.exists(), "the links went with the daemon"


def test_without_another_interpreter_there_is_no_bridge() -> None:
    with running(config=pool("here")) as daemon:
        worker(daemon, "here")
        assert not (daemon.directory / "spool" / "bridge").exists()


def test_a_killed_daemon_leaves_no_links(python: str) -> None:
    with running(config=pool("there", python)) as daemon:
        worker(daemon, "there")
        daemon.kill()
        eventually(lambda: not daemon.directory.exists())


def test_what_the_daemon_has_in_its_environment_does_not_get_there(python: str, tmp_path: Path) -> None:
    """A library of the daemon's on the path of the other interpreter is what must never happen."""
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys\nif sys.executable == {python!r}: os._exit(3)\n")
    ours = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(tmp_path))))
    astray = {"PYTHONPATH": ours, "VIRTUAL_ENV": "/no/such/environment"}
    with running(config=pool("there", python), environ=astray) as daemon:
        pid = worker(daemon, "there")["pid"]
        environ = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        assert f"PYTHONPATH={daemon.directory}/spool/bridge" in environ
        assert not [line for line in environ if line.startswith(("VIRTUAL_ENV=", "PYTHONHOME="))]


def test_a_worker_that_is_recycled_comes_back_there(python: str) -> None:
    with running(config=pool("there", python)) as daemon:
        first = worker(daemon, "there")["pid"]
        daemon.ask("recycle", pool="there")
        eventually(lambda: (w := worker(daemon, "there"))["pid"] != first and w, 30)
        assert program(daemon, "there") == python


@pytest.mark.parametrize(
    ("packages", "lacks"),
    [(("msgspec",), "cannot import pyzmq (No module named 'zmq')"), ((), "cannot import msgspec (No module named")],
)
def test_an_environment_without_what_workers_need_is_named_with_the_way_out(
    tmp_path: Path, packages: tuple[str, ...], lacks: str
) -> None:
    poor = bare(tmp_path / "poor", *packages)
    with running(config=pool("here") + pool("poor", poor, engine="whisperx")) as daemon:
        fault = worker(daemon, "poor", "failed")["last_fault"]
        worker(daemon, "here")
        health = daemon.ask("health")
        assert fault.startswith(f"{poor} {lacks}")
        assert fault.endswith("; `asrd engines install whisperx` makes an environment that can")
        assert health["pools"]["poor"] == "unavailable"
        assert fault in health["reason"]
        assert daemon.log.read_text().count('"seat":"poor/0.') and "poor/0.2" not in daemon.log.read_text(), "one start"
        refused = daemon.wire().ask("submit", b"audio", pool="poor")
        assert (refused["type"], fault in refused["fault"]["message"]) == ("refused", True)


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    config = pool("here") + pool("gone", f"{tmp_path}/gone/bin/python", "diarize") + pool("odd", f"{tmp_path}/text")
    with running(config=config) as daemon:
        gone, odd = (worker(daemon, name, "failed")["last_fault"] for name in ("gone", "odd"))
        assert gone.startswith(f"cannot start {tmp_path}/gone/bin/python: No such file or directory; `asrd engines")
        assert odd.startswith(f"cannot start {tmp_path}/text: Exec format error; set `python`")


def test_an_interpreter_that_is_too_old(tmp_path: Path) -> None:
    """There is none on every machine: one that claims to be is as good."""
    old = bare(tmp_path / "old", *NEEDED)
    (site,) = (tmp_path / "old" / "lib").glob("python*/site-packages")
    (site / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 9, 18, 'final', 0)")
    with running(config=pool("here") + pool("old", old)) as daemon:
        fault = worker(daemon, "old", "failed")["last_fault"]
        assert fault.startswith(f"{old} is Python 3.9, and workers need 3.11 at least; set `python` of the pool")


def test_an_engine_whose_packages_are_not_there_names_the_command(python: str) -> None:
    with running(config=pool("here") + pool("bare", python, engine="faster-whisper")) as daemon:
        fault = worker(daemon, "bare", "failed")["last_fault"]
        assert f"the engine 'faster-whisper' needs a package that {python} lacks (No module named" in fault
        assert "`pip install 'asrd[whisper]'` there, or `asrd engines install faster-whisper`" in fault


def test_an_engine_of_somebody_else_is_found_by_the_entry_points_over_there(tmp_path: Path) -> None:
    python = bare(tmp_path / "theirs", *NEEDED)
    (site,) = (tmp_path / "theirs" / "lib").glob("python*/site-packages")
    info = site / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[asrd.engines]\ntheirs = theirs:Theirs\n")
    (site / "theirs.py").write_text("from asrd_worker.engines.scripted import Scripted\nclass Theirs(Scripted): ...\n")
    with running(config=pool("here") + pool("there", python, "theirs") + pool("lost", "", "theirs")) as daemon:
        worker(daemon, "there")
        answer, _ = daemon.wire().play(ONE, pool="there")
        assert answer["type"] == "completed"
        assert "there is no engine 'theirs'" in worker(daemon, "lost", "failed")["last_fault"]


# --- asrd engines -----------------------------------------------------------------------------------------------------


def test_an_engine_is_installed_and_works_in_a_pool_and_is_removed(tmp_path: Path) -> None:
    environ = write_recipe(tmp_path)
    config = tmp_path / "asrd.toml"
    done = run("install", "toy", "--config", str(config), environ=environ)
    assert done.code == 0, done.complaint
    assert f"in {tmp_path}/engines/toy (Python " in done.said and "toy-engine 1.0, msgspec " in done.said
    assert f"the pool toy is written into {config}" in done.said
    assert "[2/4] pip installs toy-engine==1.0, msgspec, pyzmq" in done.complaint.splitlines()
    assert f"toy: about 1 MB to download, 5 MB on the disk in {tmp_path}/engines" in done.complaint

    with running("--engine", "scripted", config=config.read_text()) as daemon:
        assert program(daemon, "toy") == f"{tmp_path}/engines/toy/bin/python"
        answer, _ = daemon.wire().play(ONE, pool="toy")
        assert answer["type"] == "completed"
        beside = {**environ, "ASRD_RUNTIME_DIR": str(daemon.directory)}
        (toy,) = [entry for entry in run("list", "--json", environ=beside).answer if entry["engine"] == "toy"]
        assert (toy["state"], toy["pools"], toy["missing"], toy["versions"]["toy-engine"]) == (
            *("installed", ["toy"], {}, "1.0"),
        )
        refused = run("remove", "toy", environ=beside)
        assert refused.code == 1 and "is the engine of the pool toy of the running daemon" in refused.complaint

    assert run("remove", "toy", environ=environ).said.startswith("toy is removed: ")
    assert list((tmp_path / "engines").iterdir()) == []
    assert run("remove", "toy", environ=environ).code == 2


def test_what_is_installed_is_left_alone_and_what_is_damaged_is_mended(tmp_path: Path) -> None:
    environ = write_recipe(tmp_path)
    first = run("install", "toy", "--json", environ=environ).answer
    made = (tmp_path / "engines" / "toy").resolve()
    again = run("install", "toy", environ=environ)

    assert first["changed"] and first["table"].startswith('[pools.toy]\nengine = "toy"\npython = "')
    assert again.said.startswith("toy is here already: ") and "[pools.toy]" in again.said
    assert (tmp_path / "engines" / "toy").resolve() == made
    (found,) = made.glob("lib/python*/site-packages/toy_engine.py")
    found.unlink()
    (toy,) = [entry for entry in run("list", "--json", environ=environ).answer if entry["engine"] == "toy"]
    assert (toy["state"], toy["missing"]) == ("damaged", {"toy_engine": "it is not installed"})
    assert "damaged" in run("list", environ=environ).said
    assert run("install", "toy", "--json", environ=environ).answer["changed"] is True
    assert not made.exists()
    assert run("list", "--json", environ=environ).answer[-2]["state"] == "installed"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": [{"install": ["toy-engine==7"]}]}, "no index that is configured has toy-engine==7 for this Python"),
        ({"steps": [{"install": ["toy-noise"]}]}, "everything is installed, but msgspec cannot be imported"),
        ({"disk_mb": 10**15}, "are needed in"),
    ],
)
def test_what_cannot_be_installed_leaves_nothing(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    plain = {"disk_mb": 5, "download_mb": 1, "steps": []}
    environ = write_recipe(tmp_path, default={**plain, **changes})
    config = tmp_path / "asrd.toml"
    done = run("install", "toy", "--config", str(config), environ=environ)

    assert done.code == 1 and said in done.complaint.splitlines()[-1]
    assert done.complaint.splitlines()[-1].startswith("asrd: ")
    assert list((tmp_path / "engines").iterdir()) == [] and not config.exists()


def test_a_dry_run_says_everything_and_does_nothing(tmp_path: Path) -> None:
    environ = write_recipe(tmp_path)
    done = run("install", "toy", "--dry-run", "--config", str(tmp_path / "asrd.toml"), environ=environ)

    assert done.code == 0 and "pip installs toy-engine==1.0, msgspec, pyzmq" in done.said
    assert "the pool toy would be written into" in done.said
    assert not (tmp_path / "engines").exists() and not (tmp_path / "asrd.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("install", "toi"), "did you mean 'toy'?"),
        (("install", "toy", "--python", "/no/python"), "--python /no/python: that is no Python interpreter"),
        (("install", "toy", "--config", "asrd.toml", "--pool", "a b"), "a pool's name has 1 to 32 letters"),
        (("remove", "toy"), "toy is not installed in"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments, environ=write_recipe(tmp_path))

    assert (done.code, done.said) == (2, "") and said in done.complaint
    assert len(done.complaint.splitlines()) == 1


def test_an_installation_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """Its interpreter says that it makes an environment, and sleeps."""
    environ = {**os.environ, **write_recipe(tmp_path), "ASRD_ASLEEP": str(tmp_path / "asleep")}
    lazy = tmp_path / "python-lazy"
    lazy.write_text(
        '#!/bin/sh\ncase "$*" in *version_info*) echo 3 12;; *) echo $$ > $ASRD_ASLEEP; exec sleep 60;; esac'
    )
    lazy.chmod(0o755)
    command = [str(Path(sys.executable).parent / "asrd"), "engines", "install", "toy", "--python", str(lazy)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: (tmp_path / "asleep").is_file() and (tmp_path / "asleep").read_text(), 30)
        assert [path.name[:5] for path in (tmp_path / "engines").iterdir()] == [".toy-"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert list((tmp_path / "engines").iterdir()) == []
    pid = (tmp_path / "asleep").read_text().strip()
    eventually(lambda: not Path(f"/proc/{pid}").exists())
