"""What costs throughput: a queue that grows, work that is done twice, cores that are wasted."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from asrd_protocol import messages as msg
from asrd_protocol.faults import BLAME, Blame, Code
from asrd_supervisor import sizing
from asrd_supervisor.config import PoolConfig
from asrd_supervisor.core.pool import Pool

FALLBACKS = 0.2
"""Share of decodings that are fallbacks, from which on they are worth a sentence."""

FULL = 0.5
"""Share of the room in batches that is used, below which it is."""

STEPS = 20
"""Steps that must have been done before something is said of all of them."""

WAITING_S = 1.0
"""Predicted seconds of work that make a queue."""

IDLE_CORES = 0.6
"""Share of its threads that a worker must keep busy, or they are too many."""

COMPUTES = 0.1
"""Cores; a worker that uses less does something else than to compute."""

LONGEST = 40
"""Characters of a cause; all of it is in the numbers."""

_SLOW_ON_CPU = ("float32", "int16", "auto")


def queue(pool: Pool) -> Iterable[msg.Insight]:
    """More work comes in than is done."""
    growth, waiting = pool.tally.queue_growth, pool.backlog.work
    if growth <= 0 or waiting < WAITING_S:
        return
    needed = pool.ready + growth
    numbers = {"growth_s_per_min": round(60 * growth, 1), "waiting_s": round(waiting, 1)}
    yield msg.Insight(
        topic="queue",
        severity="warning",
        pool=pool.name,
        said=f"The queue of {pool.name} grows faster than it drains, by {60 * growth:.0f} s of work a minute; "
        f"{waiting:.0f} s wait.",
        advice=_more_workers(pool, needed),
        numbers={**numbers, "workers_ready": pool.ready, "workers_needed": round(needed, 1)},
    )


def _more_workers(pool: Pool, needed: float) -> str:
    ready, wanted = pool.ready, pool.policy.workers
    if ready < wanted:
        return f"Only {ready} of {wanted} workers are ready: asrd workers tells why."
    workers = "worker is" if wanted == 1 else "workers are"
    return f"{wanted} {workers} not enough for what comes in now: it takes {math.ceil(needed)} of them."


def faults(pool: Pool, retries: Mapping[str, int]) -> Iterable[msg.Insight]:
    """Steps that were done in vain, but for those that the caller is to blame for or does not want any more;
    ``retries``: those that were tried again, by cause."""
    deaths = Counter({how: n for how, n in pool.deaths.items() if how != "cancel"})
    again = Counter(retries)
    faulted = Counter({c: n for c, n in pool.tally.faults.items() if BLAME[Code(c)] is not Blame.CALLER})
    if not (deaths or faulted or again):
        return
    sums = (
        (deaths.total(), "death of a worker", "deaths of workers", deaths),
        (faulted.total(), "step without a result", "steps without a result", faulted),
        (again.total(), "step tried again", "steps tried again", again),
    )
    parts = [f"{n} {one if n == 1 else many} ({_by_cause(causes)})" for n, one, many, causes in sums if n]
    yield msg.Insight(
        topic="faults",
        severity="warning" if deaths else "info",
        pool=pool.name,
        said=f"In {pool.name} since the start: {'; '.join(parts)}.",
        advice=_after(deaths, again, pool.policy.retries.deaths),
        numbers={"deaths": dict(deaths), "faults": dict(faulted), "retries": dict(again)},
    )


def _after(deaths: Counter[str], again: Counter[str], borne: int) -> str:
    """Where to look after deaths. A job is in quarantine only when ``borne`` workers died of it, and each of those
    deaths but the last one was followed by another try."""
    if not deaths:
        return ""
    tried = sum(again[cause] for cause in {how.partition(":")[0] for how in deaths})
    if tried < borne - 1 or deaths.total() <= tried:
        return "The log has the last words of each worker."
    return "asrd quarantine list shows the jobs that workers died of; the log has the last words of each worker."


def _by_cause(causes: Counter[str]) -> str:
    """The three most frequent ones."""
    said = [f"{_short(cause)}, {_times(count)}" for cause, count in causes.most_common(3)]
    return "; ".join([*said, "others"] if len(causes) > 3 else said)


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _short(cause: str) -> str:
    return cause if len(cause) <= LONGEST else f"{cause[: LONGEST - 1].rstrip()}…"


def fallbacks(pool: Pool) -> Iterable[msg.Insight]:
    """Audio that is decoded again and again."""
    tally = pool.tally
    if tally.steps < STEPS or tally.fallbacks < FALLBACKS:
        return
    yield msg.Insight(
        topic="throughput",
        severity="info",
        pool=pool.name,
        said=f"{100 * tally.fallbacks:.0f} % of the decodings in {pool.name} are fallbacks at a higher temperature; "
        f"they take {100 * tally.sampled:.0f} % of the decoding steps.",
        advice="Music and noise cause them: vad_filter, or fewer temperatures, saves the time.",
        numbers={"attempts": tally.attempts, "windows": tally.windows, "sampled": round(tally.sampled, 2)},
    )


def batches(pool: Pool) -> Iterable[msg.Insight]:
    """Batches that are hardly ever full."""
    tally, full = pool.tally, pool.tally.batch_efficiency
    if tally.batches < STEPS or full is None or full >= FULL:
        return
    windows = tally.batch_rows / tally.batches
    yield msg.Insight(
        topic="throughput",
        severity="info",
        pool=pool.name,
        said=f"The batches of {pool.name} are {100 * full:.0f} % full: {windows:.1f} windows on average.",
        advice=f"Its jobs are short. batch_size = {max(1, round(windows))} takes less memory and no more time.",
        numbers={"batches": tally.batches, "rows": tally.batch_rows, "room": tally.batch_room},
    )


# --- settings ---------------------------------------------------------------------------------------------------------


def throughput(pool: Pool, config: PoolConfig) -> Iterable[msg.Insight]:
    """Settings that make the workers slower than they need be, and how that shows."""
    yield from _precision(pool, config)
    if config.device != "cpu":
        return
    cores = sizing.cores()
    assert isinstance(config.workers, int)
    threads = config.workers * config.threads
    if threads > cores:
        yield _too_many(pool, config, threads, cores)
    elif threads < cores and pool.tally.queue_growth > 0:
        yield _setting(
            pool,
            f"Work waits in {pool.name}, and {cores - threads} of {cores} cores have no worker.",
            f"workers = {cores // config.threads} uses them, as far as memory allows.",
            {"threads": threads, "cores": cores},
        )
    else:
        yield from _idle_threads(pool, config)


def _precision(pool: Pool, config: PoolConfig) -> Iterable[msg.Insight]:
    if config.device == "cpu" and config.compute_type in _SLOW_ON_CPU:
        advice = (
            'compute_type = "int8" is faster on most CPUs, at nearly the same word error rate: asrd lab measures it.'
        )
    elif config.device != "cpu" and config.compute_type == "float32":
        advice = 'compute_type = "float16" is faster on most GPUs, and takes half the memory: asrd lab measures it.'
    else:
        return
    said = f"{pool.name} computes in {config.compute_type}."
    yield _setting(pool, said, advice, {"compute_type": config.compute_type})


def _too_many(pool: Pool, config: PoolConfig, threads: int, cores: int) -> msg.Insight:
    each = "1 thread" if config.threads == 1 else f"{config.threads} threads"
    fit = max(1, cores // config.threads)
    advice = f"workers = {fit} is enough: more of them only wait for each other."
    if config.threads > cores:
        advice = f"threads = {cores} is the most that this host has cores for."
    said = f"{config.workers} workers of {pool.name} with {each} each share {cores} cores."
    return _setting(pool, said, advice, {"threads": threads, "cores": cores})


def _idle_threads(pool: Pool, config: PoolConfig) -> Iterable[msg.Insight]:
    used = [s.vitals.share.now for s in pool.slots if s.ready and s.vitals.share.now is not None]
    if not used or config.threads < 2 or pool.monitor.host.disturbed_by:
        return
    busy = statistics.median(used)
    if not COMPUTES <= busy < IDLE_CORES * config.threads:
        return
    yield _setting(
        pool,
        f"A worker of {pool.name} has {config.threads} threads and keeps {busy:.1f} cores busy.",
        "More workers with fewer threads each do more.",
        {"threads": config.threads, "cores_used": round(busy, 2)},
    )


def _setting(pool: Pool, said: str, advice: str, numbers: dict[str, Any]) -> msg.Insight:
    return msg.Insight(topic="throughput", severity="info", pool=pool.name, said=said, advice=advice, numbers=numbers)
