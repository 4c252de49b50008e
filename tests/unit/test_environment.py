"""The environment of workers: what it must have, what it must not inherit, and who has the last word."""

import os

import msgspec

from asrd_supervisor.config import PoolConfig
from asrd_supervisor.environment import worker_environment
from asrd_supervisor.systemd import ENVIRONMENT as MANAGER_VARIABLES

POOL = PoolConfig(device="cpu", workers=2, threads=1)
MALLOC = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def _with(**fields: object) -> dict[str, str]:
    return worker_environment(msgspec.structs.replace(POOL, **fields), {})


def test_a_worker_inherits_the_daemons_environment() -> None:
    found = worker_environment(POOL, {"PATH": "/bin", "LANG": "C.UTF-8"})

    assert (found["PATH"], found["LANG"]) == ("/bin", "C.UTF-8")


def test_what_systemd_says_to_the_daemon_is_not_for_workers() -> None:
    """A worker that holds the notify socket could report the daemon ready, or feed its watchdog."""
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS"} <= set(MANAGER_VARIABLES)
    found = worker_environment(POOL, dict.fromkeys(MANAGER_VARIABLES, "x") | {"NOTIFY": "y"})

    assert not set(found) & set(MANAGER_VARIABLES)
    assert found["NOTIFY"] == "y"


def test_a_hung_worker_can_be_made_to_show_its_stack_and_prints_at_once() -> None:
    found = worker_environment(POOL, {"PYTHONFAULTHANDLER": "", "PYTHONUNBUFFERED": ""})

    assert (found["PYTHONFAULTHANDLER"], found["PYTHONUNBUFFERED"]) == ("1", "1")


def test_another_interpreter_is_not_told_where_the_daemon_has_its_packages() -> None:
    ours = {
        "PYTHONHOME": "/a",
        "PYTHONPATH": "/b",
        "VIRTUAL_ENV": "/c",
        "PYTHONPLATLIBDIR": "lib",
        "LD_LIBRARY_PATH": "/d",
    }
    same = worker_environment(POOL, ours)
    other = worker_environment(msgspec.structs.replace(POOL, python="/opt/other/bin/python"), ours)
    own_word = msgspec.structs.replace(POOL, python="/opt/other/bin/python", env={"PYTHONPATH": "/mine"})

    assert ours.items() <= same.items()
    assert set(ours) & set(other) == {"LD_LIBRARY_PATH"}
    assert other["LD_LIBRARY_PATH"] == "/d"
    assert worker_environment(own_word, ours)["PYTHONPATH"] == "/mine"


def test_the_engine_is_told_for_what_goes_wrong_before_anything_else() -> None:
    assert _with(engine="whisperx")["ASRD_ENGINE"] == "whisperx"


def test_freed_memory_is_kept_at_hand() -> None:
    found = _with(allocator="throughput")

    assert (found["MALLOC_MMAP_MAX_"], found["MALLOC_ARENA_MAX"]) == ("0", "1")
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) > 1 << 30
    assert found["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


def test_or_given_back() -> None:
    found = _with(allocator="compact")

    assert int(found["MALLOC_TRIM_THRESHOLD_"]) < 1 << 20
    assert "MALLOC_MMAP_MAX_" not in found


def test_or_left_to_glibc() -> None:
    assert not [name for name in MALLOC if name in _with(allocator="default")]


def test_threads_are_those_of_the_pool() -> None:
    assert _with(threads=3)["OMP_NUM_THREADS"] == "3"
    assert worker_environment(POOL, {"OMP_NUM_THREADS": "64"})["OMP_NUM_THREADS"] == "1"


def test_no_hub_is_asked_unless_the_pool_says_so() -> None:
    offline, online = _with(offline=True), _with(offline=False)

    assert (offline["HF_HUB_OFFLINE"], offline["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert not {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} & set(online)


def test_nothing_is_reported_to_anybody() -> None:
    found = worker_environment(POOL, {"PYANNOTE_METRICS_ENABLED": "1"})

    assert (found["HF_HUB_DISABLE_TELEMETRY"], found["DO_NOT_TRACK"]) == ("1", "1")
    assert found["PYANNOTE_METRICS_ENABLED"] == "0"


def test_a_gpu_is_shared_by_bounded_caches() -> None:
    assert "CT2_CUDA_ALLOCATOR" not in _with(device="cpu")
    assert "CT2_CUDA_ALLOCATOR" not in _with(device="cuda", workers=1)
    several = _with(device="cuda", workers=2)
    assert (several["CT2_CUDA_ALLOCATOR"], several["CUDA_MODULE_LOADING"]) == ("cub_caching", "LAZY")
    assert "CUDA_MODULE_LOADING" not in _with(device="cpu")


def test_what_the_pool_sets_by_itself_has_the_last_word() -> None:
    pool = msgspec.structs.replace(
        POOL,
        env={"OMP_NUM_THREADS": "7", "HF_HUB_OFFLINE": "0", "MALLOC_ARENA_MAX": "9", "PATH": "/opt", "MINE": "1"},
    )
    found = worker_environment(pool, {"PATH": "/bin"})

    assert pool.env.items() <= found.items()


def test_the_environment_of_this_process_is_taken_by_default_and_left_alone() -> None:
    before = dict(os.environ)
    found = worker_environment(POOL)

    assert found["PATH"] == os.environ["PATH"]
    assert dict(os.environ) == before
