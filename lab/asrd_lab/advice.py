"""The recycle policy that fits what was measured, and what it costs."""

from math import sqrt

import msgspec

from asrd_lab.findings import MB, Advice, Latency, Memory, Reload

LEAST_BUDGET = 256 * (1 << 20)
"""Bytes that a worker may grow by, however small it is."""

BUDGET_SHARE = 0.5
"""The same as a share of what it takes when it is warm."""

LONGEST = 1_000_000
"""A worker that may do more jobs than that needs no limit."""

SPARED_JOBS = 1_000


class Sickness(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, as figures; None where nothing is."""

    leak: float | None
    """Bytes a job."""
    baseline: float
    """Bytes of a warm worker."""
    slow_down: float | None
    """Share of the first job's time, a job."""
    job_s: float
    """Mean time of a job of a fresh worker."""
    reload_s: float
    """From spawn to ready."""


def sickness(latency: Latency | None, memory: Memory | None, reload: Reload | None) -> Sickness:
    """The figures of the experiments that are gone by."""
    slow_down = latency.trend.per_job if latency and latency.slower else None
    fresh_s = latency.mean_s / (1 + (latency.trend.growth / 2 if latency.slower else 0.0)) if latency else 0.0
    return Sickness(
        leak=memory.trend.per_job if memory and memory.leaks else None,
        baseline=memory.baseline if memory else 0.0,
        slow_down=slow_down,
        job_s=fresh_s,
        reload_s=reload.median_s if reload else 0.0,
    )


def advise(sick: Sickness, heading: str) -> Advice:
    """The policy, with ``heading`` as the comment above it.

    A leak decides by the room that there is. A slow-down decides by what a fresh worker costs: replaced after N jobs
    it costs reload / N a job, and each job loses slow_down * time * N / 2 on average, which is least at
    N = sqrt(2 * reload / (slow_down * time)), as for checkpoints (J. W. Young, "A first order approximation to the
    optimum checkpoint interval", Communications of the ACM 17, 1974).
    """
    budget = max(LEAST_BUDGET, BUDGET_SHARE * sick.baseline)
    by_memory = _limited(budget / sick.leak) if sick.leak else None
    by_latency = _checkpoint(sick)
    limits = [limit for limit in (by_memory, by_latency) if limit]
    chosen = min(limits, default=0)
    because = _because(sick, chosen, by_memory, budget)
    return Advice(
        max_jobs=chosen,
        because=because,
        leak=sick.leak,
        slow_down=sick.slow_down,
        memory_jobs=by_memory,
        latency_jobs=by_latency,
        budget=budget,
        cost_percent=100 * _loss(sick, chosen),
        spared_percent=100 * _without(sick),
        spared_jobs=SPARED_JOBS,
        toml=_toml(heading, chosen, because),
    )


def _checkpoint(sick: Sickness) -> int | None:
    if not sick.slow_down or not sick.job_s:
        return None
    return _limited(sqrt(2 * sick.reload_s / (sick.slow_down * sick.job_s)))


def _limited(jobs: float) -> int | None:
    return max(1, int(jobs)) if jobs < LONGEST else None


def _loss(sick: Sickness, jobs: int) -> float:
    """The share of the time that goes into starting workers, when nothing else is done meanwhile."""
    if not jobs or not sick.reload_s:
        return 0.0
    slowed = 1 + (sick.slow_down or 0.0) * (jobs - 1) / 2
    return sick.reload_s / (sick.reload_s + jobs * sick.job_s * slowed)


def _without(sick: Sickness) -> float:
    """The share of the throughput of a healthy worker that is lost over so many jobs when nobody is replaced."""
    return 1 - 1 / (1 + (sick.slow_down or 0.0) * (SPARED_JOBS - 1) / 2)


def _because(sick: Sickness, chosen: int, by_memory: int | None, budget: float) -> str:
    if not chosen:
        return "neither memory nor latency grows with the jobs that a worker has done"
    if sick.leak and chosen == by_memory:
        room = f"{budget / MB:.0f} MB"
        return f"at {sick.leak / MB:.2f} MB a job a worker has grown by {room} after {chosen} jobs"
    assert sick.slow_down
    return (
        f"at {sick.slow_down:.2%} a job, {sick.job_s:.2f} s a job and {sick.reload_s:.1f} s a start, "
        f"replacing a worker every {chosen} jobs loses least"
    )


def _toml(heading: str, max_jobs: int, because: str) -> str:
    comment = f"{max_jobs} jobs: {because}" if max_jobs else f"never: {because}"
    return f"# {heading}\n# {comment}\n[pools.default.recycle]\nmax_jobs = {max_jobs}\n"
