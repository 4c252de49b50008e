"""NVML on a machine with a GPU: what a process really takes there is what the driver is understood to say."""

import os

import pytest
from structlog.testing import capture_logs

from asrd_supervisor.probes.gpus import Gpus
from asrd_supervisor.probes.nvml import Nvml, Reading
from gpu import cards
from gpu.cards import MB, Taker
from support.wait import eventually

pytestmark = pytest.mark.skipif(bool(cards.missing()), reason=cards.missing())

CONTEXT = 2048 * MB
"""More than a CUDA context takes by itself."""


@pytest.fixture(autouse=True)
def all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver counts all GPUs, whatever is hidden from those who compute."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def _told(nvml: Nvml, taker: Taker) -> int:
    """Its memory; skips where this driver does not tell it."""
    vram = nvml.read({taker.pid: "cuda:0"}).vram
    if taker.pid not in vram:
        pytest.skip("the driver does not tell this process's memory: another pid namespace, or WSL2")
    return vram[taker.pid]


def test_memory_of_a_process() -> None:
    nvml = Nvml()
    with cards.taking() as taker:
        before = _told(nvml, taker)
        taker.take(512 * MB)
        after = _told(nvml, taker)

    assert 0 < before < CONTEXT
    assert 512 * MB <= after - before < 600 * MB


def test_of_two_processes_each_has_its_own() -> None:
    nvml = Nvml()
    with cards.taking() as small, cards.taking() as large:
        large.take(1024 * MB)
        _told(nvml, small)
        vram = nvml.read({small.pid: "cuda:0", large.pid: "cuda:0"}).vram

    assert vram[large.pid] - vram[small.pid] >= 1000 * MB


def test_free_memory_goes_down_and_comes_back() -> None:
    nvml = Nvml()
    with cards.taking() as taker:
        before = nvml.read({taker.pid: "cuda:0"}).free["cuda:0"]
        taker.take(1024 * MB)
        during = nvml.read({taker.pid: "cuda:0"}).free["cuda:0"]
    assert before - during >= 900 * MB
    eventually(lambda: nvml.read({taker.pid: "cuda:0"}).free["cuda:0"] - during >= 900 * MB)


def test_a_gpu_by_its_uuid_is_the_one_by_its_index() -> None:
    import pynvml

    pynvml.nvmlInit()
    uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
    pynvml.nvmlShutdown()

    with capture_logs() as said:
        read = Nvml().read({1: "cuda:0", 2: f"cuda:{uuid}"})

    assert abs(read.free["cuda:0"] - read.free[f"cuda:{uuid}"]) < 100 * MB
    assert not said


def test_throttling_can_be_asked() -> None:
    """Whether a GPU is throttled just now nobody can know; that it can be asked shows in the silence."""
    with capture_logs() as said:
        reading = Nvml().read({os.getpid(): "cuda:0"})

    assert reading.throttled <= {"cuda:0"}
    assert not [entry for entry in said if entry["figure"] == "throttling"]


def test_a_gpu_that_is_not_there_is_said_once() -> None:
    nvml = Nvml(retry_s=0.0)
    with capture_logs() as said:
        readings = [nvml.read({os.getpid(): "cuda:63"}) for _ in range(3)]

    assert readings == [Reading()] * 3
    assert len(said) == 1


def test_asked_on_a_thread() -> None:
    """To open the library takes seconds on some machines: the first answers may be late."""
    gpus = Gpus()
    assert eventually(lambda: gpus.read({os.getpid(): "cuda:0"}).free, 60)["cuda:0"] > 0
