"""Fixtures: a daemon with the scripted engine for faults and timing, one with real speech recognition."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.daemon import Daemon, running
from support.opened import Opened

# Whoever runs the tests in the background ignores Ctrl-C for them, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy has no bearing on laws; `--hypothesis-profile=default` looks for other examples.
settings.register_profile("asrd", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("asrd")

SPEECH = Path(__file__).parent / "data" / "librivox"


@pytest.fixture(autouse=True)
def private_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is told no state directory must not find the user's own."""
    monkeypatch.setenv("ASRD_STATE_DIR", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """What a failed test leaves open must not fail another one."""
    with Opened.tidied():
        yield


@pytest.fixture
def start() -> Iterator[Callable[..., Daemon]]:
    """Starts daemons; each is stopped, and checked for leftovers, when the test ends."""
    with ExitStack() as stack:

        def _start(*arguments: str, config: str | None = None, environ: dict[str, str] | None = None) -> Daemon:
            return stack.enter_context(running(*arguments, config=config, environ=environ))

        yield _start


@pytest.fixture
def scripted(start: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """Starts a daemon with the scripted engine and two workers, and waits until they are warm."""

    def _scripted(*arguments: str, config: str | None = None) -> Daemon:
        given = () if config is not None else ("--engine", "scripted", "--workers", "2")
        return start(*given, *arguments, config=config).ready()

    return _scripted


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real recordings."""
    return SPEECH


@pytest.fixture(scope="module")
def whisper() -> Iterator[Daemon]:
    """A daemon with real tiny.en on two workers, shared by the tests of a module."""
    with running("--workers", "2") as daemon:
        yield daemon.ready()
