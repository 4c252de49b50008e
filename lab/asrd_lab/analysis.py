"""From rows to findings. Pure: no clock, no files, no processes."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from msgspec import structs

from asrd_lab.findings import MB, Latency, Length, Memory, Pair, Reload, Throughput, Vram
from asrd_lab.rows import JobRow, ReadyRow
from asrd_lab.trends import Trend, by_age, trend
from asrd_supervisor.core.health.cost import Costs, fit

YOUNG = range(2, 21)
"""The jobs of a worker that say what work costs: not the first one, and none of an old worker."""

FEW = 8
"""Jobs below which nothing is said of an experiment."""

SLOWER = 0.05
"""A slow-down over the whole run that is worth a word, as a share."""

GROWN = 4 * MB
"""The same for memory, in bytes, where the worker is small."""

GROWN_SHARE = 0.02
"""The same, as a share of what the worker takes when it is warm."""


def same_work(rows: Sequence[JobRow]) -> tuple[list[float], Costs | None]:
    """For each job its time divided by what its work should take, by the young jobs of the same experiment."""
    young = [row for row in rows if row.job_index in YOUNG]
    if len(young) < FEW:
        young = list(rows)
    costs = fit([(row.work, row.wall_s) for row in young])
    typical = median(row.wall_s for row in rows) if rows else 1.0
    return [row.wall_s / (costs.predict(row.work) if costs else typical or 1.0) for row in rows], costs


def latency(rows: Sequence[JobRow]) -> Latency | None:
    """The times of one experiment; None for too few jobs."""
    if len(rows) < FEW:
        return None
    ratios, costs = same_work(rows)
    fresh = all(row.job_index == 1 for row in rows)
    # A first job pays for what is done lazily. Where all are first ones, the trend is that of the host.
    aged = [(row.number if fresh else row.job_index, ratio) for row, ratio in zip(rows, ratios, strict=True)]
    first = 1 if fresh else 2
    found = trend(by_age([(age, ratio) for age, ratio in aged if age >= first]), first)
    level = max(1e-9, found.start - found.per_job * (first - 1))
    found = structs.replace(found, per_job=found.per_job / level, start=found.start / level)
    walls = sorted(row.wall_s for row in rows)
    return Latency(
        experiment=rows[0].experiment,
        jobs=len(rows),
        mean_s=fmean(walls),
        median_s=median(walls),
        p95_s=quantile(walls, 0.95),
        spread=walls[-1] / max(1e-9, walls[0]),
        spread_same_work=max(ratios) / max(1e-9, min(ratios)),
        costs=costs,
        trend=found,
        level=level,
        slower=found.rises(SLOWER),
    )


def memory(rows: Sequence[JobRow]) -> Memory | None:
    """The memory of the workers of one experiment; None where it is not known, or for workers of one job each."""
    known = [(row.job_index, row.rss_after) for row in rows if row.rss_after]
    found = _growth(rows, known)
    if found is None:
        return None
    baseline, course = found
    calls = [row.rss_after - row.rss_before for row in rows[len(rows) // 2 :] if row.rss_after and row.rss_before]
    return Memory(
        experiment=rows[0].experiment,
        jobs=len(known),
        baseline=baseline,
        peak=max(size for _, size in known),
        trend=course,
        leaks=course.rises(max(GROWN, GROWN_SHARE * baseline)),
        kept_per_call=fmean(calls) if calls else None,
    )


def vram(rows: Sequence[JobRow]) -> Vram | None:
    """The same for the memory of the GPU."""
    known = [(row.job_index, row.vram_after) for row in rows if row.vram_after]
    found = _growth(rows, known)
    if found is None:
        return None
    baseline, course = found
    return Vram(
        experiment=rows[0].experiment,
        jobs=len(known),
        baseline=baseline,
        peak=max(size for _, size in known),
        trend=course,
        leaks=course.rises(max(GROWN, GROWN_SHARE * baseline)),
    )


def _growth(rows: Sequence[JobRow], known: Sequence[tuple[int, int]]) -> tuple[float, Trend] | None:
    """What a warm worker takes, and how that changes with its age.

    The first jobs are left out: buffers grow until the longest clip has been through once.
    """
    oldest = max((age for age, _ in known), default=0)
    if oldest < FEW:
        return None
    skipped = min(max(3, len({row.clip for row in rows})), max(1, oldest // 6))
    warm = [(age, float(size)) for age, size in known if age > skipped]
    series = by_age(warm)
    return (median(series[:3]), trend(series, skipped + 1)) if len(series) > 2 else None


def reload(rows: Sequence[ReadyRow]) -> Reload | None:
    """What it costs to start a worker."""
    if not rows:
        return None
    starts = sorted(row.start_s for row in rows)
    return Reload(
        workers=len(rows),
        median_s=median(starts),
        p95_s=quantile(starts, 0.95),
        load_s=median(row.load_s for row in rows),
    )


def lengths(rows: Sequence[JobRow]) -> list[Length]:
    """Clips of different lengths side by side, the shortest first."""
    ratios, _ = same_work(rows)
    found = []
    for segments in sorted({row.segments for row in rows}):
        mine = [(row, ratio) for row, ratio in zip(rows, ratios, strict=True) if row.segments == segments]
        found.append(
            Length(
                segments=segments,
                jobs=len(mine),
                audio_s=median(row.work.audio_s for row, _ in mine),
                median_s=median(row.wall_s for row, _ in mine),
                same_work=median(ratio for _, ratio in mine),
            )
        )
    return found


def pair(rows: Sequence[JobRow]) -> Pair | None:
    """The neighbours on one worker, its first job aside, that look most like a degradation to the naked eye."""
    ratios, _ = same_work(rows)
    done = sorted(zip(rows, ratios, strict=True), key=lambda one: (one[0].life, one[0].job_index))
    worst: Pair | None = None
    for (one, first), (other, second) in pairwise(done):
        if one.life != other.life or one.job_index == 1 or not one.wall_s:
            continue
        ratio = other.wall_s / one.wall_s
        if worst is None or ratio > worst.ratio:
            worst = Pair(
                experiment=other.experiment,
                number=other.number,
                first_s=one.wall_s,
                second_s=other.wall_s,
                ratio=ratio,
                same_work=second / max(1e-9, first),
                same_clip=one.clip == other.clip,
            )
    return worst


def throughput(without: Sequence[JobRow], recycled: Sequence[JobRow]) -> Throughput | None:
    """The same jobs with and without recycling; None as long as one of both has not begun in earnest."""
    both = {row.number for row in without} & {row.number for row in recycled}
    if len(both) < FEW:
        return None
    plain = 60 * len(without) / _span(without)
    mortal = 60 * len(recycled) / _span(recycled)
    return Throughput(
        without_per_min=plain,
        with_per_min=mortal,
        recycles=len({row.life for row in recycled}) - len({row.life for row in without}),
        cost_percent=100 * (1 - mortal / plain),
    )


def _span(rows: Sequence[JobRow]) -> float:
    """Seconds in which the jobs were done, breaks between two runs of the lab left out."""
    total = 0.0
    for session in {row.session for row in rows}:
        mine = [row for row in rows if row.session == session]
        total += max(row.at for row in mine) - min(row.at - row.latency_s for row in mine)
    return max(1e-6, total)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered ones lies; the nearest of them."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
