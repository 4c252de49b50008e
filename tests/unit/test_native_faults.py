"""Errors of native libraries, told apart by their texts: what the caller is told, and whether the process goes on."""

from collections.abc import Iterator

import pytest

from asrd_protocol import link
from asrd_protocol.faults import Blame, Code, Fault
from asrd_worker.engines.base import EngineFault, LoadError, settings_of
from asrd_worker.failures import Failure, failure_of
from support.bare_worker import BareWorker, working

NO_MEMORY = [
    "CUDA failed with error out of memory",
    "cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED",
    "mkl_malloc: failed to allocate memory",
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB",
    "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
]
POISONED = [
    "CUDA failed with error an illegal memory access was encountered",
    "CUDA failed with error unspecified launch failure",
    "CUDA error: device-side assert triggered",
    "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED",
    "cuBLAS failed with status CUBLAS_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "Library libcublas.so.12 is not found or cannot be loaded",
]
HARMLESS = ["No position encodings are defined for positions >= 448", "no luck", ""]


@pytest.fixture
def worker() -> Iterator[BareWorker]:
    """A worker that is warm."""
    with working() as worker:
        yield worker.ready()


@pytest.mark.parametrize("text", NO_MEMORY)
def test_memory_that_ran_out_is_the_hosts_and_another_worker_may_have_more(text: str) -> None:
    fault, leave = failure_of(RuntimeError(text))

    assert fault == Fault.of(Code.OUT_OF_MEMORY, f"the worker has no memory for this job: {text}")
    assert fault.blame is Blame.HOST
    assert fault.retry
    assert leave


@pytest.mark.parametrize("text", POISONED)
def test_after_an_error_of_cuda_the_process_is_good_for_nothing(text: str) -> None:
    fault, leave = failure_of(RuntimeError(text))

    assert fault == Fault.of(Code.ENGINE_ERROR, f"the engine failed: RuntimeError: {text}")
    assert fault.blame is Blame.WORKER
    assert fault.retry
    assert leave


@pytest.mark.parametrize("text", HARMLESS)
def test_any_other_error_is_of_the_step_alone(text: str) -> None:
    assert failure_of(RuntimeError(text)) == Failure(
        Fault.of(Code.ENGINE_ERROR, f"the engine failed: RuntimeError: {text}"), False
    )


def test_only_native_errors_are_judged_by_their_text() -> None:
    """A caller's prompt may be about CUDA."""
    _, leave = failure_of(ValueError("bad prompt 'CUDA out of memory'"))
    assert not leave


class _OutOfMemory(RuntimeError):
    """As torch has one."""


def test_an_error_of_a_kind_of_its_own_is_native_too() -> None:
    assert failure_of(_OutOfMemory("CUDA out of memory")).fault.code is Code.OUT_OF_MEMORY


@pytest.mark.parametrize("leave", [False, True])
def test_what_an_engine_has_judged_stays_as_it_is(leave: bool, capsys: pytest.CaptureFixture[str]) -> None:
    fault = Fault.of(Code.BAD_OPTION, "CUDA out of memory")

    assert failure_of(EngineFault(fault, leave=leave)) == Failure(fault, leave)
    assert capsys.readouterr().err == ""


def test_a_surprise_leaves_its_traceback_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    def innermost() -> None:
        raise RuntimeError("no luck")

    try:
        innermost()
    except RuntimeError as error:
        failure_of(error)
    said = capsys.readouterr().err
    assert "in innermost" in said
    assert "RuntimeError: no luck" in said


@pytest.mark.parametrize(
    ("text", "code", "leave"),
    [
        (NO_MEMORY[0], Code.OUT_OF_MEMORY, True),
        (POISONED[0], Code.ENGINE_ERROR, True),
        (POISONED[3], Code.ENGINE_ERROR, True),
        (HARMLESS[0], Code.ENGINE_ERROR, False),
    ],
)
def test_the_errors_of_any_engine_are_told_apart(worker: BareWorker, text: str, code: Code, leave: bool) -> None:
    message, _ = worker.run(1, script=[{"do": "fail", "message": text}])[-1]

    assert isinstance(message, link.StepFailed)
    assert (message.fault.code, message.leave) == (code, leave)
    assert text in message.fault.message


# --- at the first inference of a model --------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (POISONED[-1], LoadError, "pip install 'nvidia-cublas-cu12"),
        ("CUDA driver version is insufficient for CUDA runtime version", LoadError, "0 GPU\\(s\\), use device = 'cpu'"),
        (NO_MEMORY[0], RuntimeError, "out of memory"),
        (NO_MEMORY[1], RuntimeError, "ALLOC_FAILED"),
    ],
)
def test_only_memory_may_be_there_at_the_next_try(text: str, kind: type[Exception], said: str) -> None:
    from asrd_worker.engines.faster_whisper import FasterWhisper

    class Incomplete(FasterWhisper):
        """What is missing is missed at the first inference."""

        def canary(self) -> str:
            raise RuntimeError(text)

    engine = Incomplete(settings_of(FasterWhisper, {"model": "tiny.en"}), "default/0.1")
    with pytest.raises(kind, match=said):
        engine.warm_up()
