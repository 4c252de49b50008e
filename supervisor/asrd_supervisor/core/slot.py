"""One slot of a pool: it applies the table of the life-cycle and says what entering a state asks of the world."""

import random
from collections import deque
from collections.abc import Iterable

from asrd_supervisor.core import actions as do
from asrd_supervisor.core.edition import Edition
from asrd_supervisor.core.events import StepRef
from asrd_supervisor.core.health.vitals import Vitals
from asrd_supervisor.core.lifecycle import LEAVING_STATES, LIVE_STATES, READY_STATES, Bug, Cell, Input, State, step
from asrd_supervisor.core.policy import INT8, PoolPolicy
from asrd_supervisor.core.recycle import limit_of
from asrd_supervisor.core.restarts import Restarts
from asrd_supervisor.core.seats import Seat


class Slot:
    """A seat with a state. Its generation counts the workers that sat here."""

    def __init__(self, policy: PoolPolicy, index: int, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._restarts = Restarts(policy.restarts, rng)
        self._history: deque[str] = deque(maxlen=20)
        self.index = index
        self.generation = 0
        self.state = State.VACANT
        self.timer = 0
        self.hopeless = False
        self.last_fault = ""
        self.next_edition = Edition()
        """What a worker that begins to load shall load."""
        self._fresh(0.0)

    def _fresh(self, now: float) -> None:
        """Nothing is known of the new worker yet."""
        self.pid: int | None = None
        self.since = now
        self.ready_at: float | None = None
        self.device = self._policy.device
        """Where it computes; settled when it has greeted."""
        self.rung = 0
        """How many of the pool's fallbacks were taken when it was placed."""
        self.misplaced = False
        """It has said that it cannot use its device."""
        self.edition: Edition | None = None
        """What it was told to load; None as long as it was told nothing."""
        self.jobs_done = 0
        self.limit = 0
        self.share = 1.0
        """Of ``max_jobs``, when the daemon chooses it."""
        self.vitals = Vitals.unknown(self._policy)
        self.stopped = False
        """Its process was stopped by a signal, when the host was last looked at."""
        self.spared = False
        """It has more memory than it may, and waits for its successor."""
        self.proved_at = now
        """When its computation last showed that it is alive."""
        self.load_before = 0.0
        self.requested = False
        self.task: StepRef | None = None
        self.attempt = 0
        self.started_at = 0.0
        self.sent = False
        self.moved_at = 0.0
        self.done = 0.0
        self.duration = 0.0
        self.segments = 0
        self.cost = 0.0
        self.paid = 0.0
        """What the client of the step has paid for the turn, in predicted seconds of work."""
        self.cancelling = False
        self.kill_reason = ""
        self.asked = False
        self.said = ""

    @property
    def seat(self) -> Seat:
        """The name of the worker that sits here, or sat here last."""
        return Seat(self._policy.name, self.index, self.generation)

    @property
    def ready(self) -> bool:
        """Warm and there to stay."""
        return self.state in READY_STATES

    @property
    def at_clip(self) -> bool:
        """It transcribes the built-in clip."""
        return self.task is None and self.sent

    @property
    def unwelcome(self) -> bool:
        """It has more memory than it may, or talks nonsense, and waits to be replaced."""
        finding = self.vitals.finding
        return self.spared or (finding is not None and finding.reason == "quality")

    @property
    def live(self) -> bool:
        """There is a process."""
        return self.state in LIVE_STATES

    def age(self, now: float) -> float:
        """Seconds since the worker was spawned."""
        return now - self.since

    # --- its step -----------------------------------------------------------------------------------------------------

    def take(self, now: float, step: StepRef, attempt: int, cost: float) -> None:
        """A step is meant for this worker; it is sent when the attempt is stored."""
        self.task, self.attempt, self.started_at, self.cost = step, attempt, now, cost
        self.sent = self.cancelling = False
        self.done = self.duration = 0.0
        self.segments = 0

    def take_canary(self, now: float, attempt: int) -> None:
        """The built-in clip is sent to this worker."""
        self.task, self.attempt, self.started_at, self.cost = None, attempt, now, 0.0
        self.sent, self.cancelling = True, False

    def note_progress(self, now: float, done: float, duration: float = 0.0) -> None:
        """The compute thread has shown that it lives: it has done more, or knows of more."""
        self.proved_at = now
        if done > self.done or duration > self.duration or not self.duration:
            self.moved_at, self.done = now, max(self.done, done)

    @property
    def remaining(self) -> float:
        """Predicted seconds of work that are left of its step."""
        share = self.done / self.duration if self.duration else 0.0
        return self.cost * max(0.0, 1.0 - share)

    # --- moves --------------------------------------------------------------------------------------------------------

    def apply(self, what: Input, now: float, why: str = "") -> list[do.Action]:
        """Move by the table.

        Raises:
            Bug: when the table says that this cannot happen; the slot's recent history is in the message.
        """
        cell = step(self.state, what)
        self._history.append(f"{self.seat} {self.state} --{what}--> {cell}")
        match cell:
            case Cell.IGNORED:
                return []
            case Cell.BREACH:
                return self.apply(Input.BROKEN, now, f"breach: {what} while {self.state}")
            case Cell.BUG:
                raise Bug("; ".join(self._history))
            case _:
                return self._enter(State(cell), now, why)

    def _enter(self, state: State, now: float, why: str) -> list[do.Action]:
        left, self.state = self.state, state
        if state is not State.DRAINING:  # the deadline of the step stands while it drains
            self.timer += 1
        deadlines = self._policy.deadlines
        match state:
            case State.STARTING:
                return self._seat_a_worker(now)
            case State.WARMING:
                self.edition = self.next_edition
                device = "" if self.device == self._policy.device else self.device
                light = self.rung > 0 and self._policy.fallbacks[self.rung - 1] == INT8
                return [do.SendLoad(self.seat, self.edition.load, device, light), self.arm(deadlines.warm_up)]
            case State.IDLE if left is State.WARMING:
                return self._warmed(now)
            case State.BUSY:
                return [self.arm(deadlines.busy_floor)]
            case State.STOPPING:
                return [do.SendStop(self.seat), self.arm(deadlines.stop)]
            case State.KILLING:
                return self._kill(left, why)
            case State.BACKOFF:
                return []  # the pool decides on the delay: it knows who asked for the exit
            case State.FAILED:
                return [] if self.hopeless else [self.arm(self._policy.restarts.revive)]
            case _:
                return []

    def _seat_a_worker(self, now: float) -> list[do.Action]:
        self.generation += 1
        self.hopeless = False
        self._fresh(now)
        policy = self._policy
        most = policy.recycle.max_jobs
        self.limit = limit_of(self.index, self.generation, policy.workers, most if most != "auto" else 0, self._rng)
        self.share = limit_of(self.index, self.generation, policy.workers, 1000, self._rng) / 1000
        said = do.Announce("worker.starting", {"seat": str(self.seat)})
        return [do.Spawn(self.seat), self.arm(policy.deadlines.start), said]

    def _warmed(self, now: float) -> list[do.Action]:
        self.ready_at = self.proved_at = now
        self.last_fault = ""
        age = self._policy.recycle.max_age
        return [do.SetTimer(self._policy.name, self.index, "age", self.generation, age)] if age else []

    def _kill(self, left: State, why: str) -> list[do.Action]:
        self.kill_reason = self.kill_reason or why
        self.asked = self.asked or self.cancelling or why == "retired"
        dump = left in (State.BUSY, State.DRAINING, State.WARMING) and not self.asked
        return [do.Kill(self.seat, dump), self.arm(self._policy.deadlines.kill)]

    def arm(self, delay: float) -> do.SetTimer:
        """The timer of the state; the one before it is stale from now on."""
        self.timer += 1
        return do.SetTimer(self._policy.name, self.index, "state", self.timer, max(0.0, delay))

    # --- after an exit ------------------------------------------------------------------------------------------------

    def back_off(self, now: float, *, blameless: bool) -> list[do.Action]:
        """From BACKOFF: the timer until the next start, or FAILED when there were too many deaths."""
        if self.hopeless:
            return self.apply(Input.GIVE_UP, now)
        if self.asked or blameless:
            return [self.arm(0.0)]
        delay = self._restarts.died(now, booting=self.ready_at is None)
        return self.apply(Input.GIVE_UP, now) if delay is None else [self.arm(delay)]

    def forgive(self) -> None:
        """Another try is wanted: deaths count from zero, and a configuration may have been mended."""
        self._restarts.forgive()
        self.hopeless = False


def all_failed(slots: Iterable[Slot]) -> bool:
    """Whether no worker of a pool is there, and none on its way: every seat in use has failed."""
    states = {slot.state for slot in slots}
    return State.FAILED in states and states <= {State.FAILED, State.VACANT}


def stands(slot: Slot) -> bool:
    """The seat counts as taken: all do but the vacant ones and those whose worker is on its way out."""
    return slot.state is not State.VACANT and slot.state not in LEAVING_STATES
