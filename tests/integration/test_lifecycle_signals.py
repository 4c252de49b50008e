"""How the daemon starts, refuses to start, stops, and is killed."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon
from support.opened import begun
from support.stage import ONE
from support.wait import eventually
from support.wire import Wire

ASRD = [sys.executable, "-P", "-m", "asrd_supervisor"]
FOREVER: dict[str, Any] = {"do": "sleep", "s": 60}
SHORT = {"do": "sleep", "s": 1.5}
SOCKETS = ("jobs.sock", "control.sock", "events.sock", "workers/link.sock")


def _serve(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A daemon that is expected to leave by itself."""
    command = [*ASRD, "serve", "--log-format", "json", *arguments]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=30)


def _running(daemon: Daemon, *script: dict[str, Any], jobs: int) -> Wire:
    """A connection with so many jobs. The first two play the script, and those behind them take no time."""
    wire = daemon.wire()
    for number in range(jobs):
        options = {"script": list(script) if number < 2 else [ONE]}
        wire.send("submit", b"audio", job=f"job-{number}", options=options, reply="final")
        if number == 1:
            eventually(lambda: _taken(daemon) == (2, 0))
    eventually(lambda: _taken(daemon) == (2, jobs - 2))
    return wire


def _taken(daemon: Daemon) -> tuple[int, int]:
    """Jobs that run, and jobs that wait."""
    jobs = daemon.ask("stats")["jobs"]
    return jobs["running"], jobs["queued"]


# --- stop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_what_was_accepted_and_exits_0(scripted: Callable[..., Daemon], number: signal.Signals) -> None:
    daemon = scripted("--durability", "none")
    wire = _running(daemon, SHORT, ONE, jobs=6)
    daemon.process.send_signal(number)
    eventually(lambda: daemon.ask("health")["status"] == "draining")
    late = daemon.wire().ask("submit", b"audio", options={"script": [ONE]})
    assert (late["type"], late["fault"]["code"], late["fault"]["retry"]) == ("refused", "shutting_down", True)
    assert [wire.end_of()[0]["type"] for _ in range(6)] == ["completed"] * 6
    assert daemon.process.wait(10) == 0
    assert daemon.leftovers() == []


def test_a_second_signal_hurries(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted("--durability", "none")
    wire = _running(daemon, ONE, FOREVER, jobs=4)
    daemon.process.send_signal(signal.SIGTERM)
    eventually(lambda: daemon.ask("health")["status"] == "draining")
    daemon.process.send_signal(signal.SIGTERM)
    ends = [wire.end_of()[0] for _ in range(4)]
    assert {end["job"] for end in ends} == {f"job-{number}" for number in range(4)}
    assert {(end["type"], end["fault"]["code"], end["fault"]["retry"]) for end in ends} == {
        ("failed", "shutting_down", True)
    }
    assert daemon.process.wait(10) == 0
    assert daemon.leftovers() == []


@pytest.mark.parametrize("how", ["gil", "c", "python", "stopped"])
def test_workers_that_hang_do_not_hold_up_a_stop_in_a_hurry(scripted: Callable[..., Daemon], how: str) -> None:
    daemon = scripted("--durability", "none")
    wire = _running(daemon, ONE, {"do": "hang", "how": how}, jobs=2)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGINT)
    assert wire.end_of()[0]["fault"]["code"] == "shutting_down"
    assert daemon.process.wait(10) == 0
    assert daemon.leftovers() == []


def test_a_drain_has_an_end(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted(
        "--engine", "scripted", "--workers", "2", config='drain_timeout = "500ms"\n[journal]\ndurability = "none"'
    )
    wire = _running(daemon, ONE, FOREVER, jobs=3)
    daemon.process.send_signal(signal.SIGTERM)
    assert {wire.end_of()[0]["fault"]["code"] for _ in range(3)} == {"shutting_down"}
    assert daemon.process.wait(10) == 0


def test_a_signal_while_workers_start_stops_at_once(start: Callable[..., Daemon]) -> None:
    config = '[pools.default]\nengine="scripted"\nmodel=""\nworkers=2\n[pools.default.options]\nstart_s = 60'
    daemon = start(config=config)
    eventually(lambda: (daemon.directory / "control.sock").exists())
    eventually(lambda: {worker["state"] for worker in daemon.workers()} == {"warming"})
    assert daemon.stop(5) == 0
    assert daemon.leftovers() == []


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def test_after_kill_9_of_the_daemon_its_workers_and_sockets_are_gone(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    daemon.kill()
    eventually(lambda: not daemon.leftovers(), 5)


@pytest.mark.parametrize("how", ["gil", "c", "python", "stopped"])
def test_a_worker_that_hangs_does_not_outlive_a_killed_daemon(scripted: Callable[..., Daemon], how: str) -> None:
    daemon = scripted()
    _running(daemon, {"do": "deafen"}, {"do": "hang", "how": how}, jobs=2)
    daemon.kill()
    eventually(lambda: not daemon.leftovers(), 5)


def test_the_next_daemon_serves_in_the_place_of_a_killed_one(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    daemon.kill()
    daemon.restart()
    daemon.ready()
    assert daemon.wire().play(ONE)[0]["type"] == "completed"


# --- one daemon in one place ------------------------------------------------------------------------------------------


def test_a_second_daemon_is_refused_and_the_first_one_serves_on(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    wire = daemon.wire()
    wire.send("submit", b"audio", options={"script": [SHORT, ONE]}, reply="final")
    second = _serve("--engine", "scripted", "--runtime-dir", str(daemon.directory))
    assert second.returncode == 75
    assert second.stdout == "" and second.stderr.count("\n") == 1, "one sentence, no traceback"
    assert f"(process {daemon.process.pid})" in second.stderr and str(daemon.directory) in second.stderr
    assert wire.end_of()[0]["type"] == "completed"
    assert daemon.ready().wire().play(ONE)[0]["type"] == "completed"


def test_two_daemons_in_two_places_do_not_meet(scripted: Callable[..., Daemon]) -> None:
    one, two = scripted(), scripted()
    assert one.stop() == 0
    assert two.wire().play(ONE)[0]["type"] == "completed"


def test_sockets_that_somebody_left_are_replaced(start: Callable[..., Daemon], tmp_path: Path) -> None:
    place = tmp_path / "run"
    (place / "workers").mkdir(parents=True, mode=0o700)
    place.chmod(0o750)
    for name in SOCKETS:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
            left.bind(str(place / name))
    (place / "asrd.lock").write_text("1\n")
    daemon = start("--engine", "scripted", "--workers", "2", "--runtime-dir", str(place))
    daemon.directory = place
    assert daemon.ready().wire().play(ONE)[0]["type"] == "completed"
    assert daemon.stop() == 0
    assert list(place.iterdir()) == [], "all of ours is gone; the directory was there before us and stays"


def test_sockets_and_directories_are_for_user_and_group_only(scripted: Callable[..., Daemon]) -> None:
    place = scripted().directory
    modes = {name: (place / name).stat().st_mode & 0o777 for name in ("", "workers", "asrd.lock", *SOCKETS)}
    assert modes == {
        "": 0o750,
        "workers": 0o700,
        "asrd.lock": 0o640,
        **dict.fromkeys(SOCKETS, 0o660),
    }


# --- refusing to start ------------------------------------------------------------------------------------------------


def _refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("asrd: "), "one sentence, no traceback"
    for word in words:
        assert word in done.stderr


def test_a_runtime_directory_whose_path_is_too_long_is_refused(tmp_path: Path) -> None:
    place = tmp_path / ("long" * 30)
    done = _serve("--engine", "scripted", "--runtime-dir", str(place))
    _refused(done, 2, "107", "--runtime-dir")
    assert not place.exists()


def test_a_runtime_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    place = tmp_path
    if os.geteuid() == 0:
        os.chown(place, 12345, -1)
    else:
        place = Path("/usr/lib")
    before = list(place.iterdir())
    _refused(_serve("--engine", "scripted", "--runtime-dir", str(place)), 2, str(place), "belongs to user")
    assert list(place.iterdir()) == before, "nothing was put there"


def test_a_runtime_directory_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    _refused(_serve("--engine", "scripted", "--runtime-dir", str(tmp_path)), 2, str(tmp_path), "everybody may write")
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "run"
    _refused(_serve("--engine", "scripted", "--runtime-dir", str(place)), 2, str(place), "Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_runtime_directory_that_is_read_only_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    _refused(_serve("--engine", "scripted", "--runtime-dir", str(tmp_path)), 2, str(tmp_path), "Permission denied")


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("workers = 3", ["workers"]),
        ("[pools.default]\nworkers = 0", ["pools.default.workers", "0"]),
        ("[pools.default]\nworkres = 2", ["pools.default.workres", "did you mean 'workers'?"]),
        ("[pools.default.recycle]\nmax_jobs = -1", ["pools.default.recycle.max_jobs", "-1"]),
        ('[pools.default.deadlines]\nbusy_floor = "soon"', ["pools.default.deadlines.busy_floor", "'30s'", "soon"]),
        ('[pools."a b"]', ["pools.a b"]),
        ('default_pool = "whispr"\n[pools.whisper]', ["default_pool", "did you mean 'whisper'?"]),
        ('[audio]\nmax_body = "huge"', ["audio.max_body", "'512MB'", "huge"]),
        ("[pools.default\nworkers = 2", ["line 1"]),
        ("pools = 7", ["pools"]),
    ],
)
def test_a_mistake_in_the_configuration_is_named_by_the_path_of_its_key(
    tmp_path: Path, toml: str, words: list[str]
) -> None:
    (tmp_path / "asrd.toml").write_text(toml)
    done = _serve("--config", str(tmp_path / "asrd.toml"), "--runtime-dir", str(tmp_path / "run"))
    _refused(done, 78, str(tmp_path / "asrd.toml"), *words)
    assert not (tmp_path / "run").exists()


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = _serve("--config", str(tmp_path / "none.toml"), "--runtime-dir", str(tmp_path / "run"))
    _refused(done, 78, str(tmp_path / "none.toml"))


def test_a_configuration_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "asrd.toml").write_bytes(b"\xff\xfe\x00\x01")
    _refused(_serve("--config", str(tmp_path / "asrd.toml"), "--runtime-dir", str(tmp_path / "run")), 78, "asrd.toml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "/no/such/model"], ["there is no model directory /no/such/model"]),
        (["--model", "tiny.eng"], ["there is no model 'tiny.eng'", "did you mean 'tiny.en'?"]),
        (["--engine", "wisperx"], ["there is no engine 'wisperx'", "did you mean 'whisperx'?"]),
    ],
)
def test_a_wrong_model_or_engine_ends_the_daemon_with_a_sentence(
    tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    done = _serve("--workers", "1", "--runtime-dir", str(tmp_path / "run"), *arguments)
    assert done.returncode == 78
    leaving = [line for line in done.stderr.splitlines() if '"event":"leaving"' in line]
    assert len(leaving) == 1
    for word in words:
        assert word in leaving[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_wrong_engine_setting_ends_the_daemon_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "asrd.toml").write_text(
        '[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 2\n[pools.default.options]\nstarts = 1'
    )
    done = _serve("--config", str(tmp_path / "asrd.toml"), "--runtime-dir", str(tmp_path / "run"))
    assert done.returncode == 78
    assert "unknown engine setting 'starts'; did you mean 'start_s'?" in done.stderr


@pytest.mark.parametrize("arguments", [["--workers", "many"], ["--workers", "0"], ["--max-jobs", "-1"]])
def test_a_wrong_value_on_the_command_line_is_named(tmp_path: Path, arguments: list[str]) -> None:
    done = _serve("--engine", "scripted", "--runtime-dir", str(tmp_path / "run"), *arguments)
    _refused(done, 2, f"{arguments[0]}: expected", arguments[1])


# --- a terminal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nohup", [False, True])
def test_a_daemon_leaves_with_its_terminal_unless_it_was_told_to_stay(tmp_path: Path, nohup: bool) -> None:
    ours, theirs = os.openpty()

    def take_the_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

    with tempfile.TemporaryDirectory(prefix="asrd-") as directory:
        command = [*ASRD, "serve", "--engine", "scripted", "--workers", "1", "--runtime-dir", directory]
        daemon = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_the_terminal
        )
        begun(daemon)
        os.close(theirs)
        eventually(lambda: (Path(directory) / "control.sock").exists())
        wire = Wire(Path(directory))
        wire.send("submit", b"audio", options={"script": [{"do": "sleep", "s": 1}, ONE]}, reply="final")
        control = Wire(Path(directory), "req", "json", socket="control")
        eventually(lambda: control.ask("stats")["jobs"]["running"] == 1)
        os.close(ours)
        daemon.send_signal(signal.SIGHUP)  # a shell says it, and then the kernel
        assert wire.end_of()[0]["type"] == "completed"
        if nohup:
            assert control.ask("health")["type"] == "health_report"
            daemon.terminate()
        control.close()
        wire.close()
        assert daemon.wait(30) == 0
        assert list(Path(directory).iterdir()) == []
