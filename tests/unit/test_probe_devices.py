"""Which GPU a worker means by its index."""

import pytest

from asrd_supervisor.probes.devices import device_name


@pytest.mark.parametrize(
    ("visible", "index", "name"),
    [
        (None, 0, "cuda:0"),
        (None, 3, "cuda:3"),
        ("0", 0, "cuda:0"),
        ("2,0", 0, "cuda:2"),
        ("2,0", 1, "cuda:0"),
        ("2, 0 ", 1, "cuda:0"),
        ("02", 0, "cuda:2"),
        ("2,0", 2, "cuda:none"),
        ("", 0, "cuda:none"),
        ("-1", 0, "cuda:none"),
        ("NoDevFiles", 0, "cuda:none"),
        ("1,-1,2", 0, "cuda:1"),
        ("1,-1,2", 1, "cuda:none"),
        ("GPU-5f6e", 0, "cuda:GPU-5f6e"),
        ("GPU-5f6e,GPU-77", 1, "cuda:GPU-77"),
        ("MIG-12ab", 0, "cuda:MIG-12ab"),
    ],
)
def test_the_index_counts_what_the_environment_shows(visible: str | None, index: int, name: str) -> None:
    env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    assert device_name("cuda", index, env) == name


def test_a_cpu_is_a_cpu() -> None:
    assert device_name("cpu", 3, {"CUDA_VISIBLE_DEVICES": "1"}) == "cpu"
