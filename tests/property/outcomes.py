"""What must come of what clients, operators and workers do: a world that knows beforehand, and compares."""

from asrd_protocol.faults import BLAME, Blame, Code
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.policy import PoolPolicy
from property.laws import LawfulWorld, covers
from property.world import Process, Ticket, TimerKey

AGAIN = "again"


class StrictWorld(LawfulWorld):
    """The lawful world, with an expectation for everything that it does."""

    def submit(self, job: str, pool: str, size: int) -> Ticket:
        """A job is refused for a reason, and for no other."""
        expected = self._objection(job, pool, size)
        ticket = super().submit(job, pool, size)
        assert ticket.end == (expected or "")
        return ticket

    def _objection(self, job: str, pool: str, size: int) -> Code | None:
        active, queue = self.active(), self.policy.queue
        if any(ticket.job == job for ticket in active):
            return Code.ID_CONFLICT
        if self.stopping or self.core.jobs.closing or self.draining:
            return Code.SHUTTING_DOWN if self.core.jobs.closing else Code.DRAINING
        if pool not in self.pools:
            return Code.UNKNOWN_POOL
        states = {slot.state for slot in self.core.pools[pool].slots}
        if states <= {State.FAILED, State.VACANT}:
            return Code.ENGINE_UNAVAILABLE
        waiting = sum(ticket.state != "running" for ticket in active)
        held = sum(ticket.size for ticket in active)
        return Code.OVERLOADED if waiting >= queue.max_jobs or held + size > queue.max_bytes else None

    def recycle(self, pool: str | None, slot: int | None) -> None:
        """A failed seat that an operator asks for is forgiven."""
        failed = [(policy.name, one.index) for policy, one in self.slots() if one.state is State.FAILED]
        super().recycle(pool, slot)
        self.deaths.update({key: [] for key in failed if covers(self.cause, key)})

    def cancel(self, ticket: Ticket) -> None:
        """A waiting job ends at once, a running one is asked to."""
        state = ticket.state
        super().cancel(ticket)
        worker = next((process for process in self.processes.values() if process.job == ticket.job), None)
        if state == "queued":
            assert ticket.end == Code.CANCELLED
        elif state == "running" and worker and worker.killed_at is None:
            assert worker.cancelled_at is not None, "the cancel is lost"
        else:
            assert ticket.state == state

    def store(self, ticket: Ticket) -> None:
        """A stored job is accepted; one that was cancelled meanwhile ends then."""
        super().store(ticket)
        assert ticket.state != "storing"
        assert not ticket.cancelled or ticket.end == Code.CANCELLED

    def finish(self, process: Process) -> None:
        """A result is delivered."""
        ticket = self.tickets[process.job]
        was_active = ticket.active
        super().finish(process)
        assert not was_active or ticket.end == "completed"

    def fault(self, process: Process, code: Code, *, leave: bool) -> None:
        """The blame decides; and a worker that wants to leave leaves."""
        ticket = self.tickets[process.job]
        expected = self._after_fault(ticket, code)
        ticket.avoid = str(process.seat)
        super().fault(process, code, leave=leave)
        self._check_outcome(ticket, expected)
        assert not leave or process.stopped_at is not None

    def _after_fault(self, ticket: Ticket, code: Code) -> str:
        if ticket.cancelled:
            return Code.CANCELLED
        final = BLAME[code] is Blame.CALLER or ticket.attempts >= self.policy.retries.attempts
        return code if final else AGAIN

    def exit(self, process: Process, how: str = "exit 0", *, hopeless: bool = False) -> None:
        """A step that lost its worker is tried again, but not for ever; and so is the seat."""
        ticket = self.tickets[process.job] if process.job else None
        ended = ticket is None or not ticket.active
        expected = "" if ticket is None or ended else self._after_loss(ticket, process)
        if ticket and not ended:
            ticket.avoid = str(process.seat)
        fallen = self._note_death(process, hopeless)
        super().exit(process, how, hopeless=hopeless)
        if ticket and not ended:
            self._check_outcome(ticket, expected)
        slot = self.slot(process.seat)
        if self.closed(process.seat.pool):
            assert slot.state is State.VACANT
        elif fallen is not None:
            assert slot.state is (State.FAILED if fallen else State.BACKOFF), "too many deaths, or too few"

    def _after_loss(self, ticket: Ticket, process: Process) -> str:
        if ticket.cancelled:
            return Code.CANCELLED
        ticket.deaths += 1
        if ticket.deaths >= self.policy.retries.deaths:
            return Code.POISON
        if ticket.attempts < self.policy.retries.attempts:
            return AGAIN
        return Code.WORKER_HUNG if process.timed_out else Code.WORKER_DIED

    def _check_outcome(self, ticket: Ticket, expected: str) -> None:
        if expected != AGAIN:
            assert ticket.end == expected
        elif ticket.end:
            assert ticket.end == Code.ENGINE_UNAVAILABLE
        else:
            assert ticket.state in ("queued", "running")

    def _note_death(self, process: Process, hopeless: bool) -> bool | None:
        """True when the seat must be given up now; None when the worker left as it was told."""
        if process.stopped_at is not None and process.killed_at is None:
            return None
        key, policy = (process.seat.pool, process.seat.slot), self.pools[process.seat.pool].restarts
        self.fell_at[key], self.pauses[key] = self.now, (0.0, 0.0)
        if process.asked:
            return hopeless
        recent = [at for at in self.deaths.get(key, []) if self.now - at < policy.period]
        self.deaths[key] = [*recent, self.now]
        if recent or not process.warm:
            self.pauses[key] = (1.0, policy.delay_max)
        # A configuration that cannot work is no use trying, however few have died of it.
        return hopeless or len(self.deaths[key]) > policy.intensity

    def fire(self, key: TimerKey) -> None:
        """The end of the drain is the end of all jobs."""
        super().fire(key)
        assert key[2] != "drain" or not self.active()

    # --- the end ------------------------------------------------------------------------------------------------------

    def settled(self) -> bool:
        """Every job has ended, every seat is taken that can be, and nobody needs to be replaced."""
        return not self.active() and all(self._pool_settled(policy) for policy in self.policy.pools)

    def _pool_settled(self, policy: PoolPolicy) -> bool:
        pool = self.core.pools[policy.name]
        lost = sum(slot.state is State.FAILED and slot.hopeless for slot in pool.slots)
        if any(slot.state not in (State.IDLE, State.VACANT, State.FAILED) for slot in pool.slots):
            return False
        waits = any(self.overdue(process) for process in self.staff(policy.name)) and not lost
        return not waits and pool.ready + lost >= policy.workers
