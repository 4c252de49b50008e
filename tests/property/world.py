"""The world around the core, simulated: a virtual clock, timers, worker processes, clients, a disk and its journal.

It performs every action of the core and keeps its own records of what follows, from the actions alone. What clients,
operators, workers and the disk do of themselves is in ``deeds.py``; whether the core may ask for what it asks for is
judged in ``judge.py``; how a healthy world goes on by itself is in ``life.py``.
"""

import random

from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.supervisor import Policy, Supervisor
from property.records import Entry, Experience, Line, Process, Ticket, TimerKey


class World:
    """One daemon's surroundings. The journal and the clients' records outlive it, and so can be there for the next."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy = policy
        self.seed = seed
        self.pools = {pool.name: pool for pool in policy.pools}
        self.now = 0.0
        self.tickets: dict[str, Ticket] = {}
        self.journal: dict[str, Entry] = {}
        self.broken_models: set[str] = set()
        self.slow = False
        """Its journal lets everybody else go first."""
        self.boot()

    def boot(self) -> None:
        """A daemon is started."""
        self.core = Supervisor(self.policy, random.Random(self.seed))
        self.cause: ev.Event | None = None
        self.noted: Ticket | None = None
        self.ringing: ev.TimerFired | None = None
        self.timers: dict[TimerKey, tuple[float, ev.TimerFired | ev.AlarmRang]] = {}
        self.spent: list[ev.TimerFired | ev.AlarmRang] = []
        self.processes: dict[Seat, Process] = {}
        self.gone: list[Process] = []
        self.question: Ticket | None = None
        self.lines = {name: Line() for name in self.pools}
        self.known = {name: Experience() for name in self.pools}
        self.writing: list[do.PersistAttempt | do.PersistWait] = []
        self.answers: list[ev.AttemptPersisted] = []
        self.requested: set[Seat] = set()
        self.wanted: dict[str, int | None] = dict.fromkeys(self.pools)
        """What the workers of each pool shall load; None for the configuration."""
        self.good: dict[str, int | str | None] = dict.fromkeys(self.pools, "nothing")
        """What a worker was warm with last."""
        self.draining = False
        self.stopping = False
        self.ended = 0
        self.left: list[do.Leave] = []
        for action in self.core.start(self.now):
            self.perform(action)

    # --- the clock ----------------------------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> list[do.Action]:
        """The shell tells the core what happened, and performs what the core wants."""
        self.cause, self.noted = event, None
        actions = self.core.handle(self.now, event)
        for action in actions:
            self.perform(action)
        for line in self.lines.values():
            line.settle()
        return actions

    def fire(self, key: TimerKey) -> None:
        """A timer rings, in time or late."""
        due, fired = self.timers.pop(key)
        self.now = max(self.now, due)
        self.spent.append(fired)
        if isinstance(fired, ev.AlarmRang):
            self._ring_for(self.tickets[fired.job], fired)
            return
        self.ringing = fired
        for process in self.processes.values():
            if key == (process.seat.pool, process.seat.slot, "state") and process.job and not process.sent:
                process.due = self.now + self.pools[process.seat.pool].deadlines.busy_floor
        self.post(fired)
        self.ringing = None

    def _ring_for(self, ticket: Ticket, fired: ev.AlarmRang) -> None:
        if fired.kind == "retry":
            ticket.state = "queued"
            self.lines[ticket.pool].front.insert(0, ticket)
        else:
            self._unwant(ticket, Code.DEADLINE)
        self.post(fired)

    def next_timer(self) -> TimerKey | None:
        """The timer that is due first."""
        return min(self.timers, key=lambda key: (self.timers[key][0], key), default=None)

    def due_timers(self) -> list[TimerKey]:
        """Those that should have rung by now."""
        return sorted(key for key, (due, _) in self.timers.items() if due <= self.now)

    def stale_timers(self) -> list[ev.TimerFired | ev.AlarmRang]:
        """Those that rang, or were replaced; a stall timer that is set anew has the same number."""
        current = [(process.seat.pool, process.seat.slot, process.attempt) for process in self.processes.values()]

        def lasts(fired: ev.TimerFired | ev.AlarmRang) -> bool:
            return fired.kind == "stall" and (fired.pool, fired.slot, fired.number) in current  # type: ignore[union-attr]

        return [fired for fired in self.spent if not lasts(fired)]

    # --- the core's actions -------------------------------------------------------------------------------------------

    def perform(self, action: do.Action) -> None:
        """What the shell does, as far as it leaves traces in the world."""
        match action:
            case do.Persist() | do.Refuse() | do.Accept() | do.Deliver() | do.Fail():
                self._perform_for_client(action)
            case do.SetTimer(pool, slot, kind, number, delay):
                self._set((pool, slot, kind), delay, ev.TimerFired(pool, slot, kind, number))
            case do.SetAlarm(job, kind, number, delay):
                self._set((f"job:{job}", 0, kind), delay, ev.AlarmRang(job, kind, number))
                if kind == "retry":
                    self.tickets[job].state = "waiting"
                    self.lines[self.tickets[job].pool].returning = None
            case do.Spawn(seat):
                self.processes[seat] = Process(seat, self.now, acted_at=self.now)
            case do.Announce():
                self._hear(action)
            case do.PersistAttempt() | do.PersistWait():
                self._write_down(action)
            case do.Leave():
                self.left.append(action)
            case do.SendLoad() | do.SendStep() | do.SendCanary() | do.SendCancel() | do.SendStop() | do.Kill():
                self._perform_on_worker(self.processes[action.seat], action)

    def _hear(self, said: do.Announce) -> None:
        """What is announced tells what the core means."""
        match said:
            case do.Announce("job.retried", fields):
                ticket = self.tickets[fields["job"]]
                ticket.state = "queued"
                self.lines[ticket.pool].returning = ticket
            case do.Announce("worker.recycling", fields):
                self.processes[_seat(fields["seat"])].spared = fields["reason"] in ("rss", "vram")
            case do.Announce("worker.recycled", fields):
                process = self.processes[_seat(fields["seat"])]
                assert not process.retired, "recycled twice"
                process.retired = True
            case do.Announce("pool.standby", fields):
                self._send_home(fields["pool"])

    def _send_home(self, pool: str) -> None:
        """Who has a step goes after it, the others now."""
        for process in self.processes.values():
            if process.seat.pool == pool:
                process.retired = True
                process.sent_home = process.sent_home or (not process.warm and process.killed_at is None)

    def _set(self, key: TimerKey, delay: float, event: ev.TimerFired | ev.AlarmRang) -> None:
        if last := self.timers.get(key):
            self.spent.append(last[1])
        self.timers[key] = (self.now + delay, event)

    def _write_down(self, action: do.PersistAttempt | do.PersistWait) -> None:
        self.writing.append(action)
        ticket = self.tickets[action.job]
        if isinstance(action, do.PersistAttempt):
            self._assign(ticket, self.processes[action.seat], action.attempt)
        elif self.returns(ticket):
            self.noted = ticket
        else:
            ticket.state = "kept"
            self._forget(ticket)

    def returns(self, ticket: Ticket) -> bool:
        """It waits for its next try, and that was not stored before."""
        return ticket is self.lines[ticket.pool].returning and ticket is not self.noted

    def _perform_for_client(self, action: do.Action) -> None:
        match action:
            case do.Persist(job):
                assert self.question
                self.tickets[job] = self.question
                self.question.state, self.question = "storing", None
            case do.Refuse(job, fault):
                ticket = self.question or self.tickets[job]
                ticket.state, ticket.end, self.question = "refused", fault.code, None
            case do.Accept(job):
                self.wait(self.tickets[job])
            case do.Deliver(job):
                self._end(self.tickets[job.id], "completed")
            case do.Fail(job, fault):
                self._end(self.tickets[job.id], fault.code)

    def wait(self, ticket: Ticket, *, front: bool = False) -> None:
        """A job stands in the line of its pool."""
        ticket.state = "queued"
        cost = self.known[ticket.pool].work(ticket)
        self.lines[ticket.pool].join(ticket, cost, front=front)

    def _end(self, ticket: Ticket, end: str) -> None:
        ticket.state, ticket.end = "ended", end
        self.ended += 1
        while self._write_first(ticket.job):
            pass
        self.journal.pop(ticket.job, None)
        self._forget(ticket)

    def _forget(self, ticket: Ticket) -> None:
        self.lines[ticket.pool].leave(ticket)
        for key in [key for key in self.timers if key[0] == f"job:{ticket.job}"]:
            del self.timers[key]
        self.spent = [one for one in self.spent if not (isinstance(one, ev.AlarmRang) and one.job == ticket.job)]

    def _assign(self, ticket: Ticket, process: Process, attempt: int) -> None:
        """A step is meant for a worker, which does not know of it yet."""
        self.lines[ticket.pool].take(ticket)
        process.job, process.attempt = ticket.job, attempt
        process.sent, process.suspect, process.unwanted = False, ticket.deaths > 0, False
        process.due = self.now + self.pools[ticket.pool].deadlines.busy_floor
        process.done = process.told_duration = 0.0
        ticket.state = "running"

    def _perform_on_worker(self, process: Process, action: do.Action) -> None:
        match action:
            case do.SendLoad(seat, load):
                process.loading, process.edition = True, load
                assert load == self.wanted[seat.pool], "it loads what is not wanted"
            case do.SendStep():
                process.sent, process.moved_at, process.started_at = True, self.now, self.now
                process.segments = 0
                process.due = self.now + self.pools[process.seat.pool].deadlines.busy_floor
                self.tickets[process.job].attempts += 1
            case do.SendCanary(_, attempt, runs):
                process.clip, process.attempt = runs, attempt
                deadlines = self.pools[process.seat.pool].deadlines
                process.due = self.now + max(deadlines.busy_floor, deadlines.busy_factor * runs * process.clip_s)
            case do.SendCancel():
                process.cancelled_at = self.now
                process.due = self.now + self.pools[process.seat.pool].deadlines.cancel
            case do.SendStop():
                process.stopped_at = self.now
            case do.Kill(_, dump):
                if process.killed_at is None:
                    process.timed_out = self.ringing is not None or self._stands_still(process)
                    process.asked = process.unwanted
                process.killed_at = self.now
                process.doomed = process.doomed or not dump

    def _stands_still(self, process: Process) -> bool:
        """The host has said for the second time that it is stopped."""
        return isinstance(self.cause, ev.HostSampled) and process.frozen and process.seen_frozen

    def _write_first(self, job: str) -> do.PersistAttempt | do.PersistWait | None:
        """The journal stores what it was told first about a job."""
        written = next((one for one in self.writing if one.job == job), None)
        if written is None:
            return None
        self.writing.remove(written)
        if entry := self.journal.get(job):
            entry.running = isinstance(written, do.PersistAttempt)
            entry.attempts, entry.deaths = written.attempts, written.deaths
        if isinstance(written, do.PersistAttempt):
            self.answers.append(ev.AttemptPersisted(written.seat, written.attempt))
        return written

    def _unwant(self, ticket: Ticket, why: Code) -> None:
        """The first reason counts."""
        if not ticket.active or ticket.unwanted:
            return
        ticket.unwanted = why
        for process in self.processes.values():
            if process.job == ticket.job and process.killed_at is None:
                process.unwanted = True


def _seat(name: str) -> Seat:
    seat = Seat.parse(name)
    assert seat
    return seat
