"""What the daemon has noticed, in sentences with the numbers behind them. Reads only."""

import statistics
from collections.abc import Callable, Iterable

from asrd_protocol import messages as msg
from asrd_supervisor.config import Config
from asrd_supervisor.core.health.memory import MIB
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.core.supervisor import Supervisor
from asrd_supervisor.report.economy import faults, queue, throughput
from asrd_supervisor.report.recycles import times

_URGENCY = ("critical", "warning", "info")

IDLE_GAIN = 1.03
"""A worker that was so little slower in the end than its replacement at its start was replaced for nothing."""

ALERT_S = 3600.0
"""For so long it is worth knowing that the host was in the way."""

ENOUGH = 5
"""Replacements that tell."""


def insights(core: Supervisor, config: Config, now: float) -> msg.InsightsReport:
    """What is worth saying now, the most urgent first."""
    found: list[msg.Insight] = []
    for name, pool in core.pools.items():
        looks: tuple[Callable[[Pool], Iterable[msg.Insight]], ...] = (degraded, memory, recycling, queue, faults)
        found += [insight for look in looks for insight in look(pool)]
        found += host(pool, now)
        found += throughput(pool, config.pools[name])
    found.sort(key=lambda insight: _URGENCY.index(insight.severity))
    return msg.InsightsReport(insights=found)


def degraded(pool: Pool) -> Iterable[msg.Insight]:
    """Workers that got worse."""
    for slot in pool.slots:
        condition = slot.vitals.condition
        if not slot.ready or condition in ("ok", "unknown"):
            continue
        pace, finding = slot.vitals.pace, slot.vitals.finding
        numbers = dict(finding.numbers) if finding else {"slowdown": pace.slowdown, "sum": pace.sum.sum}
        if condition == "wrong":
            said = f"{slot.seat} does not transcribe the built-in clip as it did."
        else:
            word = "may have become slower" if condition == "suspect" else "is slower"
            said = f"{slot.seat} {word} for the same work: {times(pace.slowdown)} its own start."
        yield msg.Insight(
            topic="degradation",
            severity="info" if condition == "suspect" else "warning",
            pool=pool.name,
            said=said,
            advice="" if condition == "suspect" else "It is replaced as soon as the guards of the pool allow it.",
            numbers=numbers,
        )


def host(pool: Pool, now: float) -> Iterable[msg.Insight]:
    """All workers are slow, and it is not their fault."""
    lockstep, felt = pool.monitor.diagnosis.lockstep, pool.monitor.host
    if lockstep.alert and now - lockstep.alert["at"] < ALERT_S:
        slowdown = times(lockstep.alert.get("slowdown") or lockstep.alert.get("before"))
        yield msg.Insight(
            topic="host",
            severity="warning",
            pool=pool.name,
            said=f"The workers of {pool.name} were {slowdown} their usual time for the same work, and not because of "
            "their age: a fresh worker is no faster, or they wait for a core.",
            advice="Look for other load on this host, or for heat; replacing workers does not help.",
            numbers={key: value for key, value in lockstep.alert.items() if key != "at"},
        )
    elif felt.disturbed_by:
        yield msg.Insight(
            topic="host",
            severity="info",
            pool=pool.name,
            said=f"The host is busy ({felt.disturbed_by}): times of jobs are not held against the workers of "
            f"{pool.name}.",
            numbers={"cpu_pressure": felt.pressure, "usual_pressure": felt.usual},
        )


def memory(pool: Pool) -> Iterable[msg.Insight]:
    """Workers that leak, and how many jobs that allows."""
    slopes = [slope for slot in pool.slots if slot.ready and (slope := slot.vitals.memory.slope)]
    leak = statistics.median(slopes) if slopes else pool.monitor.advice.leak
    if leak < 0.05 * MIB:
        return
    jobs = max(1, int(pool.policy.recycle.rss_growth / leak))
    yield msg.Insight(
        topic="memory",
        severity="warning",
        pool=pool.name,
        said=f"Each job leaves {leak / MIB:.1f} MiB behind in a worker of {pool.name}.",
        advice=f"recycle.max_jobs = {jobs} keeps a worker under {pool.policy.recycle.rss_growth / MIB:.0f} MiB of it; "
        'max_jobs = "auto" does that by itself.',
        numbers={"mib_per_job": round(leak / MIB, 2), "max_jobs": jobs},
    )


def recycling(pool: Pool) -> Iterable[msg.Insight]:
    """Replacing workers after so many jobs gains nothing, and costs something."""
    known = [r for r in pool.monitor.history.records if r.reason == "max_jobs" and r.before and r.after]
    if len(known) < ENOUGH or not isinstance(pool.policy.recycle.max_jobs, int):
        return
    before, after = (statistics.median(v) for v in zip(*((r.before, r.after) for r in known), strict=True))
    reload_s = pool.monitor.advice.reload_s
    if before > IDLE_GAIN * after or pool.monitor.advice.leak:
        return
    yield msg.Insight(
        topic="recycling",
        severity="info",
        pool=pool.name,
        said=f"Replacing workers of {pool.name} after {pool.policy.recycle.max_jobs} jobs gains nothing: their last "
        f"jobs took {times(before)} their first ones for the same work, those of the replacements {times(after)}.",
        advice=f'recycle.max_jobs = "auto" saves {reload_s:.1f} s for each of them.',
        numbers={"before": before, "after": after, "replacements": len(known), "reload_s": round(reload_s, 2)},
    )
