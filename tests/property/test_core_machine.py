"""The whole life of the daemon's core, played against a simulated world that behaves as badly as it can."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import (
    Deadlines,
    Duration,
    PoolPolicy,
    QueuePolicy,
    RecyclePolicy,
    RestartPolicy,
    RetryPolicy,
    Size,
)
from asrd_supervisor.core.supervisor import Policy
from property.laws import LawfulWorld
from property.life import breathe, fail_to_load
from property.world import Process, Ticket

DEEP = os.environ.get("ASRD_HYPOTHESIS") == "deep"
PATIENCE = 4_000
"""Things that may happen until a world that nobody disturbs comes to rest."""

which = st.integers(0, 11)
ACTIVE = ("storing", "queued", "running")
seconds = st.sampled_from([0.0, 0.5, 2.0, 7.0, 25.0])
codes = st.sampled_from([Code.ENGINE_ERROR, Code.OUT_OF_MEMORY, Code.BAD_AUDIO, Code.CANCELLED])
deadlines = Deadlines(
    start=Duration(5),
    warm_up=Duration(10),
    busy_floor=Duration(8),
    busy_factor=3.0,
    stop=Duration(4),
    kill=Duration(2),
    cancel=Duration(2),
)


@st.composite
def pool_policies(draw: st.DrawFn, name: str) -> PoolPolicy:
    """A small pool in which everything that can come due comes due soon."""
    max_jobs, max_age = draw(st.sampled_from([(0, 0), (1, 0), (2, 0), (4, 0), (0, 20), (3, 30)]))
    return PoolPolicy(
        name=name,
        workers=draw(st.integers(1, 3)),
        start_first=draw(st.booleans()),
        recycle=RecyclePolicy(max_jobs=max_jobs, max_age=Duration(max_age)),
        deadlines=deadlines,
        restarts=RestartPolicy(
            intensity=draw(st.integers(1, 3)), period=Duration(20), delay_max=Duration(3), revive=Duration(15)
        ),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A daemon with one or two pools and little room."""
    names = draw(st.sampled_from([["a"], ["a"], ["a", "b"]]))
    return Policy(
        pools=[draw(pool_policies(name)) for name in names],
        default_pool="a",
        queue=QueuePolicy(max_jobs=draw(st.sampled_from([1, 3, 6])), max_bytes=Size(100)),
        retries=RetryPolicy(attempts=draw(st.integers(1, 3)), deaths=draw(st.integers(1, 3))),
        drain_timeout=30.0,
    )


class CoreMachine(RuleBasedStateMachine):
    """Each rule is one thing that the world can do; the world judges what the core makes of it."""

    @initialize(policy=policies(), seed=st.integers(0, 3), stop_after=st.integers(0, 60), head_start=st.integers(0, 12))
    def begin(self, policy: Policy, seed: int, stop_after: int, head_start: int) -> None:
        self.world = LawfulWorld(policy, seed)
        self.names = [pool.name for pool in policy.pools]
        self.stop_after = stop_after
        self.jobs = 0
        self.go_on(head_start)

    def pick(self, which: int, **wanted: bool) -> Process | None:
        """One of the processes that are as wanted."""
        fitting = [process for process in self.world.processes.values() if self.fits(process, **wanted)]
        return fitting[which % len(fitting)] if fitting else None

    @staticmethod
    def fits(process: Process, **wanted: bool) -> bool:
        facts = {
            "greeted": process.greeted_at is not None,
            "warm": process.warm,
            "busy": bool(process.job),
            "killed": process.killed_at is not None,
            "cancelled": process.cancelled_at is not None,
        }
        return all(facts[name] is value for name, value in wanted.items())

    def ticket(self, which: int, *states: str) -> Ticket | None:
        fitting = [ticket for ticket in self.world.tickets.values() if not states or ticket.state in states]
        return fitting[-1 - which % len(fitting)] if fitting else None

    # --- clients and operators ----------------------------------------------------------------------------------------

    @rule(which=which, size=st.sampled_from([1, 10, 40, 101]))
    def submit(self, which: int, size: int) -> None:
        self.jobs += 1
        name = [*self.names, *self.names, *self.names, "nowhere"][which % (3 * len(self.names) + 1)]
        self.world.submit(f"job-{self.jobs}", name, size)

    @precondition(lambda self: self.ticket(0, *ACTIVE))
    @rule(which=which)
    def submit_the_same(self, which: int) -> None:
        if ticket := self.ticket(which, *ACTIVE):
            self.world.submit(ticket.job, ticket.pool, ticket.size)

    @precondition(lambda self: self.ticket(0, "storing"))
    @rule(which=which)
    def store(self, which: int) -> None:
        if ticket := self.ticket(which, "storing"):
            self.world.store(ticket)

    @precondition(lambda self: self.ticket(0, *ACTIVE))
    @rule(which=which)
    def cancel(self, which: int) -> None:
        if ticket := self.ticket(which, *ACTIVE):
            self.world.cancel(ticket)

    @precondition(lambda self: self.world.tickets)
    @rule(which=which)
    def cancel_any(self, which: int) -> None:
        if ticket := self.ticket(which):
            self.world.cancel(ticket)

    @rule(which=which, slot=st.none() | st.integers(0, 3))
    def recycle(self, which: int, slot: int | None) -> None:
        pool = [*self.names, None][which % (len(self.names) + 1)]
        self.world.recycle(pool, slot if pool else None)

    @rule(resume=st.booleans())
    def drain(self, resume: bool) -> None:
        self.world.drain(resume=resume)

    @precondition(lambda self: self.world.now > self.stop_after)
    @rule(now=st.booleans())
    def stop(self, now: bool) -> None:
        self.world.stop(now=now)

    # --- good workers -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pick(0, greeted=False, killed=False))
    @rule(which=which)
    def greet(self, which: int) -> None:
        if process := self.pick(which, greeted=False, killed=False):
            self.world.greet(process)

    @precondition(lambda self: self.pick(0, greeted=True, warm=False, killed=False))
    @rule(which=which)
    def warm(self, which: int) -> None:
        if process := self.pick(which, greeted=True, warm=False, killed=False):
            self.world.warm(process)

    @precondition(lambda self: self.pick(0, busy=True, killed=False))
    @rule(which=which, done=st.sampled_from([0.0, 0.0, 1.0]), duration=st.sampled_from([1.0, 5.0, 9.0]))
    def progress(self, which: int, done: float, duration: float) -> None:
        if process := self.pick(which, busy=True, killed=False):
            self.world.progress(process, done, process.told_duration or duration)

    @precondition(lambda self: self.pick(0, busy=True, killed=False))
    @rule(which=which)
    def segment(self, which: int) -> None:
        if process := self.pick(which, busy=True, killed=False):
            self.world.segment(process)

    @precondition(lambda self: self.pick(0, busy=True, killed=False))
    @rule(which=which)
    def finish(self, which: int) -> None:
        if process := self.pick(which, busy=True, killed=False):
            self.world.finish(process)

    @precondition(lambda self: self.pick(0, busy=True, killed=False, cancelled=True))
    @rule(which=which)
    def obey(self, which: int) -> None:
        if process := self.pick(which, busy=True, killed=False, cancelled=True):
            self.world.fault(process, Code.CANCELLED, leave=False)

    @rule(count=st.integers(1, 40))
    def go_on(self, count: int) -> None:
        for _ in range(count):
            breathe(self.world)

    @rule(which=which, count=st.integers(2, 6))
    def crowd(self, which: int, count: int) -> None:
        for _ in range(count):
            self.submit(which, 1)
            if ticket := self.ticket(0, "storing"):
                self.world.store(ticket)

    @rule(which=which, count=st.integers(1, 6))
    def work(self, which: int, count: int) -> None:
        for _ in range(count):
            self.submit(which, 1)
            for _ in range(4):
                breathe(self.world)

    # --- bad workers --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pick(0, busy=True, killed=False))
    @rule(which=which, code=codes, leave=st.booleans())
    def fault(self, which: int, code: Code, leave: bool) -> None:
        if process := self.pick(which, busy=True, killed=False):
            self.world.fault(process, code, leave=leave)

    @precondition(lambda self: self.world.processes)
    @rule(which=which)
    def hang(self, which: int) -> None:
        if process := self.pick(which):
            process.stuck = True

    @precondition(lambda self: self.world.processes)
    @rule(which=which, how=st.sampled_from(["SIGKILL", "SIGSEGV", "exit 1"]))
    def die(self, which: int, how: str) -> None:
        if process := self.pick(which):
            self.world.exit(process, how)

    @precondition(lambda self: self.pick(0, busy=True))
    @rule(which=which)
    def die_busy(self, which: int) -> None:
        if process := self.pick(which, busy=True):
            self.world.exit(process, "SIGSEGV")

    @precondition(lambda self: self.pick(0, warm=False))
    @rule(which=which)
    def die_booting(self, which: int) -> None:
        if process := self.pick(which, warm=False):
            self.world.exit(process, "exit 1")

    @precondition(lambda self: self.pick(0, greeted=True, warm=False))
    @rule(which=which)
    def fail_to_load(self, which: int) -> None:
        if process := self.pick(which, greeted=True, warm=False):
            fail_to_load(self.world, process)

    @rule(which=which)
    def break_the_model(self, which: int) -> None:
        self.world.broken_models.add(self.names[which % len(self.names)])

    @rule()
    def mend_the_models(self) -> None:
        self.world.broken_models.clear()

    @precondition(lambda self: self.pick(0, killed=False))
    @rule(which=which, kind=st.integers(0, 6))
    def babble(self, which: int, kind: int) -> None:
        """A worker says what no healthy one says, and is killed for it."""
        process = self.pick(which, killed=False)
        if process and (event := self.nonsense(process, kind)):
            self.world.babble(process, event)
            assert process.killed_at is not None

    @staticmethod
    def nonsense(process: Process, kind: int) -> ev.WorkerEvent | None:
        seat, other = process.seat, process.attempt + (1 if process.job else 0)
        events: list[ev.WorkerEvent | None] = [
            ev.WorkerBroke(seat, "garbage"),
            ev.WorkerGreeted(seat, 1000 + seat.generation) if process.greeted_at is not None else None,
            ev.WorkerWarmed(seat) if process.warm or process.greeted_at is None else None,
            ev.StepProgressed(seat, other, 0.0, 100.0),
            ev.SegmentDecoded(seat, other, 0, 1.0, "nonsense"),
            ev.StepFinished(seat, other, Timings(), Work(), "nonsense"),
            ev.StepFaulted(seat, other, Fault.of(Code.ENGINE_ERROR, "nonsense"), leave=True),
        ]
        return events[kind]

    def words(self, process: Process, kind: int) -> ev.WorkerEvent:
        """What a worker may have said just before its end was known."""
        seat, attempt = process.seat, process.attempt
        events: list[ev.WorkerEvent] = [
            ev.WorkerGreeted(seat, 1000 + seat.generation),
            ev.WorkerWarmed(seat),
            ev.StepProgressed(seat, attempt, 0.0, 1.0),
            ev.SegmentDecoded(seat, attempt, 0, 1.0, process.job),
            ev.StepFinished(seat, attempt, Timings(), Work(), process.job),
            ev.StepFaulted(seat, attempt, Fault.of(Code.ENGINE_ERROR, "too late"), leave=True),
            ev.WorkerBroke(seat, "garbage"),
        ]
        return events[kind]

    @precondition(lambda self: self.pick(0, killed=True))
    @rule(which=which, kind=st.integers(0, 6))
    def speak_after_the_kill(self, which: int, kind: int) -> None:
        if process := self.pick(which, killed=True):
            event = self.words(process, kind)
            if not isinstance(event, ev.WorkerGreeted) or process.greeted_at is not None:
                self.world.whisper(event)

    @precondition(lambda self: self.world.gone)
    @rule(which=which, kind=st.integers(0, 7))
    def speak_from_the_grave(self, which: int, kind: int) -> None:
        if gone := self.world.gone:
            process = gone[-1 - which % len(gone)]
            event = self.words(process, kind) if kind < 7 else ev.WorkerExited(process.seat, "SIGKILL", hopeless=True)
            self.world.whisper(event)

    # --- the clock ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.timers)
    @rule()
    def ring(self) -> None:
        if timer := self.world.next_timer():
            self.world.fire(timer)

    @rule(which=which)
    def ring_in_any_order(self, which: int) -> None:
        due = sorted(key for key, (at, _) in self.world.timers.items() if at <= self.world.now)
        if due:
            self.world.fire(due[which % len(due)])

    @rule(by=seconds)
    def be_held_up(self, by: float) -> None:
        """Time passes, and the loop does not notice."""
        self.world.now += by

    @precondition(lambda self: self.world.spent)
    @rule(which=which)
    def ring_again(self, which: int) -> None:
        if spent := self.world.spent:
            self.world.whisper(spent[-1 - which % len(spent)])

    # --- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "world") or not self.world.sound:
            return  # a law is broken already: let that one speak
        world = self.world
        if not world.stopping and not world.left:
            world.drain(resume=True)
            self.wait_until(lambda: world.settled() or bool(world.left))
            world.stop(now=False)
        self.wait_until(lambda: bool(world.left))
        while timer := world.next_timer():
            world.fire(timer)
        world.stop(now=True)
        world.submit("too-late", "a", 1)
        assert len(world.left) == 1
        assert all(ticket.state == "ended" for ticket in world.tickets.values())
        assert world.core.jobs.count(*world.core.jobs._states) == 0
        assert sum(world.core.jobs.ended.values()) == len(world.tickets)

    def wait_until(self, quiet) -> None:
        """Let time run until all is quiet."""
        for _ in range(PATIENCE):
            if quiet():
                return
            assert breathe(self.world), "nothing will ever happen again"
        raise AssertionError("it never comes to rest")


TestCore = pytest.mark.timeout(0 if DEEP else 240)(CoreMachine.TestCase)
TestCore.settings = settings(
    max_examples=5_000 if DEEP else 300,
    stateful_step_count=60,
    deadline=None,
    derandomize=not DEEP,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
