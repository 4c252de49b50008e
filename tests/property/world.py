"""The world around the core, simulated: a virtual clock, timers, worker processes, clients and a disk.

It performs every action of the core and keeps its own records of what follows, from the actions alone. Whether the core
may ask for what it asks for is judged in ``laws.py``; how a healthy world goes on by itself is in ``life.py``.
"""

import random
from dataclasses import dataclass

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.supervisor import Policy, Supervisor

TimerKey = tuple[str, int, str]


@dataclass
class Process:
    """A worker as the operating system, the link and the worker itself know it."""

    seat: Seat
    spawned_at: float
    greeted_at: float | None = None
    loading: bool = False
    warm: bool = False
    attempt: int = 0
    job: str = ""
    started_at: float = 0.0
    told_duration: float = 0.0
    told_at: float = 0.0
    cancelled_at: float | None = None
    jobs_done: int = 0
    retired: bool = False
    stopped_at: float | None = None
    killed_at: float | None = None
    doomed: bool = False
    """It got a SIGKILL; a SIGABRT alone may be survived."""
    asked: bool = False
    """It was killed because somebody wanted so: no fault of its own."""
    timed_out: bool = False
    guilty: bool = False
    stuck: bool = False
    acted_at: float = 0.0

    @property
    def ready(self) -> bool:
        """Warm, and there to stay."""
        return self.warm and not self.retired and self.stopped_at is None and self.killed_at is None

    @property
    def idle(self) -> bool:
        """Ready, with nothing to do."""
        return self.ready and not self.job


@dataclass
class Ticket:
    """A job as the client that submitted it knows it."""

    job: str
    pool: str
    size: int
    state: str = "new"
    """new, storing, queued, running, ended; or refused."""
    end: str = ""
    attempts: int = 0
    deaths: int = 0
    avoid: str = ""
    cancelled: bool = False

    @property
    def active(self) -> bool:
        """It was not refused and has not ended."""
        return self.state in ("storing", "queued", "running")


class World:
    """One daemon's surroundings."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy = policy
        self.core = Supervisor(policy, random.Random(seed))
        self.pools = {pool.name: pool for pool in policy.pools}
        self.now = 0.0
        self.cause: ev.Event | None = None
        self.ringing: ev.TimerFired | None = None
        self.timers: dict[TimerKey, tuple[float, ev.TimerFired]] = {}
        self.spent: list[ev.TimerFired] = []
        self.processes: dict[Seat, Process] = {}
        self.gone: list[Process] = []
        self.question: Ticket | None = None
        self.tickets: dict[str, Ticket] = {}
        self.queues: dict[str, list[Ticket]] = {name: [] for name in self.pools}
        self.broken_models: set[str] = set()
        self.requested: set[Seat] = set()
        self.draining = False
        self.stopping = False
        self.left: list[do.Leave] = []
        for action in self.core.start(self.now):
            self.perform(action)

    # --- the clock ----------------------------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> list[do.Action]:
        """The shell tells the core what happened, and performs what the core wants."""
        self.cause = event
        actions = self.core.handle(self.now, event)
        for action in actions:
            self.perform(action)
        return actions

    def fire(self, key: TimerKey) -> None:
        """A timer rings, in time or late."""
        due, fired = self.timers.pop(key)
        self.now = max(self.now, due)
        self.spent.append(fired)
        self.ringing = fired
        self.post(fired)
        self.ringing = None

    def next_timer(self) -> TimerKey | None:
        """The timer that is due first."""
        return min(self.timers, key=lambda key: (self.timers[key][0], key), default=None)

    def due_timers(self) -> list[TimerKey]:
        """Those that should have rung by now."""
        return sorted(key for key, (due, _) in self.timers.items() if due <= self.now)

    # --- the core's actions -------------------------------------------------------------------------------------------

    def perform(self, action: do.Action) -> None:
        """What the shell does, as far as it leaves traces in the world."""
        match action:
            case do.Persist() | do.Refuse() | do.Accept() | do.Deliver() | do.Fail():
                self._perform_for_client(action)
            case do.SetTimer(pool, slot, kind, number, delay):
                if last := self.timers.get((pool, slot, kind)):
                    self.spent.append(last[1])
                self.timers[pool, slot, kind] = (self.now + delay, ev.TimerFired(pool, slot, kind, number))
            case do.Spawn(seat):
                self.processes[seat] = Process(seat, self.now, acted_at=self.now)
            case do.Announce("job.retried", fields):
                ticket = self.tickets[fields["job"]]
                ticket.state = "queued"
                self.queues[ticket.pool].insert(0, ticket)
            case do.Announce("worker.recycled", fields):
                process = self.processes[_seat(fields["seat"])]
                assert not process.retired, "recycled twice"
                process.retired = True
            case do.Leave():
                self.left.append(action)
            case do.SendLoad() | do.SendStep() | do.SendCancel() | do.SendStop() | do.Kill():
                self._perform_on_worker(self.processes[action.seat], action)

    def _perform_for_client(self, action: do.Action) -> None:
        match action:
            case do.Persist(job):
                assert self.question
                self.tickets[job] = self.question
                self.question.state, self.question = "storing", None
            case do.Refuse(_, fault):
                assert self.question
                self.question.state, self.question.end, self.question = "refused", fault.code, None
            case do.Accept(job):
                self.tickets[job].state = "queued"
                self.queues[self.tickets[job].pool].append(self.tickets[job])
            case do.Deliver(job):
                self._end(self.tickets[job.id], "completed")
            case do.Fail(job, fault):
                self._end(self.tickets[job.id], fault.code)

    def _end(self, ticket: Ticket, end: str) -> None:
        ticket.state, ticket.end = "ended", end
        if ticket in self.queues[ticket.pool]:
            self.queues[ticket.pool].remove(ticket)

    def _perform_on_worker(self, process: Process, action: do.Action) -> None:
        match action:
            case do.SendLoad():
                process.loading = True
            case do.SendStep(_, attempt, job):
                process.attempt, process.job, process.started_at = attempt, job, self.now
                ticket = self.tickets[job]
                self.queues[ticket.pool].remove(ticket)
                ticket.state = "running"
                ticket.attempts += 1
            case do.SendCancel():
                process.cancelled_at = self.now
            case do.SendStop():
                process.stopped_at = self.now
            case do.Kill(_, dump):
                if process.killed_at is None:
                    process.timed_out = self.ringing is not None
                    process.asked = process.cancelled_at is not None
                process.killed_at = self.now
                process.doomed = process.doomed or not dump

    # --- clients, operators and the disk ------------------------------------------------------------------------------

    def submit(self, job: str, pool: str, size: int) -> Ticket:
        """A client submits a job."""
        ticket = self.question = Ticket(job, pool, size)
        self.post(ev.JobSubmitted(job, pool, size))
        return ticket

    def store(self, ticket: Ticket) -> None:
        """The disk has the job."""
        self.post(ev.JobPersisted(ticket.job))

    def cancel(self, ticket: Ticket) -> None:
        """A client does not want its job any more."""
        ticket.cancelled = ticket.cancelled or ticket.active
        self.post(ev.CancelRequested(ticket.job))

    def recycle(self, pool: str | None, slot: int | None) -> None:
        """An operator wants fresh workers."""
        for process in self.processes.values():
            wanted = pool in (None, process.seat.pool) and slot in (None, process.seat.slot)
            if wanted and process.ready:
                self.requested.add(process.seat)
        self.post(ev.RecycleRequested(pool, slot))

    def drain(self, *, resume: bool) -> None:
        """An operator wants no new jobs, or new ones again."""
        self.draining = not resume
        self.post(ev.DrainRequested(resume))

    def stop(self, *, now: bool) -> None:
        """An operator wants the daemon to leave."""
        self.stopping = True
        self.post(ev.StopRequested(now))

    # --- workers ------------------------------------------------------------------------------------------------------

    def greet(self, process: Process) -> None:
        """The worker says its first word."""
        process.greeted_at = self.now
        self.post(ev.WorkerGreeted(process.seat, pid=1000 + process.seat.generation))

    def warm(self, process: Process) -> None:
        """The worker has loaded its model."""
        process.warm = True
        self.post(ev.WorkerWarmed(process.seat, 0.5, 0.5))

    def progress(self, process: Process, done: float, duration: float) -> None:
        """The worker has come so far; at 0 it says how long the audio is."""
        if done == 0 and process.cancelled_at is None:
            process.told_duration, process.told_at = duration, self.now
        self.post(ev.StepProgressed(process.seat, process.attempt, done, duration))

    def segment(self, process: Process) -> None:
        """The worker has decoded a segment."""
        self.post(ev.SegmentDecoded(process.seat, process.attempt, 0, 1.0, process.job))

    def finish(self, process: Process) -> None:
        """The worker has done its step."""
        job, attempt = self._free(process)
        self.post(ev.StepFinished(process.seat, attempt, Timings(), Work(audio_s=1.0), job))

    def fault(self, process: Process, code: Code, *, leave: bool) -> None:
        """The worker could not do its step; with ``leave`` it cannot be trusted with another one."""
        _, attempt = self._free(process)
        self.post(ev.StepFaulted(process.seat, attempt, Fault.of(code, "as the test wants"), leave))

    def _free(self, process: Process) -> tuple[str, int]:
        job, process.job, process.cancelled_at, process.told_duration = process.job, "", None, 0.0
        process.jobs_done += 1
        return job, process.attempt

    def exit(self, process: Process, how: str = "exit 0", *, hopeless: bool = False) -> None:
        """The process ends, for whatever reason."""
        del self.processes[process.seat]
        self.gone.append(process)
        self.post(ev.WorkerExited(process.seat, how, hopeless, ("the end of its log",)))

    def babble(self, process: Process, event: ev.WorkerEvent) -> None:
        """The worker says what no healthy worker says."""
        process.guilty = True
        self.post(event)


def _seat(name: str) -> Seat:
    seat = Seat.parse(name)
    assert seat
    return seat
