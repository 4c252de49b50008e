"""The reports of a run, written anew as it goes on."""

import os
import platform
from pathlib import Path
from typing import Any

import msgspec

from asrd_lab.analysis import same_work
from asrd_lab.daemon import Pool
from asrd_lab.figures import figures
from asrd_lab.findings import Findings
from asrd_lab.page import page
from asrd_lab.plan import Plan
from asrd_lab.rows import JobRow, jobs, reloads
from asrd_lab.store import Store
from asrd_lab.verdict import NAMES, judge

VERSION = 1
"""Of the form of ``report.json``."""


def subject(pool: Pool) -> str:
    """The model, where it runs and how."""
    name = Path(pool.model).name or f"the {pool.engine} engine"
    return name if pool.engine == "scripted" else f"{name} on {pool.device} ({pool.compute_type})"


def write(store: Store, plan: Plan, pool: Pool) -> Findings:
    """Both reports, from the rows so far.

    Raises:
        LabError: the disk is full.
    """
    found = judge(store.rows, subject(pool))
    missing = sum(len(store.missing(name, plan.jobs)) for name in plan.experiments)
    about = machine(pool)
    content = _content(store, plan, pool, found, missing)
    store.write("report.json", msgspec.json.format(msgspec.json.encode(content), indent=1))
    store.write("report.html", page(subject(pool), found, figures(store.rows, found), about, missing).encode())
    return found


def _content(store: Store, plan: Plan, pool: Pool, found: Findings, missing: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "subject": subject(pool),
        "machine": machine(pool),
        "plan": plan,
        "missing_jobs": missing,
        "findings": found,
        "jobs": [line for name in NAMES for line in _lines(jobs(store.rows, name))],
        "ready": reloads(store.rows),
    }


def _lines(mine: list[JobRow]) -> list[dict[str, Any]]:
    """The rows of one experiment, with what was computed of each."""
    computed = zip(mine, same_work(mine)[0], strict=True)
    return [{**msgspec.to_builtins(row), "wall_s": row.wall_s, "same_work": ratio} for row, ratio in computed]


def machine(pool: Pool) -> dict[str, str]:
    """What the figures depend on."""
    return {
        "workers": str(pool.workers),
        "threads": str(pool.threads),
        "cores": str(len(os.sched_getaffinity(0))),
        "CPU": _cpu(),
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
