"""The real pynvml against a driver made of C: every figure, every way not to have it, and what is said of that."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.fake_nvml import FakeNvml, asker, compiler, error, gpu, hang, part, process

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler to make a driver")
pytest.importorskip("pynvml", reason="needs nvidia-ml-py")

MB = 1 << 20
A, B = "GPU-aaaa-1111", "GPU-bbbb-2222"

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 4, 9, 15

PROCESSES = "nvmlDeviceGetComputeRunningProcesses"
MEMORY = "nvmlDeviceGetMemoryInfo"
REASONS = "nvmlDeviceGetCurrentClocksEventReasons"


class Answer(msgspec.Struct):
    """What the driver was understood to say."""

    vram: dict[int, int]
    free: dict[str, int]
    throttled: list[str]
    said: list[str]
    imported: bool


class Asker:
    """A process with pynvml in it."""

    def __init__(self, environ: dict[str, str]) -> None:
        command = [sys.executable, str(asker.__file__)]
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, workers: dict[int, str], who: str = "nvml") -> Answer:
        """What it reads now."""
        assert self._process.stdin
        assert self._process.stdout
        question = {"ask": who, "workers": {str(pid): device for pid, device in workers.items()}}
        self._process.stdin.write(msgspec.json.encode(question) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Answer, strict=False)

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> int:
        """End it; its exit code."""
        self._process.communicate(timeout=10)
        return self._process.returncode


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    return FakeNvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library: FakeNvml) -> FakeNvml:
    """With one idle GPU."""
    library.says(gpu(A, free=900 * MB, used=100 * MB))
    return library


@pytest.fixture
def asks(driver: FakeNvml) -> Iterator[Asker]:
    with Asker(driver.environ()) as asking:
        yield asking


def test_memory_of_each_worker_and_of_its_gpu(driver: FakeNvml, asks: Asker) -> None:
    """Each by its own id on its own GPU; a worker with no CUDA context yet has none, strangers are left out."""
    driver.says(
        gpu(A, free=10 * MB),
        gpu(B, free=20 * MB),
        process(A, 11, 1 * MB),
        process(A, 12, 2 * MB),
        process(A, 99, 9 * MB),
        process(B, 21, 3 * MB),
    )

    answer = asks.ask({11: "cuda:0", 12: "cuda:0", 13: "cuda:0", 21: "cuda:1"})

    assert answer.vram == {11: 1 * MB, 12: 2 * MB, 13: 0, 21: 3 * MB}
    assert answer.free == {"cuda:0": 10 * MB, "cuda:1": 20 * MB}
    assert (answer.throttled, answer.said) == ([], [])


def test_figures_are_of_now(driver: FakeNvml, asks: Asker) -> None:
    for used in (3 * MB, 5 * MB):
        driver.says(gpu(A, free=100 * MB - used), process(A, 11, used))
        answer = asks.ask({11: "cuda:0"})
        assert (answer.vram, answer.free) == ({11: used}, {"cuda:0": 100 * MB - used})


def test_a_process_in_two_parts_of_a_gpu_has_the_sum(driver: FakeNvml, asks: Asker) -> None:
    driver.says(gpu(A), process(A, 11, 1 * MB), process(A, 11, 2 * MB))

    assert asks.ask({11: "cuda:0"}).vram == {11: 3 * MB}


@pytest.mark.parametrize(
    ("bits", "slowed"),
    [
        (0x01, False),  # idle
        (0x02, False),  # clocks set by the operator
        (0x04, True),  # power cap
        (0x08, True),  # the hardware
        (0x10, False),  # sync boost
        (0x20, True),  # heat, by the driver
        (0x40, True),  # heat, by the hardware
        (0x80, True),  # power brake
        (0x100, False),  # clocks set for the display
        (0x121, True),
    ],
)
def test_throttled_by_heat_or_power(driver: FakeNvml, asks: Asker, bits: int, slowed: bool) -> None:
    driver.says(gpu(A, reasons=bits), gpu(B))

    assert asks.ask({11: "cuda:0", 21: "cuda:1"}).throttled == (["cuda:0"] if slowed else [])


def test_the_constants_are_those_of_pynvml() -> None:
    import pynvml

    from asrd_supervisor.probes import nvml

    names = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    for family in ("nvmlClocksEventReason", "nvmlClocksThrottleReason"):
        assert sum(getattr(pynvml, family + name) for name in names) == nvml.THROTTLED


# --- without figures by process ---------------------------------------------------------------------------------------


def test_all_of_a_gpu_that_is_one_workers_alone(driver: FakeNvml, asks: Asker) -> None:
    driver.says(gpu(A, used=700 * MB), process(A, 11, None), process(A, 11, None, "graphics"))

    answer = asks.ask({11: "cuda:0"})

    assert (answer.vram, answer.said) == ({11: 700 * MB}, [])


@pytest.mark.parametrize(
    ("others", "workers"),
    [
        ([process(A, 99, None)], {11: "cuda:0"}),
        ([process(A, 99, None, "graphics")], {11: "cuda:0"}),
        ([process(A, 12, None)], {11: "cuda:0", 12: "cuda:0"}),
        ([], {11: "cuda:0", 12: "cuda:0"}),
        ([process(A, 12, None)], {11: "cuda:0", 12: f"cuda:{A}"}),
        ([error("nvmlDeviceGetGraphicsRunningProcesses", NO_PERMISSION)], {11: "cuda:0"}),
    ],
    ids=["stranger", "display", "two workers", "one is loading", "two names", "the display is secret"],
)
def test_unknown_on_a_gpu_that_is_shared(
    driver: FakeNvml, asks: Asker, others: list[str], workers: dict[int, str]
) -> None:
    driver.says(gpu(A, free=5 * MB, used=700 * MB), process(A, 11, None), *others)

    answers = [asks.ask(workers) for _ in range(2 * asker.PATIENCE)]

    assert all(11 not in answer.vram for answer in answers)
    assert all(answer.free["cuda:0"] == 5 * MB for answer in answers)
    said = [line for answer in answers for line in answer.said]
    assert sum(line.startswith("a figure is unknown cuda:0 memory of each worker") for line in said) == 1


def test_ids_of_another_namespace_mean_unknown_and_not_nothing(driver: FakeNvml, asks: Asker) -> None:
    """Said once, but not at once: a worker that loads its model is not listed either."""
    driver.says(gpu(A, free=5 * MB, used=700 * MB), process(A, 4711, 600 * MB))

    answers = [asks.ask({11: "cuda:0"}) for _ in range(2 * asker.PATIENCE)]

    assert all(answer.vram == {} and answer.free == {"cuda:0": 5 * MB} for answer in answers)
    assert [len(answer.said) for answer in answers] == [0] * (asker.PATIENCE - 1) + [1] + [0] * asker.PATIENCE
    assert "lists none of the workers" in answers[asker.PATIENCE - 1].said[0]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "figure", "missing"),
    [
        (PROCESSES, "memory of each worker", {"vram": {}}),
        (MEMORY, "free memory", {"free": {}}),
        (REASONS, "throttling", {"throttled": []}),
    ],
)
@pytest.mark.parametrize(("code", "reason"), [(NOT_SUPPORTED, "Not Supported"), (NO_PERMISSION, "Permissions")])
def test_what_a_driver_does_not_tell_is_said_once(
    driver: FakeNvml, asks: Asker, function: str, figure: str, missing: dict[str, object], code: int, reason: str
) -> None:
    """The other figures are not touched by it. When it works again that is said, and so is the next failure."""
    all_is_well = [gpu(A, free=5 * MB, reasons=0x40), process(A, 11, 6 * MB)]
    known = {"vram": {11: 6 * MB}, "free": {"cuda:0": 5 * MB}, "throttled": ["cuda:0"]}

    def rounds(*lines: str, expected: dict[str, object]) -> list[str]:
        driver.says(*lines)
        answers = [asks.ask({11: "cuda:0"}) for _ in range(3)]
        assert all({**known, **expected} == {k: getattr(answer, k) for k in known} for answer in answers)
        return [line for answer in answers for line in answer.said]

    assert rounds(*all_is_well, expected={}) == []
    for _ in range(2):
        (said,) = rounds(*all_is_well, error(function, code), expected=missing)
        assert said.startswith(f"a figure is unknown cuda:0 {figure}") and reason in said
        assert rounds(*all_is_well, expected={}) == [f"a figure is known again cuda:0 {figure}"]


def test_a_gpu_is_lost_and_comes_back(driver: FakeNvml, asks: Asker) -> None:
    """The other one goes on; one sentence for the loss, one for the return."""
    figures = [gpu(A, free=5 * MB), gpu(B, free=6 * MB), process(A, 11, MB), process(B, 21, MB)]
    lost = [error(function, GPU_IS_LOST, A) for function in (PROCESSES, MEMORY, REASONS)]
    workers = {11: "cuda:0", 21: "cuda:1"}
    driver.says(*figures)
    before = asks.ask(workers)

    driver.says(*figures, *lost)
    during = [asks.ask(workers) for _ in range(3)]
    driver.says(*figures)
    after = [asks.ask(workers) for _ in range(3)]

    assert all((gone.vram, gone.free) == ({21: MB}, {"cuda:1": 6 * MB}) for gone in during)
    assert [line for gone in during for line in gone.said] == ["a figure is unknown cuda:0 all GPU is lost"]
    assert all((back.vram, back.free) == (before.vram, before.free) for back in after)
    assert [line for back in after for line in back.said] == ["a figure is known again cuda:0 all"]


def test_no_driver_and_then_one(driver: FakeNvml, asks: Asker) -> None:
    driver.says(gpu(A, free=5 * MB), error("nvmlInit", DRIVER_NOT_LOADED))
    without = [asks.ask({11: "cuda:0"}) for _ in range(3)]
    driver.says(gpu(A, free=5 * MB))
    with_it = asks.ask({11: "cuda:0"})

    assert all((answer.vram, answer.free) == ({}, {}) for answer in without)
    assert [line for answer in without for line in answer.said] == ["a figure is unknown cuda all Driver Not Loaded"]
    assert (with_it.free, with_it.said) == ({"cuda:0": 5 * MB}, ["a figure is known again cuda all"])


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a driver")
def test_no_library() -> None:
    with Asker(dict(os.environ)) as asking:
        answers = [asking.ask({11: "cuda:0"}) for _ in range(3)]

    assert [line for answer in answers for line in answer.said] == [
        "a figure is unknown cuda all NVML Shared Library Not Found"
    ]


def test_no_pynvml(tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text("raise ModuleNotFoundError('no pynvml here')")
    with Asker({**os.environ, "PYTHONPATH": str(tmp_path)}) as asking:
        answers = [asking.ask({11: "cuda:0"}) for _ in range(3)]

    assert [line for answer in answers for line in answer.said] == [
        "a figure is unknown cuda all nvidia-ml-py is not installed (no pynvml here)"
    ]


def test_a_driver_of_2021(tmp_path: Path) -> None:
    """It lists processes and says why clocks are low by functions of other names."""
    old = FakeNvml(tmp_path, old=True)
    old.says(gpu(A, free=5 * MB, reasons=0x20), process(A, 11, 6 * MB))
    with Asker(old.environ()) as asking:
        answer = asking.ask({11: "cuda:0"})

    assert (answer.vram, answer.free, answer.throttled) == ({11: 6 * MB}, {"cuda:0": 5 * MB}, ["cuda:0"])
    assert answer.said == []


# --- which GPU --------------------------------------------------------------------------------------------------------


def test_by_index_by_uuid_and_by_the_start_of_it(driver: FakeNvml, asks: Asker) -> None:
    driver.says(
        gpu(A, free=5 * MB), gpu(B, free=6 * MB), process(B, 1, MB), process(B, 2, 2 * MB), process(B, 3, 3 * MB)
    )

    answer = asks.ask({1: "cuda:1", 2: f"cuda:{B}", 3: "cuda:GPU-bb"})

    assert answer.vram == {1: MB, 2: 2 * MB, 3: 3 * MB}
    assert answer.free == {"cuda:1": 6 * MB, f"cuda:{B}": 6 * MB, "cuda:GPU-bb": 6 * MB}


@pytest.mark.parametrize("name", ["cuda:7", "cuda:GPU-cc", "cuda:GPU-", "cuda:MIG-cc", "cuda:none"])
def test_a_gpu_that_is_not_there(driver: FakeNvml, asks: Asker, name: str) -> None:
    driver.says(gpu(A, free=5 * MB), gpu(B), process(A, 11, MB))

    answers = [asks.ask({11: "cuda:0", 12: name}) for _ in range(3)]

    assert all((answer.vram, answer.free) == ({11: MB}, {"cuda:0": 5 * MB}) for answer in answers)
    assert [len(answer.said) for answer in answers] == [1, 0, 0]


def test_a_part_of_a_gpu_has_its_own_memory_and_the_clocks_of_the_whole(driver: FakeNvml, asks: Asker) -> None:
    driver.says(gpu(B), gpu(A, free=9 * MB, reasons=0x40), part("MIG-1", 1, free=5 * MB), process("MIG-1", 11, MB))

    answer = asks.ask({11: "cuda:MIG-1"})

    assert (answer.vram, answer.free, answer.throttled) == ({11: MB}, {"cuda:MIG-1": 5 * MB}, ["cuda:MIG-1"])
    assert answer.said == []


# --- a driver that hangs ----------------------------------------------------------------------------------------------


def test_a_driver_that_hangs_holds_nobody_up(driver: FakeNvml, asks: Asker) -> None:
    """Not the sample, which waits for a moment and no longer, and not the end of the process."""
    working = [gpu(A, free=5 * MB), process(A, 11, MB)]
    driver.says(*working)
    assert asks.ask({11: "cuda:0"}, "gpus").vram == {11: MB}

    driver.says(*working, hang(MEMORY, 60))
    begun = time.monotonic()
    hung = [asks.ask({11: "cuda:0"}, "gpus") for _ in range(20)]
    assert time.monotonic() - begun < 10
    assert all((answer.vram, answer.free) == ({}, {}) for answer in hung)
    assert not (hung[0].said or hung[1].said), "opening the library may be slow"
    assert [line for answer in hung for line in answer.said] == [
        "a figure is unknown cuda all the driver does not answer"
    ]
    assert asks.close() == 0


def test_a_driver_that_answers_again(driver: FakeNvml, asks: Asker) -> None:
    """What it brings late is old, and dropped."""
    driver.says(gpu(A, free=5 * MB), process(A, 11, MB), hang(MEMORY, 60))
    assert not any(asks.ask({11: "cuda:0"}, "gpus").vram for _ in range(4))

    driver.says(gpu(A, free=5 * MB), process(A, 11, 2 * MB))
    answers = []
    while not answers or not answers[-1].vram:
        answers.append(asks.ask({11: "cuda:0"}, "gpus"))

    assert answers[-1].vram == {11: 2 * MB}
    assert answers[-1].said[-1] == "a figure is known again cuda all"


def test_pynvml_is_not_imported_for_workers_on_a_cpu(asks: Asker) -> None:
    assert not asks.ask({11: "cpu"}, "gpus").imported
    assert asks.ask({11: "cuda:0"}, "gpus").imported
