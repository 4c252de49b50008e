"""What must come of what clients, operators and workers do: a world that knows beforehand, and compares."""

from collections.abc import Callable
from math import isclose

from asrd_protocol.faults import Code
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.policy import PoolPolicy
from property.courses import TimerKey
from property.deeds import MOST_INTERRUPTED
from property.health import HealthyWorld
from property.journals import Entry
from property.judge import covers
from property.records import Process
from property.tickets import Part, Ticket


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
        if ticket.pool not in self.pools or self.pools[ticket.pool].diarizes:
            return Code.UNKNOWN_POOL
        if ticket.diarize and not self.listeners(ticket):
            return Code.BAD_OPTION if ticket.diarize_pool in (None, *self.pools) else Code.UNKNOWN_POOL
        states = {slot.state for slot in self.core.pools[ticket.pool].slots}
        if states <= {State.FAILED, State.VACANT} and State.FAILED in states:
            return Code.ENGINE_UNAVAILABLE
        queue, length = self.policy.queue, self.length_of(ticket)
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
        before = self._in_hand(ticket), ticket.unwanted
        super().cancel(ticket)
        self._check_early_end(ticket, *before, Code.CANCELLED)

    def _in_hand(self, ticket: Ticket) -> list[Process] | None:
        """Who has one of its steps; None when it is no active job, or nobody has."""
        if ticket.phase != "active":
            return None
        busy = [process for process in self.processes.values() if process.part and process.part.ticket is ticket]
        return busy or None

    def _check_early_end(self, ticket: Ticket, busy: list[Process] | None, known: str, why: Code) -> None:
        if ticket.phase == "storing" or not (ticket.unwanted or ticket.end):
            return  # it ends when it may
        if not ticket.active:
            assert ticket.end or ticket.phase == "kept"
            return
        assert ticket.unwanted == (known or why)
        for process in busy or []:
            if process.killed_at is None and process.sent:
                assert process.cancelled_at is not None, "the cancel is lost"

    def store(self, ticket: Ticket) -> None:
        """A stored job is accepted; one that was cancelled meanwhile ends then."""
        known = ticket.unwanted
        super().store(ticket)
        assert ticket.state != "storing"
        assert not known or ticket.end == known == Code.CANCELLED

    def fail_to_store(self, ticket: Ticket) -> None:
        """Nothing is promised that is not stored."""
        super().fail_to_store(ticket)
        assert ticket.state == "refused" and ticket.end == Code.INSUFFICIENT_STORAGE

    def tell_attempt(self, stored: ev.AttemptPersisted) -> None:
        """A worker that is still there gets its step, or is free again when nobody wants it any more."""
        process = self.processes.get(stored.seat)
        meant = process and process.attempt == stored.attempt and process.killed_at is None
        part = process.part if process else None
        unwanted = bool(process and process.unwanted)
        super().tell_attempt(stored)
        if not (process and meant and part):
            return
        if unwanted:
            assert not part.ticket.active or part.ticket.live, "nobody wants it, and it goes on"
            assert process.ready or process.stopped_at is not None or process.killed_at is not None
        else:
            assert process.sent and part.state == "running"

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
        """A result is delivered, or waits for those of the other steps."""
        part = process.part
        assert part
        was_active = part.ticket.active
        super().finish(process)
        assert not was_active or not part.last or part.ticket.end == "completed"

    def fault(self, process: Process, code: Code, *, leave: bool) -> None:
        """The blame decides; and a worker that wants to leave leaves."""
        part = process.part
        super().fault(process, code, leave=leave)
        self._check_delay(part)
        assert not leave or process.stopped_at is not None

    def _check_delay(self, part: Part | None) -> None:
        """What is to be tried again waits as long as it was told to."""
        if part and part.state == "waiting" and part.ticket.phase == "active":
            due, (least, most) = self.timers[f"job:{part.job}", part.alarm, "retry"][0], part.delay
            assert self.now + least - 1e-6 <= due <= self.now + most + 1e-6, "tried again too soon, or too late"

    def exit(self, process: Process, how: str = "exit 0", *, hopeless: bool = False) -> None:
        """A step that lost its worker is tried again, but not for ever; and so is the seat."""
        fallen = self._note_death(process, hopeless)
        super().exit(process, how, hopeless=hopeless)
        self._check_delay(process.part)
        slot = self.slot(process.seat)
        if self.closed(process.seat.pool) or self.resting(process.seat.pool):
            assert slot.state is State.VACANT
        elif process.seat.pool in self.rested:
            assert slot.state in (State.VACANT, State.STARTING), "it rested, and was woken by the step that came back"
        elif fallen is not None:
            assert slot.state is (State.FAILED if fallen else State.BACKOFF), "too many deaths, or too few"

    def _note_death(self, process: Process, hopeless: bool) -> bool | None:
        """True when the seat must be given up now; None when the worker left as it was told."""
        if process.stopped_at is not None and process.killed_at is None:
            return None
        key, policy = (process.seat.pool, process.seat.slot), self.pools[process.seat.pool].restarts
        self.fell_at[key], self.pauses[key] = self.now, (0.0, 0.0)
        if process.sent_home:
            return False
        if process.asked or (process.suspect and process.sent and process.part):
            return hopeless  # a suspect kills whoever has it
        if self._misled(process):
            return False
        if hopeless:
            return True  # a configuration that cannot work is no use trying, however few have died of it
        recent = [at for at in self.deaths.get(key, []) if self.now - at < policy.period]
        self.deaths[key] = [*recent, self.now]
        if recent or not process.warm:
            self.pauses[key] = (1.0, policy.delay_max)
        return len(self.deaths[key]) > policy.intensity

    def _misled(self, process: Process) -> bool:
        """It could not load what was not known to be good, or is not wanted: the pool goes back to what is good."""
        pool = process.seat.pool
        if process.warm or not process.loading:
            return False
        if process.edition is None:
            self.untried.discard(pool)
        if process.edition != self.wanted[pool]:
            return True
        good = self.good[pool]
        if good == "nothing" and pool in self.untried:
            good = None
        if good == "nothing" or good == process.edition:
            return False
        assert good is None or isinstance(good, int)
        self.wanted[pool] = good
        return True

    def fire(self, key: TimerKey) -> None:
        """The end of the drain is the end of all jobs here; a deadline is one of a job; who stands still is killed."""
        fired = self.timers[key][1]
        ticket = self.tickets[fired.job] if isinstance(fired, ev.AlarmRang) else None
        busy, known = (self._in_hand(ticket), ticket.unwanted) if ticket else (None, "")
        super().fire(key)
        assert key[2] != "drain" or not self.active()
        if ticket and key[2] == "deadline":
            self._check_early_end(ticket, busy, known, Code.DEADLINE)
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
        return not (waits or self.adopting or self.writing or self.answers) and all(
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
