"""The reports of a daemon as tables; shared by the commands that print them once and by ``top``."""

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from asrd.cli.screen import COLOURS, age, cell, counts, figures, lines, megabytes, moment, table, times
from asrd_protocol import messages as m
from asrd_protocol.faults import Fault


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
            ("waiting work", f"{report.queued_s:.1f} s"),
            ("kept results", megabytes(report.stored_bytes)),
            ("storage", report.storage),
            ("loop lag", f"{report.loop_lag_ms:.1f} ms"),
            ("uptime", age(report.uptime_s)),
        ]
    )


def workers_table(workers: Sequence[m.WorkerReport]) -> Table:
    """Every seat."""
    device = ["DEVICE"] if any(worker.device not in ("", "cpu") for worker in workers) else []
    columns = ("SEAT", *device, "STATE", "PID", "JOBS", "UPTIME", "CONDITION", "RSS", "VRAM", "JOB", "FAULT")
    rows = [_worker(worker, device=bool(device)) for worker in workers]
    return table(columns, rows, flowing=("JOB", "FAULT"))


def _worker(worker: m.WorkerReport, *, device: bool) -> tuple[object, ...]:
    return (
        worker.seat,
        *([worker.device or None] if device else []),
        worker.state,
        worker.pid,
        worker.jobs_done,
        age(worker.uptime_s),
        _condition(worker),
        megabytes(worker.rss_bytes),
        megabytes(worker.vram_bytes),
        worker.job,
        worker.last_fault,
    )


def _condition(worker: m.WorkerReport) -> Text | None:
    """The word and the slow-down in one cell, ``ok 1.03x``; None where neither is known."""
    known = "" if worker.condition == "unknown" else worker.condition
    words = [word for word in (known, times(worker.slowdown)) if word]
    return Text(" ".join(words), style=COLOURS.get(known, "")) if words else None


def recycles_table(recycles: Sequence[m.RecycleReport]) -> Table:
    """Workers that were replaced, each in a sentence, and whether it helped."""
    words = {True: "yes", False: "no", None: None}
    return table(("WHEN", "HELPED", "WHAT"), [(moment(one.at), words[one.effective], one.said) for one in recycles])


def insights_lines(insights: Sequence[m.Insight]) -> Table:
    """What the daemon has noticed, with what to do about it and the figures behind it."""
    made = Table.grid(padding=(0, 2))
    made.add_column(no_wrap=True)
    made.add_column()
    for insight in insights:
        made.add_row(cell(insight.severity), Text(insight.said, style="bold"))
        if insight.advice:
            made.add_row("", Padding(Text(insight.advice), (0, 0, 0, 2)))
        if insight.numbers:
            made.add_row("", Padding(Text(figures(insight.numbers), style="dim"), (0, 0, 0, 2)))
    return made


def jobs_table(jobs: Sequence[m.JobReport]) -> Table:
    """Jobs, newest first."""
    columns = ("JOB", "STATE", "POOL", "AGE", "PROGRESS", "ETA", "ATTEMPTS", "SEAT", "FAULT")
    return table(columns, [_job(job) for job in jobs])


def _job(job: m.JobReport) -> tuple[object, ...]:
    done = f"{job.done:.0f}/" if job.state != "completed" else ""  # the last segment may end before the audio does
    progress = f"{done}{job.duration:.0f} s" if job.duration else None
    eta = age(max(1.0, job.eta_s)) if job.eta_s else None
    return (job.job, job.state, job.pool, age(job.age_s), progress, eta, job.attempts, job.seat, job.code)


def evidence_lines(job: m.JobReport, fault: Fault) -> Table:
    """What is known of a job that workers died of."""
    context = fault.context
    done, duration = context.get("done_s"), context.get("duration_s")
    progress = f"{done:.1f} of {duration:.1f} s" if isinstance(done, float) and isinstance(duration, float) else None
    return lines(
        [
            ("job", job.job),
            ("pool", job.pool),
            ("client", job.client),
            ("age", age(job.age_s)),
            ("fault", f"{fault.code}: {fault.message}"),
            ("attempts", context.get("attempts", job.attempts)),
            ("deaths", context.get("deaths")),
            ("interrupted", context.get("interrupted")),
            ("last seat", context.get("seat", job.seat)),
            ("last death", context.get("death")),
            ("last progress", progress),
        ]
    )


def pools_table(pools: Sequence[m.PoolReport]) -> Table:
    """Every pool with what it runs."""
    columns = (
        "POOL",
        "STATUS",
        "ENGINE",
        "MODEL",
        "DEVICE",
        "COMPUTE",
        "READY",
        "QUEUED",
        "JOBS",
        "AUDIO",
        "BATCHES",
        "USED",
        "CHANGE",
    )
    return table(
        columns,
        [
            (
                f"{p.name} *" if p.default else p.name,
                p.status,
                p.engine,
                p.model,
                p.device,
                p.compute_type,
                f"{p.ready}/{p.workers}",
                p.queued,
                p.jobs,
                f"{p.audio_s:.0f} s",
                None if p.batch_efficiency is None else f"{100 * p.batch_efficiency:.0f} % full",
                None if p.last_used_at is None else moment(p.last_used_at),
                _change(p),
            )
            for p in pools
        ],
        flowing=("MODEL", "CHANGE"),
    )


def _change(pool: m.PoolReport) -> str | None:
    """How a change of its settings goes, or what it does without."""
    if pool.fallback:
        return f"fell back to {pool.fallback}"
    if pool.change_fault:
        return f"taken back: {pool.change_fault}"
    return f"{pool.behind} to be replaced" if pool.behind else None


def log_lines(tail: Sequence[object]) -> Table:
    """The last that a worker has said, line by line."""
    return table(("LOG",), [(str(line),) for line in tail])
