"""What the simulated world does: clients, operators, workers, the disk, and one daemon after the other."""

from typing import Any

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from property.records import Entry, Process, Ticket
from property.world import World

TEXT = "The quick brown fox jumps over the lazy dog."
TEXT_AGAIN = "the quick brown fox jumps over the lazy dog"
"""What a healthy worker hears in the clip, again and again."""
TEXT_ALMOST = TEXT_AGAIN + " yes"
"""Within what one may get wrong."""

CLIP_S, EARLY, WORTH_IT = 0.5, 5, 50
FRESH = 50
"""Bytes of memory after the warm-up."""


class LivelyWorld(World):
    """The world, with everything that may happen in it."""

    host_factor = 1.0
    """How much longer everything takes on this host."""

    def boot(self) -> None:
        """Another daemon has workers of its own."""
        self.slowed: set[str] = set()
        self.editions = 0
        self.looked_at = 0.0
        super().boot()

    def post(self, event: ev.Event) -> list[do.Action]:
        """A pool that is being emptied waits for those that have the clip, and for nobody else who is well."""
        actions = super().post(event)
        for process in self.processes.values():
            if process.clip and self.core.pools[process.seat.pool].staffing.closing:
                process.retired = True
        return actions

    # --- clients, operators and the disk ------------------------------------------------------------------------------

    def submit(self, ticket: Ticket) -> None:
        """A client submits a job."""
        self.question = ticket
        ticket.submitted_at, ticket.length = self.now, 0.0
        if known := self.known.get(ticket.pool):
            ticket.length = known.length(ticket)
        self.post(ticket.event())

    def store(self, ticket: Ticket) -> None:
        """The disk has the job."""
        self.journal[ticket.job] = Entry()
        self.post(ev.JobPersisted(ticket.job))

    def fail_to_store(self, ticket: Ticket) -> None:
        """The disk has no room."""
        self.post(ev.JobUnstored(ticket.job, Fault.of(Code.INSUFFICIENT_STORAGE, "the disk is full")))

    def write(self, written: do.PersistAttempt | do.PersistWait) -> None:
        """The journal has it, and all that it was told before about the same job."""
        while self._write_first(written.job) is not written:
            pass
        self.tell_attempts()

    def tell_attempts(self) -> None:
        """It is known that attempts are stored."""
        while self.answers:
            self.tell_attempt(self.answers.pop(0))

    def tell_attempt(self, stored: ev.AttemptPersisted) -> None:
        """It is stored that a worker is going to try; whether it still is, the journal does not know."""
        process = self.processes.get(stored.seat)
        if process and process.attempt == stored.attempt and process.killed_at is None and process.unwanted:
            process.job, process.unwanted = "", False
        self.post(stored)

    def write_all(self) -> None:
        """The disk is idle."""
        while self.writing or self.answers:
            self.tell_attempts()
            if self.writing:
                self.write(self.writing[0])

    def cancel(self, ticket: Ticket) -> None:
        """A client does not want its job any more."""
        self._unwant(ticket, Code.CANCELLED)
        self.post(ev.CancelRequested(ticket.job))

    def recycle(self, pool: str | None, slot: int | None) -> None:
        """An operator wants fresh workers."""
        for process in self.processes.values():
            wanted = pool in (None, process.seat.pool) and slot in (None, process.seat.slot)
            if wanted and process.ready:
                self.requested.add(process.seat)
        self.post(ev.RecycleRequested(pool, slot))

    def unload(self, pool: str) -> None:
        """An operator wants the memory of a pool."""
        self.post(ev.RestRequested(pool))

    def load(self, pool: str) -> None:
        """An operator wants a pool warm."""
        self.post(ev.WakeRequested(pool))

    def change(self, pool: str) -> None:
        """An operator wants other settings."""
        if not self.core.pools[pool].staffing.closing:
            self.editions += 1
            self.wanted[pool] = self.editions
        self.post(ev.RenewRequested(pool, "changed", {"number": self.editions}, self.editions))

    def drain(self, *, resume: bool) -> None:
        """An operator wants no new jobs, or new ones again."""
        self.draining = not resume
        self.post(ev.DrainRequested(resume))

    def stop(self, *, now: bool) -> None:
        """An operator wants the daemon to leave."""
        self.stopping = True
        self.post(ev.StopRequested(now))

    # --- one daemon after the other -----------------------------------------------------------------------------------

    def restart(self) -> None:
        """The daemon was killed, or has left; the next one finds what the journal has."""
        for ticket in self.tickets.values():
            if ticket.state not in ("ended", "refused") and ticket.job not in self.journal:
                ticket.state = "refused"  # nobody was told that it is accepted
            elif ticket.active:
                ticket.state = "kept"
        if self.left:
            self.write_all()  # it leaves when the journal is closed
        self.boot()
        for job, entry in self.journal.copy().items():
            entry.interrupted += entry.running
            entry.running = False
            self.recover(self.tickets[job], entry)

    def revive(self, ticket: Ticket) -> None:
        """An operator wants a job that has failed tried again."""
        ticket.deadline = None
        self.journal[ticket.job] = entry = Entry()
        self.recover(ticket, entry)

    def recover(self, ticket: Ticket, entry: Entry) -> None:
        """A job that was accepted is here again."""
        if ticket.deadline is not None:
            ticket.deadline = max(0.0, ticket.submitted_at + ticket.deadline - self.now)
        ticket.attempts, ticket.deaths, ticket.interrupted = entry.attempts, entry.deaths, entry.interrupted
        ticket.unwanted, ticket.end, ticket.avoid, ticket.submitted_at = "", "", "", self.now
        ticket.length = self.known[ticket.pool].length(ticket)
        self.wait(ticket, front=entry.deaths > 0)
        self.post(ev.JobRecovered(ticket.event(), entry.attempts, entry.deaths, entry.interrupted))

    # --- workers ------------------------------------------------------------------------------------------------------

    def greet(self, process: Process) -> None:
        """The worker says its first word."""
        process.greeted_at = self.now
        self.post(ev.WorkerGreeted(process.seat, pid=1000 + process.seat.generation))

    def warm(self, process: Process) -> None:
        """The worker has loaded its model."""
        process.warm, process.clip_at, process.clip_s = True, self.now, CLIP_S
        if process.edition == self.wanted[process.seat.pool]:
            self.good[process.seat.pool] = process.edition
        self.post(ev.WorkerWarmed(process.seat, 0.5, 0.5, CLIP_S, TEXT, FRESH))

    def progress(self, process: Process, done: float, duration: float) -> None:
        """The worker has come so far; at 0 it says how long the audio is."""
        self._move(process, done)
        process.told_duration = duration
        if done == 0:
            deadlines = self.pools[process.seat.pool].deadlines
            limit = deadlines.busy_factor * duration * self.known[process.seat.pool].rate(1.0)
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
        ticket, audio_s = self.tickets[process.job], process.told_duration or 1.0
        self.known[process.seat.pool].learn(self.now - process.started_at, audio_s, ticket)
        job, attempt = self._free(process)
        wall = self.host_factor * process.slow
        work = Work(audio_s=audio_s, windows=1, beam_steps=20, attempts=1, cpu_s=process.slow)
        self.post(ev.StepFinished(process.seat, attempt, Timings(transcribe=wall), work, job, process.rss))

    def fault(self, process: Process, code: Code, *, leave: bool) -> None:
        """The worker could not do its step; with ``leave`` it cannot be trusted with another one."""
        _, attempt = self._free(process)
        self.post(ev.StepFaulted(process.seat, attempt, Fault.of(code, "as the test wants"), leave))

    def _free(self, process: Process) -> tuple[str, int]:
        job, process.job, process.cancelled_at, process.told_duration = process.job, "", None, 0.0
        process.unwanted = process.sent = False
        process.jobs_done += 1
        return job, process.attempt

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

    # --- the host -----------------------------------------------------------------------------------------------------

    def sample(self, **host: Any) -> None:
        """The host says how it is, and how its workers are."""
        self.looked_at = self.now
        limits = {name: pool.recycle.kill_rss for name, pool in self.pools.items()}
        samples = []
        for process in self.processes.values():
            limit = limits[process.seat.pool]
            fat = bool(limit and process.rss > limit and process.warm and process.stopped_at is None)
            still = process.frozen and process.seen_frozen
            process.guilty = process.guilty or fat or still
            process.seen_frozen = process.frozen and not fat
            samples.append(ev.WorkerSample(process.seat, process.rss, process.rss // 2, None, process.frozen))
        self.post(ev.HostSampled(**host, workers=tuple(samples)))
        for process in self.processes.values():
            process.seen_frozen = process.frozen

    def exit(self, process: Process, how: str = "exit 0", *, hopeless: bool = False) -> None:
        """The process ends, for whatever reason."""
        del self.processes[process.seat]
        self.gone.append(process)
        ticket = self.tickets.get(process.job)
        if ticket and ticket.state == "running" and not process.sent and not ticket.unwanted:
            ticket.state = "queued"  # it was not tried
            self.lines[ticket.pool].returning = ticket
        self.post(ev.WorkerExited(process.seat, how, hopeless, ("the end of its log",)))

    def babble(self, process: Process, event: ev.WorkerEvent) -> None:
        """The worker says what no healthy worker says."""
        process.guilty = True
        self.post(event)
