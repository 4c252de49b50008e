"""The devices of a pool: what "auto" comes to, what its GPUs are called, and what a worker on one of them is told."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from asrd_supervisor import placing, sizing
from asrd_supervisor.config import Config, ConfigError, PoolConfig
from asrd_supervisor.probes.seen import Seen

GB = 10**9
NONE = Seen(0, "there is no driver of NVIDIA")


class Driver:
    """Answers like the one of a machine with so many GPUs, and remembers what it was asked with."""

    def __init__(self, gpus: int) -> None:
        self.asked: list[Mapping[str, str]] = []
        self._seen = Seen(gpus) if gpus else NONE

    def __call__(self, environ: Mapping[str, str]) -> Seen:
        self.asked.append(environ)
        return self._seen


def settled(gpus: int, **fields: Any) -> placing.Settled:
    """A pool on a machine with so many GPUs."""
    return placing.settle(PoolConfig(**fields), "pools.p", Driver(gpus))


def resolved(gpus: int, **pools: PoolConfig) -> sizing.Resolved:
    """All of a configuration there."""
    return sizing.resolution(Config(pools=pools), 64 * GB, Driver(gpus))


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


# --- which devices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "fields", "device", "index"),
    [
        (0, {}, "cpu", 0),
        (1, {}, "cuda", 0),
        (3, {}, "cuda", [0, 1, 2]),
        (0, {"device_index": [1, 2]}, "cpu", 0),
        (3, {"device_index": 2}, "cuda", 2),
        (3, {"device_index": [2, 0, 2]}, "cuda", [2, 0]),
        (3, {"device_index": [1, 1]}, "cuda", 1),
        (2, {"device": "cuda"}, "cuda", [0, 1]),
        (0, {"device": "cuda"}, "cuda", 0),
        (0, {"device": "cuda", "device_index": [0, 1]}, "cuda", [0, 1]),
        (2, {"device": "cpu"}, "cpu", 0),
        (2, {"device": "cpu", "device_index": [1, 0]}, "cpu", 1),
    ],
)
def test_devices(gpus: int, fields: dict[str, Any], device: str, index: int | list[int]) -> None:
    pool = settled(gpus, **fields).pool

    assert (pool.device, pool.device_index) == (device, index)


@pytest.mark.parametrize(
    "fields", [{"device": "cpu"}, {"device": "cuda", "device_index": 0}, {"device": "cuda", "device_index": [0, 1]}]
)
def test_the_driver_is_left_alone_where_nothing_is_automatic(fields: dict[str, Any]) -> None:
    driver = Driver(0)
    placing.settle(PoolConfig(**fields), "pools.p", driver)

    assert driver.asked == []


def test_an_engine_that_has_no_use_for_a_gpu_gets_none() -> None:
    """It would refuse it, and the pool never start."""
    settled = placing.settle(PoolConfig(engine="diarize-lite"), "pools.p", Driver(2))

    assert (settled.pool.device, settled.pool.device_index) == ("cpu", 0)
    assert settled.notes == settled.warnings == []
    assert resolved(2, p=PoolConfig(engine="diarize")).config.pools["p"].device == "cuda"


def test_the_driver_is_asked_with_the_variables_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    driver = Driver(1)
    placing.settle(PoolConfig(env={"CUDA_VISIBLE_DEVICES": "1"}), "pools.p", driver)
    (asked,) = driver.asked

    assert (asked["CUDA_VISIBLE_DEVICES"], asked["CUDA_DEVICE_ORDER"]) == ("1", "PCI_BUS_ID")


def test_what_was_chosen_is_said() -> None:
    assert settled(0).notes == [f"pools.p: device is cpu, because {NONE.why}"]
    assert settled(1).notes == ["pools.p: device is cuda, with 1 GPU"]
    assert settled(2).notes == ["pools.p: device is cuda, with 2 GPUs"]
    assert settled(2, device="cpu").notes == []


def test_a_gpu_that_was_asked_for_and_cannot_be_had_is_a_warning_only() -> None:
    """It may come back: the workers find out, each time that they start."""
    assert settled(0, device="cuda").warnings == [f"pools.p: device is cuda, but {NONE.why}"]
    assert settled(1, device="cuda").warnings == settled(0).warnings == []


# --- how many workers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gpus", "fields", "workers"), [(1, {}, 1), (4, {}, 4), (4, {"device_index": [1, 3]}, 2)])
def test_one_worker_for_each_gpu(gpus: int, fields: dict[str, Any], workers: int) -> None:
    pool = resolved(gpus, p=PoolConfig(**fields)).config.pools["p"]

    assert (pool.workers, pool.recycle.order, pool.compute_type) == (workers, "stop-first", "float16")


def test_one_that_tells_speakers_apart_has_one_worker_for_all_of_them() -> None:
    pool = resolved(4, p=PoolConfig(engine="diarize")).config.pools["p"]

    assert (pool.workers, pool.device_index) == (1, [0, 1, 2, 3])


# --- what they are called ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visible", "index", "names"),
    [
        (None, [0, 2], {"cuda:0": 0, "cuda:2": 2}),
        ("3,1", [0, 1], {"cuda:3": 0, "cuda:1": 1}),
        ("GPU-aa,MIG-bb", [0, 1], {"cuda:GPU-aa": 0, "cuda:MIG-bb": 1}),
        ("3", [0, 1, 2], {"cuda:3": 0, "cuda:none": 1}),
        ("", 0, {"cuda:none": 0}),
    ],
)
def test_names_are_those_of_the_driver(visible: str | None, index: Any, names: dict[str, int]) -> None:
    env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    pool = PoolConfig(device="cuda", device_index=index, env=env)

    assert placing.names(pool) == names
    assert list(placing.names(pool)) == list(names), "the first one is where a worker goes that is told nothing"


def test_a_cpu_has_no_number() -> None:
    assert placing.names(settled(0).pool) == {"cpu": 0}


def test_pools_that_share_gpus_call_them_the_same() -> None:
    """Or they would not know of each other."""
    apart = PoolConfig(device="cuda", device_index=[0, 1], env={"CUDA_VISIBLE_DEVICES": "1,2"})
    pools = sizing.policy(resolved(3, a=PoolConfig(), b=apart).config).pools

    assert [pool.devices for pool in pools] == [("cuda:0", "cuda:1", "cuda:2"), ("cuda:1", "cuda:2")]


# --- what a worker is told --------------------------------------------------------------------------------------------


def told(device: str, *, light: bool = False, **fields: Any) -> dict[str, Any]:
    """What differs from what the worker on the first device is told."""
    pool = resolved(2, p=PoolConfig(**fields)).config.pools["p"]
    load = sizing.load(pool, Config())
    changed = placing.placed(load, pool, device, light=light)
    assert msgspec.structs.replace(changed, settings=load.settings) == load
    assert changed.settings.keys() == load.settings.keys()
    return {key: value for key, value in changed.settings.items() if value != load.settings[key]}


def test_the_index_is_as_the_worker_counts() -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": "7,3"}

    assert told("cuda:1") == {"device_index": 1}
    assert told("cuda:3", env=hidden) == {"device_index": 1}
    assert told("cuda:7", env=hidden) == {}


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({}, {"compute_type": "int8"}),
        ({"compute_type": "int8_float16"}, {"compute_type": "int8"}),
        ({"compute_type": "bfloat16"}, {"compute_type": "int8"}),
        ({"compute_type": "int8_float32"}, {}),
        ({"compute_type": "float32", "options": {"batch_size": 8}}, {}),
        ({"compute_type": "float32", "options": {"batch_size": 16}}, {"batch_size": 8}),
        ({"compute_type": "float32", "options": {"batch_size": "auto"}}, {}),
        ({"compute_type": "float32", "device_index": 1}, {"device_index": 0}),
    ],
)
def test_on_the_cpu_it_is_told_what_a_cpu_can_do(fields: dict[str, Any], changed: dict[str, Any]) -> None:
    assert told("cpu", **fields) == {"device": "cpu", **changed}


def test_in_int8_on_the_gpu() -> None:
    assert told("cuda:1", light=True) == {"device_index": 1, "compute_type": placing.LIGHT}
    assert told("", light=True) == {"compute_type": placing.LIGHT}


@pytest.mark.parametrize(
    ("gpus", "fields", "ways"),
    [
        (1, {}, ()),
        (1, {"fallback": "cpu"}, ("cpu",)),
        (1, {"fallback": ["cpu", "int8"]}, ("int8", "cpu")),
        (1, {"fallback": ["int8", "cpu"], "compute_type": "int8_float16"}, ("cpu",)),
        (0, {"fallback": ["int8", "cpu"]}, ()),
    ],
)
def test_fallbacks(gpus: int, fields: dict[str, Any], ways: tuple[str, ...]) -> None:
    """From what takes less to what is elsewhere, and none that changes nothing."""
    assert placing.fallbacks(resolved(gpus, p=PoolConfig(**fields)).config.pools["p"]) == ways


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", placing.HALVES)
def test_a_cpu_that_was_asked_for_by_name_is_not_asked_for_half_precision(wanted: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        resolved(1, fast=PoolConfig(device="cpu", compute_type=wanted))

    said = str(refused.value)
    assert said.startswith(f"pools.fast.compute_type: a CPU does not compute in {wanted}; use 'int8'")
    assert "device = 'auto'" in said


@pytest.mark.parametrize("wanted", placing.HALVES)
def test_where_the_cpu_has_come_of_auto_int8_takes_its_place_and_that_is_said(wanted: Any) -> None:
    """One configuration for machines with a GPU and for those without."""
    there, here = (resolved(gpus, p=PoolConfig(compute_type=wanted)) for gpus in (1, 0))

    assert (there.config.pools["p"].compute_type, there.warnings) == (wanted, [])
    assert here.config.pools["p"].compute_type == "int8"
    assert here.warnings == [f"pools.p.compute_type: a CPU does not compute in {wanted}; int8 takes its place"]


@pytest.mark.parametrize("wanted", ["default", "auto", "int8", "int8_float32", "int16", "float32"])
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_what_a_cpu_can_do_is_nothing_to_speak_of(device: Any, wanted: Any) -> None:
    assert resolved(0, p=PoolConfig(device=device, compute_type=wanted)).warnings == []


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_while_a_pool_runs_it_is_known_where(device: Any) -> None:
    """Whoever sets it is there to read the answer."""
    pool = resolved(0, p=PoolConfig(device=device)).config.pools["p"]

    with pytest.raises(ConfigError, match=r"^pools\.p\.compute_type: a CPU does not compute in float16; "):
        sizing.reset(pool, "pools.p", {"compute_type": "float16"})
    assert sizing.reset(pool, "pools.p", {"compute_type": "default"}).compute_type == "int8"
    assert sizing.reset(pool, "pools.p", {"compute_type": "float32"}).compute_type == "float32"


def test_on_a_gpu_all_of_them_can_be_set() -> None:
    pool = resolved(1, p=PoolConfig()).config.pools["p"]

    for wanted in placing.HALVES:
        assert sizing.reset(pool, "pools.p", {"compute_type": wanted}).compute_type == wanted


def test_too_many_windows_at_once_on_a_cpu() -> None:
    large = PoolConfig(options={"batch_size": 9})

    with pytest.raises(ConfigError, match=r"^pools\.p\.options\.batch_size: expected at most 8 on a CPU, got 9"):
        resolved(0, p=large)
    assert resolved(1, p=large).config.pools["p"].options == {"batch_size": 9}
    assert resolved(0, p=PoolConfig(options={"batch_size": 8})).warnings == []


@pytest.mark.parametrize("ways", ["int8", ["int8", "cpu"]])
def test_what_tells_speakers_apart_has_no_smaller_type(ways: Any) -> None:
    with pytest.raises(ConfigError, match=r"^pools\.p\.fallback: the engine 'diarize' has no type .* 'cpu' is what"):
        resolved(1, p=PoolConfig(engine="diarize", fallback=ways))
