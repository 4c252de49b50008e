"""Where the sockets are: one rule for client and daemon."""

import os
import tempfile
from pathlib import Path

import pytest

from asrd_protocol import addresses
from asrd_protocol.addresses import MAX_SOCKET_PATH, Addresses, runtime_dir, state_dir


def test_the_rule_of_the_runtime_directory_in_its_order() -> None:
    environ = {"ASRD_RUNTIME_DIR": "/a", "RUNTIME_DIRECTORY": "/b:/c", "XDG_RUNTIME_DIR": "/d"}
    found = []
    for name in [*environ, ""]:
        found.append(runtime_dir(environ))
        environ.pop(name, None)

    assert found[:3] == [Path("/a"), Path("/b"), Path("/d/asrd")]
    user = Path(f"/run/user/{os.getuid()}")
    bare = user / "asrd" if user.is_dir() else Path(tempfile.gettempdir()) / f"asrd-{os.getuid()}"
    assert found[3] == bare


def test_the_rule_of_the_state_directory_in_its_order() -> None:
    environ = {"ASRD_STATE_DIR": "/a", "STATE_DIRECTORY": "/b:/c", "XDG_STATE_HOME": "/d", "HOME": "/e"}
    found = []
    for name in list(environ):
        found.append(state_dir(environ))
        environ.pop(name)

    assert found == [Path("/a"), Path("/b"), Path("/d/asrd"), Path("/e/.local/state/asrd")]
    assert state_dir({}) == Path(tempfile.gettempdir()) / ".local" / "state" / "asrd"


@pytest.mark.parametrize("name", ["ASRD_RUNTIME_DIR", "RUNTIME_DIRECTORY"])
def test_an_empty_variable_is_no_variable(name: str) -> None:
    assert runtime_dir({name: "", "XDG_RUNTIME_DIR": "/d"}) == Path("/d/asrd")


def test_the_environment_is_that_of_the_process_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRD_RUNTIME_DIR", "/from/the/process")
    monkeypatch.setenv("ASRD_STATE_DIR", "/state/of/the/process")

    assert runtime_dir() == Path("/from/the/process")
    assert state_dir() == Path("/state/of/the/process")


def test_the_sockets_are_four_and_the_private_one_has_a_directory_of_its_own() -> None:
    addresses = Addresses(Path("/run/asrd"))

    assert addresses.jobs == "ipc:///run/asrd/jobs.sock"
    assert addresses.control == "ipc:///run/asrd/control.sock"
    assert addresses.events == "ipc:///run/asrd/events.sock"
    assert addresses.workers == "ipc:///run/asrd/workers/link.sock"
    assert addresses.lock == Path("/run/asrd/asrd.lock")


@pytest.mark.parametrize("letter", ["a", "é"])
def test_a_path_that_does_not_fit_is_named_with_the_way_out(letter: str) -> None:
    """Bytes count, not letters."""
    room = MAX_SOCKET_PATH - len("/" + "/workers/link.sock")
    fits = letter * (room // len(letter.encode())) + "a" * (room % len(letter.encode()))

    assert Addresses(Path("/" + fits)).too_long() is None
    said = Addresses(Path("/" + fits + "a")).too_long()
    assert said is not None
    assert f"{MAX_SOCKET_PATH + 1} bytes" in said
    assert "ASRD_RUNTIME_DIR" in said


def test_a_client_finds_the_system_service_when_there_is_no_daemon_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, system = tmp_path / "user", tmp_path / "system"
    environ = {"XDG_RUNTIME_DIR": str(own)}
    monkeypatch.setattr(addresses, "SYSTEM", system)
    assert addresses.daemon_dir(environ) == own / "asrd"
    system.mkdir()
    (system / "jobs.sock").touch()
    assert addresses.daemon_dir(environ) == system
    assert addresses.daemon_dir({"ASRD_RUNTIME_DIR": str(own)}) == own
    (own / "asrd").mkdir(parents=True)
    (own / "asrd" / "jobs.sock").touch()
    assert addresses.daemon_dir(environ) == own / "asrd"
