"""A part of the daemon alone: jobs are accepted, tried, ended and released, and every promise is printed when made.

It waits for orders on stdin, and forks for each of them. Lines in the life of a fork:

    begin STEP JOB    the step has been asked for
    done STEP JOB     the ledger says it is stored
    refused JOB CODE  the job is not taken
    broken WHY        the ledger says that nothing can be stored any more
    closed            everything is closed
"""

import asyncio
import ctypes
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from asrd_protocol import messages as msg
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Run
from asrd_supervisor.config import JournalConfig
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Size
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.ledger import Ended
from asrd_supervisor.sources import Identity, Named
from asrd_supervisor.storage import Storage

Step = str
PLANS: dict[str, tuple[Step, ...]] = {
    "released": ("accept", "attempt", "end", "forget"),
    "completed": ("accept", "attempt", "end"),
    "quarantined": ("accept", "attempt", "attempt", "fail"),
    "revived": ("accept", "attempt", "fail", "revive"),
    "named": ("accept", "attempt", "end"),
    "running": ("accept", "attempt"),
    "waiting": ("accept",),
    "kept": ("accept", "attempt", "wait"),
}
"""What happens to each job."""


def body_of(job: str) -> bytes:
    """The audio of a job."""
    return job.encode() * 700


def submit_of(job: str) -> msg.Submit:
    """What was asked."""
    return msg.Submit(job=job, options={"language": job})


def named_of(job: str) -> Named | None:
    """Where its audio is, when it is not in a body."""
    return Named("/nowhere/named.wav", Identity(1, 2, 3, 4)) if job == "named" else None


def ended_of(job: str, step: Step) -> Ended:
    """Its one end."""
    if step == "end":
        return Ended(msg.Completed(job=job, run=Run(seat="default/0.1")), f"text of {job} ".encode() * 50)
    return Ended(msg.Failed(job=job, fault=Fault.of(Code.POISON, f"{job} kills workers")), None)


def report_of(job: str, step: Step) -> msg.JobReport:
    """Its line in a list."""
    state: msg.JobState = "completed" if step == "end" else "quarantined"
    return msg.JobReport(job=job, pool="default", state=state, age_s=0.0)


class Life:
    """One run over the plans."""

    def __init__(self, directory: Path, say: Callable[..., None]) -> None:
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._left = {job: list(steps) for job, steps in PLANS.items()}
        self._open = set(PLANS)
        self._storing: set[str] = set()
        self._attempts = dict.fromkeys(PLANS, 0)
        self._storage = Storage(
            directory, directory / "volatile", JournalConfig(ballast=Size(8192)), accept_empty=False
        )
        self._ledger = self._storage.ledger(self._loop, self._post, self._on_broken)
        self._ledger.recover(self._storage.take_standings())
        self._queue: Iterator[str] = iter(())

    async def one_by_one(self) -> None:
        """Each job after the end of the one before."""
        self._queue = iter(PLANS)
        self._next_job()
        await self._over.wait()
        await self._close()

    async def all_at_once(self) -> None:
        """So that transactions hold several operations."""
        for job in PLANS:
            self._step(job)
        await self._over.wait()
        await self._close()

    async def cut_off(self) -> None:
        """As one by one; then the process ends with its files open, as the host does when the power fails."""
        self._queue = iter(PLANS)
        self._next_job()
        await self._over.wait()
        self._say("cut")
        os._exit(0)

    async def recover(self) -> None:
        """Take in what is there, and no more."""
        await self._close()

    async def _close(self) -> None:
        await self._ledger.close()
        self._say("closed")

    def _next_job(self) -> None:
        if job := next(self._queue, None):
            self._step(job)

    def _step(self, job: str) -> None:
        step = self._left[job].pop(0)
        self._say("begin", step, job)
        match step:
            case "accept":
                named = named_of(job)
                self._ledger.begin("uid:0", submit_of(job), None if named else body_of(job), named, "connection")
                self._ledger.persist(job)
                self._storing.add(job)
            case "attempt":
                self._attempts[job] += 1
                begun = do.PersistAttempt(job, Seat("p", 0, 1), 1, self._attempts[job], 0)
                self._ledger.attempt(begun, lambda: self._done(job, step))
            case "end" | "fail":
                self._ledger.settle(ended_of(job, step), report_of(job, step), lambda _: self._done(job, step))
            case "forget":
                self._ledger.archive.forget(job, lambda: self._done(job, step))
            case "revive":
                self._ledger.revive(job, lambda: self._done(job, step))
            case "wait":
                self._ledger.wait(job, self._attempts[job] - 1, 0)
                self._ledger.archive.answer(job, lambda _: self._done(job, step))  # asked later, answered later

    def _done(self, job: str, step: Step) -> None:
        self._say("done", step, job)
        if self._left[job]:
            self._step(job)
            return
        self._open.discard(job)
        self._next_job()
        if not self._open:
            self._over.set()

    def _post(self, event: ev.Event) -> None:
        match event:
            case ev.JobPersisted(job):
                self._storing.discard(job)
                self._done(job, "accept")
            case ev.JobUnstored(job, fault):
                self._say("refused", job, fault.code)
                self._storing.discard(job)
                self._ledger.abandon(job)
                self._left[job] = []
                self._over.set()

    def _on_broken(self, error: Exception) -> None:
        """As the daemon does it."""
        self._say("broken", type(error).__name__)
        self._ledger.broken = True
        refused, self._storing = self._storing, set()
        for job in refused:
            self._say("refused", job, Code.STORAGE_FAILED)
            self._ledger.abandon(job)
        self._over.set()


def _live(order: dict[str, str], environ: dict[str, str], voice: int) -> None:
    def say(*words: str) -> None:
        os.write(voice, " ".join(words).encode() + b"\n")

    async def run() -> None:
        async with asyncio.timeout(30):
            await getattr(Life(Path(order["directory"]), say), order["script"])()

    under = {"FAULTY_DISK_UNDER": order["directory"], "FAULTY_DISK_TRACE": str(voice)}
    os.environ.update(under | environ)
    ctypes.CDLL(None).faulty_disk_arm()
    asyncio.run(run())


def _fork(order: dict[str, str], environ: dict[str, str]) -> dict[str, object]:
    ear, voice = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ear)
        status = 1
        try:
            _live(order, environ, voice)
            status = 0
        finally:
            with suppress(BaseException):
                sys.stderr.flush()
            if status:
                sys.excepthook(*sys.exc_info())
            os._exit(status)
    os.close(voice)
    with os.fdopen(ear, "rb") as heard:
        said = [line.split() for line in heard.read().decode().splitlines()]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"said": said, "status": status}


def main() -> None:
    """One life for each line of stdin."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        order = json.loads(line)
        answer = _fork(order, order["environ"])
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
