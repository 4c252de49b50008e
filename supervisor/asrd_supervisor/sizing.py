"""What "auto" means on this machine: the device, the number of workers, their threads, the order of recycling."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import psutil

from asrd_protocol import link
from asrd_supervisor import placing
from asrd_supervisor.config import Config, ConfigError, PoolConfig, changed
from asrd_supervisor.core.policy import INT8, Duration, PoolPolicy, RecyclePolicy, Size
from asrd_supervisor.core.supervisor import Policy
from asrd_supervisor.probes.proc import memory_bytes
from asrd_supervisor.probes.seen import seen

_MODEL_MB = {"tiny": 75, "base": 145, "small": 485, "medium": 1530, "large": 3090, "turbo": 1620, "distil": 1510}
"""Weights of the named models on disk. Only the order of magnitude matters here."""

_BASE_MB = 250
"""Interpreter, libraries and buffers of a worker that holds a small model."""

_MEMORY_SHARE = 0.6
"""Of the memory that is free at start; the rest belongs to the page cache and to everybody else."""

_WORKERS_SHARE = 0.6
"""Of the memory of the host: a worker that has its part of it is replaced after its job."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Resolved(NamedTuple):
    """A configuration with every "auto" of its pools replaced, and what there is to say of that."""

    config: Config
    notes: list[str]
    """What was chosen, where it is not plain to see."""
    warnings: list[str]
    """What was asked for and cannot be had."""


def resolve(config: Config, memory: int | None = None, ask: placing.Ask = seen) -> Config:
    """The configuration with every "auto" of its pools replaced by a figure.

    Raises:
        ConfigError: what cannot be on the device that a pool gets.
    """
    return resolution(config, memory, ask).config


def resolution(config: Config, memory: int | None = None, ask: placing.Ask = seen) -> Resolved:
    """The same, with words.

    Args:
        memory: bytes that may be used; what the host has free by default.
        ask: how many GPUs a process with these variables sees.

    Raises:
        ConfigError: what cannot be on the device that a pool gets.
    """
    free = psutil.virtual_memory().available if memory is None else memory
    pools, notes, odd = {}, [], []
    for name, pool in config.pools.items():
        placing.check_compute_type(pool, f"pools.{name}")
        settled = placing.settle(pool, f"pools.{name}", ask)
        notes += settled.notes
        odd += settled.warnings + _replaced(settled.pool, f"pools.{name}")
        placing.check_batches(settled.pool, f"pools.{name}")
        _check_fallback(pool, f"pools.{name}")
        pools[name] = _resolve_pool(settled.pool, int(free * _MEMORY_SHARE))
    return Resolved(_completed(config, pools), notes, odd)


def _check_fallback(pool: PoolConfig, path: str) -> None:
    if diarizes(pool) and INT8 in pool.fallback:
        said = (
            f"the engine {pool.engine!r} has no type to compute in that takes less; 'cpu' is what it can fall back to"
        )
        raise ConfigError(f"{path}.fallback: {said}")


def _completed(config: Config, pools: dict[str, PoolConfig]) -> Config:
    if config.models_dir:
        told = {"ASRD_MODELS_DIR": str(Path(config.models_dir).expanduser().absolute())}
        pools = {name: msgspec.structs.replace(pool, env=told | pool.env) for name, pool in pools.items()}
    transcribing = [name for name, pool in pools.items() if not diarizes(pool)]
    default = config.default_pool or next(iter(transcribing or pools))
    return msgspec.structs.replace(config, pools=pools, default_pool=default)


def policy(config: Config) -> Policy:
    """What the core decides by, from a resolved configuration."""
    return Policy(
        pools=[_pool_policy(name, pool, config) for name, pool in config.pools.items()],
        default_pool=config.default_pool,
        queue=config.queue,
        drain_timeout=config.drain_timeout,
        durable=config.journal.durability != "none",
    )


def _replaced(pool: PoolConfig, path: str) -> list[str]:
    """What a CPU cannot compute with is replaced by the nearest that it can."""
    got = placing.compute_type(pool.compute_type, pool.device)
    if pool.compute_type == "default" or got == pool.compute_type:
        return []
    return [f"{path}.compute_type: a CPU does not compute in {pool.compute_type}; {got} takes its place"]


def settings(pool: PoolConfig) -> dict[str, Any]:
    """What the engine of a resolved pool is told."""
    return {
        "model": pool.model,
        "device": pool.device,
        "device_index": placing.indices(pool)[0],
        "compute_type": pool.compute_type,
        "threads": pool.threads,
        "offline": pool.offline,
        **pool.options,
    }


def load(pool: PoolConfig, config: Config) -> link.Load:
    """The first message to the workers of a resolved pool."""
    return link.Load(pool.engine, settings(pool), float(config.audio.max_s))


def reset(pool: PoolConfig, path: str, wanted: dict[str, Any]) -> PoolConfig:
    """A resolved pool with other settings of its engine, resolved as well.

    Raises:
        ConfigError: naming the key, what was expected and what was found.
    """
    made = changed(pool, path, wanted)
    assert isinstance(made.workers, int)
    placing.check_batches(made, path)
    placing.check_compute_type(made, path)
    compute_type = placing.compute_type(made.compute_type, made.device)
    return msgspec.structs.replace(
        made, compute_type=compute_type, threads=made.threads or max(1, cores() // made.workers)
    )


def now(config: Config, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """What the engine of a pool of a resolved configuration is told, with what operators have set."""
    return settings(reset(config.pools[name], f"pools.{name}", wanted))


def told(all_of_it: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Of what an engine is told, that which was asked for: with every ``auto`` replaced."""
    return {key: all_of_it.get(key.removeprefix("options.")) for key in keys}


def diarizes(pool: PoolConfig) -> bool:
    """Whether a pool tells speakers apart instead of transcribing."""
    return pool.engine.startswith("diarize")


def chunking(config: Config) -> dict[str, link.Chunking]:
    """How the pools of a resolved configuration cut long audio; those that do not are left out."""
    found = {}
    for name, pool in config.pools.items():
        if pool.split.longer_than and not diarizes(pool):
            assert isinstance(pool.workers, int)
            found[name] = link.Chunking(float(pool.split.longer_than), float(pool.split.chunk), pool.workers)
    return found


def warnings(config: Config) -> list[str]:
    """What is odd in a resolved configuration but no reason to refuse it."""
    found = []
    for name, pool in config.pools.items():
        if isinstance(pool.workers, int) and pool.device == "cpu" and pool.workers * pool.threads > cores():
            found.append(
                f"pools.{name}: {pool.workers} workers with {pool.threads} threads each are more than "
                f"{cores()} cores; they will slow each other down"
            )
        if pool.recycle.max_age and pool.recycle.max_age < Duration(60):
            found.append(f"pools.{name}.recycle.max_age: under a minute, workers mostly start and stop")
    return [*found, *_too_many(config)]


def _too_many(config: Config) -> Iterator[str]:
    """Each pool may fit in for itself; whether all of them do together."""
    pools = [pool for pool in config.pools.values() if pool.device == "cpu" and isinstance(pool.workers, int)]
    wanted, there = sum(int(pool.workers) * worker_bytes(pool.model) for pool in pools), memory_bytes()
    if wanted > there:
        yield (
            f"pools: all workers on the CPU take about {wanted / 1e9:.1f} GB, and there are {there / 1e9:.1f} GB; "
            "the kernel may kill some of them"
        )


def _resolve_pool(pool: PoolConfig, memory: int) -> PoolConfig:
    if diarizes(pool) and pool.model == PoolConfig().model:
        pool = msgspec.structs.replace(pool, model="diarize")
    fit = max(1, memory // worker_bytes(pool.model))
    automatic = 1 if diarizes(pool) else min(cores(), fit) if pool.device == "cpu" else len(placing.indices(pool))
    workers = automatic if isinstance(pool.workers, str) else pool.workers
    order: Literal["start-first", "stop-first"]
    if pool.recycle.order == "auto":
        order = "start-first" if pool.device == "cpu" and fit > workers else "stop-first"
    else:
        order = pool.recycle.order
    return msgspec.structs.replace(
        pool,
        workers=workers,
        threads=pool.threads or max(1, cores() // workers),
        compute_type=placing.compute_type(pool.compute_type, pool.device),
        recycle=_resolve_recycling(pool.recycle, order, workers),
    )


def _resolve_recycling(
    policy: RecyclePolicy, order: Literal["start-first", "stop-first"], workers: int
) -> RecyclePolicy:
    """Each worker may have its share of the memory."""
    max_rss = policy.max_rss or Size(memory_bytes() * _WORKERS_SHARE // workers)
    return msgspec.structs.replace(policy, order=order, max_rss=max_rss)


def worker_bytes(model: str) -> int:
    """About what one worker with this model takes."""
    path = Path(model)
    if not model:
        return _BASE_MB * 10**6
    try:
        weights = sum(f.stat().st_size for f in path.iterdir() if f.is_file())
    except (OSError, ValueError):  # a name, or nothing that we may read; the worker says what is wrong with it
        name = path.name.removeprefix("faster-whisper-")
        weights = next((mb for key, mb in _MODEL_MB.items() if name.startswith(key)), 500) * 10**6
    return _BASE_MB * 10**6 + 2 * weights


def _pool_policy(name: str, pool: PoolConfig, config: Config) -> PoolPolicy:
    assert isinstance(pool.workers, int)
    device, *others = placing.names(pool)
    return PoolPolicy(
        name=name,
        workers=pool.workers,
        start_first=pool.recycle.order == "start-first",
        idle_ttl=pool.idle_ttl,
        device=device,
        others=tuple(others),
        fallbacks=placing.fallbacks(pool),
        diarizes=diarizes(pool),
        recycle=pool.recycle,
        drift=pool.drift,
        canary=pool.canary,
        deadlines=pool.deadlines,
        restarts=pool.restarts,
        retries=pool.retries or config.retries,
        durable=config.journal.durability != "none",
    )
