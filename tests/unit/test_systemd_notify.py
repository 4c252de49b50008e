"""The notifier against a real datagram socket: what arrives, what does not, and that nobody ever waits for it."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asrd_supervisor.systemd import ENVIRONMENT, MAX_STATUS, Notifier


class Manager:
    """The receiving end, as systemd has it, at a path or (``@``) in the abstract namespace."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address.replace("@", "\0", 1))

    def heard(self) -> list[str]:
        """The datagrams since the last call, oldest first."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens."""
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@asrd-test-{secrets.token_hex(8)}")
    yield made
    made.socket.close()


@pytest.fixture
def notifier(manager: Manager) -> Notifier:
    """A notifier of that manager."""
    return Notifier.from_environ({"NOTIFY_SOCKET": manager.address})


def test_each_method_is_one_datagram(manager: Manager, notifier: Notifier) -> None:
    notifier.status("loading the model")
    notifier.extend_timeout(30.5)
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()
    assert manager.heard() == [
        "STATUS=loading the model",
        "EXTEND_TIMEOUT_USEC=30500000",
        "READY=1",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_a_status_is_sent_when_it_changes_only(manager: Manager, notifier: Notifier) -> None:
    for text in ("1 of 2 workers ready", "1 of 2 workers ready", "2 of 2 workers ready", "1 of 2 workers ready"):
        notifier.status(text)
    assert manager.heard() == [
        "STATUS=1 of 2 workers ready",
        "STATUS=2 of 2 workers ready",
        "STATUS=1 of 2 workers ready",
    ]


def test_a_status_cannot_say_anything_else(manager: Manager, notifier: Notifier) -> None:
    notifier.status("model broken:\nREADY=1\r\nSTOPPING=1\0WATCHDOG=1")
    assert manager.heard() == ["STATUS=model broken: READY=1 STOPPING=1 WATCHDOG=1"]


@pytest.mark.parametrize("character", ["x", "\N{GRINNING FACE}", "\udc80"])
def test_a_long_or_undecodable_status_is_one_that_systemd_takes(
    manager: Manager, notifier: Notifier, character: str
) -> None:
    notifier.status(character * (MAX_STATUS + 1))
    (message,) = manager.heard()
    assert len(message) == len("STATUS=") + MAX_STATUS
    assert len(message.encode()) <= 4096


@pytest.mark.parametrize("address", [None, "", "@", "notify", "vsock:2:1234", "/" + "x" * 200])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    environ = {} if address is None else {"NOTIFY_SOCKET": address}
    _say_everything(Notifier.from_environ(environ))


def test_an_address_of_another_kind_is_nobody_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    passer_by = Manager("vsock:2:1234")  # a file of that name is not what is meant
    _say_everything(Notifier.from_environ({"NOTIFY_SOCKET": passer_by.address}))
    heard = passer_by.heard()
    passer_by.socket.close()
    assert heard == []


def test_a_manager_that_is_gone_harms_nobody_and_hears_the_news_when_it_is_back(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": str(address)})
    _say_everything(notifier)  # never there
    first = Manager(str(address))
    first.socket.close()
    _say_everything(notifier)  # the file is there, nobody behind it
    address.unlink()
    second = Manager(str(address))
    notifier.watchdog()
    kinds = [message.split("=")[0] for message in second.heard()]
    second.socket.close()
    assert kinds == ["READY", "STATUS", "STOPPING", "EXTEND_TIMEOUT_USEC", "WATCHDOG"]


def test_a_manager_that_does_not_read_blocks_nobody_and_misses_no_news(manager: Manager, notifier: Notifier) -> None:
    rounds = 2_000  # far beyond what the kernel queues for a receiver
    for number in range(rounds):
        notifier.watchdog()
        notifier.status(f"round {number}")
    notifier.ready()
    queued = manager.heard()
    assert 0 < len(queued) < rounds
    assert "READY=1" not in queued
    notifier.stopping()
    assert manager.heard() == ["WATCHDOG=1", f"STATUS=round {rounds - 1}", "READY=1", "STOPPING=1"]


def test_what_arrived_is_not_sent_again(manager: Manager, notifier: Notifier) -> None:
    notifier.ready()
    notifier.watchdog()
    notifier.watchdog()
    assert manager.heard() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_no_descriptor_stays_open(notifier: Notifier) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    _say_everything(notifier)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "1"}, 0.0000005),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "30s"}, None),
        ({"WATCHDOG_USEC": "\N{SUPERSCRIPT TWO}"}, None),
        ({"WATCHDOG_USEC": str(2**64 - 1)}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_patience_by_whom_it_watches(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Notifier.from_environ(environ).watchdog_interval == seconds


def test_the_environment_is_read_and_left_alone(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    before = dict(os.environ)
    notifier = Notifier.from_environ(os.environ)
    notifier.ready()
    assert dict(os.environ) == before
    assert notifier.watchdog_interval == 1.0
    assert manager.heard() == ["READY=1"]


def test_what_a_worker_must_not_inherit_is_named() -> None:
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS"} <= set(ENVIRONMENT)


def _say_everything(notifier: Notifier) -> None:
    say: list[Callable[[], None]] = [
        notifier.ready,
        lambda: notifier.status(f"status at {time.monotonic_ns()}"),
        notifier.stopping,
        lambda: notifier.extend_timeout(1),
        notifier.watchdog,
    ]
    for each in say:
        each()
