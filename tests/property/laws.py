"""What must hold, whatever the world does: a world that judges every action, every event and every state in between.

The expectations are worked out from the world's own records. The core is asked for its states only, to compare.
"""

import pickle
from math import isclose

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.lifecycle import LEAVING_STATES, LIVE_STATES, READY_STATES, State
from asrd_supervisor.core.policy import Deadlines, PoolPolicy
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.supervisor import Policy
from property.world import Process, Ticket, World

SeatKey = tuple[str, int]
LOST = {State.BACKOFF, State.FAILED}
SOON = {State.KILLING, State.BACKOFF}
RUNNING = {State.STARTING, State.WARMING, *READY_STATES}
TIMED = (LIVE_STATES - {State.IDLE}) | {State.BACKOFF}


class LawfulWorld(World):
    """The simulated world, with a judge in it."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.before: dict[SeatKey, State] = {}
        self.sound = True
        self.shut: set[str] = set()
        self.turns: dict[str, int] = {pool.name: 0 for pool in policy.pools}
        self.generations: dict[SeatKey, int] = {}
        self.deaths: dict[SeatKey, list[float]] = {}
        self.fell_at: dict[SeatKey, float] = {}
        self.pauses: dict[SeatKey, tuple[float, float]] = {}
        self.voluntary: set[Seat] = set()
        super().__init__(policy, seed)

    # --- what it looks at ---------------------------------------------------------------------------------------------

    def slots(self) -> list[tuple[PoolPolicy, Slot]]:
        """Every slot with its pool's policy."""
        return [(pool.policy, slot) for pool in self.core.pools.values() for slot in pool.slots]

    def slot(self, seat: Seat) -> Slot:
        """The slot of a seat."""
        return self.core.pools[seat.pool].slots[seat.slot]

    def staff(self, pool: str) -> list[Process]:
        """The processes of a pool."""
        return [process for seat, process in self.processes.items() if seat.pool == pool]

    def active(self) -> list[Ticket]:
        """The jobs that have not ended."""
        return [ticket for ticket in self.tickets.values() if ticket.active]

    def closed(self, pool: str) -> bool:
        """The pool is being emptied, or is empty for good."""
        return self.core.pools[pool].staffing.closing

    def overdue(self, process: Process) -> bool:
        """There is a reason to replace this healthy worker."""
        recycle = self.pools[process.seat.pool].recycle
        many = bool(recycle.max_jobs) and process.jobs_done >= recycle.max_jobs
        old = bool(recycle.max_age) and self.now - process.spawned_at >= recycle.max_age
        return many or old or process.seat in self.requested

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
            pool.stale = 0
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
            assert slot.task and (slot.task.job, slot.attempt) == (process.job, process.attempt)

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
            case _ if process.cancelled_at is not None:
                return process.cancelled_at + deadlines.cancel
            case _:
                return self._end_of_step(process, deadlines)

    @staticmethod
    def _end_of_step(process: Process, deadlines: Deadlines) -> float:
        """Long audio gets more time; when it is over before it is known, it ends then."""
        limit = deadlines.busy_factor * process.told_duration
        if limit <= deadlines.busy_floor:
            return process.started_at + deadlines.busy_floor
        return max(process.told_at, process.started_at + limit)

    def _check_pool(self, name: str, policy: PoolPolicy) -> None:
        pool, staff = self.core.pools[name], self.staff(name)
        assert pool.ready == sum(process.ready for process in staff)
        assert len(pool.backlog) == len(self.queues[name]) or self.closed(name)
        if self.closed(name):
            return
        assert self._next_match(name) is None, "a step waits, and an idle worker may take it"
        running = sum(slot.state in RUNNING for slot in pool.slots)
        spare = policy.start_first and any(process.ready and self.due(process) for process in staff)
        assert running <= policy.workers + spare, "more workers than wanted"
        gaps = [slot for slot in pool.slots if slot.state is State.VACANT]
        taken = sum(slot.state not in LEAVING_STATES for slot in pool.slots) - len(gaps)
        assert not gaps or taken >= policy.workers, "a seat is empty, and a worker is missing"

    def due(self, process: Process) -> bool:
        """There may be a reason to replace it: its share of ``max_jobs`` may be as small as one job."""
        recycle = self.pools[process.seat.pool].recycle
        return self.overdue(process) or bool(recycle.max_jobs and process.jobs_done)

    def _check_jobs(self) -> None:
        active = {ticket.job: ticket for ticket in self.active()}
        assert set(self.core.jobs.active) == set(active), "a job was lost, or made up"
        held = {process.job for process in self.processes.values() if process.job}
        for ticket in active.values():
            assert (ticket.job in held) == (ticket.state == "running")
            assert (ticket in self.queues[ticket.pool]) == (ticket.state == "queued")
            assert ticket.attempts <= self.policy.retries.attempts
            assert ticket.deaths < self.policy.retries.deaths

    def _check_the_end(self) -> None:
        jobs, pools = self.core.jobs, self.core.pools.values()
        assert jobs.closing or not all(pool.hopeless for pool in pools), "it stays, and nobody will ever work"
        assert not self.stopping or not self.active() or ("", 0, "drain") in self.timers, "the drain may take for ever"

    # --- retirements --------------------------------------------------------------------------------------------------

    def _check_retirements(self) -> None:
        self.voluntary &= set(self.processes)
        dismissed = self.cause.seat if isinstance(self.cause, ev.StepFaulted) and self.cause.leave else None
        for policy, slot in self.slots():
            left = self.before[policy.name, slot.index] in READY_STATES and slot.state in LEAVING_STATES
            if not left or slot.seat == dismissed or self.closed(policy.name):
                continue
            self._check_retirement(policy, slot)

    def _check_retirement(self, policy: PoolPolicy, slot: Slot) -> None:
        """A healthy worker is told to leave: with a reason, alone, and not missed."""
        assert self.due(self.processes[slot.seat]), "recycled without a reason"
        assert not any(seat.pool == policy.name for seat in self.voluntary), "two retire at once"
        self.voluntary.add(slot.seat)
        ready = sum(process.ready for process in self.staff(policy.name))
        assert ready >= policy.workers - (not policy.start_first), "a retired worker is missed"

    def _check_vacations(self) -> None:
        """A seat whose worker died is given up only when there are enough other workers, or will be soon."""
        for policy, slot in self.slots():
            given_up = slot.state is State.VACANT and self.before[policy.name, slot.index] in LOST
            if given_up and not self.closed(policy.name):
                others = [one.state for one in self.core.pools[policy.name].slots if one is not slot]
                assert sum(state in RUNNING or state in SOON for state in others) >= policy.workers

    # --- every action -------------------------------------------------------------------------------------------------

    def perform(self, action: do.Action) -> None:
        """Judge, then do."""
        match action:
            case do.Spawn(seat):
                self._judge_spawn(seat)
            case do.SendStep(seat, attempt, job):
                self._judge_step(seat, attempt, self.tickets[job])
            case do.Kill(seat, dump):
                self._judge_kill(self.processes[seat], dump)
            case do.SendStop(seat):
                process = self.processes[seat]
                assert process.warm and not process.job and process.killed_at is None and process.stopped_at is None
            case do.SendCancel(seat, attempt):
                process = self.processes[seat]
                assert process.killed_at is None and process.attempt == attempt and self.tickets[process.job].cancelled
            case do.Leave(code):
                self._judge_leave(code)
            case do.Persist() | do.Accept() | do.Relay() | do.Deliver() | do.Fail():
                self._judge_for_client(action)
        super().perform(action)

    def _judge_spawn(self, seat: Seat) -> None:
        key = (seat.pool, seat.slot)
        assert not self.left and seat.pool not in self.shut, "started after the end"
        assert self.generations.get(key, 0) + 1 == seat.generation
        self.generations[key] = seat.generation
        before = self.before.get(key, State.VACANT)
        rung = self.ringing is not None and (self.ringing.pool, self.ringing.slot) == key
        free = before in (State.VACANT, State.STOPPING)
        assert free or rung or self._revives(key), f"spawned from {before}"

    def _revives(self, key: SeatKey) -> bool:
        """An operator has asked for another try."""
        return self.before[key] is State.FAILED and covers(self.cause, key)

    def _judge_step(self, seat: Seat, attempt: int, ticket: Ticket) -> None:
        process = self.processes[seat]
        assert process.idle and attempt > process.attempt and not ticket.cancelled
        match = self._next_match(seat.pool)
        assert match is not None and match == (ticket, process), f"not the turn of {ticket.job} or {seat}"
        self.turns[seat.pool] = seat.slot + 1
        # An attempt that the policy does not allow is seen after the event; a step of an ended job is no match.

    def _next_match(self, pool: str) -> tuple[Ticket, Process] | None:
        """First come, first served, in turn among the idle; the worker that failed a step only when it is alone."""
        count, staff = len(self.core.pools[pool].slots), self.staff(pool)
        turn = sorted(staff, key=lambda process: (process.seat.slot - self.turns[pool]) % count)
        for ticket in self.queues[pool]:
            others = any(process.ready and str(process.seat) != ticket.avoid for process in staff)
            for process in turn:
                if process.idle and not (others and str(process.seat) == ticket.avoid):
                    return ticket, process
        return None

    def _judge_kill(self, process: Process, dump: bool) -> None:
        key = (process.seat.pool, process.seat.slot)
        rung = self.ringing is not None and (self.ringing.pool, self.ringing.slot) == key
        assert rung or process.guilty or self.closed(process.seat.pool), "a healthy worker is killed"
        assert not (dump and process.killed_at is not None), "the second kill is for good"

    def _judge_leave(self, code: Exit) -> None:
        assert not self.left and not self.processes and not self.active()
        assert all(slot.state is State.VACANT for _, slot in self.slots())
        assert code is Exit.OK if self.stopping else code is Exit.CONFIG

    def _judge_for_client(self, action: do.Action) -> None:
        match action:
            case do.Persist(job):
                assert self.question and self.question.job == job
            case do.Accept(job, ahead):
                ticket = self.tickets[job]
                assert self.cause == ev.JobPersisted(job) and ticket.state == "storing"
                assert ahead == len(self.queues[ticket.pool])
            case do.Relay(job):
                assert self.tickets[job].state == "running"
            case do.Deliver(job, _, body):
                assert self.tickets[job.id].state == "running" and body == job.id
            case do.Fail(job, fault):
                self._judge_fail(self.tickets[job.id], fault.code)

    def _judge_fail(self, ticket: Ticket, code: Code) -> None:
        assert ticket.active, "a job ends once"
        if code is Code.SHUTTING_DOWN:
            assert self.stopping
            return
        assert ticket.state != "storing", "it was never accepted"
        if code is Code.ENGINE_UNAVAILABLE:
            closed_by_this = self.closed(ticket.pool) and ticket.pool not in self.shut
            assert ticket.state == "queued" and (self.core.pools[ticket.pool].hopeless or closed_by_this)
        elif ticket.state == "queued":
            assert code is Code.CANCELLED and ticket.cancelled


def covers(cause: ev.Event | None, key: SeatKey) -> bool:
    """An operator asks for fresh workers in this seat."""
    if not isinstance(cause, ev.RecycleRequested):
        return False
    return cause.pool in (None, key[0]) and cause.slot in (None, key[1])
