"""What costs throughput: a queue that grows, work that is done twice, cores that are wasted."""

import statistics
from collections.abc import Iterable

from asrd_protocol import messages as msg
from asrd_supervisor import sizing
from asrd_supervisor.config import PoolConfig
from asrd_supervisor.core.pool import Pool

FALLBACKS = 0.2
"""Share of decodings that are fallbacks, from which on they are worth a sentence."""

STEPS = 20
"""Steps that must have been done before something is said of all of them."""


def queue(pool: Pool) -> Iterable[msg.Insight]:
    """More work comes in than is done."""
    growth = pool.tally.queue_growth
    waiting = pool.backlog.work
    if growth <= 0 or waiting < 1:
        return
    needed = pool.policy.workers + growth
    yield msg.Insight(
        topic="queue",
        severity="warning",
        pool=pool.name,
        said=f"The queue of {pool.name} grows by {60 * growth:.0f} s of work a minute; {waiting:.0f} s wait.",
        advice=f"{pool.policy.workers} workers are not enough for this load: it takes {needed:.1f}.",
        numbers={"growth_s_per_min": round(60 * growth, 1), "waiting_s": round(waiting, 1), "workers": needed},
    )


def faults(pool: Pool) -> Iterable[msg.Insight]:
    """Steps that were done in vain."""
    if pool.deaths or pool.tally.faults:
        causes = {**pool.deaths, **pool.tally.faults}
        worst = max(causes, key=lambda cause: causes[cause])
        yield msg.Insight(
            topic="faults",
            severity="warning" if pool.deaths else "info",
            pool=pool.name,
            said=f"{sum(pool.deaths.values())} workers of {pool.name} died and {sum(pool.tally.faults.values())} steps "
            f"failed; most often: {worst} ({causes[worst]}).",
            advice="asrd quarantine lists the jobs that workers died of." if pool.deaths else "",
            numbers=dict(causes),
        )
    if pool.tally.steps >= STEPS and pool.tally.fallbacks >= FALLBACKS:
        yield msg.Insight(
            topic="throughput",
            severity="info",
            pool=pool.name,
            said=f"{100 * pool.tally.fallbacks:.0f} % of the decodings in {pool.name} are fallbacks at a higher "
            "temperature.",
            advice="Music and noise cause them: vad_filter, or fewer temperatures, saves the time.",
            numbers={"attempts": pool.tally.attempts, "windows": pool.tally.windows},
        )


def throughput(pool: Pool, config: PoolConfig) -> Iterable[msg.Insight]:
    """Settings that make the workers slower than they need be, and how that shows."""
    cores = sizing.cores()
    assert isinstance(config.workers, int)
    threads = config.workers * config.threads
    if config.device == "cpu" and threads > cores:
        yield _setting(
            pool,
            f"{config.workers} workers with {config.threads} threads each share {cores} cores.",
            f"workers = {max(1, cores // config.threads)} is enough: threads that wait for each other spin.",
            {"threads": threads, "cores": cores},
        )
    if config.device == "cpu" and config.compute_type in ("float32", "int16", "default", "auto"):
        yield _setting(
            pool,
            f"{pool.name} computes in {config.compute_type}.",
            'compute_type = "int8" takes about half the time on most CPUs, at nearly the same word error rate.',
            {"compute_type": config.compute_type},
        )
    used = [s.vitals.share.now for s in pool.slots if s.ready and s.vitals.share.now is not None]
    if config.device == "cpu" and used and config.threads > 1 and statistics.median(used) < 0.6 * config.threads:
        yield _setting(
            pool,
            f"A worker of {pool.name} has {config.threads} threads and keeps {statistics.median(used):.1f} cores busy.",
            "More workers with fewer threads each do more.",
            {"threads": config.threads, "cores_used": round(statistics.median(used), 2)},
        )


def _setting(pool: Pool, said: str, advice: str, numbers: dict[str, object]) -> msg.Insight:
    return msg.Insight(topic="throughput", severity="info", pool=pool.name, said=said, advice=advice, numbers=numbers)
