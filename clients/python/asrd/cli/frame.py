"""One frame of ``top``."""

import time

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from asrd.cli.screen import COLOURS, age, counts
from asrd.cli.tables import jobs_table, workers_table
from asrd.sync import Client
from asrd_protocol import messages as m

JOBS_SHOWN = 15


class Sample(msgspec.Struct, frozen=True):
    """What the daemon said at one moment."""

    at: float
    health: m.HealthReport
    stats: m.StatsReport
    workers: list[m.WorkerReport]
    jobs: list[m.JobReport]


class Rate(msgspec.Struct, frozen=True):
    """Throughput, smoothed over some seconds; None until two samples were taken."""

    last: Sample | None = None
    jobs_s: float | None = None
    audio_s: float | None = None

    def next(self, sample: Sample) -> "Rate":
        """The rate with one more sample. A daemon that was restarted starts from nothing."""
        if self.last is None or sample.health.pid != self.last.health.pid:
            return Rate(sample)
        span = max(sample.at - self.last.at, 1e-3)
        jobs = (sample.stats.jobs.completed - self.last.stats.jobs.completed) / span
        audio = (sample.stats.audio_s - self.last.stats.audio_s) / span
        return Rate(sample, _smooth(self.jobs_s, jobs), _smooth(self.audio_s, audio))


def _smooth(before: float | None, now: float) -> float:
    return now if before is None else 0.7 * before + 0.3 * now


def sample(client: Client) -> Sample:
    """Asks the daemon.

    Raises:
        NoDaemon, TimedOut
    """
    jobs = client.jobs(limit=200)
    return Sample(time.monotonic(), client.health(), client.stats(), client.workers(), jobs)


def frame(shot: Sample, rate: Rate) -> RenderableType:
    """Head lines, workers, and the jobs that are under way."""
    active = [job for job in shot.jobs if job.state in ("running", "queued")]
    active.sort(key=lambda job: (job.state != "running", -job.age_s))
    parts: list[RenderableType] = [*_head(shot, rate), Text(), workers_table(shot.workers)]
    if active:
        parts += [Text(), jobs_table(active[:JOBS_SHOWN])]
    if len(active) > JOBS_SHOWN:
        parts.append(Text(f"and {len(active) - JOBS_SHOWN} more", style="dim"))
    return Group(*parts)


def _head(shot: Sample, rate: Rate) -> list[Text]:
    health, stats = shot.health, shot.stats
    jobs = stats.jobs
    status = Text.assemble(
        ("asrd ", "bold"),
        (health.status, COLOURS.get(health.status, "")),
        f"  {health.reason}  up {age(health.uptime_s)}  pid {health.pid}",
    )
    queue = f"jobs     {jobs.queued} queued  {jobs.running} running  {jobs.completed} completed"
    ended = f"  {jobs.failed} failed  {jobs.cancelled} cancelled"
    flow = "rate     "
    if rate.jobs_s is not None and rate.audio_s is not None:
        flow += f"{rate.jobs_s:.1f} jobs/s  {rate.audio_s:.1f} s of audio a second  "
    turnover = f"recycles {counts(stats.recycles)}  deaths {counts(stats.deaths)}  retries {stats.retries}"
    return [status, Text(queue + ended), Text(f"{flow}{stats.audio_s:.0f} s of audio in all"), Text(turnover)]
