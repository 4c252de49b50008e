"""What must come of what clients, operators and workers do: a world that knows beforehand, and compares."""

from collections.abc import Callable
from math import isclose

from asrd_protocol.faults import BLAME, Blame, Code
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.policy import PoolPolicy
from property.health import HealthyWorld
from property.judge import covers
from property.records import Entry, Process, Ticket, TimerKey

AGAIN = "again"
MOST_INTERRUPTED = 3
"""Kills of the daemon that one job may see while it runs."""


class StrictWorld(HealthyWorld):
    """The lawful world, with an expectation for everything that it does."""

    def submit(self, ticket: Ticket) -> None:
        """A job is refused for a reason, and for no other."""
        expected = self._objection(ticket)
        super().submit(ticket)
        assert ticket.end == (expected or "")

    def _objection(self, ticket: Ticket) -> Code | None:
        active = self.active()
        if any(other.job == ticket.job for other in active):
            return Code.ID_CONFLICT
        if self.stopping or self.core.jobs.closing or self.draining:
            return Code.SHUTTING_DOWN if self.core.jobs.closing else Code.DRAINING
        if ticket.pool not in self.pools:
            return Code.UNKNOWN_POOL
        states = {slot.state for slot in self.core.pools[ticket.pool].slots}
        if states <= {State.FAILED, State.VACANT} and State.FAILED in states:
            return Code.ENGINE_UNAVAILABLE
        queue, length = self.policy.queue, self.known[ticket.pool].length(ticket)
        for limits in (queue, queue.per_user):
            if limits.max_bytes and ticket.size > limits.max_bytes:
                return Code.FRAME_TOO_LARGE
        for limits in (queue, queue.per_user):
            if limits.max_audio_s and length > limits.max_audio_s:
                return Code.AUDIO_TOO_LONG
        return self._shortage(ticket, active, length)

    def _shortage(self, ticket: Ticket, active: list[Ticket], length: float) -> Code | None:
        waiting = sum(other.state != "running" for other in active)
        queue = self.policy.queue
        if waiting >= queue.max_jobs or _exceeds(active, ticket.size, length, 0, queue.max_bytes, queue.max_audio_s):
            return Code.OVERLOADED
        quota, own = queue.per_user, [other for other in active if other.owner == ticket.owner]
        over = _exceeds(own, ticket.size, length, quota.max_jobs, quota.max_bytes, quota.max_audio_s)
        return Code.QUOTA if over else None

    def recycle(self, pool: str | None, slot: int | None) -> None:
        """A failed seat that an operator asks for is forgiven."""
        failed = [(policy.name, one.index) for policy, one in self.slots() if one.state is State.FAILED]
        super().recycle(pool, slot)
        self.deaths.update({key: [] for key in failed if covers(self.cause, key)})

    def load(self, pool: str) -> None:
        """Failed seats are forgiven; who rests comes back."""
        self._forgive(pool, super().load)
        assert not self.resting(pool) or self.closed(pool)

    def change(self, pool: str) -> None:
        """Failed seats are forgiven: what they could not load is not wanted any more."""
        self._forgive(pool, super().change)

    def _forgive(self, pool: str, order: Callable[[str], None]) -> None:
        failed = [(policy.name, one.index) for policy, one in self.slots() if one.state is State.FAILED]
        order(pool)
        if not self.closed(pool):
            self.deaths.update({key: [] for key in failed if key[0] == pool})

    def cancel(self, ticket: Ticket) -> None:
        """A waiting job ends at once, a running one is asked to."""
        state, known = ticket.state, ticket.unwanted
        super().cancel(ticket)
        self._check_early_end(ticket, state, known, Code.CANCELLED)

    def _check_early_end(self, ticket: Ticket, state: str, known: str, why: Code) -> None:
        worker = next((process for process in self.processes.values() if process.job == ticket.job), None)
        if state in ("queued", "waiting"):
            assert ticket.end == why
            return
        assert ticket.state == state, "it ends when it may"
        assert state not in ("storing", "running") or ticket.unwanted == (known or why)
        if state == "running" and worker and worker.killed_at is None and worker.sent:
            assert worker.cancelled_at is not None, "the cancel is lost"

    def store(self, ticket: Ticket) -> None:
        """A stored job is accepted; one that was cancelled meanwhile ends then."""
        super().store(ticket)
        assert ticket.state != "storing"
        assert not ticket.unwanted or ticket.end == Code.CANCELLED

    def fail_to_store(self, ticket: Ticket) -> None:
        """Nothing is promised that is not stored."""
        super().fail_to_store(ticket)
        assert ticket.state == "refused" and ticket.end == Code.INSUFFICIENT_STORAGE

    def tell_attempt(self, stored: ev.AttemptPersisted) -> None:
        """A worker that is still there gets its step, or is free again when nobody wants it any more."""
        process = self.processes.get(stored.seat)
        meant = process and process.attempt == stored.attempt and process.killed_at is None
        ticket = self.tickets.get(process.job) if process else None
        unwanted = bool(process and process.unwanted)
        super().tell_attempt(stored)
        if not (process and meant and ticket):
            return
        if unwanted:
            assert ticket.end == ticket.unwanted, "nobody wants it, and it goes on"
            assert process.ready or process.stopped_at is not None or process.killed_at is not None
        else:
            assert process.sent and ticket.state == "running"

    def recover(self, ticket: Ticket, entry: Entry) -> None:
        """A job that was accepted goes on, unless it seems to be what ends the daemon."""
        super().recover(ticket, entry)
        if entry.interrupted > MOST_INTERRUPTED:
            assert ticket.end == Code.POISON
        elif ticket.end:
            assert ticket.end == Code.ENGINE_UNAVAILABLE and not self.policy.durable
        else:
            assert ticket.state in ("queued", "running")

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
        ticket.delay = ticket.pause(self.pools[ticket.pool].retries) if expected == AGAIN else (0.0, 0.0)
        super().fault(process, code, leave=leave)
        self._check_outcome(ticket, expected)
        assert not leave or process.stopped_at is not None

    def _after_fault(self, ticket: Ticket, code: Code) -> str:
        if ticket.unwanted:
            return ticket.unwanted
        final = BLAME[code] is Blame.CALLER or ticket.attempts >= ticket.tries(self.pools[ticket.pool].retries)
        return code if final else AGAIN

    def exit(self, process: Process, how: str = "exit 0", *, hopeless: bool = False) -> None:
        """A step that lost its worker is tried again, but not for ever; and so is the seat."""
        ticket = self.tickets[process.job] if process.job else None
        ended = ticket is None or not ticket.active
        expected = "" if ticket is None or ended else self._after_loss(ticket, process)
        if ticket and not ended:
            ticket.avoid = str(process.seat)
            again = expected == AGAIN and process.sent
            ticket.delay = ticket.pause(self.pools[ticket.pool].retries) if again else (0.0, 0.0)
        fallen = self._note_death(process, hopeless)
        super().exit(process, how, hopeless=hopeless)
        if ticket and not ended:
            self._check_outcome(ticket, expected)
        slot = self.slot(process.seat)
        if self.closed(process.seat.pool) or self.resting(process.seat.pool):
            assert slot.state is State.VACANT
        elif fallen is not None:
            assert slot.state is (State.FAILED if fallen else State.BACKOFF), "too many deaths, or too few"

    def _after_loss(self, ticket: Ticket, process: Process) -> str:
        policy = self.pools[ticket.pool].retries
        if ticket.unwanted:
            return ticket.unwanted
        if not process.sent:
            return AGAIN  # it died of something else
        ticket.deaths += 1
        if ticket.deaths >= policy.deaths:
            return Code.POISON
        if ticket.attempts < ticket.tries(policy):
            return AGAIN
        return Code.WORKER_HUNG if process.timed_out else Code.WORKER_DIED

    def _check_outcome(self, ticket: Ticket, expected: str) -> None:
        if expected != AGAIN:
            assert ticket.end == expected
        elif ticket.end:
            assert ticket.end == Code.ENGINE_UNAVAILABLE
        elif ticket.state == "kept":
            assert self.left and self.policy.durable, "it was the last that the daemon waited for"
        elif ticket.delay[1]:
            assert ticket.state == "waiting"
            due, (least, most) = self.timers[f"job:{ticket.job}", 0, "retry"][0], ticket.delay
            assert self.now + least - 1e-6 <= due <= self.now + most + 1e-6, "tried again too soon, or too late"
        else:
            assert ticket.state in ("queued", "running")

    def _note_death(self, process: Process, hopeless: bool) -> bool | None:
        """True when the seat must be given up now; None when the worker left as it was told."""
        if process.stopped_at is not None and process.killed_at is None:
            return None
        key, policy = (process.seat.pool, process.seat.slot), self.pools[process.seat.pool].restarts
        self.fell_at[key], self.pauses[key] = self.now, (0.0, 0.0)
        if process.sent_home:
            return False
        if process.asked or (process.suspect and process.sent and process.job):
            return hopeless  # a suspect kills whoever has it
        if self._misled(process):
            return False
        recent = [at for at in self.deaths.get(key, []) if self.now - at < policy.period]
        self.deaths[key] = [*recent, self.now]
        if recent or not process.warm:
            self.pauses[key] = (1.0, policy.delay_max)
        # A configuration that cannot work is no use trying, however few have died of it.
        return hopeless or len(self.deaths[key]) > policy.intensity

    def _misled(self, process: Process) -> bool:
        """It could not load what was not known to be good, or is not wanted: the pool goes back to what is good."""
        pool = process.seat.pool
        if process.warm or not process.loading:
            return False
        if process.edition != self.wanted[pool]:
            return True
        good = self.good[pool]
        if good == "nothing" or good == process.edition:
            return False
        assert good is None or isinstance(good, int)
        self.wanted[pool] = good
        return True

    def fire(self, key: TimerKey) -> None:
        """The end of the drain is the end of all jobs here; a deadline is one of a job; who stands still is killed."""
        fired = self.timers[key][1]
        ticket = self.tickets[fired.job] if isinstance(fired, ev.AlarmRang) else None
        state, known = (ticket.state, ticket.unwanted) if ticket else ("", "")
        super().fire(key)
        assert key[2] != "drain" or not self.active()
        if ticket and key[2] == "deadline":
            self._check_early_end(ticket, state, known, Code.DEADLINE)
        elif ticket:
            assert ticket.state in ("queued", "running") or ticket.end == Code.ENGINE_UNAVAILABLE
        elif key[2] == "stall":
            self._check_patience(key)

    def _check_patience(self, key: TimerKey) -> None:
        for seat, process in self.processes.items():
            if (seat.pool, seat.slot) != key[:2] or process.killed_at is not None:
                continue
            if process.sent and not process.unwanted:
                assert isclose(self.timers[key][0], process.moved_at + self.patience(process))
                assert not self.stalled(process), "it stands still, and is left alone"

    # --- the end ------------------------------------------------------------------------------------------------------

    def settled(self) -> bool:
        """Every job has ended that can, every seat is taken that can be, and nobody needs to be replaced."""
        waits = [ticket for ticket in self.active() if not self._may_wait(ticket)]
        return not (waits or self.writing or self.answers) and all(
            self._pool_settled(policy) for policy in self.policy.pools
        )

    def _may_wait(self, ticket: Ticket) -> bool:
        """There is nobody for it in this daemon."""
        return self.policy.durable and ticket.state == "queued" and self.core.pools[ticket.pool].hopeless

    def _pool_settled(self, policy: PoolPolicy) -> bool:
        pool = self.core.pools[policy.name]
        lost = sum(slot.state is State.FAILED and slot.hopeless for slot in pool.slots)
        if any(slot.state not in (State.IDLE, State.VACANT, State.FAILED) for slot in pool.slots):
            return False
        if self.resting(policy.name):
            return not self.staff(policy.name)
        waits = any(self.overdue(process) for process in self.staff(policy.name)) and not lost
        return not waits and pool.ready + lost >= policy.workers


def _exceeds(taken: list[Ticket], size: int, length: float, jobs: int, most: int, seconds: float) -> bool:
    """One more job of this size and length is more than the limits allow; 0 is no limit."""
    many = bool(jobs) and len(taken) + 1 > jobs
    large = bool(most) and sum(ticket.size for ticket in taken) + size > most
    return many or large or (bool(seconds) and sum(ticket.length for ticket in taken) + length > seconds)
