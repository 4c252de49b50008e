"""The state of the core as the control socket shows it. Reads only."""

import os
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from typing import Literal

from asrd_protocol import messages as msg
from asrd_supervisor.config import Config
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.plan import Job, JobState
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.supervisor import Supervisor, pool_status
from asrd_supervisor.probes.proc import rss_bytes

JobEnd = Literal["completed", "failed", "cancelled"]


def health(core: Supervisor, uptime: float, max_body: int) -> msg.HealthReport:
    """May work be sent?"""
    status, reason = core.status()
    pools = {name: pool_status(pool)[0] for name, pool in core.pools.items()}
    return msg.HealthReport(
        status=status,
        reason=reason,
        pools=pools,
        version=metadata.version("asrd"),
        pid=os.getpid(),
        uptime_s=round(uptime, 3),
        max_body=max_body,
    )


def stats(core: Supervisor, uptime: float, loop_lag: float) -> msg.StatsReport:
    """Counters since the start."""
    jobs, pools = core.jobs, core.pools.values()
    recycles: Counter[str] = sum((p.staffing.recycles for p in pools), Counter())
    deaths: Counter[str] = sum((p.deaths for p in pools), Counter())
    least = {p.name: p.staffing.least_ready for p in pools if p.staffing.least_ready is not None}
    return msg.StatsReport(
        jobs=msg.JobCount(
            queued=jobs.count(JobState.STORING, JobState.QUEUED),
            running=jobs.count(JobState.RUNNING),
            completed=jobs.ended["completed"],
            failed=jobs.ended["failed"],
            cancelled=jobs.ended["cancelled"],
        ),
        workers=msg.WorkerCount(ready=sum(p.ready for p in pools), total=sum(p.policy.workers for p in pools)),
        recycles=dict(recycles),
        deaths=dict(deaths),
        retries=jobs.retried,
        refused=dict(jobs.refused),
        audio_s=round(jobs.audio_s, 3),
        least_ready=least,
        loop_lag_ms=round(loop_lag * 1000, 3),
        uptime_s=round(uptime, 3),
    )


def workers(core: Supervisor, now: float, pid_of: Callable[[Seat], int | None]) -> msg.WorkersReport:
    """Every seat that is taken."""
    taken = [(p, s) for p in core.pools.values() for s in p.slots if s.state is not State.VACANT]
    return msg.WorkersReport(workers=[_worker(pool, slot, now, pid_of(slot.seat)) for pool, slot in taken])


def _worker(pool: Pool, slot: Slot, now: float, pid: int | None) -> msg.WorkerReport:
    return msg.WorkerReport(
        seat=str(slot.seat),
        pool=pool.name,
        slot=slot.index,
        generation=slot.generation,
        pid=pid,
        state=str(slot.state),
        jobs_done=slot.jobs_done,
        uptime_s=round(slot.age(now), 3) if slot.live else 0.0,
        rss_bytes=rss_bytes(pid) if pid else None,
        vram_bytes=None,
        job=slot.task.job if slot.task else None,
        last_fault=slot.last_fault,
    )


def jobs(core: Supervisor, now: float, ended: Callable[[], list[msg.JobReport]], limit: int) -> msg.JobsReport:
    """Active jobs, newest first, then those that have ended."""
    active = [job_report(job, now) for job in reversed(core.jobs.active.values())]
    return msg.JobsReport(jobs=(active + ended())[:limit])


def job_report(job: Job, now: float, end: JobEnd | None = None) -> msg.JobReport:
    """One job, and how it ended if it has."""
    return msg.JobReport(
        job=job.id,
        pool=job.pool,
        state=end or ("running" if job.state is JobState.RUNNING else "queued"),
        age_s=round(now - job.submitted_at, 3),
        attempts=job.step.attempts,
        seat=job.seat,
        done=job.step.done,
        duration=job.step.duration,
    )


def pools(core: Supervisor, config: Config) -> msg.PoolsReport:
    """Every pool with its configuration."""
    return msg.PoolsReport(
        pools=[
            msg.PoolReport(
                name=name,
                engine=config.pools[name].engine,
                model=config.pools[name].model,
                device=config.pools[name].device,
                compute_type=config.pools[name].compute_type,
                workers=pool.policy.workers,
                queued=len(pool.backlog),
                status=pool_status(pool)[0],
                default=name == config.default_pool,
            )
            for name, pool in core.pools.items()
        ]
    )
