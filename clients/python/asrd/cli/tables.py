"""The reports of a daemon as tables; shared by the commands that print them once and by ``top``."""

from collections.abc import Sequence

from rich.table import Table

from asrd.cli.screen import age, counts, lines, megabytes, table
from asrd_protocol import messages as m


def health_lines(report: m.HealthReport) -> Table:
    """Whether work may be sent."""
    return lines(
        [
            ("status", report.status),
            ("reason", report.reason),
            ("pools", ", ".join(f"{name} {status}" for name, status in report.pools.items())),
            ("version", report.version),
            ("pid", report.pid),
            ("uptime", age(report.uptime_s)),
            ("largest body", megabytes(report.max_body)),
        ]
    )


def stats_lines(report: m.StatsReport) -> Table:
    """Counters since the start."""
    jobs, workers = report.jobs, report.workers
    return lines(
        [
            ("jobs", f"{jobs.queued} queued, {jobs.running} running"),
            ("ended", f"{jobs.completed} completed, {jobs.failed} failed, {jobs.cancelled} cancelled"),
            ("workers", f"{workers.ready} of {workers.total} ready"),
            ("least ready", counts(report.least_ready)),
            ("recycles", counts(report.recycles)),
            ("deaths", counts(report.deaths)),
            ("retries", str(report.retries)),
            ("refused", counts(report.refused)),
            ("audio", f"{report.audio_s:.1f} s"),
            ("loop lag", f"{report.loop_lag_ms:.1f} ms"),
            ("uptime", age(report.uptime_s)),
        ]
    )


def workers_table(workers: Sequence[m.WorkerReport]) -> Table:
    """Every seat."""
    columns = ("SEAT", "STATE", "PID", "JOBS", "UPTIME", "RSS", "VRAM", "JOB", "FAULT")
    return table(columns, [_worker(worker) for worker in workers])


def _worker(worker: m.WorkerReport) -> tuple[object, ...]:
    memory = megabytes(worker.rss_bytes), megabytes(worker.vram_bytes)
    return (
        worker.seat,
        worker.state,
        worker.pid,
        worker.jobs_done,
        age(worker.uptime_s),
        *memory,
        worker.job,
        worker.last_fault,
    )


def jobs_table(jobs: Sequence[m.JobReport]) -> Table:
    """Jobs, newest first."""
    columns = ("JOB", "STATE", "POOL", "AGE", "PROGRESS", "ATTEMPTS", "SEAT")
    return table(
        columns,
        [(job.job, job.state, job.pool, age(job.age_s), _progress(job), job.attempts, job.seat) for job in jobs],
    )


def _progress(job: m.JobReport) -> str | None:
    return f"{job.done:.0f}/{job.duration:.0f} s" if job.duration else None


def pools_table(pools: Sequence[m.PoolReport]) -> Table:
    """Every pool with what it runs."""
    columns = ("POOL", "STATUS", "ENGINE", "MODEL", "DEVICE", "COMPUTE", "WORKERS", "QUEUED", "DEFAULT")
    return table(
        columns,
        [
            (
                p.name,
                p.status,
                p.engine,
                p.model,
                p.device,
                p.compute_type,
                p.workers,
                p.queued,
                "yes" if p.default else "",
            )
            for p in pools
        ],
    )
