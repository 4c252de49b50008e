"""A pool for GPUs on a machine where none can be used: it says so, and goes on on the CPU if it may."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import Daemon, running

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
    lines = [json.loads(line) for line in daemon.log.read_text().split("\n")[:-1] if line.startswith("{")]
    return [line for line in lines if line["event"] == topic]


@pytest.mark.model
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


@pytest.mark.model
def test_or_the_daemon_leaves_and_says_what_to_do() -> None:
    with running(config=POOL.format(fallback=""), environ=NO_GPU) as daemon:
        assert daemon.process.wait(60) == 78
        log = daemon.log.read_text()

    assert "on cuda as float16" in log
    assert "use device = 'cpu'" in log


# --- half precision without a GPU -------------------------------------------------------------------------------------

SCRIPTED = """
[pools.fast]
engine = "scripted"
model = ""
workers = 1
device = "{device}"
compute_type = "{compute_type}"
"""
ASRD = str(Path(sys.executable).parent / "asrd")
REFUSED = "pools.fast.compute_type: a CPU does not compute in float16; use 'int8'"


def test_a_cpu_that_is_asked_for_by_name_refuses_it_in_one_sentence() -> None:
    with running(config=SCRIPTED.format(device="cpu", compute_type="float16")) as daemon:
        assert daemon.process.wait(60) == 78
        (said,) = daemon.log.read_text().splitlines()

    assert said.startswith(f"asrd: {REFUSED}")
    assert "device = 'auto'" in said


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_so_does_a_pool_that_runs_on_one(device: str) -> None:
    with running(config=SCRIPTED.format(device=device, compute_type="int8"), environ=NO_GPU) as daemon:
        daemon.ready()
        command = [ASRD, "pools", "set", "fast", "compute_type=float16", "--runtime-dir", str(daemon.directory)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        (pool,) = daemon.ask("pools")["pools"]

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"asrd: {REFUSED}")
    assert "Traceback" not in done.stderr
    assert (pool["compute_type"], pool["behind"]) == ("int8", 0)


def test_where_the_cpu_has_come_of_auto_another_type_takes_its_place() -> None:
    with running(config=SCRIPTED.format(device="auto", compute_type="float16"), environ=NO_GPU) as daemon:
        (pool,) = daemon.ready().ask("pools")["pools"]
        log = daemon.log.read_text()

    assert (pool["device"], pool["compute_type"]) == ("cpu", "int8")
    assert "pools.fast.compute_type: a CPU does not compute in float16; int8 takes its place" in log
    assert "device is cpu, because" in log
