"""The experiments: each sends the jobs that are still missing and writes down how they went."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from asrd import Job
from asrd.errors import JobFailed
from asrd_lab.alone import Alone
from asrd_lab.clips import Clips
from asrd_lab.daemon import Daemon, Pool, unwatched
from asrd_lab.errors import LabError
from asrd_lab.memory import Sizes, sizes_of
from asrd_lab.plan import Clip, Plan, playlist
from asrd_lab.rows import JobRow, ReadyRow
from asrd_lab.store import Store

JOB_WITHIN_S = 4 * 3600.0


class Watcher(Protocol):
    """Who is told how far it is."""

    def begins(self, experiment: str, done: int, wanted: int) -> None:
        """An experiment begins, of which so much was done earlier."""

    def moved(self, experiment: str, said: str) -> None:
        """One job more."""


class Bench:
    """What all experiments need."""

    def __init__(self, plan: Plan, pool: Pool, clips: Clips, store: Store, watcher: Watcher) -> None:
        self.plan = plan
        self.pool = pool
        self.clips = clips
        self.store = store
        self.watcher = watcher

    @property
    def log(self) -> Path:
        """What the bare model prints."""
        return self.store.directory / "bare.log"

    def playlist(self, experiment: str) -> list[Clip]:
        """What each job of an experiment gets; both pools get the same."""
        match experiment:
            case "e2":
                clips = self.clips.by_length
            case "e4":
                clips = self.clips.own[:1]
            case _:
                clips = self.clips.own
        return playlist(clips, self.plan.jobs, self.plan.seed)

    def add(self, row: JobRow) -> None:
        """Writes a job down."""
        self.store.add(row)
        self.watcher.moved(row.experiment, f"{row.clip}: {row.wall_s:.2f} s")

    def settings(self) -> dict[str, Any]:
        """What the bare engine is told: the same as the workers."""
        told = ("model", "device", "compute_type", "threads")
        return {**{name: getattr(self.pool, name) for name in told}, **self.pool.options}


def run(bench: Bench, experiment: str) -> None:
    """Does what is missing of an experiment.

    Raises:
        LabError: a job failed, a worker cannot be had, or the disk is full.
    """
    missing = bench.store.missing(experiment, bench.plan.jobs)
    bench.watcher.begins(experiment, bench.plan.jobs - len(missing), bench.plan.jobs)
    if missing:
        _EXPERIMENTS[experiment](bench, missing)


# --- with a daemon ----------------------------------------------------------------------------------------------------


def _fresh_workers(bench: Bench, missing: list[int]) -> None:
    """E1: each job has a worker of its own."""
    with Daemon(unwatched(bench.pool, workers=1, max_jobs=1)) as daemon:
        run = _Run(bench, "e1", daemon)
        for number in missing:
            daemon.fresh()
            run.one(number)


def _one_worker(experiment: str) -> Callable[[Bench, list[int]], None]:
    """E2 and E4: one worker does all jobs, one after the other."""

    def start(bench: Bench, missing: list[int]) -> None:
        with Daemon(unwatched(bench.pool, workers=1, max_jobs=0)) as daemon:
            run = _Run(bench, experiment, daemon)
            for number in missing:
                run.one(number)

    return start


def _pool(experiment: str) -> Callable[[Bench, list[int]], None]:
    """The whole pool, with always enough in its queue."""

    def start(bench: Bench, missing: list[int]) -> None:
        workers = int(bench.pool.workers)
        max_jobs = bench.plan.max_jobs(workers) if experiment == "recycled" else 0
        with Daemon(unwatched(bench.pool, workers, max_jobs)) as daemon:
            _Run(bench, experiment, daemon).many(missing, 2 * workers)

    return start


class _Run:
    """One experiment on one daemon."""

    def __init__(self, bench: Bench, experiment: str, daemon: Daemon) -> None:
        self._bench = bench
        self._experiment = experiment
        self._daemon = daemon
        self._playlist = bench.playlist(experiment)

    def one(self, number: int) -> None:
        """A job alone, with the memory of its worker before and after it."""
        before = {seat: sizes_of(worker.pid) for seat, worker in self._daemon.workers().items()}
        vram = {seat: worker.vram_bytes for seat, worker in self._daemon.workers().items()}
        row = self._ended(number, self._submit(number))
        was = before.get(row.seat, Sizes())
        changes = {"rss_before": was.rss, "pss_before": was.pss, "vram_before": vram.get(row.seat)}
        self._write(msgspec.structs.replace(row, **changes))

    def many(self, numbers: list[int], ahead: int) -> None:
        """Jobs with so many of them in the daemon at a time."""
        waiting: deque[tuple[int, Job]] = deque()
        for number in numbers:
            waiting.append((number, self._submit(number)))
            if len(waiting) >= ahead:
                self._write(self._ended(*waiting.popleft()))
        while waiting:
            self._write(self._ended(*waiting.popleft()))

    def _submit(self, number: int) -> Job:
        clip = self._playlist[number - 1]
        return self._daemon.client.submit(clip.path or b"nothing", **clip.options)

    def _ended(self, number: int, job: Job) -> JobRow:
        clip = self._playlist[number - 1]
        try:
            job.result(JOB_WITHIN_S)
        except JobFailed as error:
            raise LabError(f"job {number} of {self._experiment} ({clip.name}) failed: {error}") from None
        run = job.run
        assert run is not None
        worker = self._daemon.workers().get(run.seat)
        # Whoever leaves after the job, or has the next one already, is known by what it said itself.
        idle = worker is not None and worker.state == "idle" and worker.jobs_done == run.job_index
        after = sizes_of(worker.pid) if worker and idle else Sizes()
        return JobRow(
            experiment=self._experiment,
            number=number,
            session=self._bench.store.session,
            clip=clip.name,
            segments=clip.segments,
            seat=run.seat,
            job_index=run.job_index,
            at=time.time(),
            latency_s=run.timings.total,
            timings=run.timings,
            work=run.work,
            rss_after=after.rss or run.rss_bytes or None,
            pss_after=after.pss,
            vram_after=worker.vram_bytes if worker else None,
        )

    def _write(self, row: JobRow) -> None:
        for line in self._daemon.ready():
            self._bench.store.add(_ready(self._experiment, self._bench.store.session, line))
        self._bench.add(row)


def _ready(experiment: str, session: int, line: Mapping[str, Any]) -> ReadyRow:
    return ReadyRow(
        experiment=experiment,
        session=session,
        seat=str(line["seat"]),
        start_s=float(line["start_s"]),
        load_s=float(line["load_s"]),
        warm_up_s=float(line["warm_up_s"]),
    )


# --- without one ------------------------------------------------------------------------------------------------------


def _bare(bench: Bench, missing: list[int]) -> None:
    """E3: the model in one process, without supervisor, allocator settings and tidying up."""
    clips = bench.playlist("e3")
    with Alone(bench.pool.engine, bench.settings(), bench.log) as alone:
        bench.store.add(_loaded(bench, alone))
        for index, number in enumerate(missing, start=1):
            clip = clips[number - 1]
            began = time.monotonic()
            done = alone.transcribe(number, clip.path, clip.options)
            bench.add(
                JobRow(
                    experiment="e3",
                    number=number,
                    session=bench.store.session,
                    clip=clip.name,
                    seat="bare",
                    job_index=index,
                    at=time.time(),
                    latency_s=time.monotonic() - began,
                    timings=done.timings,
                    work=done.work,
                    rss_before=done.rss_before,
                    rss_after=done.rss_after,
                )
            )


def _loaded(bench: Bench, alone: Alone) -> ReadyRow:
    return ReadyRow(
        experiment="e3",
        session=bench.store.session,
        seat="bare",
        start_s=alone.start_s,
        load_s=alone.loaded.load_s,
        warm_up_s=alone.loaded.warm_up_s,
    )


_EXPERIMENTS: dict[str, Callable[[Bench, list[int]], None]] = {
    "e1": _fresh_workers,
    "e2": _one_worker("e2"),
    "e3": _bare,
    "e4": _one_worker("e4"),
    "pool": _pool("pool"),
    "recycled": _pool("recycled"),
}
