"""The world around the core, simulated: a virtual clock, timers, worker processes, clients, a disk and its journal.

It performs every action of the core and keeps its own records of what follows. What must become of jobs is in
``courses.py``, and what the disk keeps of them in ``journals.py``; what clients, operators and the disk do by
themselves is in ``deeds.py``, and what workers do in ``labour.py``; whether the core may ask for what it asks for is
judged in ``promises.py`` and ``judge.py``; how a healthy world goes on by itself is in ``life.py``.
"""

import random

from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.stages import FIRST_CHUNK
from asrd_supervisor.core.supervisor import Policy, Supervisor
from property.courses import Courses, TimerKey
from property.journals import Entry, Written, store
from property.records import Process
from property.tickets import Part, Ticket

Answer = ev.AttemptPersisted | ev.PlanPersisted | ev.PartPersisted


class World(Courses):
    """One daemon's surroundings. The journal and the clients' records outlive it, and so can be there for the next."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy = policy
        self.seed = seed
        self.pools = {pool.name: pool for pool in policy.pools}
        self.now = 0.0
        self.tickets: dict[str, Ticket] = {}
        self.journal: dict[str, Entry] = {}
        self.failed: dict[str, Entry] = {}
        """What it has on jobs that may be tried again."""
        self.broken_models: set[str] = set()
        self.slow = False
        """Its journal lets everybody else go first."""
        self.boot()

    def length_of(self, ticket: Ticket) -> float:
        """Seconds of audio as the queue counts them: a guess is never more than half of what it would take."""
        length, queue = self.known[ticket.pool].length(ticket), self.policy.queue
        limits = [float(limit) for limit in (queue.max_audio_s, queue.per_user.max_audio_s) if limit]
        return length if ticket.audio_s is not None else min([length, *(limit / 2 for limit in limits)])

    def boot(self) -> None:
        """A daemon is started."""
        super().boot()
        self.core = Supervisor(self.policy, random.Random(self.seed))
        self.cause: ev.Event | None = None
        self.ringing: ev.TimerFired | None = None
        self.timers: dict[TimerKey, tuple[float, ev.TimerFired | ev.AlarmRang]] = {}
        self.spent: list[ev.TimerFired | ev.AlarmRang] = []
        self.processes: dict[Seat, Process] = {}
        self.gone: list[Process] = []
        self.question: Ticket | None = None
        self.adopting: list[do.PersistPlan] = []
        """The samples have no name in the spool yet."""
        self.writing: list[Written] = []
        self.answers: list[Answer] = []
        self.requested: set[Seat] = set()
        self.wanted: dict[str, int | None] = dict.fromkeys(self.pools)
        """What the workers of each pool shall load; None for the configuration."""
        self.good: dict[str, int | str | None] = dict.fromkeys(self.pools, "nothing")
        """What a worker was warm with last."""
        self.untried = set(self.pools)
        """Those of which no worker has died while it loaded what the configuration says."""
        self.draining = False
        self.stopping = False
        self.ended = 0
        self.left: list[do.Leave] = []
        for action in self.core.start(self.now):
            self.perform(action)

    # --- the clock ----------------------------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> list[do.Action]:
        """The shell tells the core what happened, and performs what the core wants."""
        self.cause = event
        actions = self.core.handle(self.now, event)
        self.turn_away()
        for action in actions:
            self.perform(action)
        self.settle()
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
            if key == (process.seat.pool, process.seat.slot, "state") and process.part and not process.sent:
                process.due = self.now + self.pools[process.seat.pool].deadlines.busy_floor
        self.post(fired)
        self.ringing = None

    def _ring_for(self, ticket: Ticket, fired: ev.AlarmRang) -> None:
        if fired.kind == "deadline":
            self.unwant(ticket, Code.DEADLINE)
        elif not ticket.unwanted:
            self.come(self.delayed(ticket, fired.number), front=True)
        self.post(fired)

    def delayed(self, ticket: Ticket, number: int) -> Part:
        """The step that waits for this alarm."""
        return next(part for part in ticket.parts.values() if part.state == "waiting" and part.alarm == number)

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
                self._set((f"job:{job}", number, kind), delay, ev.AlarmRang(job, kind, number))
                if kind == "retry":
                    self.delayed(self.tickets[job], 0).alarm = number
            case do.Spawn(seat):
                self.processes[seat] = Process(seat, self.now, acted_at=self.now)
            case do.Announce():
                self._hear(action)
            case do.PersistPlan():
                self.adopting.append(action)
            case do.PersistAttempt() | do.PersistWait() | do.PersistPart():
                self._write_down(action)
            case do.Leave():
                self.left.append(action)
            case do.SendLoad() | do.SendStep() | do.SendCanary() | do.SendCancel() | do.SendStop() | do.Kill():
                self._perform_on_worker(self.processes[action.seat], action)

    def _hear(self, said: do.Announce) -> None:
        """What is announced tells what the core means."""
        match said:
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

    def _write_down(self, action: do.PersistAttempt | do.PersistWait | do.PersistPart) -> None:
        self.writing.append(action)
        part = self.tickets[action.job].parts[action.step]
        match action:
            case do.PersistAttempt():
                self._assign(part, self.processes[action.seat], action.attempt)
            case do.PersistWait() if part in self.returning:
                self.returning.remove(part)
            case do.PersistWait():
                part.ticket.phase = "kept"
                self._forget(part.ticket)

    def _perform_for_client(self, action: do.Action) -> None:
        match action:
            case do.Persist(job):
                assert self.question
                self.tickets[job] = self.question
                self.question.phase = "storing"
                self.question.begin(self.listeners(self.question))
                self.question = None
            case do.Refuse(job, fault):
                ticket = self.question or self.tickets[job]
                ticket.phase, ticket.end, self.question = "refused", fault.code, None
            case do.Deliver(job):
                self._end(self.tickets[job.id], "completed")
            case do.Fail(job, fault):
                self._end(self.tickets[job.id], fault.code)

    def _end(self, ticket: Ticket, end: str) -> None:
        ticket.phase, ticket.end = "ended", end
        self.ended += 1
        while self.write_first(ticket.job):
            pass
        entry = self.journal.pop(ticket.job, None)
        if entry and end not in ("completed", Code.CANCELLED):
            self.failed[ticket.job] = entry
        self._forget(ticket)

    def _forget(self, ticket: Ticket) -> None:
        for part in ticket.parts.values():
            self.lines[part.pool].leave(part)
        for key in [key for key in self.timers if key[0] == f"job:{ticket.job}"]:
            del self.timers[key]
        self.spent = [one for one in self.spent if not (isinstance(one, ev.AlarmRang) and one.job == ticket.job)]

    def _assign(self, part: Part, process: Process, attempt: int) -> None:
        """A step is meant for a worker, which does not know of it yet."""
        self.lines[part.pool].take(part)
        process.part, process.attempt = part, attempt
        process.sent, process.suspect, process.unwanted = False, part.deaths > 0, bool(part.ticket.unwanted)
        process.due = self.now + self.pools[part.pool].deadlines.busy_floor
        process.done = process.told_duration = 0.0
        part.state = "running"
        if part.index >= FIRST_CHUNK:
            self.advance(part.ticket)

    def _perform_on_worker(self, process: Process, action: do.Action) -> None:
        match action:
            case do.SendLoad(seat, load):
                process.loading, process.edition = True, load
                assert load == self.wanted[seat.pool], "it loads what is not wanted"
            case do.SendStep():
                process.sent, process.moved_at, process.started_at = True, self.now, self.now
                process.segments = 0
                process.due = self.now + self.pools[process.seat.pool].deadlines.busy_floor
                assert process.part
                process.part.attempts += 1
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

    # --- the journal --------------------------------------------------------------------------------------------------

    def write_first(self, job: str) -> Written | None:
        """The journal stores what it was told first about a job."""
        written = next((one for one in self.writing if one.job == job), None)
        if written is None:
            return None
        self.writing.remove(written)
        if entry := self.journal.get(job):
            store(entry, written)
        match written:
            case do.PersistAttempt(_, seat, attempt):
                self.answers.append(ev.AttemptPersisted(seat, attempt))
            case do.PersistPlan(job):
                self.answers.append(ev.PlanPersisted(job))
            case do.PersistPart(job, index):
                self.answers.append(ev.PartPersisted(job, index))
        return written


def _seat(name: str) -> Seat:
    seat = Seat.parse(name)
    assert seat
    return seat
