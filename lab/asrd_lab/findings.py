"""What the lab has found: plain data, for the report in JSON and for whoever puts it into words."""

from typing import Literal

import msgspec

from asrd_lab.trends import Trend
from asrd_supervisor.core.health.cost import Costs

MB = 1e6
"""Bytes; as in the configuration."""


class _Finding(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Latency(_Finding, frozen=True, kw_only=True):
    """The time of the jobs of one experiment."""

    experiment: str
    jobs: int
    mean_s: float
    median_s: float
    p95_s: float
    spread: float
    """The slowest job as a multiple of the fastest one."""
    spread_same_work: float
    """The same with each time divided by what its work should take."""
    costs: Costs | None
    """What a worker needs for each kind of work, fitted on its young jobs."""
    trend: Trend
    """As a share of the time of the first job."""
    level: float
    """That time, divided by what its work should take."""
    slower: bool
    """More than chance and more than next to nothing."""


class Memory(_Finding, frozen=True, kw_only=True):
    """The resident memory after each job of one experiment, in bytes."""

    experiment: str
    jobs: int
    baseline: float
    """After the first jobs: what the model takes once it is warm."""
    peak: int
    trend: Trend
    leaks: bool
    """More than chance and more than next to nothing."""
    kept_per_call: float | None = None
    """Mean of after less before one call, over the second half; None where before was not measured."""


class Vram(_Finding, frozen=True, kw_only=True):
    """The GPU memory after each job of one experiment, in bytes."""

    experiment: str
    jobs: int
    baseline: float
    peak: int
    trend: Trend
    leaks: bool


class Reload(_Finding, frozen=True, kw_only=True):
    """What a fresh worker costs."""

    workers: int
    median_s: float
    """From spawn to ready."""
    p95_s: float
    load_s: float
    """The part of the median that loads the model."""


class Length(_Finding, frozen=True, kw_only=True):
    """Clips of one length (E2)."""

    segments: int
    jobs: int
    audio_s: float
    median_s: float
    same_work: float
    """Median of the time divided by what the work should take."""


class Pair(_Finding, frozen=True, kw_only=True):
    """Two jobs, one after the other on one worker, of which the second took longest against the first."""

    experiment: str
    number: int
    """The second one."""
    first_s: float
    second_s: float
    ratio: float
    same_work: float
    """The same ratio with each time divided by what its work should take."""
    same_clip: bool


class Throughput(_Finding, frozen=True, kw_only=True):
    """A pool, over the same jobs with and without recycling."""

    without_per_min: float
    with_per_min: float
    recycles: int
    cost_percent: float
    """What recycling took away; less than 0 where it gave."""


class Advice(_Finding, frozen=True, kw_only=True):
    """The recycle policy that fits."""

    max_jobs: int
    """0: never."""
    because: str
    leak: float | None
    """Bytes a job; None where there is none."""
    slow_down: float | None
    """Share of the time of the first job, a job; None where there is none."""
    memory_jobs: int | None
    """After so many jobs the leak has filled its budget; None without a leak."""
    latency_jobs: int | None
    """After so many jobs a fresh worker is worth its start; None without a slow-down."""
    budget: float
    """Bytes that a worker may grow by."""
    cost_percent: float
    """Throughput that the reloads take, if nothing is done meanwhile."""
    spared_percent: float
    """Throughput that not recycling would lose over ``spared_jobs``."""
    spared_jobs: int
    toml: str


Health = Literal["healthy", "slower", "leaking", "both", "host", "unknown"]


class Findings(_Finding, frozen=True, kw_only=True):
    """All of it."""

    health: Health
    """``host``: fresh workers changed their speed too, so nothing can be said. ``unknown``: too few jobs yet."""
    verdict: list[str]
    latency: list[Latency]
    memory: list[Memory]
    vram: list[Vram]
    reload: Reload | None
    lengths: list[Length]
    pair: Pair | None
    throughput: Throughput | None
    advice: Advice | None
