"""What "auto" comes to: by the cores, the memory and the device that there are."""

import os
from pathlib import Path

import msgspec
import pytest

from asrd_supervisor import sizing
from asrd_supervisor.config import Config, JournalConfig, PoolConfig
from asrd_supervisor.core.policy import Duration, RecyclePolicy, RetryPolicy

GB = 10**9


def _resolved(memory: int = 64 * GB, **fields: object) -> PoolConfig:
    pool = msgspec.structs.replace(PoolConfig(device="cpu"), **fields)
    return sizing.resolve(Config(pools={"p": pool}), memory).pools["p"]


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "cores", lambda: 4)


def test_the_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert sizing.cores() == 1
        assert _resolved().workers == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert sizing.cores() == len(allowed)


@pytest.mark.usefixtures("four_cores")
def test_one_worker_with_one_thread_for_each_core() -> None:
    pool = _resolved()

    assert (pool.workers, pool.threads, pool.recycle.order) == (4, 1, "start-first")


@pytest.mark.usefixtures("four_cores")
def test_as_many_as_memory_holds() -> None:
    """Tiny takes about 0.4 GB a worker, and six tenths of what is free is taken."""
    assert [_resolved(memory=m).workers for m in (0, GB // 2, GB, 2 * GB, 4 * GB)] == [1, 1, 1, 3, 4]
    assert [_resolved(memory=m, model="large-v3").workers for m in (GB, 22 * GB, 64 * GB)] == [1, 2, 4]


@pytest.mark.usefixtures("four_cores")
def test_the_cores_are_shared_out_to_fewer_workers() -> None:
    assert [_resolved(workers=n).threads for n in (1, 2, 3, 4, 9)] == [4, 2, 1, 1, 1]
    assert _resolved(memory=GB).threads == 4
    assert _resolved(workers=2, threads=3).threads == 3


@pytest.mark.usefixtures("four_cores")
def test_a_number_of_workers_is_taken_at_its_word() -> None:
    assert _resolved(memory=GB, workers=9).workers == 9


@pytest.mark.usefixtures("four_cores")
def test_a_replacement_starts_first_where_there_is_memory_for_one_more() -> None:
    assert _resolved(memory=4 * GB, workers=2).recycle.order == "start-first"
    assert _resolved(memory=GB, workers=1).recycle.order == "stop-first"
    assert _resolved(memory=GB, workers=1, recycle=RecyclePolicy(order="start-first")).recycle.order == "start-first"
    assert _resolved(workers=1, recycle=RecyclePolicy(order="stop-first")).recycle.order == "stop-first"


@pytest.mark.usefixtures("four_cores")
def test_one_worker_on_a_gpu_and_never_two_copies_at_once() -> None:
    pool = _resolved(device="cuda")

    assert (pool.device, pool.workers, pool.recycle.order) == ("cuda", 1, "stop-first")


def test_the_gpu_is_taken_if_there_is_one() -> None:
    expected = "cuda" if Path("/dev/nvidia0").exists() else "cpu"

    assert _resolved(device="auto").device == expected


@pytest.mark.parametrize(
    ("device", "wanted", "got"),
    [
        ("cpu", "default", "int8"),
        ("cuda", "default", "float16"),
        ("cpu", "int8_float32", "int8_float32"),
        ("cpu", "int16", "int16"),
        ("cpu", "auto", "auto"),
        ("cuda", "int8_float16", "int8_float16"),
        ("cuda", "bfloat16", "bfloat16"),
    ],
)
def test_compute_types(device: str, wanted: str, got: str) -> None:
    assert _resolved(device=device, compute_type=wanted).compute_type == got


def test_what_is_not_automatic_stays() -> None:
    pool = _resolved(workers=3, threads=2, compute_type="float32", model="x", recycle=RecyclePolicy(max_jobs=3))

    assert (pool.workers, pool.threads, pool.compute_type, pool.recycle.max_jobs) == (3, 2, "float32", 3)


def test_the_first_pool_is_the_default_one() -> None:
    pools = {"b": PoolConfig(), "a": PoolConfig()}

    assert sizing.resolve(Config(pools=pools), GB).default_pool == "b"
    assert sizing.resolve(Config(pools=pools, default_pool="a"), GB).default_pool == "a"


# --- memory of a worker -----------------------------------------------------------------------------------------------


def test_a_model_directory_is_weighed(tmp_path: Path) -> None:
    empty = sizing.worker_bytes(str(tmp_path))
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(10 * GB)
    (tmp_path / "folder").mkdir()

    assert sizing.worker_bytes(str(tmp_path)) == empty + 20 * GB


def test_a_named_model_is_looked_up() -> None:
    tiny, large = sizing.worker_bytes("tiny.en"), sizing.worker_bytes("large-v3")

    assert tiny < sizing.worker_bytes("base") < sizing.worker_bytes("small.en") < sizing.worker_bytes("medium") < large
    assert sizing.worker_bytes("Systran/faster-whisper-large-v3") == large
    assert tiny < sizing.worker_bytes("org/who-knows") < large


def test_no_model_weighs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = sizing.worker_bytes("")
    (tmp_path / "large").write_bytes(bytes(1_000_000))
    monkeypatch.chdir(tmp_path)

    assert sizing.worker_bytes("") == bare < sizing.worker_bytes("tiny")


@pytest.mark.parametrize("model", ["", "x" * 5000, "a\0b", "/root/../dev/null/x"])
def test_a_name_that_no_file_has_is_no_reason_to_fail_here(model: str) -> None:
    """The worker says what is wrong with it."""
    assert sizing.worker_bytes(model) > 0


# --- what comes of it -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("four_cores")
def test_what_is_odd_is_said() -> None:
    crowd = _resolved(workers=4, threads=2)
    busy = _resolved(recycle=RecyclePolicy(max_age=Duration(59)))
    fine = _resolved(recycle=RecyclePolicy(max_age=Duration(0)))

    said = sizing.warnings(Config(pools={"crowd": crowd, "busy": busy, "fine": fine}))
    assert len(said) == 2
    assert said[0].startswith("pools.crowd: 4 workers with 2 threads each are more than 4 cores")
    assert said[1].startswith("pools.busy.recycle.max_age: under a minute")


@pytest.mark.usefixtures("four_cores")
def test_pools_that_fit_in_one_by_one_may_be_too_many_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "memory_bytes", lambda: 20 * GB)
    one = _resolved(workers=2, model="large-v3")
    assert sizing.warnings(Config(pools={"one": one})) == []
    (said,) = sizing.warnings(Config(pools={"one": one, "other": one}))
    assert "there are 20.0 GB" in said
    on_gpu = _resolved(device="cuda", workers=2, model="large-v3")
    assert sizing.warnings(Config(pools={"one": one, "other": on_gpu})) == []


@pytest.mark.usefixtures("four_cores")
def test_a_gpu_does_its_work_on_other_cores() -> None:
    assert sizing.warnings(Config(pools={"p": _resolved(device="cuda", workers=3, threads=4)})) == []


def test_the_engine_is_told_what_the_pool_says_and_its_options_have_the_last_word() -> None:
    pool = _resolved(workers=1, threads=2, device_index=1, options={"revision": "abc", "model": "other"})

    assert sizing.settings(pool) == {
        "model": "other",
        "device": "cpu",
        "device_index": 1,
        "compute_type": "int8",
        "threads": 2,
        "offline": True,
        "revision": "abc",
    }


def test_the_core_decides_by_the_same_figures() -> None:
    config = Config(pools={"a": PoolConfig(device="cpu", workers=2), "b": PoolConfig(device="cuda")})
    policy = sizing.policy(sizing.resolve(config, 64 * GB))

    assert [(pool.name, pool.workers, pool.start_first) for pool in policy.pools] == [("a", 2, True), ("b", 1, False)]
    assert (policy.default_pool, policy.drain_timeout) == ("a", 60)
    assert policy.queue == config.queue
    assert {pool.retries for pool in policy.pools} == {config.retries}
    assert policy.durable and all(pool.durable for pool in policy.pools)


def test_a_pool_may_have_retries_of_its_own() -> None:
    own = RetryPolicy(attempts=1)
    config = Config(pools={"a": PoolConfig(device="cpu", retries=own), "b": PoolConfig(device="cpu")})

    policy = sizing.policy(sizing.resolve(config, 64 * GB))
    assert [pool.retries for pool in policy.pools] == [own, config.retries]


def test_without_durability_nothing_is_kept() -> None:
    config = Config(journal=JournalConfig(durability="none"))
    policy = sizing.policy(sizing.resolve(config, 64 * GB))

    assert not policy.durable and not any(pool.durable for pool in policy.pools)
