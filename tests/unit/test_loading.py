"""Why an engine could not be loaded: one line, and whether another device or another try may help."""

import pytest

from asrd_worker.engines.base import DeviceError, LoadError
from asrd_worker.engines.loading import first_line, load_error

GPU = "CUDA driver version is insufficient for CUDA runtime version"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one"), "one"),
        (ValueError("\n  one \ntwo\n"), "one "),
        (RuntimeError(), "RuntimeError"),
        (OSError(" \n"), "OSError"),
        (KeyError("name"), "'name'"),
    ],
)
def test_of_pages_the_first_line_and_of_nothing_the_kind(error: Exception, said: str) -> None:
    assert first_line(error) == said


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("x\nCUDA out of memory"), Exception("mkl_malloc: failed")],
    ids=["of-python", "in-the-second-line", "of-a-library"],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_may_be_free_again_so_the_error_stays_what_it_is(error: Exception, device: str) -> None:
    assert load_error(error, "m", device) is error


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_an_error_of_the_gpu_names_it_so_that_another_device_is_tried(device: str) -> None:
    found = load_error(RuntimeError(f"{GPU}\nmore"), "m on it", device, 3, hint="; use another")

    assert isinstance(found, DeviceError)
    assert found.device == "cuda:3"
    assert str(found) == f"cannot load m on it: {GPU}; use another"


@pytest.mark.parametrize(
    ("text", "device"),
    [(GPU, "cpu"), ("no such file", "cuda"), ("no such file\nmade for CUDA", "cuda")],
    ids=["a-cpu-pool", "of-the-model", "by-the-way"],
)
def test_all_else_is_the_models_and_mends_itself_nowhere(text: str, device: str) -> None:
    found = load_error(RuntimeError(text), "m", device)

    assert type(found) is LoadError
    assert str(found) == f"cannot load m: {first_line(RuntimeError(text))}"
