"""Jobs and control over TCP: for clients whose key is known, and for nobody else."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.auth import create_certificates, load_certificate

import asrd
from support.daemon import Daemon, running
from support.stage import ONE
from support.wire import Wire

ASRD = str(Path(sys.executable).with_name("asrd"))


def _run(*command: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


class Keyring:
    """The keys of a daemon and of two clients, one of which is let in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "clients").mkdir()
        create_certificates(root, "server")
        create_certificates(root / "clients", "friend")
        (root / "clients" / "friend.key_secret").rename(root / "friend.key_secret")
        create_certificates(root, "stranger")
        (root / "server.key_secret").chmod(0o600)

    def apply(self, client: str, connection: "zmq.Socket[bytes]") -> None:
        """Give a socket the pair of a client."""
        public, secret = load_certificate(self.root / f"{client}.key_secret")
        assert secret
        connection.setsockopt(zmq.CURVE_PUBLICKEY, public)
        connection.setsockopt(zmq.CURVE_SECRETKEY, secret)
        connection.setsockopt(zmq.CURVE_SERVERKEY, load_certificate(self.root / "server.key")[0])


def _free_ports() -> tuple[int, int]:
    """Two different ones."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _config(jobs: int, control: int, keys: Path) -> str:
    return f"""
[pools.default]
engine = "scripted"
model = ""
workers = 1
[listen]
jobs = "tcp://127.0.0.1:{jobs}"
control = "tcp://127.0.0.1:{control}"
keys = "{keys}"
"""


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path)


@pytest.fixture
def served(ring: Keyring) -> Iterator[tuple[Daemon, int, int]]:
    jobs, control = _free_ports()
    with running(config=_config(jobs, control, ring.root)) as daemon:
        yield daemon.ready(), jobs, control


def _wire(ring: Keyring, port: int, client: str | None, timeout: float = 20.0) -> Wire:
    prepare: Any = (lambda connection: ring.apply(client, connection)) if client else None
    return Wire.to(f"tcp://127.0.0.1:{port}", prepare=prepare, timeout=timeout)


def test_a_client_whose_key_is_known_is_served(ring: Keyring, served: tuple[Daemon, int, int]) -> None:
    _, jobs, control = served
    with closing(_wire(ring, jobs, "friend")) as wire, closing(_wire(ring, control, "friend")) as asked:
        assert wire.play(ONE, job="mine")[0]["type"] == "completed"
        assert wire.ask("fetch", job="mine")["type"] == "completed"
        assert asked.ask("health")["status"] == "ready"


@pytest.mark.parametrize("client", ["stranger", None])
def test_nobody_else_gets_a_word(ring: Keyring, served: tuple[Daemon, int, int], client: str | None) -> None:
    daemon, jobs, control = served
    for port, question in ((jobs, "fetch"), (control, "stats")):
        with closing(_wire(ring, port, client, timeout=1.0)) as wire, pytest.raises(zmq.Again):
            wire.ask(question, **({"job": "x"} if question == "fetch" else {}))
    assert daemon.wire().play(ONE)[0]["type"] == "completed"


def test_a_job_of_a_key_is_not_for_users_but_for_the_operator(ring: Keyring, served: tuple[Daemon, int, int]) -> None:
    daemon, jobs, _ = served
    with closing(_wire(ring, jobs, "friend")) as wire:
        wire.play(ONE, job="mine")
    assert daemon.wire().ask("fetch", job="mine")["type"] == "completed", "this test runs as the daemon's own user"


def test_a_path_is_of_the_daemons_host(ring: Keyring, served: tuple[Daemon, int, int], tmp_path: Path) -> None:
    _, jobs, _ = served
    file = tmp_path / "audio.wav"
    file.write_bytes(b"audio")
    with closing(_wire(ring, jobs, "friend")) as wire:
        answer = wire.ask("submit", audio={"kind": "path", "path": str(file)})
    assert (answer["type"], answer["fault"]["code"]) == ("refused", "not_allowed")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "server.key_secret").unlink(), "make them with `asrd keys new server`"),
        (lambda root: (root / "server.key_secret").chmod(0o644), "others can read"),
        (lambda root: (root / "server.key_secret").write_text("nonsense"), "is no key file"),
        (lambda root: (root / "clients").rename(root / "friends"), "public keys of the clients"),
    ],
)
def test_without_keys_there_is_no_tcp(ring: Keyring, tmp_path: Path, spoil: Any, said: str) -> None:
    spoil(ring.root)
    config = tmp_path / "asrd.toml"
    config.write_text(_config(*_free_ports(), ring.root))
    command = [sys.executable, "-P", "-m", "asrd_supervisor", "serve", "--config", str(config)]
    command += ["--runtime-dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_the_python_client_and_the_command_reach_it_by_the_environment(
    ring: Keyring, served: tuple[Daemon, int, int], tmp_path: Path
) -> None:
    _, jobs, control = served
    environ = {
        **os.environ,
        "ASRD_JOBS": f"tcp://127.0.0.1:{jobs}",
        "ASRD_CONTROL": f"tcp://127.0.0.1:{control}",
        "ASRD_KEY": str(ring.root / "friend.key_secret"),
        "ASRD_SERVER_KEY": str(ring.root / "server.key"),
    }
    code = "import asrd; print(asrd.transcribe(b'audio', script=[{'do': 'speak', 'text': ' one'}]).text)"
    done = _run(sys.executable, "-c", code, environ=environ)
    assert (done.stdout, done.stderr) == ("one\n", "")
    done = _run(ASRD, "health", environ=environ)
    assert done.returncode == 0 and "ready" in done.stdout


def test_a_key_that_is_not_known_is_told_so_by_its_client(ring: Keyring, served: tuple[Daemon, int, int]) -> None:
    _, jobs, _ = served
    remote = asrd.Remote(
        jobs=f"tcp://127.0.0.1:{jobs}", key=ring.root / "stranger.key_secret", server_key=ring.root / "server.key"
    )
    with asrd.Client(remote, timeout=20) as client, pytest.raises(asrd.NoDaemon, match="does not know this key"):
        client.transcribe(b"audio", script=[ONE])


def test_keys_are_made_once_and_are_secret(tmp_path: Path) -> None:
    def new(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return _run(ASRD, "keys", "new", *arguments, "--dir", str(tmp_path / "keys"))

    assert new("laptop").returncode == 0
    secret = tmp_path / "keys" / "laptop.key_secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert load_certificate(secret)[1]
    before = secret.read_bytes()
    again = new("laptop")
    assert again.returncode == 2 and "already" in again.stderr and secret.read_bytes() == before
    assert new("../evil").returncode == 2
