"""What the daemon has noticed, in sentences with the numbers behind them. Reads only."""

import statistics
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from asrd_protocol import messages as msg
from asrd_supervisor.config import Config
from asrd_supervisor.core.health.memory import MIB
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.supervisor import Supervisor
from asrd_supervisor.report.economy import batches, fallbacks, faults, queue, throughput
from asrd_supervisor.report.host import host
from asrd_supervisor.report.recycles import span, times, why

Severity = Literal["critical", "warning", "info"]

_URGENCY: tuple[Severity, ...] = ("critical", "warning", "info")

IDLE_GAIN = 1.03
"""A worker that was so little slower in the end than its replacement at its start was replaced for nothing."""

SLOW_CLIP = 2.0
"""Times of the first one. A single run may be held up by anything."""

ENOUGH = 5
"""Replacements that tell."""

LEAK = 0.05 * MIB
"""Bytes a job that are worth a sentence."""


def insights(core: Supervisor, config: Config, now: float) -> msg.InsightsReport:
    """What is worth saying now, the most urgent first."""
    found = [insight for name, pool in core.pools.items() for insight in _of(pool, core, config, name, now)]
    found += stranded(core)
    found.sort(key=lambda insight: _URGENCY.index(insight.severity))
    return msg.InsightsReport(insights=found)


def _of(pool: Pool, core: Supervisor, config: Config, name: str, now: float) -> Iterator[msg.Insight]:
    yield from degraded(pool, now)
    yield from host(pool, now)
    yield from clips(pool)
    yield from misfits(pool)
    yield from leaks(pool)
    yield from recycling(pool)
    yield from queue(pool)
    yield from faults(pool, {cause: n for (where, cause), n in core.jobs.retries.items() if where == name})
    yield from fallbacks(pool)
    yield from batches(pool)
    yield from throughput(pool, config.pools[name])


def stranded(core: Supervisor) -> Iterator[msg.Insight]:
    """Jobs of an earlier daemon that had other pools."""
    for pool, jobs in core.jobs.stranded().items():
        waiting = "A job waits" if jobs == 1 else f"{jobs} jobs wait"
        yield msg.Insight(
            topic="queue",
            severity="critical",
            said=f"{waiting} for {pool}, and no pool of that name transcribes.",
            pool=pool,
            advice="Configure that pool and start the daemon anew; or `asrd cancel` the jobs.",
            numbers={"jobs": jobs},
        )


# --- workers ----------------------------------------------------------------------------------------------------------


def degraded(pool: Pool, now: float) -> Iterable[msg.Insight]:
    """Workers that got slower, wrong or too fat, and what keeps them."""
    for slot in pool.slots:
        if not slot.ready:
            continue
        match slot.vitals.condition:
            case "suspect":
                yield _suspected(pool, slot)
            case "degraded":
                yield _insight(pool, "degradation", _slower(pool, slot), _prospect(pool, slot, now), _found(slot))
            case "wrong":
                yield _wrong(pool, slot)
        if fat := slot.vitals.memory.verdict:
            said = f"{slot.seat} has {why(fat.reason, fat.numbers)}."
            yield _insight(pool, "memory", said, _prospect(pool, slot, now, urgent=fat.reason == "rss"), fat.numbers)


def _suspected(pool: Pool, slot: Slot) -> msg.Insight:
    pace = slot.vitals.pace
    said = f"{slot.seat} may have become slower for the same work: {times(pace.slowdown)} its own start."
    numbers = {"slowdown": round(pace.slowdown or 1.0, 2), "sum": round(pace.sum.sum, 2)}
    return msg.Insight(topic="degradation", severity="info", pool=pool.name, said=said, numbers=numbers)


def _wrong(pool: Pool, slot: Slot) -> msg.Insight:
    return msg.Insight(
        topic="degradation",
        severity="critical",
        pool=pool.name,
        said=f"{slot.seat} does not transcribe the built-in clip as it did: {why('quality', _found(slot))}.",
        advice="Results of its last jobs may be wrong. It leaves as soon as no other worker of the pool is on its "
        "way, unless recycle.guards.budget is used up.",
        numbers=_found(slot),
    )


def _found(slot: Slot) -> dict[str, Any]:
    return dict(slot.vitals.finding.numbers) if slot.vitals.finding else {}


def _slower(pool: Pool, slot: Slot) -> str:
    """Slow, and whose fault it is."""
    finding, numbers = slot.vitals.finding, _found(slot)
    slowdown = numbers.get("slowdown") if finding and finding.reason == "slow" else slot.vitals.pace.slowdown
    said = f"{slot.seat} is slower for the same work: "
    said += f"{times(slowdown)} its own start"
    match finding.reason if finding else "":
        case "slow":
            return f"{said}, siblings {times(numbers.get('siblings'))}."
        case "lockstep":
            return f"{said}. So are all old workers of {pool.name}, and a fresh one is not: it is their age."
        case _ if pool.policy.workers == 1:
            return f"{said}. It has no siblings, so a fresh one has to show whether it is the worker or the host."
        case _:
            return f"{said}. So are all workers of {pool.name}: a fresh one has to show whether it is the host."


def _prospect(pool: Pool, slot: Slot, now: float, *, urgent: bool = False) -> str:
    """When it will be replaced."""
    guards, policy = pool.monitor.guards, pool.policy.recycle.guards
    held = "budget" if guards.exhausted(now) else guards.objection(now, slot.jobs_done, slot.age(now), slow=not urgent)
    match held:
        case "budget":
            made = f"{policy.budget or pool.policy.workers} within {span(policy.window)}"
            return f"It stays for now: as many were replaced as recycle.guards.budget allows, {made}."
        case "young" if not urgent:
            return f"It is replaced when it has done {policy.min_jobs} jobs and is {span(policy.min_age)} old."
        case "cooldown" if not urgent:
            return "It is replaced when recycle.guards.cooldown is over."
        case _:
            return "It is being replaced."


def _insight(pool: Pool, topic: str, said: str, advice: str, numbers: dict[str, Any]) -> msg.Insight:
    return msg.Insight(topic=topic, severity="warning", pool=pool.name, said=said, advice=advice, numbers=numbers)


# --- what replacing them is good for ----------------------------------------------------------------------------------


def clips(pool: Pool) -> Iterable[msg.Insight]:
    """The built-in clip takes longer than it did: no verdict by itself, but worth a look."""
    for slot in pool.slots:
        ratio = slot.vitals.canary.ratio
        if slot.ready and not slot.vitals.finding and ratio is not None and ratio >= SLOW_CLIP:
            said = f"The built-in clip took {slot.seat} {times(ratio)} its first time, the last time that it was given."
            yield msg.Insight(
                topic="degradation",
                severity="info",
                pool=pool.name,
                said=said,
                numbers={"clip": round(ratio, 2), "took_s": round(slot.vitals.canary.took, 3)},
            )


def misfits(pool: Pool) -> Iterable[msg.Insight]:
    """A limit that no worker can keep."""
    fat = [slot.vitals.memory.baseline for slot in pool.slots if slot.ready and slot.vitals.memory.misfit]
    if fat:
        limit = pool.policy.recycle.max_rss
        yield _insight(
            pool,
            "memory",
            f"A fresh worker of {pool.name} has {_mib(max(fat))} already, more than recycle.max_rss, "
            f"which is {_mib(limit)}: the limit does nothing.",
            "Fewer workers, a smaller model, or a higher limit.",
            {"baseline_mib": round(max(fat) / MIB), "max_rss_mib": round(limit / MIB)},
        )


def leaks(pool: Pool) -> Iterable[msg.Insight]:
    """Memory that jobs leave behind, and how many of them that allows."""
    slopes = [slope for slot in pool.slots if slot.ready and (slope := slot.vitals.memory.slope)]
    leak = statistics.median(slopes) if slopes else pool.monitor.advice.leak
    if leak < LEAK:
        return
    budget = pool.monitor.advice.budget
    jobs = max(1, int(budget / leak)) if budget else 0
    severity, advice = _against_leak(pool, jobs)
    numbers = {"mib_per_job": round(leak / MIB, 2), "budget_mib": round(budget / MIB)}
    yield msg.Insight(
        topic="memory",
        severity=severity,
        pool=pool.name,
        said=f"Each job leaves {_mib(leak)} behind in a worker of {pool.name}.",
        advice=advice,
        numbers={**numbers, "max_jobs": jobs, "reload_s": round(pool.monitor.advice.reload_s, 2)} if jobs else numbers,
    )


def _against_leak(pool: Pool, jobs: int) -> tuple[Severity, str]:
    """``jobs`` fill the budget; 0 if there is none."""
    recycle, advised = pool.policy.recycle, pool.monitor.advice.max_jobs
    most, budget = recycle.max_jobs, f"{pool.monitor.advice.budget / MIB:.0f} MiB"
    if not jobs:
        return "warning", "recycle.rss_growth is 0, so nothing stops it; a budget there, or recycle.max_jobs, does."
    if most == "auto":
        what = f"makes that {advised} jobs a worker" if advised else "takes that into account from the next worker on"
        return "info", f'recycle.max_jobs = "auto" {what}; {jobs} jobs leave {budget}.'
    if 0 < most <= jobs:
        return "info", f"recycle.max_jobs = {most} keeps a worker under {budget} of it; {jobs} would, too."
    return (
        "warning",
        f'recycle.max_jobs = {jobs} keeps a worker under {budget} of it; max_jobs = "auto" does that by itself.',
    )


def recycling(pool: Pool) -> Iterable[msg.Insight]:
    """Replacing workers after so many jobs gains nothing, and costs something."""
    known = [r for r in pool.monitor.history.records if r.reason == "max_jobs" and r.before and r.after]
    advice, most = pool.monitor.advice, pool.policy.recycle.max_jobs
    if len(known) < ENOUGH or not isinstance(most, int) or advice.leak >= LEAK:
        return
    before, after = (statistics.median(v) for v in zip(*((r.before, r.after) for r in known), strict=True))
    if before > IDLE_GAIN * after:
        return
    figures = {"before": round(before, 2), "after": round(after, 2), "reload_s": round(advice.reload_s, 2)}
    yield msg.Insight(
        topic="recycling",
        severity="info",
        pool=pool.name,
        said=f"Replacing workers of {pool.name} after {most} jobs gains nothing: their last jobs took {times(before)} "
        f"their first ones for the same work, those of the replacements {times(after)}, and nothing leaks.",
        advice=f'recycle.max_jobs = "auto" saves {advice.reload_s:.1f} s for each of them.',
        numbers={**figures, "replacements": len(known)},
    )


def _mib(size: float) -> str:
    return f"{size / MIB:.1f} MiB" if size >= MIB else f"{size / MIB:.2f} MiB"
