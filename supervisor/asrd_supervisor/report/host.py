"""The host, as far as it is to blame: workers are slow, and replacing them would not help."""

from collections.abc import Iterable, Mapping
from typing import Any

from asrd_protocol import messages as msg
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.report.recycles import times

ALERT_S = 3600.0
"""For so long it is worth knowing that the host was in the way."""

_DISTURBED = {
    "cpu": "processes wait for a core",
    "memory": "processes wait for memory",
    "throttled": "the GPU has lowered its clock",
    "slept": "it was suspended",
}


def host(pool: Pool, now: float) -> Iterable[msg.Insight]:
    """What was found within the last hour, or is felt now."""
    alert, felt = pool.monitor.diagnosis.lockstep.alert, pool.monitor.host
    if alert and round(now - alert["at"], 3) < ALERT_S:
        numbers = {key: value for key, value in alert.items() if key not in ("at", "cause") and value is not None}
        yield msg.Insight(
            topic="host",
            severity="warning",
            pool=pool.name,
            said=_what_was(pool.name, alert),
            advice="Look for other load on this host, or for heat; replacing workers does not help.",
            numbers={**numbers, "age_s": round(now - alert["at"])},
        )
    elif felt.disturbed_by:
        numbers = {"cpu_pressure": felt.pressure, "usual_pressure": felt.usual and round(felt.usual, 1)}
        yield msg.Insight(
            topic="host",
            severity="info",
            pool=pool.name,
            said=f"{_busy(felt.disturbed_by)} The times of such jobs are not held against the workers of {pool.name}.",
            numbers={**{key: value for key, value in numbers.items() if value is not None}, "by": felt.disturbed_by},
        )


def _what_was(pool: str, alert: Mapping[str, Any]) -> str:
    slowdown = alert.get("slowdown")
    if alert["cause"] == "not the worker":
        before, after = times(alert.get("before")), times(alert.get("after"))
        return (
            f"Replacing slow workers of {pool} did not help: {before} the usual time for the same work before, "
            f"{after} after. They are left alone for an hour."
        )
    if slowdown is None:
        return f"{_busy(alert.get('disturbed_by') or '')} The times of such jobs are not held against those of {pool}."
    said = f"All workers of {pool} took {times(slowdown)} their usual time for the same work, and it is the host: "
    if alert.get("old_by_new") is not None:
        return said + f"a fresh worker is no faster (an old one takes {times(alert['old_by_new'])} its time)."
    if alert.get("disturbed_by"):
        return said + f"{_DISTURBED[alert['disturbed_by']]}."
    return said + f"they got {alert.get('cpu_share')} cores, less than in their first jobs."


def _busy(by: str) -> str:
    return f"The host is busy, not the workers slow: {_DISTURBED.get(by, 'its state has changed')}."
