"""Pools of a running daemon that rest, come back, and load something else; no job is lost by it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrd import Client
from asrd.cli.operate import await_pool
from asrd_protocol import messages as m
from support.daemon import Daemon
from support.invariants import tell
from support.wait import eventually

SCRIPTED = """
[pools.default]
engine = "scripted"
model = ""
workers = 2
idle_ttl = "{ttl}"
[pools.default.options]
start_s = 0.2
[pools.default.recycle]
order = "{order}"
"""

REAL = """
[pools.default]
model = "tiny.en"
workers = 1
threads = 1
idle_ttl = "2s"
[pools.default.recycle]
order = "start-first"
"""

START = Callable[..., Daemon]
SPEAK = {"script": [{"do": "speak", "text": "hello"}]}
SLOW = {"script": [{"do": "sleep", "s": 0.3}, {"do": "speak", "text": "hello"}]}


def _scripted(start: START, ttl: str = "1h", order: str = "start-first") -> Daemon:
    return start(config=SCRIPTED.format(ttl=ttl, order=order)).ready()


def _pool(client: Client) -> m.PoolReport:
    return client.pools()[0]


def _logged(daemon: Daemon, topic: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in daemon.log.read_text().split("\n")[:-1] if line.startswith("{"))
    return [line for line in lines if line.get("event") == topic]


def _say(client: Client, options: dict[str, Any] = SPEAK) -> str:
    return client.transcribe(b"RIFF", timeout=60, **options).text.strip()


def test_an_idle_pool_leaves_and_comes_back_with_a_job(start: START) -> None:
    daemon = _scripted(start, ttl="3s")
    with Client(daemon.directory) as client:
        assert _say(client) == "hello"
        eventually(lambda: _pool(client).status == "standby" and not client.workers(), 20)
        assert client.health().status == "ready"
        assert client.health().pools == {"default": "standby"}
        assert len(daemon.processes()) < 4
        assert _say(client) == "hello"
        stats, pool = client.stats(), _pool(client)
        assert (stats.deaths, stats.recycles) == ({}, {})
        assert (pool.jobs, pool.ready > 0) == (2, True)
        assert pool.last_used_at == pytest.approx(time.time(), abs=30)


def test_unload_and_load(start: START) -> None:
    daemon = _scripted(start)
    with Client(daemon.directory) as client:
        running = client.submit(b"RIFF", **SLOW)
        client.unload_pool("default")
        assert running.result(30).text.strip() == "hello"
        eventually(lambda: not client.workers(), 20)
        client.load_pool("default")
        assert await_pool(client, "default", resting=False).startswith("default is ready")
        assert _pool(client).ready == 2


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_settings_change_under_load_and_a_bad_change_is_taken_back(start: START, order: str) -> None:
    daemon = _scripted(start, order=order)
    with Client(daemon.directory) as client:
        jobs = [client.submit(b"RIFF", **SLOW) for _ in range(12)]
        client.set_pool("default", {"options.start_s": 0.1})
        await_pool(client, "default")
        assert [job.result(60).text.strip() for job in jobs] == ["hello"] * 12
        assert client.stats().recycles == {"changed": 2}
        client.set_pool("default", {"options.at_load": [{"do": "fail", "code": "model_unavailable"}]})
        eventually(lambda: _pool(client).change_fault, 30)
        eventually(lambda: _pool(client).ready == 2 and not _pool(client).behind, 30)
        assert _say(client) == "hello"
        assert client.health().status == "ready"
        eventually(lambda: len(_logged(daemon, "pool.change_failed")) == 1)


def test_a_change_that_makes_no_sense_is_refused(start: START) -> None:
    daemon = _scripted(start)
    refused = daemon.ask("set_pool", pool="default", settings={"compute_type": "int7"})
    assert refused["fault"]["code"] == "bad_option"
    assert "pools.default.compute_type" in refused["fault"]["message"]
    assert "workers" in daemon.ask("set_pool", pool="default", settings={"workers": 3})["fault"]["message"]
    assert daemon.ask("unload", pool="defualt")["fault"]["code"] == "unknown_pool"


@pytest.mark.model
def test_the_real_model_is_unloaded_loaded_and_read_anew(start: START, speech: Path) -> None:
    daemon = start(config=REAL).ready()
    with Client(daemon.directory) as client:
        clip = sorted(speech.glob("*.wav"))[0]

        def timed() -> tuple[str, float]:
            began = time.monotonic()
            text = client.transcribe(clip, timeout=120).text
            return text, time.monotonic() - began

        first, _ = timed()
        _, warm = timed()
        eventually(lambda: _pool(client).status == "standby" and not client.workers(), 30)
        text, cold = timed()
        assert text == first
        tell(f"submit to result: {warm:.2f} s warm, {cold:.2f} s from standby")
        client.reload_pool("default")
        await_pool(client, "default")
        client.set_pool("default", {"compute_type": "float32"})
        assert "float32" in await_pool(client, "default")
        assert timed()[0].split()[:3] == first.split()[:3]
        assert client.stats().recycles == {"reload": 1, "changed": 1}
        assert client.stats().deaths == {}
