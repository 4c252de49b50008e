"""What must hold at all times, whatever the world does: every event and every state in between is looked at."""

import pickle
from math import isclose

from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.lifecycle import LEAVING_STATES, LIVE_STATES, READY_STATES, State
from asrd_supervisor.core.plan import Step
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.stages import WHOLE
from property.judge import JudgedWorld
from property.records import Process
from property.tickets import Part, Ticket

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
        self.rested = {pool for pool in self.pools if self.resting(pool)}
        actions = super().post(event)
        assert self.question is None, "a submit has no answer"
        assert not self.returning, "it is not stored that it waits"
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
            assert slot.task and process.part and slot.attempt == process.attempt
            assert (slot.task.job, slot.task.index) == process.part.name
            assert slot.sent == process.sent, "what is not stored is not sent, and what is stored is"
            assert process.sent or self._awaits(process), "it waits for nothing"
            self._check_stall(process)

    def _awaits(self, process: Process) -> bool:
        """The journal will tell of its attempt."""
        asked = [one for one in self.writing if isinstance(one, do.PersistAttempt)]
        told = [one for one in self.answers if isinstance(one, ev.AttemptPersisted)]
        return any((one.seat, one.attempt) == (process.seat, process.attempt) for one in (*asked, *told))

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
        assert sum(process.suspect for process in staff if process.part) <= 1, "two suspects at once"
        if self.closed(name):
            return
        free = [part for part in self.lines[name] if not self.held and self._worker_for(part)]
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
        assert set(self.core.jobs.active) == set(active), "a job was lost, or made up, or does not end"
        held = [process.part for process in self.processes.values() if process.part and process.part.ticket.active]
        assert len({part.name for part in held}) == len(held), "a step has two workers"
        waiting = {part for line in self.lines.values() for part in line}
        for ticket in active.values():
            job = self.core.jobs.active[ticket.job]
            assert job.state == ticket.state
            assert ticket.live or ticket.phase == "storing" or not ticket.unwanted, "nobody wants it, and it goes on"
            assert set(job.steps) == set(ticket.parts)
            for part in ticket.parts.values():
                assert (part in held) == (part.state == "running")
                assert (part in waiting) == (part.state == "queued")
                self._check_step(job.steps[part.index], part)
            self._check_alarms(ticket)
            self._check_deadline(ticket)

    def _check_alarms(self, ticket: Ticket) -> None:
        """Each step that waits for its next try is woken, as long as somebody wants it."""
        waiting = {part.alarm for part in ticket.parts.values() if part.state == "waiting"}
        ringing = {key[1] for key in self.timers if key[0] == f"job:{ticket.job}" and key[2] == "retry"}
        assert ringing == waiting or (ticket.unwanted and ringing < waiting), "nobody will wake it"

    def _check_step(self, step: Step, part: Part) -> None:
        """The core knows of it what the world knows."""
        assert step.state == part.state, f"{part.name} is {step.state} and should be {part.state}"
        begun = any(process.part is part and not process.sent for process in self.processes.values())
        if not (part.ticket.unwanted and part.state == "ended"):
            assert (step.attempts, step.deaths) == (part.attempts + begun, part.deaths)
        assert (step.pool, step.failed) == (part.pool, part.failed)
        assert part.attempts <= self.tries(part), "it is tried too often"
        assert part.deaths < self.pools[part.ticket.pool].retries.deaths or part.state in ("storing", "ended")
        assert part.state != "storing" or self.pending(part), "it waits for a disk that has nothing to do"
        if not part.ticket.unwanted and part.ticket.phase == "active":
            self._check_what_a_kill_costs(part)

    def _check_what_a_kill_costs(self, part: Part) -> None:
        """A try that the journal knows of, if one is under way; of a job with several steps it knows each."""
        told = [one for one in self.writing if one.job == part.job]
        entry = self.journal[part.job]
        if part.last and part.index == WHOLE:
            running = isinstance(told[-1], do.PersistAttempt) if told else entry.running
        elif part.index == WHOLE:
            return
        else:
            mine = [one for one in told if not isinstance(one, do.PersistPlan) and one.step == part.index]
            row = entry.rows.get(part.index)
            running = isinstance(mine[-1], do.PersistAttempt) if mine else bool(row and row.running)
        assert running == (part.state == "running"), "a kill would cost it a try, or none"

    def _check_deadline(self, ticket: Ticket) -> None:
        """Whoever sets a deadline does not wait longer than he said, and a moment for the disk."""
        if ticket.deadline is None or ticket.state == "storing" or ticket.unwanted:
            return
        due, _ = self.timers[f"job:{ticket.job}", 0, "deadline"]
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
