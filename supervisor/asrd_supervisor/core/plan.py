"""One job and its steps: which are wanted now, how far they are, and what an outcome means for one of them.

Most jobs have one step. Where the audio turns out to be long, that step ends in chunks, each a step of its own; where
somebody wants to know who speaks, another pool finds that out meanwhile. Such a job ends in a step that merges what
the others have given. Whoever schedules sees steps only.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from asrd_protocol.faults import Blame, Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core.events import JobSubmitted, KeptStep, Lost, StepRef, Stretch
from asrd_supervisor.core.policy import RetryPolicy
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE

MAX_INTERRUPTED = 3
"""Attempts that may end with the daemon, before the job is held to be what ends it."""


class JobState(StrEnum):
    """Where a job is; a job that has ended is forgotten by the core."""

    STORING = "storing"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """Between two tries."""


class StepState(StrEnum):
    """Where a step is."""

    HELD = "held"
    """Its turn has not come."""
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """Between two tries."""
    STORING = "storing"
    """What it has given is being stored."""
    ENDED = "ended"


_LIVE = (StepState.QUEUED, StepState.RUNNING, StepState.STORING)


class Step(msgspec.Struct):
    """One stretch of a job for one pool, with its tries so far."""

    index: int
    pool: str
    stretch: Stretch | None = None
    """Of a chunk."""
    state: StepState = StepState.HELD
    attempts: int = 0
    deaths: int = 0
    avoid: str = ""
    done: float = 0.0
    duration: float = 0.0
    alarm: int = 0
    failed: bool = False
    """It has ended without a result, and the job does without."""
    given_up: bool = False
    """It has ended with the job."""
    evidence: list[dict[str, Any]] = []
    """Of the workers that died of it since this daemon started."""

    @property
    def length(self) -> float:
        """Seconds of audio of a chunk."""
        return self.stretch[1] - self.stretch[0] if self.stretch else 0.0


class Job(msgspec.Struct):
    """One job that has not ended."""

    id: str
    pool: str
    asked: JobSubmitted
    submitted_at: float
    steps: dict[int, Step]
    retries: RetryPolicy
    audio_s: float = 0.0
    """Seconds of audio as the queue counts them: known, or guessed when the job came."""
    state: JobState = JobState.STORING
    started_at: float = 0.0
    seat: str = ""
    alarms: int = 0
    ending: Fault | None = None
    """Nobody wants it any more; why."""
    timings: Timings = Timings()
    """Of the steps that have ended, added up."""
    work: Work = Work()
    """The same."""

    @property
    def size(self) -> int:
        """Bytes of its audio."""
        return self.asked.size

    @property
    def single(self) -> bool:
        """Whether its one step gives its result."""
        return MERGE not in self.steps

    @property
    def attempts(self) -> int:
        """Tries: one, and one more for each that was repeated; 0 before the first."""
        begun = [step.attempts for step in self.steps.values() if step.attempts > 0]
        return 1 + sum(begun) - len(begun) if begun else 0

    @property
    def chunks(self) -> Iterator[Step]:
        """In the order of the audio."""
        return (step for index, step in self.steps.items() if index >= FIRST_CHUNK)

    @property
    def duration(self) -> float:
        """Seconds of its audio; 0 as long as nobody has opened it."""
        listened = self.steps[SPEAKERS].duration if SPEAKERS in self.steps else 0.0
        return max(self._heard.duration, listened, sum(step.length for step in self.chunks))

    @property
    def done(self) -> float:
        """Seconds of its audio that are done; where speakers are wanted, both halves of the work count."""
        chunks = sum(_done_of(step) for step in self.chunks)
        if SPEAKERS not in self.steps:
            return chunks if FIRST_CHUNK in self.steps else self._heard.done
        done = chunks if FIRST_CHUNK in self.steps else self._of_all(self._heard)
        return (done + self._of_all(self.steps[SPEAKERS])) / 2

    def _of_all(self, step: Step) -> float:
        """What is done of a step that goes through the whole audio."""
        return self.duration if _through(step) else min(step.done, self.duration or step.done)

    @property
    def _heard(self) -> Step:
        return self.steps[WHOLE]

    def ref(self, step: Step) -> StepRef:
        """A step, as the pool sees it."""
        asked = self.asked
        opens = step.index in (WHOLE, SPEAKERS)
        return StepRef(
            job=self.id,
            index=step.index,
            pool=step.pool,
            size=asked.size if opens else 0,
            avoid=step.avoid,
            suspect=step.deaths > 0,
            client=f"{asked.owner} {asked.client or asked.connection}",  # names are those of one user's clients
            lane=asked.lane,
            audio_s=asked.audio_s if opens else step.length,
            since=self.submitted_at,
        )

    # --- its course ---------------------------------------------------------------------------------------------------

    def divide(self, chunks: tuple[Stretch, ...]) -> None:
        """The audio was cut: what the first step was to do is to be done by these."""
        self._heard.state = StepState.ENDED
        for number, stretch in enumerate(chunks):
            self.steps[FIRST_CHUNK + number] = Step(FIRST_CHUNK + number, self.pool, stretch)
        self.steps.setdefault(MERGE, Step(MERGE, self.pool))

    def unite(self) -> None:
        """The cut is lost: nothing but the first step is to be done, as before."""
        for step in list(self.chunks):
            del self.steps[step.index]
        if SPEAKERS not in self.steps:
            del self.steps[MERGE]

    def resume(self, kept: tuple[KeptStep, ...]) -> None:
        """What the journal knows of the steps."""
        for one in kept:
            if (step := self.steps.get(one.index)) is None:
                continue  # the configuration, or where it was cut, is not what it was
            step.attempts, step.deaths, step.failed = one.attempts, one.deaths, one.failed
            if one.ended:
                step.state = StepState.ENDED
                step.duration = one.work.audio_s
                self.count(one.index, one.timings, one.work)

    def count(self, index: int, timings: Timings, work: Work) -> None:
        """A step has ended."""
        self.timings = _sum(self.timings, timings)
        if index != SPEAKERS:
            self.work = _sum(self.work, work)

    def due(self) -> list[Step]:
        """The steps that are to be queued now.

        Of the chunks one waits at a time, and the next one is queued when that is begun: so all workers have their
        share, and a short job of the same client waits for one chunk at most.
        """
        due = [step for index in (WHOLE, SPEAKERS) if (step := self.steps.get(index)) and step.state is StepState.HELD]
        chunks = list(self.chunks) if self._heard.state is StepState.ENDED else []  # else the cut is not stored
        if not any(step.state is StepState.QUEUED for step in chunks):
            due += [step for step in chunks if step.state is StepState.HELD][:1]
        merge = self.steps.get(MERGE)
        if merge and all(step.state is StepState.ENDED for step in self.steps.values() if step is not merge):
            due += [merge] if merge.state is StepState.HELD else []
        return due

    @property
    def live(self) -> list[Step]:
        """The steps that somebody has in hand."""
        return [step for step in self.steps.values() if step.state in _LIVE]

    @property
    def barren(self) -> bool:
        """Whether nothing of its audio was transcribed."""
        chunks = list(self.chunks)
        return bool(chunks) and all(step.failed for step in chunks)

    def spared(self, step: Step) -> bool:
        """Whether the job can do without what a step should have given."""
        return step.index == SPEAKERS or (step.index >= FIRST_CHUNK and self.asked.report_missing)


def _done_of(step: Step) -> float:
    return step.length if _through(step) else min(step.done, step.length)


def _through(step: Step) -> bool:
    """Whether nothing of it is left to do."""
    return step.state in (StepState.STORING, StepState.ENDED) and not step.given_up


def _sum(one: Any, other: Any) -> Any:
    """Of two structs of numbers; a text is that of the latest."""
    pairs = zip(one.__struct_fields__, msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
    return type(one)(**{name: (b or a) if isinstance(b, str) else a + b for name, a, b in pairs})


def worked(timings: Timings) -> float:
    """Seconds that a worker had a step in hand."""
    t = timings
    return t.decode + t.vad + t.transcribe + t.align + t.diarize + t.post + t.write


def after_loss(step: Step, lost: Lost, policy: RetryPolicy, *, spared: bool) -> Fault | None:
    """None when the step shall be tried again after its worker died, else why not. ``spared``: the job goes on then."""
    step.deaths += 1
    last: dict[str, Any] = {"seat": str(lost.seat), "death": lost.how, "log_tail": list(lost.log_tail)}
    last |= {"done_s": step.done, "duration_s": step.duration}
    evidence = {**last, "deaths": step.deaths, "attempts": step.attempts, "earlier": list(step.evidence)}
    step.evidence.append(last)
    if step.deaths >= policy.deaths:
        died = "a worker" if step.deaths == 1 else f"{step.deaths} workers"
        said = f"{died} died of this job ({lost.how}{' the last time' if step.deaths > 1 else ''})"
        return Fault.of(Code.POISON, said if spared else f"{said}; it is in quarantine", **evidence)
    if step.attempts < policy.attempts:
        return None
    if lost.hung:
        return Fault.of(Code.WORKER_HUNG, f"the worker {lost.seat} made no end of the job and was killed", **evidence)
    return Fault.of(Code.WORKER_DIED, f"the worker {lost.seat} died of the job ({lost.how})", **evidence)


def after_fault(step: Step, fault: Fault, policy: RetryPolicy, *, more: int) -> Fault | None:
    """None when the step shall be tried again on another worker, else why not: blame decides. ``more``: attempts that
    the fault is worth."""
    return fault if fault.blame is Blame.CALLER or step.attempts >= policy.attempts + more else None


def after_interruption(interrupted: int) -> Fault | None:
    """None when the job shall be tried again after the daemon itself was killed, else why not."""
    if interrupted <= MAX_INTERRUPTED:
        return None
    said = f"the daemon was killed {interrupted} times while it ran this job; it is in quarantine"
    return Fault.of(Code.POISON, said, interrupted=interrupted)


def in_stretch(fault: Fault, step: Step) -> Fault:
    """The fault of a chunk says where it was."""
    if step.stretch is None:
        return fault
    start, end = step.stretch
    context = {**fault.context, "start": start, "end": end}
    return msgspec.structs.replace(fault, message=f"at {start:.0f} to {end:.0f} s: {fault.message}", context=context)
