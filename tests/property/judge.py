"""A judge of every action of the core: whether it may ask for what it asks for, now and of this one.

The expectations are worked out from the world's own records. The core is asked for its states only, to compare.
"""

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE
from asrd_supervisor.core.supervisor import Policy
from property.promises import PromisingWorld
from property.records import Process
from property.tickets import Part, Ticket

SeatKey = tuple[str, int]


class JudgedWorld(PromisingWorld):
    """The simulated world, with a judge in it."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.sound = True
        super().__init__(policy, seed)

    def boot(self) -> None:
        """Another daemon knows nothing of what its workers did in the last one."""
        self.before: dict[SeatKey, State] = {}
        self.shut: set[str] = set()
        self.rested: set[str] = set()
        self.turns: dict[str, int] = dict.fromkeys(self.pools, 0)
        self.generations: dict[SeatKey, int] = {}
        self.deaths: dict[SeatKey, list[float]] = {}
        self.fell_at: dict[SeatKey, float] = {}
        self.pauses: dict[SeatKey, tuple[float, float]] = {}
        self.voluntary: set[Seat] = set()
        super().boot()

    # --- what it looks at ---------------------------------------------------------------------------------------------

    def slots(self) -> list[tuple[PoolPolicy, Slot]]:
        """Every slot with its pool's policy."""
        return [(pool.policy, slot) for pool in self.core.pools.values() for slot in pool.slots]

    def slot(self, seat: Seat) -> Slot:
        """The slot of a seat."""
        return self.core.pools[seat.pool].slots[seat.slot]

    def closed(self, pool: str) -> bool:
        """The pool is being emptied, or is empty for good."""
        return self.core.pools[pool].staffing.closing

    def resting(self, pool: str) -> bool:
        """Nobody is wanted there as long as no step waits."""
        return self.core.pools[pool].staffing.rest.asleep

    def woken(self, pool: str) -> bool:
        """It was sent to rest and called back by one and the same event."""
        return isinstance(self.cause, ev.RestRequested) and self.cause.pool == pool

    def outdated(self, process: Process) -> bool:
        """It has loaded something else than what is wanted."""
        return process.edition not in ("untold", self.wanted[process.seat.pool])

    def overdue(self, process: Process) -> bool:
        """There is a reason to replace this healthy worker."""
        recycle = self.pools[process.seat.pool].recycle
        most = recycle.max_jobs
        many = isinstance(most, int) and bool(most) and process.jobs_done >= most
        old = bool(recycle.max_age) and self.now - process.spawned_at >= recycle.max_age
        return many or old or process.seat in self.requested or (process.warm and self.outdated(process))

    @property
    def held(self) -> bool:
        """What waits is for the next daemon."""
        return self.policy.durable and self.stopping

    def must_end(self) -> list[Ticket]:
        """The jobs that have to end, or to be given up, before the daemon may leave."""
        states = ("storing", "running") if self.policy.durable else ("storing", "running", "queued", "waiting")
        return [ticket for ticket in self.active() if ticket.state in states]

    def due(self, process: Process) -> bool:
        """There may be a reason to replace it: its share of ``max_jobs`` may be as small as one job."""
        recycle = self.pools[process.seat.pool].recycle
        counted = recycle.max_jobs != 0 and process.jobs_done > 0
        return self.overdue(process) or counted or self.sick(process)

    def sick(self, process: Process) -> bool:
        """There may be something wrong with it."""
        limit = self.pools[process.seat.pool].recycle.max_rss
        fat = bool(limit) and process.rss > limit
        finding = self.core.pools[process.seat.pool].slots[process.seat.slot].vitals.finding
        trial = finding is not None and finding.numbers.get("confirmed") is False
        return fat or process.wrong or process.found or trial or process.seat.pool in self.slowed

    # --- every action -------------------------------------------------------------------------------------------------

    def perform(self, action: do.Action) -> None:
        """Judge, then do."""
        match action:
            case do.Spawn(seat):
                self._judge_spawn(seat)
            case do.PersistAttempt():
                self._judge_attempt(action, self.tickets[action.job].parts[action.step])
            case do.SendStep(seat):
                self._judge_step(self.processes[seat], action)
            case do.Kill(seat, dump):
                self._judge_kill(self.processes[seat], dump)
            case do.SendStop(seat):
                process = self.processes[seat]
                assert process.warm and not process.part and process.killed_at is None and process.stopped_at is None
                assert not process.clip, "it still has the clip"
            case do.SendCancel(seat, attempt):
                process = self.processes[seat]
                assert process.killed_at is None and process.attempt == attempt and process.sent
                assert process.part and process.part.ticket.unwanted
            case do.Leave(code):
                self._judge_leave(code)
            case do.Announce("job.failed" | "job.quarantined" as topic, fields):
                assert (topic == "job.quarantined") == (fields["code"] == Code.POISON)
            case do.PersistPlan() | do.PersistPart():
                self.judge_part(action)
            case do.Persist() | do.Accept() | do.Relay() | do.Deliver() | do.Fail() | do.PersistWait():
                self.judge_for_client(action)
        super().perform(action)

    def _judge_spawn(self, seat: Seat) -> None:
        key = (seat.pool, seat.slot)
        assert not self.left and seat.pool not in self.shut, "started after the end"
        assert self.generations.get(key, 0) + 1 == seat.generation
        self.generations[key] = seat.generation
        before = self.before.get(key, State.VACANT)
        rung = self.ringing is not None and (self.ringing.pool, self.ringing.slot) == key
        left = isinstance(self.cause, ev.WorkerExited) and (self.cause.seat.pool, self.cause.seat.slot) == key
        free = before in (State.VACANT, State.STOPPING) or self.woken(seat.pool) or (left and seat.pool in self.rested)
        assert free or rung or self._revives(key), f"spawned from {before}"

    def _revives(self, key: SeatKey) -> bool:
        """An operator has asked for another try."""
        return self.before[key] is State.FAILED and covers(self.cause, key)

    def _judge_step(self, process: Process, sent: do.SendStep) -> None:
        """Sent is what the worker was meant to have, as soon as that is stored, once, and only while it is wanted."""
        part = process.part
        assert self.cause == ev.AttemptPersisted(process.seat, sent.attempt), "it is not stored"
        assert part and part.name == (sent.job, sent.step) and process.attempt == sent.attempt
        assert not process.sent and process.killed_at is None
        assert part.state == "running" and not part.ticket.unwanted, "nobody wants it"
        entry = self.journal[part.job]
        assert part.index < FIRST_CHUNK or entry.cut, "it is not stored where the audio is cut"
        if part.index == MERGE:
            others = [one for index, one in part.ticket.parts.items() if index != MERGE and not one.divided]
            assert others and all(entry.rows[one.index].given for one in others), "what it merges is not stored"

    def _judge_attempt(self, action: do.PersistAttempt, part: Part) -> None:
        process, line = self.processes[action.seat], self.lines[part.pool]
        assert not self.held, "what waits is for the next daemon"
        assert part.pool == action.seat.pool and part.state == "queued", "its turn has not come"
        assert process.idle and action.attempt > process.attempt
        assert not part.ticket.unwanted or part.ticket in self.dropped, "nobody wants it"
        assert (action.attempts, action.deaths) == (part.attempts + 1, part.deaths)
        if line.comes(part):
            line.settle(part)
        assert self._is_next(part), f"not the turn of {part.name}"
        assert self._worker_for(part) is process, f"not the turn of {action.seat}"
        self.turns[part.pool] = action.seat.slot + 1
        # An attempt that the policy does not allow is seen after the event.

    def _is_next(self, part: Part) -> bool:
        """Those that come back go first; among the others each client's own are in order, but a chunk of its oldest
        recording goes before what is larger. The line judges shares."""
        line = self.lines[part.pool]
        for other in line.front:
            if other is part or (self._worker_for(other) and not other.ticket.unwanted):
                return other is part
        own = [one for one in line.flows.get((part.lane, part.who), []) if one is part or not one.ticket.unwanted]
        chunks = [one for one in own if one.index >= FIRST_CHUNK]
        oldest = min(chunks, key=lambda one: one.ticket.submitted_at, default=None)
        if oldest and line.alike(oldest, own[0]):
            return part in (oldest, own[0])
        if oldest and line.smaller(oldest, own[0]):
            return part is oldest
        return own[:1] == [part]

    def _worker_for(self, part: Part) -> Process | None:
        """In turn among the idle; the worker that failed a step only when it is alone, and one suspect at a time."""
        count, staff = len(self.core.pools[part.pool].slots), self.staff(part.pool)
        if part.deaths and any(process.part and process.suspect for process in staff):
            return None
        turn = sorted(staff, key=lambda process: (process.seat.slot - self.turns[part.pool]) % count)
        others = any(process.ready and str(process.seat) != part.avoid for process in staff)
        able = [process for process in turn if process.idle and not (others and str(process.seat) == part.avoid)]
        fit = [process for process in able if not process.seen_frozen and not self._spared(process)]
        return fit[0] if fit else None

    def _unwelcome(self, process: Process) -> bool:
        """It has too much memory, or was heard talking nonsense."""
        slot = self.core.pools[process.seat.pool].slots[process.seat.slot]
        return slot.generation == process.seat.generation and slot.unwelcome

    def _spared(self, process: Process) -> bool:
        """It has too much memory or talks nonsense, and others can do the work."""
        welcome = [one for one in self.staff(process.seat.pool) if one.ready and not self._unwelcome(one)]
        return self._unwelcome(process) and bool(welcome)

    def _judge_kill(self, process: Process, dump: bool) -> None:
        key = (process.seat.pool, process.seat.slot)
        rung = self.ringing is not None and (self.ringing.pool, self.ringing.slot) == key
        waits = process.part and not process.sent and process.killed_at is None
        assert not (rung and waits), "it is killed because the disk is slow"
        sent_home = (self.resting(process.seat.pool) or self.woken(process.seat.pool)) and not process.warm
        assert rung or process.guilty or sent_home or self.closed(process.seat.pool), "a healthy worker is killed"
        assert not (dump and process.killed_at is not None), "the second kill is for good"
        if rung and self.ringing and self.ringing.kind == "stall":
            assert self.stalled(process), "it was killed, and had shown that it lives"

    def stalled(self, process: Process) -> bool:
        """It has shown no progress for too long."""
        return process.moved_at + self.patience(process) <= self.now + 1e-9

    def patience(self, process: Process) -> float:
        """Seconds from one sign of progress to the next: eight windows of 30 s; for the first one a tenth of it all."""
        least, known = self.pools[process.seat.pool].deadlines.stall, self.known[process.seat.pool]
        slow = max(least, 8 * 30 * known.rate(0.0))
        return slow if process.done else max(slow, 0.1 * process.told_duration)

    def _judge_leave(self, code: Exit) -> None:
        assert not self.left and not self.processes and not self.active()
        assert all(slot.state is State.VACANT for _, slot in self.slots())
        assert code is Exit.OK if self.stopping else code is Exit.CONFIG


def covers(cause: ev.Event | None, key: SeatKey) -> bool:
    """An operator asks for fresh workers in this seat."""
    if isinstance(cause, ev.WakeRequested | ev.RenewRequested):
        return cause.pool == key[0]
    if not isinstance(cause, ev.RecycleRequested):
        return False
    return cause.pool in (None, key[0]) and cause.slot in (None, key[1])
