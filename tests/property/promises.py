"""A judge of what the core promises to clients, and of what it tells the disk about their jobs.

The expectations are worked out from the world's own records.
"""

from math import isclose

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import FIRST_CHUNK, WHOLE
from property.deeds import LivelyWorld
from property.records import Process
from property.tickets import Part, Ticket


class PromisingWorld(LivelyWorld):
    """The simulated world, with somebody in it who keeps count of promises."""

    def staff(self, pool: str) -> list[Process]:
        """The processes of a pool."""
        return [process for seat, process in self.processes.items() if seat.pool == pool]

    def active(self) -> list[Ticket]:
        """The jobs that have not ended."""
        return [ticket for ticket in self.tickets.values() if ticket.active]

    def judge_for_client(self, action: do.Action) -> None:
        match action:
            case do.Persist(job):
                assert self.question and self.question.job == job
            case do.Accept(job, ahead, eta):
                ticket = self.tickets[job]
                line = self.lines[ticket.pool]
                assert self.cause == ev.JobPersisted(job)
                assert ahead == len(line) - len(line.coming)
                self._judge_eta(ticket, ahead, eta)
            case do.Relay(job, step=step, attempt=attempt):
                part = self.tickets[job].parts[step]
                assert part.state == "running" and part.attempts == attempt
            case do.Deliver():
                self._judge_result(self.tickets[action.job.id], action)
            case do.Fail(job, fault):
                self._judge_fail(self.tickets[job.id], fault.code)
            case do.PersistWait(job, attempts, deaths, step):
                self._judge_wait(self.tickets[job].parts[step], (attempts, deaths))

    def judge_part(self, action: do.PersistPlan | do.PersistPart) -> None:
        """What a step gave is stored once: where the audio is cut, a result, or why there is none."""
        ticket = self.tickets[action.job]
        if isinstance(action, do.PersistPlan):
            assert ticket.whole.state == "storing" and not self.pending(ticket.whole)
            assert list(action.chunks) == [part.stretch for part in ticket.chunks] and action.head == action.job
            return
        part = ticket.parts[action.step]
        assert part.state == "storing" and not part.last and not self.pending(part)
        if part.failed:
            assert isinstance(action.body, Fault) and part.spared, "it is not to be left out"
        else:
            assert action.body == part.name
        assert action.step < FIRST_CHUNK or self.journal[action.job].cut, "a chunk of what is not cut"

    def pending(self, part: Part) -> bool:
        """What it gave is being stored."""
        told = (*self.adopting, *self.writing, *self.answers)
        return any(_result_of(one) == part.name for one in told)

    def _judge_result(self, ticket: Ticket, action: do.Deliver) -> None:
        """It comes from the last step, when all others have ended, and tells what all of them have done."""
        job, run = action.job, action.run
        assert ticket.state == "running" and action.body == job.id
        assert all(part.state == "ended" for part in ticket.parts.values() if not part.last), "it is not complete"
        assert not ticket.barren, "there is nothing in it"
        assert (run.attempts, run.steps) == (ticket.tried, len(ticket.parts))
        assert isclose(run.work.audio_s, sum(part.heard for part in ticket.parts.values()))

    def _judge_wait(self, part: Part, figures: tuple[int, int]) -> None:
        """What it is blamed for is stored: deaths, and tries; but no try that the daemon itself gives up."""
        if part in self.returning:
            assert part.ticket.active and (part.state in ("queued", "waiting") or self.turns_away(part.pool))
        else:
            assert self.policy.durable and (self.hurried or not self.processes), "it is given up too soon"
            assert part.ticket.phase in ("storing", "active", "kept")
            assert part.state == "running" or part is part.ticket.whole
        begun = any(process.part is part and process.sent for process in self.processes.values())
        assert figures == (part.attempts - begun, part.deaths)

    def _judge_eta(self, ticket: Ticket, ahead: int, eta: float) -> None:
        """Its own work at the least; that alone, when a worker is free; never more than if all others came first."""
        known, staff = self.known[ticket.pool], self.staff(ticket.pool)
        own = known.work(ticket.whole)
        assert eta >= own - 1e-3
        if not ahead and any(process.idle for process in staff):
            assert isclose(eta, own, abs_tol=1e-3)

    def _judge_fail(self, ticket: Ticket, code: Code) -> None:
        assert ticket.active, "a job ends once"
        if code is Code.SHUTTING_DOWN:
            assert self.stopping and not self.policy.durable
            return
        assert ticket.state != "storing", "it was never accepted"
        assert code == ticket.unwanted, "it had not to end"
        assert not ticket.live, "somebody has a step of it in hand"
        if code is Code.ENGINE_UNAVAILABLE:
            assert not self.policy.durable, "another daemon may have an engine for it"


def _result_of(told: object) -> tuple[str, int] | None:
    """Whose result something on its way to the disk and back is."""
    match told:
        case do.PersistPart(job, step) | ev.PartPersisted(job, step):
            return job, step
        case do.PersistPlan(job) | ev.PlanPersisted(job):
            return job, WHOLE
        case _:
            return None
