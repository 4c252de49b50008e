"""The replaced workers, each in a sentence that a person understands."""

import textwrap
import time
from collections.abc import Mapping
from typing import Any

from asrd_protocol import messages as msg
from asrd_supervisor.core.health.history import LATENCY, Record
from asrd_supervisor.core.supervisor import Supervisor


def report(core: Supervisor, now: float, wanted: msg.Recycles) -> msg.RecyclesReport:
    """Newest first."""
    pools = [pool for name, pool in core.pools.items() if wanted.pool in (None, name)]
    records = [(record, pool.name) for pool in pools for record in reversed(pool.monitor.history.records)]
    records.sort(key=lambda one: one[0].at, reverse=True)
    return msg.RecyclesReport(recycles=[_recycle(record, pool, now) for record, pool in records[: wanted.limit]])


def _recycle(record: Record, pool: str, now: float) -> msg.RecycleReport:
    return msg.RecycleReport(
        at=round(time.time() - (now - record.at), 3),
        pool=pool,
        seat=str(record.seat),
        reason=record.reason,
        said=sentence(record),
        numbers=record.numbers,
        jobs_done=record.jobs_done,
        age_s=round(record.age, 1),
        replacement=str(record.replacement) if record.replacement else "",
        reload_s=_rounded(record.reload_s),
        before=_rounded(record.before),
        siblings=_rounded(record.siblings),
        after=_rounded(record.after),
        effective=record.effective,
    )


def sentence(record: Record) -> str:
    """``default/0.17 retired: 1.62× slower than its own start for the same work, siblings 1.03×; replacement 0.99×``.

    What is said of the replacement is on the scale of the worker that went, with what is common to all taken out.
    """
    said = f"{record.seat} retired: {_why(record)}"
    if record.reason not in LATENCY and record.before is not None:
        said += f", {times(record.before)} its own start for the same work"
    if record.after is not None:
        said += f"; replacement {times(record.after)}"
    return said + "; it did not help" if record.effective is False else said


def _why(record: Record) -> str:
    match record.reason:
        case "experiment" if record.siblings is None:
            slower = times(record.numbers.get("slowdown"))
            return f"{slower} slower than its own start for the same work, to see whether a fresh one is faster"
        case "max_jobs":
            return "after its only job" if record.jobs_done == 1 else f"after its {record.jobs_done} jobs"
        case "max_age":
            return f"at an age of {span(record.age)}"
        case _:
            return why(record.reason, record.numbers)


def why(reason: str, numbers: Mapping[str, Any]) -> str:
    """What was found, as far as the numbers of the verdict tell it."""
    match reason:
        case "slow":
            slower = times(numbers.get("slowdown"))
            return f"{slower} slower than its own start for the same work, siblings {times(numbers.get('siblings'))}"
        case "lockstep":
            slower = times(numbers.get("slowdown"))
            return f"all workers are {slower} slower than at their start, and fresh ones are not"
        case "experiment":
            return f"all workers are {times(numbers.get('slowdown'))} slower, to see whether a fresh one is faster"
        case "changed":
            return "its settings were changed"
        case "reload":
            return "its model is read again"
        case "memory":
            return "the device had no memory for its work, and others take less"
        case "requested":
            return "an operator asked for it"
        case "quality":
            return f"it hears {_quoted(numbers.get('got'))} where it heard {_quoted(numbers.get('expected'))}"
        case "canary":
            return "it failed to transcribe the built-in clip"
        case "leak" | "rss" | "vram":
            return _fat(reason, numbers)
        case _:
            return f"after the fault {reason}"


def _fat(reason: str, numbers: Mapping[str, Any]) -> str:
    match reason:
        case "leak":
            grown, each = numbers.get("grown_mib"), numbers.get("mib_per_job")
            return f"{grown} MiB more than after its warm-up, and {each} MiB more with each job"
        case "rss":
            return f"{numbers.get('rss_mib')} MiB of memory, more than {numbers.get('limit_mib')} MiB"
        case _:
            grown, limit = numbers.get("grown_mib"), numbers.get("limit_mib")
            return f"{grown} MiB more of the GPU's memory than after its warm-up, and {limit} MiB are the most"


def _quoted(text: str | None) -> str:
    return repr(textwrap.shorten(text, 60, placeholder=" …")) if text else "nothing"


def span(seconds: float) -> str:
    """``40 s``, ``5 min``, ``24.0 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def times(ratio: float | None) -> str:
    """``1.62×``, of the figure as it is reported, so that sentence and figure never differ by a rounding."""
    return "unknown" if ratio is None else f"{_rounded(ratio):.2f}×"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
