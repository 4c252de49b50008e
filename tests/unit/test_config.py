"""The configuration: what it is without a file, what a file may say, and one sentence for each mistake."""

import datetime
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd_supervisor.config import Config, ConfigError, PoolConfig, decode, load
from asrd_supervisor.core.policy import Deadlines, Duration, QueuePolicy, RecyclePolicy, RestartPolicy, Size


def _decode(text: str) -> Config:
    return decode(tomllib.loads(text))


def _complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _decode(text)
    return str(caught.value)


# --- what is right ----------------------------------------------------------------------------------------------------


def test_no_file_is_one_pool_of_the_bundled_model() -> None:
    config = load(None)

    assert list(config.pools) == ["default"]
    pool = config.pools["default"]
    assert (pool.engine, pool.model, pool.device, pool.workers) == ("faster-whisper", "tiny.en", "auto", "auto")
    assert (pool.offline, pool.allocator, pool.threads) == (True, "throughput", 0)
    assert (pool.recycle.max_jobs, pool.recycle.order) == (200, "auto")
    assert (config.audio.max_s, config.audio.max_body) == (4 * 3600, 256 << 20)


def test_chunks_are_no_crumbs() -> None:
    assert "pools.default.split.chunk" in (said := _complaint("[pools.default.split]\nchunk = '9.9s'"))
    assert "10 s or more" in said
    assert _decode("[pools.default.split]\nchunk = 10").pools["default"].split.chunk == 10


def test_an_empty_file_is_no_file() -> None:
    assert decode({}) == load(None) == Config()


def test_each_pool_has_its_own_figures() -> None:
    config = _decode("""
        default_pool = "accurate"
        [pools.fast]
        workers = 4
        [pools.accurate]
        model = "/srv/large"
        device = "cuda"
        env = { CUDA_VISIBLE_DEVICES = "1" }
        [pools.accurate.recycle]
        max_jobs = 7
        [pools.accurate.deadlines]
        busy_factor = 2
    """)

    fast, accurate = config.pools["fast"], config.pools["accurate"]
    assert list(config.pools) == ["fast", "accurate"]
    assert (fast.workers, fast.recycle.max_jobs, fast.device) == (4, 200, "auto")
    assert (accurate.model, accurate.device, accurate.env) == ("/srv/large", "cuda", {"CUDA_VISIBLE_DEVICES": "1"})
    assert (accurate.recycle.max_jobs, accurate.deadlines.busy_factor) == (7, 2.0)
    assert accurate.deadlines.busy_floor == Deadlines().busy_floor


def test_the_options_of_an_engine_are_the_engines_affair() -> None:
    config = _decode("[pools.default.options]\nrevision = 'abc'\nat_load = [{ do = 'sleep', s = 1 }]")

    assert config.pools["default"].options == {"revision": "abc", "at_load": [{"do": "sleep", "s": 1}]}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30", 30), ("0.25", 0.25), ("0", 0), ('"45"', 45), ('"30s"', 30), ('"250ms"', 0.25), ('"5m"', 300),
     ('"5 min"', 300), ('"1.5h"', 5400), ('" 2d "', 172_800)],
)  # fmt: skip
def test_times(written: str, seconds: float) -> None:
    found = _decode(f"drain_timeout = {written}").drain_timeout

    assert (type(found), found) == (Duration, seconds)


@pytest.mark.parametrize(
    ("written", "size"),
    [("1024", 1024), ('"1024"', 1024), ('"10B"', 10), ('"3KB"', 3000), ('"512MB"', 512_000_000),
     ('"1.5 GB"', 1_500_000_000), ('"1KiB"', 1024), ('"2MiB"', 2 << 20), ('"2GiB"', 2 << 30)],
)  # fmt: skip
def test_sizes(written: str, size: int) -> None:
    found = _decode(f"[journal]\nballast = {written}").journal.ballast

    assert (type(found), found) == (Size, size)


# --- what is wrong ----------------------------------------------------------------------------------------------------

MISTAKES = {
    "[pools.fast]\nworkers = 0": "pools.fast.workers: expected `int` >= 1, got 0",
    "[pools.fast]\nworkers = 300": "pools.fast.workers: expected `int` <= 256, got 300",
    "[pools.fast]\nworkers = 'many'": "pools.fast.workers: expected a number or 'auto', got 'many'",
    "[pools.fast]\nworkers = 1.5": "pools.fast.workers: expected `int | str`, got 1.5",
    "[pools.fast]\ndevice = 'cdua'": (
        "pools.fast.device: expected one of 'auto', 'cpu', 'cuda', got 'cdua'; did you mean 'cuda'?"
    ),
    "[pools.fast]\noffline = 'no'": "pools.fast.offline: expected `bool`, got 'no'",
    "[pools.fast]\nmodle = 'x'": "pools.fast.modle: there is no such key; did you mean 'model'?",
    "[pools.fast]\nrecycle = 3": "pools.fast.recycle: expected a table, got 3",
    "[pools.fast.recycle]\nmax_jobs = -1": "pools.fast.recycle.max_jobs: expected `int` >= 0, got -1",
    "[pools.fast.recycle]\nmax_job = 1": "pools.fast.recycle.max_job: there is no such key; did you mean 'max_jobs'?",
    "[pools.fast.deadlines]\nkill = '2 sec'": (
        "pools.fast.deadlines.kill: expected a number or text such as '30s', got '2 sec'"
    ),
    "[pools.fast.env]\nA = 1": "pools.fast.env: expected `str`, got {'A': 1}",
    "[pools.fast.env]\n'A=B' = '1'": (
        "pools.fast.env: expected names without '=' and no zero bytes, got {'A=B': '1'}"
    ),
    '[pools.fast.env]\nA = "1\\u0000"': (
        "pools.fast.env: expected names without '=' and no zero bytes, got {'A': '1\\x00'}"
    ),
    '[pools.fast]\npython = "/bin/\\u0000"': "pools.fast.python: expected a path, got '/bin/\\x00'",
    "[pools.'a b']": "pools.a b: a pool's name has 1 to 32 letters, digits, '-' or '_'",
    f"[pools.{'x' * 33}]": f"pools.{'x' * 33}: a pool's name has 1 to 32 letters, digits, '-' or '_'",
    "pools = 1": "pools: expected one table for each pool, as in [pools.default]",
    "[pools]\nworkers = 2": "pools: expected one table for each pool, as in [pools.default]",
    "default_pool = 'defualt'": "default_pool: there is no pool 'defualt'; did you mean 'default'?",
    "drain_timeout = true": "drain_timeout: expected a number or text such as '30s', got True",
    "drain_timeout = -1": "drain_timeout: expected a number or text such as '30s', got -1",
    "drain_timeout = nan": "drain_timeout: expected a number or text such as '30s', got nan",
    "drain_timeout = inf": "drain_timeout: expected a number or text such as '30s', got inf",
    "drain_timeout = '0 sec'": "drain_timeout: expected a number or text such as '30s', got '0 sec'",
    "queue.max_jobs = 12:30:00": "queue.max_jobs: expected `int`, got datetime.time(12, 30)",
    "queue.max_bytes = '5MBit'": "queue.max_bytes: expected a number or text such as '512MB', got '5MBit'",
    "queue.max_jobs = 0": "queue.max_jobs: expected `int` >= 1, got 0",
    "drain_timeout = 0\n[audio]\nmax_body = 0": "audio.max_body: expected more than 0, got 0",
    "audio.max_s = '0s'": "audio.max_s: expected more than 0, got '0s'",
    "[pools.fast.deadlines]\nstart = 0": "pools.fast.deadlines.start: expected more than 0, got 0",
    "log.level = 'loud'": "log.level: expected one of 'debug', 'info', 'warning', 'error', got 'loud'",
    "log = []": "log: expected a table, got []",
    "jurnal = {}": "jurnal: there is no such key; did you mean 'journal'?",
    '"a\\nb" = 1': "a\nb: there is no such key",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_path_what_is_expected_and_what_was_found(text: str) -> None:
    assert _complaint(text) == MISTAKES[text]


@pytest.mark.parametrize("key", ["drain_timeout", "queue.max_bytes"])
def test_more_than_a_number_can_hold_is_a_mistake_too(key: str) -> None:
    said = _complaint(f"{key} = '{'9' * 400}'")

    assert said.startswith(f"{key}: expected a number or text such as")
    assert len(said) < 250, "what was found is shown in part"


def test_options_that_no_message_can_carry_are_refused_before_a_worker_starts() -> None:
    assert _complaint(f"[pools.a.options]\nx = {2**70}").startswith("pools.a.options: cannot be sent to a worker")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: No such file or directory$"):
        load(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match=r": Is a directory$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"workers = = 2", "line 1"),
        (b"\xff\xfe", "utf-8"),
        (b"a = " + b"[" * 100_000, "nested"),
        (b"[pools.fast]\nworker = 2", r"pools\.fast\.worker: there is no such key; did you mean 'workers'\?"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "asrd.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=rf"asrd\.toml: .*{said}"):
        load(path)


# --- whatever TOML can write ------------------------------------------------------------------------------------------

KEYS = sorted({
    field.encode_name
    for table in (Config, PoolConfig, RecyclePolicy, Deadlines, RestartPolicy, QueuePolicy)
    for field in msgspec.structs.fields(table)
})  # fmt: skip
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.from_regex(r"[0-9]{1,330}(\.[0-9]{1,3})?\s?(ms|s|m|h|d|B|KB|MiB)?", fullmatch=True)
    | st.sampled_from(["auto", "cpu", "default", "int8", "start-first", "info"])
    | st.datetimes()
    | st.just(datetime.time(1))
)
NAMES = st.sampled_from([*KEYS, "default", "fast"]) | st.text(max_size=10)
TABLES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))


@settings(deadline=None)
@given(st.dictionaries(NAMES, TABLES, max_size=5))
def test_any_tables_are_a_configuration_or_a_config_error(data: dict[str, Any]) -> None:
    _decode_or_complain(data)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), TABLES, max_size=4))
def test_any_pool_is_a_pool_or_a_config_error(pool: dict[str, Any]) -> None:
    _decode_or_complain({"pools": {"fast": pool}})


def _decode_or_complain(data: dict[str, Any]) -> None:
    try:
        config = decode(data)
    except ConfigError as error:
        assert ": " in str(error)
        return
    assert config.pools
    for pool in config.pools.values():
        msgspec.msgpack.encode(pool.options)
        assert 0 <= pool.recycle.max_age < 1e18
