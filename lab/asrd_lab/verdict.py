"""The verdict in words, from findings."""

from collections.abc import Sequence
from typing import TypeVar

from asrd_lab.advice import advise, sickness
from asrd_lab.analysis import latency, lengths, memory, pair, reload, throughput, vram
from asrd_lab.findings import (
    MB,
    Findings,
    Health,
    Latency,
    Length,
    Memory,
    Pair,
    Reload,
    Throughput,
    Vram,
)
from asrd_lab.rows import JobRow, Row, jobs, reloads
from asrd_lab.trends import SURE, Trend

KEPT = ("e4", "e2", "pool")
"""Experiments in which asrd keeps its workers, so that they can grow old."""

OLD = 17
"""Jobs of a worker from which on its experiment has a vote."""

NAMES = {
    "e1": "E1, a fresh worker for each job",
    "e2": "E2, clips of different lengths",
    "e3": "E3, the bare model in one process",
    "e4": "E4, the same clip again and again",
    "pool": "a pool that keeps its workers",
    "recycled": "a pool that recycles them",
}
"""The experiments in words."""


def judge(rows: Sequence[Row], subject: str) -> Findings:
    """All findings. ``subject`` names the model, its device and its compute type."""
    done = {name: jobs(rows, name) for name in NAMES}
    latencies = list(filter(None, map(latency, done.values())))
    memories = list(filter(None, map(memory, done.values())))
    videos = list(filter(None, map(vram, done.values())))
    believed = latencies if agreed(latencies) else [one for one in latencies if not one.slower]
    slow = leading(believed, [one.slower for one in believed])
    fat = leading(memories, [one.leaks for one in memories])
    gpu = leading(videos, [one.leaks for one in videos])
    restart = reload([row for row in reloads(rows) if row.experiment != "e3"])
    health = _health(latencies, slow, fat, gpu)
    ageing = slow if health in ("slower", "both") else None
    advice = advise(sickness(ageing, fat, restart), f"asrd lab: {subject}")
    sizes, worst = lengths(done["e2"]), _worst(done)
    compared = throughput(done["pool"], done["recycled"])
    said = [
        _main(health, subject, slow, fat),
        *_graphics(gpu),
        *_spoilt(latencies, health),
        *_whose(latencies, memories, health),
        *_first(worst),
        *_sizes(sizes),
        *_start(restart, slow),
        *_compared(compared),
    ]
    return Findings(
        health=health,
        verdict=said,
        latency=latencies,
        memory=memories,
        vram=videos,
        reload=restart,
        lengths=sizes,
        pair=worst,
        throughput=compared,
        advice=None if health == "unknown" else advice,
    )


# --- what to go by ----------------------------------------------------------------------------------------------------


T = TypeVar("T", Latency, Memory, Vram)


def leading(found: Sequence[T], sick: Sequence[bool]) -> T | None:
    """Which of the findings to go by: the median of those that are sick, else the one with the longest series.

    The bare model decides only where nothing else was measured; with others that are sick, too, it has its vote.
    """
    kept = [one for one in found if one.experiment in KEPT] or [one for one in found if one.experiment == "e3"]
    ill = [one for one, is_sick in zip(found, sick, strict=True) if is_sick and one.experiment in (*KEPT, "e3")]
    if any(one in kept for one in ill):
        return sorted(ill, key=lambda one: one.trend.per_job)[len(ill) // 2]
    return max(kept, key=lambda one: one.trend.jobs, default=None)


def _health(latencies: Sequence[Latency], slow: Latency | None, fat: Memory | None, gpu: Vram | None) -> Health:
    if slow is None and fat is None:
        return "unknown"
    slower = bool(slow and slow.slower)
    leaking = bool(fat and fat.leaks) or bool(gpu and gpu.leaks)
    fresh = next((one for one in latencies if one.experiment == "e1"), None)
    # Fresh workers cannot have aged: if they became slower too, that was the host.
    if slower and slow and fresh and fresh.slower and fresh.trend.per_job > slow.trend.per_job / 2:
        return "leaking" if leaking else "host"
    return "both" if slower and leaking else "slower" if slower else "leaking" if leaking else "healthy"


def agreed(found: Sequence[Latency]) -> bool:
    """Whether most of the experiments whose workers became old enough say that they get slower: a busy host spoils one
    of them, a sick worker all."""
    asked = [one for one in found if one.experiment in KEPT and one.trend.jobs >= OLD]
    asked = asked or [one for one in found if one.slower]
    return sum(one.slower for one in asked) > len(asked) / 2


def _worst(done: dict[str, list[JobRow]]) -> Pair | None:
    """From the experiment with clips of different lengths, if there is one: that is where the eye is deceived."""
    return next((found for name in ("e2", "pool", "e4", "e3") if (found := pair(done[name]))), None)


# --- sentences --------------------------------------------------------------------------------------------------------


def _main(health: Health, subject: str, slow: Latency | None, fat: Memory | None) -> str:
    named = subject[:1].upper() + subject[1:] if subject.startswith("the ") else subject
    match health:
        case "unknown":
            return f"Too few jobs of {subject} yet to say anything."
        case "host":
            return (
                f"Nothing can be said of {subject}: fresh workers became slower during the run as well, so the host "
                "was busy or throttled. Run the lab again when it is quiet."
            )
        case "healthy":
            return f"{named} does not degrade on this machine: {_figures(slow, fat)}."
        case _:
            what = {"slower": "gets slower", "leaking": "leaks memory", "both": "gets slower and leaks memory"}[health]
            return f"{named} {what} on this machine: {_figures(slow, fat)}."


def _figures(slow: Latency | None, fat: Memory | None) -> str:
    parts = []
    if slow:
        parts.append(f"over {slow.trend.jobs + 1} jobs of a worker the time for the same work {_percent(slow.trend)}")
    if fat:
        parts.append(f"{'its' if slow else 'over ' + str(fat.trend.jobs) + ' jobs its'} memory {_bytes(fat.trend)}")
    return " and ".join(parts)


def _percent(found: Trend) -> str:
    return f"changed by {found.per_job:+.2%} a job ({_sure(found)})"


def _bytes(found: Trend) -> str:
    slope = found.per_job / MB
    return f"by {slope:+.{2 if abs(slope) >= 0.1 else 4}f} MB a job ({_sure(found)})"


def _sure(found: Trend) -> str:
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.2g}"
    return f"{p}, levels off" if found.p < SURE and not found.lasts else p


def _spoilt(latencies: Sequence[Latency], health: Health) -> list[str]:
    slow = [NAMES[one.experiment] for one in latencies if one.slower and one.experiment in KEPT]
    if not slow or health not in ("healthy", "leaking"):
        return []
    return [f"Jobs became slower in {' and in '.join(slow)}, but not in the others: that was the host."]


def _graphics(gpu: Vram | None) -> list[str]:
    if gpu is None:
        return ["The memory of a GPU was not measured: there is none, or its driver does not tell it by process."]
    word = "grows" if gpu.leaks else "does not grow"
    return [f"Its GPU memory {word}: {_bytes(gpu.trend)}, {gpu.baseline / MB:.0f} MB when warm."]


def _whose(latencies: Sequence[Latency], memories: Sequence[Memory], health: Health) -> list[str]:
    """Whether the bare model does it too."""
    slow = next((one.slower for one in latencies if one.experiment == "e3"), None)
    fat = next((one.leaks for one in memories if one.experiment == "e3"), None)
    match health:
        case "slower" | "both" if slow is not None:
            ill = slow
        case "leaking" if fat is not None:
            ill = fat
        case "healthy" if slow is not None or fat is not None:
            word = "does" if slow or fat else "does not"
            return [f"The bare model in one process, with the system's own allocator, {word} degrade."]
        case _:
            return []
    if ill:
        return ["The bare model in one process does so too: it is the model or its library, not asrd."]
    return ["The bare model in one process does not: look at the pool's allocator and threads."]


def _first(found: Pair | None) -> list[str]:
    if found is None or found.ratio < 1.2:
        return []
    times = f"{found.ratio:.1f}x between jobs {found.number - 1} and {found.number} ({NAMES[found.experiment]})"
    clip = f"from {found.first_s:.2f} s to {found.second_s:.2f} s"
    if found.same_work < 1 + (found.ratio - 1) / 2:
        length = "another attempt at the same clip" if found.same_clip else "the length of the clips"
        return [f"The growth of {times}, {clip}, is {length}: for the same work it is {found.same_work:.2f}x."]
    return [f"The growth of {times}, {clip}, is not explained by the work: that is {found.same_work:.2f}x."]


def _sizes(found: Sequence[Length]) -> list[str]:
    if len(found) < 2:
        return []
    raw = ", ".join(f"{one.median_s:.2f} s for about {one.segments}" for one in found)
    same = ", ".join(f"{one.same_work:.2f}" for one in found)
    return [f"Clips by segments took {raw}; divided by their work that is {same}."]


def _start(found: Reload | None, slow: Latency | None) -> list[str]:
    if found is None:
        return []
    jobs = f", as long as {found.median_s / slow.median_s:.1f} jobs" if slow and slow.median_s else ""
    return [f"A fresh worker is ready after {found.median_s:.2f} s (p95 {found.p95_s:.2f} s){jobs}."]


def _compared(found: Throughput | None) -> list[str]:
    if found is None:
        return []
    word = "cost" if found.cost_percent >= 0 else "gained"
    return [
        f"Recycling {found.recycles} times {word} {abs(found.cost_percent):.1f} % of the throughput: "
        f"{found.with_per_min:.1f} jobs a minute against {found.without_per_min:.1f}."
    ]
