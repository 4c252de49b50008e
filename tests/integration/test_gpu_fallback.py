"""A pool for GPUs on a machine where none can be used: it says so, and goes on on the CPU if it may."""

import json
from pathlib import Path

import pytest

from support.daemon import Daemon, running

pytestmark = pytest.mark.model

POOL = """
[pools.default]
device = "cuda"
device_index = [0, 1]
workers = 1
compute_type = "float16"
fallback = "{fallback}"

[pools.default.options]
batch_size = 16
"""
NO_GPU = {"CUDA_VISIBLE_DEVICES": "GPU-00000000,GPU-11111111"}
"""Two that no machine has, also where there are others."""


def _said(daemon: Daemon, topic: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == topic]


def test_the_pool_goes_on_on_the_cpu_and_says_why(speech: Path) -> None:
    clip = next(iter(sorted(speech.glob("*.wav")))).read_bytes()
    with running(config=POOL.format(fallback="cpu"), environ=NO_GPU) as daemon:
        daemon.ready(timeout=90)
        answer, body = daemon.wire().run(clip)
        (pool,) = daemon.ask("pools")["pools"]
        deaths = _said(daemon, "worker.died")
        (fell,) = _said(daemon, "pool.fell_back")

    assert answer["type"] == "completed"
    assert json.loads(body)["text"].strip()
    assert pool["device"] == "cpu"
    assert fell["fallback"] == "cpu"
    assert "on cuda as float16" in str(fell["fault"])
    assert len(deaths) == 2, "each GPU is tried once: what is wrong with it does not pass"


def test_or_the_daemon_leaves_and_says_what_to_do() -> None:
    with running(config=POOL.format(fallback=""), environ=NO_GPU) as daemon:
        assert daemon.process.wait(60) == 78
        log = daemon.log.read_text()

    assert "on cuda as float16" in log
    assert "use device = 'cpu'" in log
