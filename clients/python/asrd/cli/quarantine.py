"""Jobs that workers died of: ``quarantine list, show, retry, drop``."""

from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli import options as opt
from asrd.cli.app import command, group

if TYPE_CHECKING:
    from asrd import Client, Fault
    from asrd_protocol.messages import JobReport

ALL = 10_000
"""As many jobs as the daemon lists at most."""

_group = group("quarantine", "Jobs that workers died of: they stay until they are tried again or dropped.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A job in quarantine.")]


@command("list", of=_group)
def show_all(as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None) -> None:
    """The jobs in quarantine, newest first."""
    from asrd import Client
    from asrd.cli import screen, tables

    with Client(runtime_dir) as client:
        reports = client.quarantine(ALL)
    if as_json:
        screen.print_json(reports)
    else:
        screen.show(tables.jobs_table(reports))


@command("show", of=_group)
def show(job: Id, as_json: opt.Json = False, runtime_dir: opt.RuntimeDir = None) -> None:
    """The evidence: how often and how workers died of a job, where, how far they came, and what they said last."""
    from asrd import Client
    from asrd.cli import screen, tables

    with Client(runtime_dir) as client:
        report = _quarantined(client, job)
        fault = _fault(client, job)
    if as_json:
        screen.print_json({"job": report, "fault": fault})
        return
    screen.show(tables.evidence_lines(report, fault))
    if tail := fault.context.get("log_tail"):
        screen.show(tables.log_lines(tail))


@command("retry", of=_group)
def retry(job: Id, runtime_dir: opt.RuntimeDir = None) -> None:
    """Try a job again, with all its attempts."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        _quarantined(client, job)
        client.retry(job)
    to_stdout(f"{job} is tried again")


@command("drop", of=_group)
def drop(job: Id, runtime_dir: opt.RuntimeDir = None) -> None:
    """Forget a job with its audio and its evidence."""
    from asrd import Client
    from asrd.cli.output import to_stdout

    with Client(runtime_dir) as client:
        _quarantined(client, job)
        client.release(job)
    to_stdout(f"{job} is forgotten")


def _quarantined(client: "Client", job: str) -> "JobReport":
    """The report of a job that is in quarantine.

    Raises:
        AsrdError: when it is not.
    """
    from asrd import AsrdError

    for report in client.quarantine(ALL):
        if report.job == job:
            return report
    raise AsrdError(f"there is no job {job!r} in quarantine; `asrd quarantine list` shows those that are")


def _fault(client: "Client", job: str) -> "Fault":
    from asrd import AsrdError, JobFailed

    try:
        client.fetch(job)
    except JobFailed as failed:
        return failed.fault
    raise AsrdError(f"the job {job} has just left the quarantine")
