"""The devices of a pool: which ones ``auto`` means, what they are called, and what an engine is told of its own."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from asrd_protocol import link
from asrd_supervisor.config import ConfigError, PoolConfig
from asrd_supervisor.core.policy import CPU, INT8
from asrd_supervisor.environment import CUDA, worker_environment
from asrd_supervisor.probes.devices import device_name
from asrd_supervisor.probes.seen import Seen

LIGHT = "int8_float16"
"""What takes the least on a GPU."""

HALVES = ("float16", "bfloat16", "int8_float16", "int8_bfloat16")
"""Types that only GPUs compute with."""

NO_USE = ("diarize-lite",)
"""Engines that compute on the CPU only: ``auto`` is that for them, whatever there is."""

MOST_ON_CPU = 8
"""Windows at once, from which on a CPU gains nothing and only takes memory."""

Ask = Callable[[Mapping[str, str]], Seen]


class Settled(NamedTuple):
    """A pool whose device is known."""

    pool: PoolConfig
    notes: list[str]
    """What was chosen."""
    warnings: list[str]
    """What was asked for and cannot be had."""


def settle(pool: PoolConfig, path: str, ask: Ask) -> Settled:
    """Replace ``auto`` by the device and the GPUs that there are; the driver is asked only if something is ``auto``."""
    if pool.device == CPU or (pool.device == "auto" and pool.engine in NO_USE):
        return Settled(msgspec.structs.replace(pool, device=CPU, device_index=indices(pool)[0]), [], [])
    if pool.device == "cuda" and pool.device_index != "auto":
        return Settled(_on(pool, indices(pool)), [], [])
    found = ask({**os.environ, **CUDA, **pool.env})
    if pool.device == "auto" and not found.gpus:
        said = f"{path}: device is cpu, because {found.why}"
        return Settled(msgspec.structs.replace(pool, device="cpu", device_index=0), [said], [])
    wanted = indices(pool) if pool.device_index != "auto" else list(range(found.gpus or 1))
    count = "1 GPU" if len(wanted) == 1 else f"{len(wanted)} GPUs"
    if found.gpus:
        return Settled(_on(pool, wanted), [f"{path}: device is cuda, with {count}"], [])
    return Settled(_on(pool, wanted), [], [f"{path}: device is cuda, but {found.why}"])


def _on(pool: PoolConfig, wanted: list[int]) -> PoolConfig:
    return msgspec.structs.replace(pool, device="cuda", device_index=wanted[0] if len(wanted) == 1 else wanted)


def indices(pool: PoolConfig) -> list[int]:
    """The GPUs of a pool, as CUDA counts them; of a resolved one, or one that names them."""
    match pool.device_index:
        case list():
            return list(dict.fromkeys(pool.device_index))
        case int():
            return [pool.device_index]
        case _:
            return [0]


def names(pool: PoolConfig) -> dict[str, int]:
    """What the devices of a resolved pool are called, the first one first, and their indices."""
    environ = worker_environment(pool)
    told: dict[str, int] = {}
    for index in indices(pool):
        told.setdefault(device_name(pool.device, index, environ), index)
    return told


def fallbacks(pool: PoolConfig) -> tuple[str, ...]:
    """What a resolved pool may fall back to, in order."""
    named = pool.fallback if isinstance(pool.fallback, list) else [pool.fallback]
    light = pool.compute_type.startswith(INT8)
    return tuple(way for way in (INT8, CPU) if way in named and pool.device == "cuda" and not (light and way == INT8))


def placed(load: link.Load, pool: PoolConfig, device: str, *, light: bool) -> link.Load:
    """The first message to a worker that computes elsewhere than on the first device of its pool, or in int8."""
    if device != CPU:
        index = {"device_index": names(pool)[device]} if device else {}
        return _told(load, index | ({"compute_type": LIGHT} if light else {}))
    settings: dict[str, Any] = {"device": CPU, "device_index": 0}
    if (wanted := load.settings.get("compute_type")) in HALVES:
        settings["compute_type"] = compute_type(wanted, CPU)
    size = load.settings.get("batch_size")
    if isinstance(size, int) and size > MOST_ON_CPU:
        settings["batch_size"] = MOST_ON_CPU
    return _told(load, settings)


def _told(load: link.Load, settings: dict[str, Any]) -> link.Load:
    return msgspec.structs.replace(load, settings=load.settings | settings)


def compute_type(wanted: str, device: str) -> str:
    """int8 is the fastest on a CPU and as accurate within noise; a CPU has no float16."""
    if device == CPU and wanted in ("default", *HALVES):
        return INT8
    return "float16" if wanted == "default" else wanted


def check_compute_type(pool: PoolConfig, path: str) -> None:
    """Refuse what the device cannot compute in. Where it is still ``auto``, there may be one that can.

    Raises:
        ConfigError: a type of GPUs for a pool that is on the CPU.
    """
    if pool.device == CPU and pool.compute_type in HALVES:
        said = f"a CPU does not compute in {pool.compute_type}; use {INT8!r}, the default there, or 'float32'"
        raise ConfigError(f"{path}.compute_type: {said}, or device = 'auto', which takes a GPU where there is one")


def check_batches(pool: PoolConfig, path: str) -> None:
    """Refuse what a CPU gains nothing by.

    Raises:
        ConfigError: more windows at once than a CPU has any use for.
    """
    size = pool.options.get("batch_size")
    if pool.device == "cpu" and isinstance(size, int) and size > MOST_ON_CPU:
        said = f"expected at most {MOST_ON_CPU} on a CPU, got {size}; more windows at once take memory and save no time"
        raise ConfigError(f"{path}.options.batch_size: {said}")
