"""What must become of jobs and their steps, as far as the world can know before the core says a word."""

from asrd_protocol.faults import BLAME, Blame, Code
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.stages import MERGE
from asrd_supervisor.core.supervisor import Policy, Supervisor
from property.records import Experience, Line, Process
from property.tickets import Part, Ticket

TimerKey = tuple[str, int, str]


class Courses:
    """Moves the records of jobs; the judge compares them with what the core does."""

    core: Supervisor
    policy: Policy
    pools: dict[str, PoolPolicy]
    now: float
    tickets: dict[str, Ticket]
    processes: dict[Seat, Process]
    timers: dict[TimerKey, tuple[float, ev.TimerFired | ev.AlarmRang]]
    stopping: bool
    shut: set[str]
    cause: ev.Event | None
    ringing: ev.TimerFired | None

    def boot(self) -> None:
        """Nothing waits in a new daemon."""
        self.lines = {name: Line() for name in self.pools}
        self.known = {name: Experience() for name in self.pools}
        self.returning: list[Part] = []
        """They have just lost their workers, and that is to be stored."""
        self.dropped: list[Ticket] = []
        """Since this event nobody wants them."""

    def listeners(self, ticket: Ticket) -> str | None:
        """The pool that would tell its speakers apart."""
        able = [name for name, pool in self.pools.items() if pool.diarizes]
        return next((name for name in able if ticket.diarize_pool in (None, name)), None)

    # --- on and on ----------------------------------------------------------------------------------------------------

    def come(self, part: Part, *, front: bool) -> None:
        """A step shall stand in the line of its pool."""
        part.state = "queued"
        self.lines[part.pool].coming.append((part, front, self.known[part.pool].work(part)))

    def advance(self, ticket: Ticket) -> None:
        """Its next steps are queued, as long as somebody wants it."""
        if ticket.phase == "active" and not ticket.unwanted:
            for part in list(ticket.due()):
                self.come(part, front=part.deaths > 0 or part.index == MERGE)

    def stored(self, job: str, index: int) -> None:
        """What a step has given is stored, and the core is about to hear of it."""
        ticket = self.tickets[job]
        if ticket.phase == "active" and ticket.parts[index].state == "storing":
            ticket.parts[index].state = "ended"
            self.advance(ticket)

    def try_again(self, part: Part, pause: float = 0.0) -> None:
        """At once, or after a delay; ``pause``: the least that the fault asks for."""
        self.returning.append(part)
        policy = self.pools[part.ticket.pool].retries
        least, most = part.pause(policy)
        wanted = part.ticket.retries.delay_max if part.ticket.retries else None
        pause = min(pause, policy.delay_max if wanted is None else wanted)
        part.delay = max(pause, least), max(pause, most)
        if part.delay[1]:
            part.state, part.alarm = "waiting", 0
        else:
            self.come(part, front=True)

    def after_fault(self, part: Part, code: Code, pause: float = 0.0) -> None:
        """The worker lives and there is no result: blame decides."""
        final = BLAME[code] is Blame.CALLER or part.attempts >= self.tries(part)
        if final or part.ticket.unwanted:
            self.give_up(part, code)
        else:
            self.try_again(part, pause)

    def after_loss(self, part: Part, process: Process) -> None:
        """The worker died of it, unless it had not even been told of it."""
        if part.ticket.unwanted:
            part.state = "ended"
        elif not process.sent:
            self.returning.append(part)
            self.come(part, front=True)
        else:
            part.deaths += 1
            if part.deaths >= self.pools[part.ticket.pool].retries.deaths:
                self.give_up(part, Code.POISON)
            elif part.attempts < self.tries(part):
                self.try_again(part)
            else:
                self.give_up(part, Code.WORKER_HUNG if process.timed_out else Code.WORKER_DIED)

    def tries(self, part: Part) -> int:
        """How often it may be tried in all."""
        return part.ticket.tries(self.pools[part.ticket.pool].retries)

    # --- the end ------------------------------------------------------------------------------------------------------

    def give_up(self, part: Part, why: Code) -> None:
        """It will never have a result; the job goes on without, if it can."""
        self.lines[part.pool].leave(part)
        part.state = "ended"
        if part.ticket.unwanted:
            return
        part.failed = part.spared
        if part.failed and not part.ticket.barren:
            part.state = "storing"
        else:
            self.unwant(part.ticket, why)

    def unwant(self, ticket: Ticket, why: Code) -> None:
        """Nobody wants it any more, and the first reason counts. What is queued goes within this event."""
        if not ticket.active or ticket.unwanted:
            return
        ticket.unwanted = why
        self.dropped.append(ticket)
        for process in self.processes.values():
            if process.part and process.part.ticket is ticket and process.killed_at is None:
                process.unwanted = True

    def turn_away(self) -> None:
        """Whoever waits for a pool that will never work is told so."""
        for name, line in self.lines.items():
            if self.turns_away(name):
                for part in list(line):
                    self.give_up(part, Code.ENGINE_UNAVAILABLE)

    def turns_away(self, name: str) -> bool:
        """A transcript need not wait for who speaks, even if that pool may work some day. One that was closed by this
        event was hopeless before, if somebody still waits for it."""
        pool = self.core.pools[name]
        if self.pools[name].diarizes and pool.unavailable:
            return True
        closed = pool.staffing.closing and name not in self.shut and not self.hurried
        return not self.policy.durable and (pool.hopeless or closed)

    @property
    def hurried(self) -> bool:
        """The daemon has given everything up in this event."""
        return self.cause == ev.StopRequested(now=True) or bool(self.ringing and self.ringing.kind == "drain")

    def settle(self) -> None:
        """Who was on the way has arrived."""
        for line in self.lines.values():
            line.settle()
        for ticket in self.dropped:
            for part in ticket.parts.values():
                if part.state == "queued":
                    self.lines[part.pool].leave(part)
                    part.state = "ended"
        self.dropped.clear()
