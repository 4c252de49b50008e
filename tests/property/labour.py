"""What the workers of the simulated world do: load, work, cut, fail, and die."""

from itertools import accumulate

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import MERGE, SPEAKERS
from property.records import Process
from property.tickets import Part
from property.world import World

TEXT = "The quick brown fox jumps over the lazy dog."
TEXT_AGAIN = "the quick brown fox jumps over the lazy dog"
"""What a healthy worker hears in the clip, again and again."""
TEXT_ALMOST = TEXT_AGAIN + " yes"
"""Within what one may get wrong."""

CLIP_S, EARLY, WORTH_IT = 0.5, 5, 50
FRESH = 50
"""Bytes of memory after the warm-up."""


class WorkingWorld(World):
    """The world, with workers in it."""

    host_factor = 1.0
    """How much longer everything takes on this host."""

    def boot(self) -> None:
        """Another daemon has workers of its own."""
        self.slowed: set[str] = set()
        super().boot()

    def greet(self, process: Process) -> None:
        """The worker says its first word."""
        process.greeted_at = self.now
        self.post(ev.WorkerGreeted(process.seat, pid=1000 + process.seat.generation))

    def warm(self, process: Process) -> None:
        """The worker has loaded its model."""
        process.warm, process.clip_at, process.clip_s = True, self.now, CLIP_S
        pool = process.seat.pool
        if process.edition == self.wanted[pool] or self.good[pool] == "nothing":
            self.good[pool] = process.edition
        self.post(ev.WorkerWarmed(process.seat, 0.5, 0.5, CLIP_S, TEXT, FRESH))

    def progress(self, process: Process, done: float, duration: float) -> None:
        """The worker has come so far; at 0 it says how long the audio is."""
        self._move(process, done)
        process.told_duration = duration
        if done == 0:
            deadlines = self.pools[process.seat.pool].deadlines
            limit = deadlines.busy_factor * duration * max(1.0, self.known[process.seat.pool].rate(1.0))
            if limit > deadlines.busy_floor and not process.unwanted:
                process.due = max(self.now, process.started_at + limit)
        self.post(ev.StepProgressed(process.seat, process.attempt, done, duration))

    def segment(self, process: Process, done: float = 1.0) -> None:
        """The worker has decoded a segment."""
        self._move(process, done)
        index, process.segments = process.segments, process.segments + 1
        self.post(ev.SegmentDecoded(process.seat, process.attempt, index, done, process.job))

    def _move(self, process: Process, done: float) -> None:
        if done > process.done or not process.told_duration:
            process.moved_at, process.done = self.now, max(done, process.done)

    def finish(self, process: Process) -> None:
        """The worker has done its step."""
        part, audio_s = self._part(process), process.told_duration or 1.0
        if part.index == MERGE:
            audio_s = 0.0
        else:
            self.known[process.seat.pool].learn(self.now - process.started_at, audio_s, part)
        part.heard = audio_s if part.index != SPEAKERS else 0.0
        if part.ticket.active and not part.last:
            part.state = "storing"
        attempt = self._free(process)
        wall = self.host_factor * process.slow
        work = Work(audio_s=audio_s, windows=1, beam_steps=20, attempts=1, cpu_s=process.slow)
        given = part.job if part.last else part.name
        self.post(ev.StepFinished(process.seat, attempt, Timings(transcribe=wall), work, given, process.rss))

    def split(self, process: Process, lengths: tuple[float, ...]) -> None:
        """The worker has cut the audio instead, into chunks of so many seconds."""
        part, ends = self._part(process), [*accumulate(lengths)]
        chunks = tuple(zip([0.0, *ends], ends, strict=False))
        self.known[process.seat.pool].learn_length(ends[-1], part)
        self.lines[part.pool].give_back(part)
        if part.ticket.active:
            part.ticket.divide(chunks)
            part.state = "storing"
        attempt = self._free(process)
        self.post(ev.StepSplit(process.seat, attempt, chunks, part.job, Timings(decode=1.0)))

    def fault(self, process: Process, code: Code, *, leave: bool) -> None:
        """The worker could not do its step; with ``leave`` it cannot be trusted with another one."""
        part = self._part(process)
        part.avoid = str(process.seat)
        if part.ticket.active:
            self.after_fault(part, code)
        attempt = self._free(process)
        self.post(ev.StepFaulted(process.seat, attempt, Fault.of(code, "as the test wants"), leave))

    @staticmethod
    def _part(process: Process) -> Part:
        assert process.part
        return process.part

    def _free(self, process: Process) -> int:
        process.part, process.cancelled_at, process.told_duration = None, None, 0.0
        process.unwanted = process.sent = False
        process.jobs_done += 1
        return process.attempt

    def answer(self, process: Process, text: str = TEXT_AGAIN, took: float = CLIP_S) -> None:
        """The worker has transcribed the clip."""
        runs, process.clip = process.clip, 0
        process.clip_after, process.clip_at = process.jobs_done, self.now
        process.wrong = process.wrong or text not in (TEXT_AGAIN, TEXT_ALMOST)
        time = took * process.slow * self.host_factor
        if not self.asked(process) and process.jobs_done >= EARLY and not process.measured:
            process.measured, process.clip_s = True, time
        process.clip_s = process.clip_s or time
        self.post(ev.CanaryFinished(process.seat, process.attempt, (time,) * runs, text, process.rss))

    def asked(self, process: Process) -> bool:
        """It is wanted for a comparison."""
        inquiry = self.core.pools[process.seat.pool].monitor.diagnosis.inquiry
        return inquiry is not None and inquiry.wants(process.seat)

    def refuse_the_clip(self, process: Process, *, leave: bool) -> None:
        """The worker could not even do that."""
        process.clip, process.refused = 0, True
        self.post(ev.StepFaulted(process.seat, process.attempt, Fault.of(Code.ENGINE_ERROR, "no clip"), leave))

    def exit(self, process: Process, how: str = "exit 0", *, hopeless: bool = False) -> None:
        """The process ends, for whatever reason."""
        del self.processes[process.seat]
        self.gone.append(process)
        part = process.part
        if part and part.ticket.active:
            part.avoid = str(process.seat)
            self.after_loss(part, process)
        self.post(ev.WorkerExited(process.seat, how, hopeless, ("the end of its log",)))

    def babble(self, process: Process, event: ev.WorkerEvent) -> None:
        """The worker says what no healthy worker says."""
        process.guilty = True
        self.post(event)
