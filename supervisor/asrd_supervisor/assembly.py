"""Jobs that are done in several steps: what the steps give is stored as it comes, and gathered for the last one.

    PersistPlan    the samples get a name in the spool, then journal: where they are cut   ->  PlanPersisted
    PersistPart    journal: what a step has given, or why it has given nothing              ->  PartPersisted
    gather         journal: all of it, as one sheaf for the worker that merges

Transcripts are bytes here: workers write them, and a worker reads them.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import msgspec

from asrd_protocol import sheaf
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor import sources
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE
from asrd_supervisor.intake import Intake
from asrd_supervisor.journal import entries
from asrd_supervisor.journal.entries import Result
from asrd_supervisor.journal.writer import Journal
from asrd_supervisor.records import Plan, Record, buffer_of
from asrd_supervisor.reel import Reel


class Given(msgspec.Struct, frozen=True, array_like=True):
    """What a step has given, as it is stored."""

    content: bytes | Fault
    segments: list[bytes]
    timings: Timings
    work: Work


_encode = msgspec.msgpack.Encoder().encode
_part = msgspec.msgpack.Decoder(Given).decode
_plan = msgspec.msgpack.Decoder(Plan).decode
_Stored = TypeVar("_Stored", Given, Plan)


class Assembly:
    """Works on the records of the ledger."""

    def __init__(
        self,
        intake: Intake,
        writer: Journal,
        post: Callable[[ev.Event], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._intake = intake
        self._writer = writer
        self._post = post
        self._broken = broken

    # --- the plan -----------------------------------------------------------------------------------------------------

    def divide(self, record: Record, tape: int | None, chunks: tuple[ev.Stretch, ...], head: bytes) -> None:
        """Store where the audio was cut. ``tape``: an open file with its samples, which is closed in the end."""
        if tape is None:
            fault = Fault.of(Code.ENGINE_ERROR, "a worker has cut audio that it was not asked to cut")
            self._post(ev.PlanUnstored(record.job, fault))
            return

        def adopted(outcome: sources.Spooled | Exception) -> None:
            os.close(tape)
            if isinstance(outcome, sources.Spooled):
                self._planned(record, Plan(outcome, list(chunks), head))
            elif isinstance(outcome, OSError) and outcome.errno in sources.NO_ROOM:
                said = f"the daemon has no room for the decoded audio ({outcome.strerror})"
                self._post(ev.PlanUnstored(record.job, Fault.of(Code.INSUFFICIENT_STORAGE, said, retry_after=10.0)))
            else:
                self._broken(outcome)

        self._intake.adopt(record.job, tape, adopted)

    def _planned(self, record: Record, plan: Plan) -> None:
        record.plan = plan
        record.reel = Reel()
        record.reel.divide(plan.steps)
        self._writer.write(
            entries.Divide(record.job, _encode(plan)), lambda _: self._post(ev.PlanPersisted(record.job))
        )

    # --- the parts ----------------------------------------------------------------------------------------------------

    def keep(
        self, record: Record, step: int, given: bytes | Fault, timings: Timings, work: Work, done: Callable[[], None]
    ) -> None:
        """Store what a step has given; ``done`` is called when that is on the disk."""
        shown = record.reel.segments_of(step) if record.reel and step >= FIRST_CHUNK else []
        part = Given(given, [bytes(buffer_of(segment)) for segment in shown], timings, work)

        def kept(_: Result) -> None:
            done()
            self._post(ev.PartPersisted(record.job, step))

        self._writer.write(entries.Keep(record.job, step, _encode(part), isinstance(given, Fault)), kept)

    def gather(self, record: Record, done: Callable[[bytes | Fault], None]) -> None:
        """All parts of a job as one sheaf, in msgpack."""

        def gathered(result: Result) -> None:
            assert isinstance(result, entries.Steps)
            stored = {one.step: part for one in result.steps if (part := _readable(_part, one.part))}
            wanted = record.plan.steps if record.plan else range(WHOLE, WHOLE + 1)
            if missing := [step for step in wanted if step not in stored]:
                said = f"{len(missing)} of {len(wanted)} parts of the job are not what was stored; submit it again"
                done(Fault.of(Code.STORAGE_FAILED, said))
            else:
                done(sheaf.encode(_sheaf(record.plan, [stored[step] for step in wanted], stored.get(SPEAKERS))))

        self._writer.write(entries.Gather(record.job), gathered)

    # --- after a restart ----------------------------------------------------------------------------------------------

    def restore(
        self, record: Record, standing: entries.Standing
    ) -> tuple[tuple[ev.Stretch, ...], tuple[ev.KeptStep, ...]]:
        """Take in what the journal knows of the steps of a job: how its audio was cut, and the steps as they are.

        Where the samples are not what was stored, as after a crash of the host, the audio is cut anew.
        """
        record.plan = plan = _readable(_plan, standing.plan)
        if plan and not self._intake.holds(plan.tape):
            self._intake.drop(plan.tape)
            record.plan = plan = None
        if plan:
            record.reel = Reel()
            record.reel.divide(plan.steps)
        known = {WHOLE, SPEAKERS, MERGE} | set(plan.steps if plan else ())
        kept = tuple(_kept(record, one) for one in standing.steps if one.step in known)
        return tuple(plan.chunks) if plan else (), kept


def _readable(decode: Callable[[bytes], _Stored], stored: bytes) -> _Stored | None:
    """None for what was never stored, or that another release has written in another way."""
    try:
        return decode(stored) if stored else None
    except msgspec.MsgspecError:
        return None


def _kept(record: Record, stored: entries.StoredStep) -> ev.KeptStep:
    part = _readable(_part, stored.part)
    if part is None:
        return ev.KeptStep(stored.step, stored.attempts, stored.deaths)
    if record.reel:
        record.reel.restore(stored.step, list(part.segments))
    failed = isinstance(part.content, Fault)
    return ev.KeptStep(stored.step, stored.attempts, stored.deaths, True, failed, part.timings, part.work)


def _sheaf(plan: Plan | None, parts: list[Given], speakers: Given | None) -> sheaf.Sheaf:
    stretches = plan.chunks if plan else [(0.0, 0.0)]
    return sheaf.Sheaf(
        plan.head if plan else b"",
        [sheaf.Part(*at, part.content, part.segments) for at, part in zip(stretches, parts, strict=True)],
        speakers.content if speakers else None,
    )
