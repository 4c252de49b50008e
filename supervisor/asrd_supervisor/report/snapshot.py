"""The state of the core as the control socket shows it. Reads only."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata

from asrd_protocol import messages as msg
from asrd_protocol.faults import Fault
from asrd_supervisor import placing, sizing
from asrd_supervisor.config import Config
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.plan import Job, JobState, StepState
from asrd_supervisor.core.policy import CPU
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.supervisor import Supervisor, pool_status
from asrd_supervisor.ledger import Ledger
from asrd_supervisor.probes.proc import rss_bytes
from asrd_supervisor.records import Record

ETAS = 100
"""Lines of a list that tell when the job will be done: each has to look at the whole queue."""


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


def stats(core: Supervisor, ledger: Ledger, uptime: float, loop_lag: float) -> msg.StatsReport:
    """Counters since the start."""
    jobs, pools = core.jobs, core.pools.values()
    recycles: Counter[str] = sum((p.staffing.recycles for p in pools), Counter())
    deaths: Counter[str] = sum((p.deaths for p in pools), Counter())
    least = {p.name: p.staffing.least_ready for p in pools if p.staffing.least_ready is not None}
    return msg.StatsReport(
        jobs=msg.JobCount(
            queued=jobs.count(JobState.STORING, JobState.QUEUED, JobState.WAITING),
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
        queued_s=round(sum(p.backlog.work for p in pools), 3),
        stored_bytes=ledger.archive.kept,
        storage="full" if ledger.full else "ok",
        loop_lag_ms=round(loop_lag * 1000, 3),
        uptime_s=round(uptime, 3),
    )


def workers(core: Supervisor, now: float, pid_of: Callable[[Seat], int | None]) -> msg.WorkersReport:
    """Every seat that is taken."""
    taken = [(p, s) for p in core.pools.values() for s in p.slots if s.state is not State.VACANT]
    return msg.WorkersReport(workers=[_worker(pool, slot, now, pid_of(slot.seat)) for pool, slot in taken])


def _worker(pool: Pool, slot: Slot, now: float, pid: int | None) -> msg.WorkerReport:
    slowdown = slot.vitals.pace.slowdown
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
        pss_bytes=slot.vitals.memory.pss,
        vram_bytes=slot.vitals.memory.vram,
        condition=slot.vitals.condition,
        slowdown=None if slowdown is None else round(slowdown, 3),
        proof_age_s=round(now - slot.proved_at, 3) if slot.live else 0.0,
        job=slot.task.job if slot.task else None,
        last_fault=slot.last_fault,
        device=slot.device if slot.edition else "",
    )


def jobs(core: Supervisor, ledger: Ledger, now: float, wanted: msg.Jobs, sees: Callable[[str], bool]) -> msg.JobsReport:
    """The jobs that are wanted and that the asker may see: those that have not ended first, newest first."""

    def shown(job: str, state: msg.JobState, pool: str, client: str) -> bool:
        right = (not wanted.states or state in wanted.states) and wanted.pool in (None, pool)
        return right and wanted.client in (None, client) and sees(job)

    active = (
        job for job in reversed(core.jobs.active.values()) if shown(job.id, _state(job), job.pool, job.asked.client)
    )
    lines = [
        job_report(job, now, eta=_eta(core, job) if number < ETAS else 0.0)
        for number, job in enumerate(itertools.islice(active, wanted.limit))
    ]
    ended = (
        record.aged()
        for record in ledger.archive.ended()
        if record.report and shown(record.job, record.report.state, record.report.pool, record.report.client)
    )
    return msg.JobsReport(jobs=lines + list(itertools.islice(ended, wanted.limit - len(lines))))


def _state(job: Job) -> msg.JobState:
    return "running" if job.state is JobState.RUNNING else "queued"


def _eta(core: Supervisor, job: Job) -> float:
    """Seconds until a job that waits, or was cut, has its result."""
    if not core.jobs.served(job):
        return 0.0  # nobody knows
    pool = core.pools[job.pool]
    queued = [pool.eta(job.ref(step)) for step in job.live if step.state is StepState.QUEUED and step.pool == job.pool]
    held = sum(step.length for step in job.steps.values() if step.state is StepState.HELD)
    return max(queued, default=0.0) + held * pool.pace.rate / max(1, pool.ready)


def job_report(
    job: Job, now: float, end: msg.JobState | None = None, eta: float = 0.0, fault: Fault | None = None
) -> msg.JobReport:
    """One job, and how it ended if it has."""
    return msg.JobReport(
        job=job.id,
        pool=job.pool,
        state=end or _state(job),
        age_s=round(now - job.submitted_at, 3),
        attempts=job.attempts,
        seat=job.seat,
        done=round(job.done, 3),
        duration=job.duration,
        eta_s=round(eta, 3),
        bytes=job.size,
        client=job.asked.client,
        priority=job.asked.lane,
        code=str(fault.code) if fault else "",
        message=fault.message if fault else "",
    )


def pending(core: Supervisor, record: Record) -> msg.Pending:
    """How a job stands that has not ended."""
    job = record.job
    found = core.jobs.active.get(job)
    if found is None:  # its end is being stored
        return msg.Pending(job=job, state="running" if record.attempt else "queued")
    report = job_report(found, 0.0)
    return msg.Pending(
        job=job,
        state="running" if found.state is JobState.RUNNING else "queued",
        attempt=report.attempts,
        done=report.done,
        duration=report.duration,
        eta_s=round(_eta(core, found), 3),
    )


def pools(core: Supervisor, config: Config, now: float) -> msg.PoolsReport:
    """Every pool with what it runs."""
    return msg.PoolsReport(pools=[_pool(pool, config, now) for pool in core.pools.values()])


def _compute_type(wanted: str, fallback: str) -> str:
    """With what the workers compute that are placed now."""
    if fallback == CPU:
        return placing.compute_type(wanted, CPU)
    return placing.LIGHT if fallback else wanted


def _pool(pool: Pool, config: Config, now: float) -> msg.PoolReport:
    staffing, usage = pool.staffing, pool.usage
    configured = config.pools[pool.name]
    engine = sizing.now(config, pool.name, staffing.renewal.editions.wanted.settings)
    fallback, efficiency = pool.placement.fallback, pool.tally.batch_efficiency
    return msg.PoolReport(
        name=pool.name,
        engine=configured.engine,
        model=engine["model"],
        device=CPU if fallback == CPU else configured.device,
        compute_type="" if pool.policy.diarizes else _compute_type(engine["compute_type"], fallback),
        fallback=fallback,
        workers=pool.policy.workers,
        queued=len(pool.backlog),
        status=pool_status(pool)[0],
        default=pool.name == config.default_pool,
        ready=pool.ready,
        threads=engine["threads"],
        behind=staffing.renewal.behind,
        change_fault=staffing.renewal.editions.fault,
        jobs=usage.jobs,
        audio_s=round(usage.audio_s, 3),
        batch_efficiency=None if efficiency is None else round(efficiency, 3),
        last_used_at=None if usage.last_at is None else round(time.time() - (now - usage.last_at), 3),
        idle_s=round(staffing.rest.idle_s(now), 1),
    )
