"""Which plots show what was measured."""

from collections.abc import Callable, Mapping, Sequence

from asrd_lab.analysis import same_work
from asrd_lab.findings import MB, Findings
from asrd_lab.plots import Point, Series, scatter
from asrd_lab.rows import JobRow, Row, jobs, reloads
from asrd_lab.trends import Trend
from asrd_lab.verdict import NAMES


def figures(rows: Sequence[Row], found: Findings) -> list[tuple[str, str, str]]:
    """Heading, what to see in it, and the plot; those without data are left out."""
    pace = {one.experiment: _line(one.trend, one.level) for one in found.latency}
    memory = {one.experiment: _line(one.trend, 1 / MB) for one in found.memory}
    video = {one.experiment: _line(one.trend, 1 / MB) for one in found.vram}
    drawn = [
        (
            "Latency as it is",
            "Seconds that a worker was at work, by the age of the worker. Clips of different lengths lie apart: this "
            "cannot be judged by eye.",
            scatter("latency by job", _AGE, "seconds", _by_age(rows, lambda mine: [row.wall_s for row in mine])),
        ),
        (
            "Latency for the same work",
            "The same times divided by what the work should take a young worker. Flat is healthy; the lines are "
            "Theil-Sen trends.",
            scatter(
                "latency for the same work by job",
                _AGE,
                "times as long",
                _by_age(rows, lambda mine: same_work(mine)[0], pace),
            ),
        ),
        (
            "Clips of 1, 3 and 10 segments (E2)",
            "One worker. Left to right in the order of the jobs; the colours are the lengths.",
            scatter("latency in E2", "job", "seconds", _lengths(jobs(rows, "e2"))),
        ),
        (
            "Memory",
            "Resident memory after each job, by the age of the worker.",
            scatter(
                "memory by job",
                _AGE,
                "MB",
                _by_age(rows, _megabytes("rss_after"), memory),
                from_zero=False,
            ),
        ),
        (
            "GPU memory",
            "The same on the GPU.",
            scatter("GPU memory by job", _AGE, "MB", _by_age(rows, _megabytes("vram_after"), video), from_zero=False),
        ),
        (
            "Starts",
            "Seconds from spawn to ready of every worker.",
            scatter("starts", "worker", "seconds", _starts(rows)),
        ),
    ]
    return [one for one in drawn if one[2]]


_AGE = "jobs that the worker has done"

Values = Callable[[Sequence[JobRow]], Sequence[float | None]]
Line = tuple[Point, Point]


def _by_age(rows: Sequence[Row], values: Values, lines: Mapping[str, Line] | None = None) -> list[Series]:
    """A colour for each experiment; E1 has no ages, and workers that are recycled too few for a trend."""
    found = []
    for colour, name in enumerate(NAMES):
        mine = jobs(rows, name)
        if not mine or name == "e1":
            continue
        points = [
            Point(row.job_index, value, f"{NAMES[name]}, job {row.number}, {row.clip}: {value:.3g}")
            for row, value in zip(mine, values(mine), strict=True)
            if value is not None
        ]
        line = None if name == "recycled" else (lines or {}).get(name)
        if points:
            found.append(Series(name=NAMES[name], colour=colour, points=points, line=line))
    return found


def _megabytes(field: str) -> Values:
    def values(rows: Sequence[JobRow]) -> list[float | None]:
        return [size / MB if (size := getattr(row, field)) else None for row in rows]

    return values


def _line(course: Trend, scale: float) -> Line:
    last = course.first + course.jobs - 1
    return Point(course.first, course.start * scale), Point(last, (course.start + course.growth) * scale)


def _lengths(rows: Sequence[JobRow]) -> list[Series]:
    return [
        Series(
            name=f"about {segments} segment{'s' if segments > 1 else ''}",
            colour=colour,
            points=[Point(row.number, row.wall_s, f"job {row.number}") for row in rows if row.segments == segments],
        )
        for colour, segments in enumerate(sorted({row.segments for row in rows}))
    ]


def _starts(rows: Sequence[Row]) -> list[Series]:
    found = []
    for colour, name in enumerate(NAMES):
        mine = [row for row in reloads(rows) if row.experiment == name]
        points = [Point(i, row.start_s, f"{row.seat}: {row.start_s:.2f} s") for i, row in enumerate(mine, start=1)]
        if points:
            found.append(Series(name=NAMES[name], colour=colour, points=points))
    return found
