"""The command line of the daemon over its configuration file, and ``config check`` and ``config show``."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asrd_supervisor import __main__ as command
from asrd_supervisor.config import Config

Configure = Callable[..., Config]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """What ``asrd serve`` makes of its arguments and of a configuration file with this text."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("ASRD_CONFIG", raising=False)

    def _configure(*arguments: str, text: str | None = None) -> Config:
        if text is not None:
            (tmp_path / "asrd.toml").write_text(text)
            arguments = (*arguments, "--config", str(tmp_path / "asrd.toml"))
        options: argparse.Namespace = command._parser().parse_args(["serve", *arguments])
        return command.configure(options)

    return _configure


def test_options_go_over_the_file_and_to_the_default_pool(configure: Configure) -> None:
    text = "default_pool = 'b'\n[pools.a]\n[pools.b]\nthreads = 1\n[pools.b.recycle]\nmax_age = '1h'\nmax_jobs = 9"
    config = configure(
        *("--model", "base.en", "--workers", "3", "--device", "cpu", "--compute-type", "float32"),
        *("--max-jobs", "0", "--log-format", "journal"),
        text=text,
    )

    pool = config.pools["b"]
    assert (pool.model, pool.workers, pool.device, pool.compute_type) == ("base.en", 3, "cpu", "float32")
    assert (pool.recycle.max_jobs, pool.recycle.max_age, pool.threads) == (0, 3600, 1)
    assert (config.pools["a"].model, config.pools["a"].recycle.max_jobs) == ("tiny.en", 200)
    assert (config.log.format, config.log.level) == ("journal", "info")


def test_nothing_is_automatic_any_more(configure: Configure) -> None:
    config = configure("--workers", "auto")

    pool = config.pools["default"]
    assert isinstance(pool.workers, int)
    assert pool.threads >= 1
    assert (pool.device in ("cpu", "cuda"), pool.recycle.order in ("start-first", "stop-first")) == (True, True)
    assert config.default_pool == "default"


def test_another_engine_is_not_given_the_bundled_model(configure: Configure) -> None:
    assert configure("--engine", "scripted").pools["default"].model == ""
    assert configure("--engine", "scripted", "--model", "x").pools["default"].model == "x"
    assert configure("--engine", "faster-whisper").pools["default"].model == "tiny.en"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workers", "many"), "--workers: expected a number or 'auto', got 'many'"),
        (("--workers", "0"), "--workers: expected `int` >= 1, got 0"),
        (("--max-jobs", "-1"), "--max-jobs: expected `int` >= 0, got -1"),
        (("--compute-type", "int80"), "--compute-type: expected one of 'default', 'auto', 'int8',"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_typed(configure: Configure, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(command.UsageError) as caught:
        configure(*arguments)

    assert str(caught.value).startswith(said)


def test_the_file_is_the_named_one_then_the_environments_then_the_users(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "home" / "asrd" / "asrd.toml"
    users.parent.mkdir(parents=True)
    users.write_text("drain_timeout = 1")
    other = tmp_path / "other.toml"
    other.write_text("drain_timeout = 2")

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    assert configure().drain_timeout == 1
    monkeypatch.setenv("ASRD_CONFIG", str(other))
    assert configure().drain_timeout == 2
    assert configure(text="drain_timeout = 3").drain_timeout == 3


def test_check_and_show(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[pools.a]\nworkers = 1\n[pools.a.recycle]\nmax_age = '30s'\n[pools.b]\n")
    bad.write_text("[pools.a]\nworkers = -1\n")

    assert command.main(["config", "check", "--config", str(good)]) == 0
    told = capsys.readouterr()
    assert told.out == "the configuration is good: 2 pool(s), default 'a'\n"
    assert "warning: pools.a.recycle.max_age" in told.err

    assert command.main(["config", "show", "--config", str(good)]) == 0
    shown = msgspec.json.decode(capsys.readouterr().out, type=dict[str, Any])
    assert (shown["pools"]["a"]["workers"], shown["pools"]["a"]["recycle"]["max_age"]) == (1, 30)

    assert command.main(["config", "check", "--config", str(bad)]) == 78
    assert capsys.readouterr().err == f"asrd: {bad}: pools.a.workers: expected `int` >= 1, got -1\n"
    assert command.main(["config", "check", "--workers", "no"]) == 2
