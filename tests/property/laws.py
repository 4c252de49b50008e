"""What must hold at all times, whatever the world does: every event and every state in between is looked at."""

import pickle
from math import isclose

from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.lifecycle import LEAVING_STATES, LIVE_STATES, READY_STATES, State
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.slot import Slot
from property.judge import JudgedWorld
from property.records import Process, Ticket, TimerKey

LOST = {State.BACKOFF, State.FAILED}
SOON = {State.KILLING, State.BACKOFF}
RUNNING = {State.STARTING, State.WARMING, *READY_STATES}
TIMED = (LIVE_STATES - {State.IDLE}) | {State.BACKOFF}


class LawfulWorld(JudgedWorld):
    """The judged world, under the law."""

    # --- every event --------------------------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> list[do.Action]:
        """Tell the core, and see that all is well afterwards."""
        self.sound = False
        self.before = {(policy.name, slot.index): slot.state for policy, slot in self.slots()}
        self.shut = {pool for pool in self.pools if self.closed(pool)}
        actions = super().post(event)
        assert self.question is None, "a submit has no answer"
        self._check_retirements()
        self._check_vacations()
        self.check()
        self.sound = True
        return actions

    def whisper(self, event: ev.Event) -> None:
        """Tell the core something stale: nothing may come of it."""
        for pool in self.pools:
            self.post(ev.TimerFired(pool, 0, "age", 0))  # what is due by now shall not be blamed on the event
        before = self._snapshot()
        actions = self.core.handle(self.now, event)
        assert actions == []
        assert self._snapshot() == before

    def _snapshot(self) -> bytes:
        """All that the core knows, but for what it notes of its past."""
        for pool in self.core.pools.values():
            pool.stale = pool.monitor.guards.held_back = 0
            for slot in pool.slots:
                slot._history.clear()
        return pickle.dumps(self.core)

    # --- every state --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What holds at all times."""
        for policy, slot in self.slots():
            self._check_seat(slot)
            self._check_timer(policy, slot)
        for pool, policy in self.pools.items():
            self._check_pool(pool, policy)
        self._check_jobs()
        self._check_the_end()

    def _check_seat(self, slot: Slot) -> None:
        process = self.processes.get(slot.seat)
        living = [seat for seat in self.processes if (seat.pool, seat.slot) == (slot.seat.pool, slot.index)]
        assert living == ([slot.seat] if slot.state in LIVE_STATES else []), "a seat for one worker"
        if process is None:
            assert slot.state in (State.VACANT, State.BACKOFF, State.FAILED)
            return
        assert (slot.state is State.IDLE) == process.idle
        assert slot.ready == process.ready
        assert (slot.state is State.KILLING) == (process.killed_at is not None)
        if slot.state in (State.BUSY, State.DRAINING):
            if process.clip:
                assert slot.task is None and slot.attempt == process.attempt, "the clip and a step at once"
                return
            assert slot.task and (slot.task.job, slot.attempt) == (process.job, process.attempt)
            assert slot.sent == process.sent, "what is not stored is not sent, and what is stored is"
            assert process.sent or self._awaits(process), "it waits for nothing"
            self._check_stall(process)

    def _awaits(self, process: Process) -> bool:
        """The journal will tell of its attempt."""
        told = [
            (one.seat, one.attempt) for one in (*self.writing, *self.answers) if not isinstance(one, do.PersistWait)
        ]
        return (process.seat, process.attempt) in told

    def _check_stall(self, process: Process) -> None:
        """Who has a step that is wanted is watched."""
        if process.sent and not process.unwanted:
            _, timer = self.timers[process.seat.pool, process.seat.slot, "stall"]
            assert timer.number == process.attempt

    def _check_timer(self, policy: PoolPolicy, slot: Slot) -> None:
        """Where a worker can hang, a deadline stands, and it is the right one."""
        if slot.state not in TIMED and not (slot.state is State.FAILED and not slot.hopeless):
            return
        key = (policy.name, slot.index)
        due, timer = self.timers[(*key, "state")]
        assert timer.number == slot.timer, f"the timer of {slot.seat} ({slot.state}) is stale"
        if slot.state is State.BACKOFF:
            least, most = self.pauses[key]
            assert self.fell_at[key] + least - 1e-6 <= due <= self.fell_at[key] + most + 1e-6
        elif slot.state is State.FAILED:
            assert isclose(due, self.fell_at[key] + policy.restarts.revive)
        else:
            assert isclose(due, self._deadline(policy, slot)), f"the deadline of {slot.seat} ({slot.state})"

    def _deadline(self, policy: PoolPolicy, slot: Slot) -> float:
        process, deadlines = self.processes[slot.seat], policy.deadlines
        match slot.state:
            case State.STARTING:
                return process.spawned_at + deadlines.start
            case State.WARMING:
                return (process.greeted_at or 0.0) + deadlines.warm_up
            case State.STOPPING:
                return (process.stopped_at or 0.0) + deadlines.stop
            case State.KILLING:
                return (process.killed_at or 0.0) + deadlines.kill
            case _:
                return process.due

    def _check_pool(self, name: str, policy: PoolPolicy) -> None:
        pool, staff = self.core.pools[name], self.staff(name)
        assert pool.ready == sum(process.ready for process in staff)
        assert len(pool.backlog) == len(self.lines[name]) or self.closed(name)
        assert sum(process.suspect for process in staff if process.job) <= 1, "two suspects at once"
        if self.closed(name):
            return
        free = [ticket for ticket in self.lines[name] if not self.held and self._worker_for(ticket)]
        assert not free, "a step waits, and an idle worker may take it"
        if self.resting(name):
            assert self.held or not self.lines[name], "a step waits, and the pool rests"
            assert not any(slot.state in {*RUNNING, *LOST} for slot in pool.slots), "it rests, and somebody is there"
            return
        running = sum(slot.state in RUNNING for slot in pool.slots)
        spare = policy.start_first and any(process.ready and self.due(process) for process in staff)
        assert running <= policy.workers + spare, "more workers than wanted"
        gaps = [slot for slot in pool.slots if slot.state is State.VACANT]
        taken = sum(slot.state not in LEAVING_STATES for slot in pool.slots) - len(gaps)
        assert not gaps or taken >= policy.workers, "a seat is empty, and a worker is missing"

    def _check_jobs(self) -> None:
        active = {ticket.job: ticket for ticket in self.active()}
        assert set(self.core.jobs.active) == set(active), "a job was lost, or made up"
        held = {process.job for process in self.processes.values() if process.job}
        for ticket in active.values():
            policy = self.pools[ticket.pool].retries
            assert (ticket.job in held) == (ticket.state == "running")
            assert (ticket in self.lines[ticket.pool]) == (ticket.state == "queued")
            assert ticket.attempts <= ticket.tries(policy)
            assert ticket.deaths < policy.deaths
            assert ("retry" in self._alarms(ticket)) == (ticket.state == "waiting")
            assert self._stored_as_running(ticket) == (ticket.state == "running"), "a kill would cost it a try, or none"
            self._check_deadline(ticket)

    def _stored_as_running(self, ticket: Ticket) -> bool:
        """What the journal says of it, or is about to say."""
        told = [isinstance(one, do.PersistAttempt) for one in self.writing if one.job == ticket.job]
        entry = self.journal.get(ticket.job)
        return told[-1] if told else bool(entry and entry.running)

    def _alarms(self, ticket: Ticket) -> dict[str, TimerKey]:
        return {key[2]: key for key in self.timers if key[0] == f"job:{ticket.job}"}

    def _check_deadline(self, ticket: Ticket) -> None:
        """Whoever sets a deadline does not wait longer than he said, and a moment for the disk."""
        if ticket.deadline is None or ticket.state == "storing" or ticket.unwanted:
            return
        due, _ = self.timers[self._alarms(ticket)["deadline"]]
        end = ticket.submitted_at + ticket.deadline
        assert end - 1e-6 <= due <= max(end, self.now) + 1e-6

    def _check_the_end(self) -> None:
        jobs, pools = self.core.jobs, self.core.pools.values()
        assert jobs.closing or not all(pool.hopeless for pool in pools), "it stays, and nobody will ever work"
        may_last = self.stopping and self.must_end() and not self.left
        assert not may_last or ("", 0, "drain") in self.timers, "the drain may take for ever"

    # --- retirements --------------------------------------------------------------------------------------------------

    def _check_retirements(self) -> None:
        self.voluntary &= set(self.processes)
        dismissed = self.cause.seat if isinstance(self.cause, ev.StepFaulted) and self.cause.leave else None
        for policy, slot in self.slots():
            left = self.before[policy.name, slot.index] in READY_STATES and slot.state in LEAVING_STATES
            refused = slot.seat in self.processes and self.processes[slot.seat].refused
            away = self.closed(policy.name) or self.resting(policy.name) or self.woken(policy.name)
            if not left or refused or slot.seat == dismissed or away:
                continue
            self._check_retirement(policy, slot)

    def _check_retirement(self, policy: PoolPolicy, slot: Slot) -> None:
        """A healthy worker is told to leave: with a reason, alone, and not missed."""
        assert self.due(self.processes[slot.seat]), "recycled without a reason"
        nonsense = self.processes[slot.seat].wrong  # is worse than waiting
        leaving = [self.processes[seat] for seat in self.voluntary if seat.pool == policy.name]
        assert not leaving, "two retire at once"
        self.voluntary.add(slot.seat)
        ready = sum(process.ready for process in self.staff(policy.name))
        assert nonsense or ready >= policy.workers - (not policy.start_first), "a retired worker is missed"

    def _check_vacations(self) -> None:
        """A seat whose worker died is given up only when there are enough other workers, or will be soon."""
        for policy, slot in self.slots():
            given_up = slot.state is State.VACANT and self.before[policy.name, slot.index] in LOST
            if given_up and not (self.closed(policy.name) or self.resting(policy.name) or self.woken(policy.name)):
                others = [one.state for one in self.core.pools[policy.name].slots if one is not slot]
                assert sum(state in RUNNING or state in SOON for state in others) >= policy.workers
