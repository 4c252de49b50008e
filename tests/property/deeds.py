"""What the simulated world does: clients, operators, the disk and the host, and one daemon after the other."""

from typing import Any

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import SPEAKERS, WHOLE
from property.journals import Entry, Written
from property.labour import WorkingWorld
from property.tickets import Ticket
from property.world import Answer

MOST_INTERRUPTED = 3
"""Kills of the daemon that one job may see while it runs."""


class LivelyWorld(WorkingWorld):
    """The world, with everything that may happen in it."""

    def boot(self) -> None:
        """Another daemon was told nothing yet."""
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
        if ticket.pool in self.known:
            ticket.length = self.length_of(ticket)
        self.post(ticket.event())

    def store(self, ticket: Ticket) -> None:
        """The disk has the job."""
        self.journal[ticket.job] = Entry()
        ticket.phase = "active"
        self.advance(ticket)
        self.post(ev.JobPersisted(ticket.job))

    def fail_to_store(self, ticket: Ticket) -> None:
        """The disk has no room."""
        self.post(ev.JobUnstored(ticket.job, Fault.of(Code.INSUFFICIENT_STORAGE, "the disk is full")))

    def write(self, written: Written) -> None:
        """The journal has it, and all that it was told before about the same job."""
        while self.write_first(written.job) is not written:
            pass

    def adopt(self, plan: do.PersistPlan) -> None:
        """The samples have a name; where they are cut is written down next."""
        self.adopting.remove(plan)
        self.writing.append(plan)

    def fail_to_adopt(self, plan: do.PersistPlan) -> None:
        """The disk has no room for the samples."""
        self.adopting.remove(plan)
        ticket = self.tickets[plan.job]
        if ticket.phase == "active":
            ticket.unite()
            self.after_fault(ticket.whole, Code.INSUFFICIENT_STORAGE, pause=10.0)
        full = Fault.of(Code.INSUFFICIENT_STORAGE, "the disk is full", retry_after=10.0)
        self.post(ev.PlanUnstored(plan.job, full))

    def tell(self, answer: Answer) -> None:
        """It is known that something is stored."""
        self.answers.remove(answer)
        match answer:
            case ev.AttemptPersisted():
                self.tell_attempt(answer)
            case ev.PlanPersisted(job):
                self.stored(job, WHOLE)
                self.post(answer)
            case ev.PartPersisted(job, index):
                self.stored(job, index)
                self.post(answer)

    def tell_attempt(self, stored: ev.AttemptPersisted) -> None:
        """It is stored that a worker is going to try; whether it still is, the journal does not know."""
        process = self.processes.get(stored.seat)
        if process and process.attempt == stored.attempt and process.killed_at is None and process.unwanted:
            if process.part and process.part.ticket.active:
                process.part.state = "ended"
            process.part, process.unwanted = None, False
        self.post(stored)

    def write_all(self) -> None:
        """The disk is idle."""
        while self.adopting or self.writing or self.answers:
            while self.answers:
                self.tell(self.answers[0])
            for plan in self.adopting[:1]:
                self.adopt(plan)
            if self.writing:
                self.write(self.writing[0])

    def cancel(self, ticket: Ticket) -> None:
        """A client does not want its job any more."""
        self.unwant(ticket, Code.CANCELLED)
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
            if ticket.phase not in ("ended", "refused") and ticket.job not in self.journal:
                ticket.phase = "refused"  # nobody was told that it is accepted
            elif ticket.active:
                ticket.phase = "kept"
        if self.left:
            self.write_all()  # it leaves when the journal is closed
        self.boot()
        for job, entry in self.journal.copy().items():
            entry.recover()
            self.recover(self.tickets[job], entry)

    def revive(self, ticket: Ticket) -> None:
        """An operator wants a job that has failed tried again."""
        ticket.deadline = None
        self.journal[ticket.job] = entry = self.failed.pop(ticket.job, Entry()).renewed()
        self.recover(ticket, entry)

    def recover(self, ticket: Ticket, entry: Entry) -> None:
        """A job that was accepted is here again."""
        if ticket.deadline is not None:
            ticket.deadline = max(0.0, ticket.submitted_at + ticket.deadline - self.now)
        ticket.phase, ticket.unwanted, ticket.end, ticket.submitted_at = "active", "", "", self.now
        ticket.interrupted = entry.interrupted
        ticket.length = self.length_of(ticket)
        ticket.begin(self.listeners(ticket))
        ticket.whole.attempts, ticket.whole.deaths = entry.attempts, entry.deaths
        if entry.cut:
            ticket.whole.state = "ended"
            ticket.divide(entry.cut)
        new = [name for name, known in self.known.items() if not known.steps]  # the others know better
        for index, row in entry.rows.items():
            part = ticket.parts[index]
            part.attempts, part.deaths, part.failed = row.attempts, row.deaths, row.failed
            if row.given:
                part.state, part.heard = "ended", row.heard if index != SPEAKERS else 0.0
                if part.pool in new:
                    self.known[part.pool].remember(row.worked, row.heard)
        if entry.interrupted > MOST_INTERRUPTED:
            self.unwant(ticket, Code.POISON)
        self.advance(ticket)
        counts = (entry.attempts, entry.deaths, entry.interrupted)
        self.post(ev.JobRecovered(ticket.event(), *counts, entry.cut, entry.kept()))

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
