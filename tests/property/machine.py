"""Everything that can happen to the core, as the rules of a state machine."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from asrd_protocol.faults import Code
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import JobState
from asrd_supervisor.core.supervisor import Policy
from property.life import breathe, fail_to_load
from property.outcomes import StrictWorld
from property.policies import policies
from property.speech import last_words, nonsense
from property.world import Process, Ticket

PATIENCE = 4_000
"""Things that may happen until a world that nobody disturbs comes to rest."""

ACTIVE = ("storing", "queued", "running")
WHICH = st.integers(0, 11)
CODES = st.sampled_from([Code.ENGINE_ERROR, Code.OUT_OF_MEMORY, Code.INTERNAL, Code.BAD_AUDIO, Code.CANCELLED])
LONG = st.sampled_from([9.0, 5.0, 1.0])
LATE = st.sampled_from([0.0, 1.0, 3.0])

T = TypeVar("T")


def pick(things: Sequence[T], which: int) -> T:
    """The newest for 0."""
    return things[-1 - which % len(things)]


def facts(process: Process) -> dict[str, bool]:
    """What a rule may want to be so."""
    return {
        "greeted": process.greeted_at is not None,
        "warm": process.warm,
        "busy": bool(process.job),
        "killed": process.killed_at is not None,
        "cancelled": process.cancelled_at is not None,
    }


def by_worker(wanted: str, **draws: st.SearchStrategy) -> Callable:
    """A rule for one of the processes with these facts, e.g. ``"busy !killed"``."""
    needed = {word.lstrip("!"): not word.startswith("!") for word in wanted.split()}

    def fitting(self: "CoreMachine") -> list[Process]:
        return [process for process in self.world.processes.values() if facts(process).items() >= needed.items()]

    def decorate(act: Callable) -> Callable:
        def run(self: "CoreMachine", which: int, **drawn: object) -> None:
            act(self, pick(fitting(self), which), **drawn)

        run.__name__ = act.__name__
        return precondition(fitting)(rule(which=WHICH, **draws)(run))

    return decorate


class CoreMachine(RuleBasedStateMachine):
    """Each rule is one thing that the world can do; the world judges what the core makes of it."""

    @initialize(policy=policies(), seed=st.integers(0, 3), stop_after=st.integers(0, 60), head_start=st.integers(0, 12))
    def begin(self, policy: Policy, seed: int, stop_after: int, head_start: int) -> None:
        self.world = StrictWorld(policy, seed)
        self.names = [pool.name for pool in policy.pools]
        self.stop_after = stop_after
        self.jobs = 0
        self.go_on(head_start)

    def tickets(self, *states: str) -> list[Ticket]:
        """The jobs in one of these states."""
        return [ticket for ticket in self.world.tickets.values() if ticket.state in states]

    # --- clients and operators ----------------------------------------------------------------------------------------

    @rule(which=WHICH, size=st.sampled_from([1, 10, 40, 101]))
    def submit(self, which: int, size: int) -> None:
        self.jobs += 1
        name = [*self.names, *self.names, *self.names, "nowhere"][which % (3 * len(self.names) + 1)]
        self.world.submit(f"job-{self.jobs}", name, size)

    @precondition(lambda self: self.tickets(*ACTIVE))
    @rule(which=WHICH)
    def submit_the_same(self, which: int) -> None:
        ticket = pick(self.tickets(*ACTIVE), which)
        self.world.submit(ticket.job, ticket.pool, ticket.size)

    @precondition(lambda self: self.tickets("storing"))
    @rule(which=WHICH)
    def store(self, which: int) -> None:
        self.world.store(pick(self.tickets("storing"), which))

    @precondition(lambda self: self.tickets(*ACTIVE))
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        self.world.cancel(pick(self.tickets(*ACTIVE), which))

    @precondition(lambda self: self.tickets("ended"))
    @rule(which=WHICH)
    def cancel_too_late(self, which: int) -> None:
        self.world.cancel(pick(self.tickets("ended"), which))

    @rule(which=WHICH, slot=st.none() | st.integers(0, 3))
    def recycle(self, which: int, slot: int | None) -> None:
        pool = pick([None, *self.names], which)
        self.world.recycle(pool, slot if pool else None)

    @rule(resume=st.booleans())
    def drain(self, resume: bool) -> None:
        self.world.drain(resume=resume)

    @precondition(lambda self: self.world.now > self.stop_after)
    @rule(now=st.booleans(), last=st.integers(0, 3))
    def stop(self, now: bool, last: int) -> None:
        """Jobs arrive to the last, and the disk is slow."""
        self.crowd(0, last)
        self.submit(0, 1)
        self.world.stop(now=now)

    # --- all goes well ------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 40))
    def go_on(self, count: int) -> None:
        for _ in range(count):
            breathe(self.world)

    @rule(which=WHICH, count=st.integers(1, 6))
    def work(self, which: int, count: int) -> None:
        for _ in range(count):
            self.submit(which, 1)
            self.go_on(4)

    @rule(which=WHICH, count=st.integers(2, 6))
    def crowd(self, which: int, count: int) -> None:
        for _ in range(count):
            self.submit(which, 1)
            for ticket in self.tickets("storing")[-1:]:
                self.world.store(ticket)

    @by_worker("!greeted !killed")
    def greet(self, process: Process) -> None:
        self.world.greet(process)

    @by_worker("greeted !warm !killed")
    def warm(self, process: Process) -> None:
        self.world.warm(process)

    @by_worker("busy !killed", done=st.sampled_from([0.0, 0.0, 1.0]), duration=LONG, after=LATE)
    def progress(self, process: Process, done: float, duration: float, after: float) -> None:
        self.world.now += after
        self.world.progress(process, done, process.told_duration or duration)

    @by_worker("busy !killed")
    def segment(self, process: Process) -> None:
        self.world.segment(process)

    @by_worker("busy !killed")
    def finish(self, process: Process) -> None:
        self.world.finish(process)

    @by_worker("busy !killed cancelled")
    def obey(self, process: Process) -> None:
        self.world.fault(process, Code.CANCELLED, leave=False)

    # --- all goes wrong -----------------------------------------------------------------------------------------------

    @by_worker("busy !killed", code=CODES, leave=st.sampled_from([False, False, True]))
    def fault(self, process: Process, code: Code, leave: bool) -> None:
        self.world.fault(process, code, leave=leave)

    @by_worker("")
    def hang(self, process: Process) -> None:
        process.stuck = True

    @by_worker("", how=st.sampled_from(["SIGKILL", "SIGSEGV", "exit 1"]))
    def die(self, process: Process, how: str) -> None:
        self.world.exit(process, how)

    @by_worker("busy")
    def die_busy(self, process: Process) -> None:
        self.world.exit(process, "SIGSEGV")

    @by_worker("!warm")
    def die_booting(self, process: Process) -> None:
        self.world.exit(process, "exit 1")

    @by_worker("greeted !warm")
    def fail_to_load(self, process: Process) -> None:
        fail_to_load(self.world, process)

    @rule(which=WHICH)
    def break_the_model(self, which: int) -> None:
        self.world.broken_models.add(pick(self.names, which))

    @precondition(lambda self: self.world.broken_models)
    @rule()
    def mend_the_models(self) -> None:
        self.world.broken_models.clear()

    @by_worker("!killed", kind=st.integers(0, 6))
    def babble(self, process: Process, kind: int) -> None:
        if event := nonsense(process, kind):
            self.world.babble(process, event)
            assert process.killed_at is not None

    @by_worker("killed", kind=st.integers(0, 6))
    def speak_after_the_kill(self, process: Process, kind: int) -> None:
        event = last_words(process, kind)
        if not isinstance(event, ev.WorkerGreeted) or process.greeted_at is not None:
            self.world.whisper(event)

    @precondition(lambda self: self.world.gone)
    @rule(which=WHICH, kind=st.integers(0, 7))
    def speak_from_the_grave(self, which: int, kind: int) -> None:
        process = pick(self.world.gone, which)
        last = ev.WorkerExited(process.seat, "SIGKILL", hopeless=True)
        self.world.whisper(last if kind == 7 else last_words(process, kind))

    # --- the clock ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.timers)
    @rule()
    def ring(self) -> None:
        if timer := self.world.next_timer():
            self.world.fire(timer)

    @precondition(lambda self: self.world.due_timers())
    @rule(which=WHICH)
    def ring_in_any_order(self, which: int) -> None:
        self.world.fire(pick(self.world.due_timers(), which))

    @rule(by=st.sampled_from([0.5, 2.0, 7.0, 25.0]))
    def be_held_up(self, by: float) -> None:
        """Time passes, and the loop does not notice."""
        self.world.now += by

    @precondition(lambda self: self.world.spent)
    @rule(which=WHICH)
    def ring_again(self, which: int) -> None:
        self.world.whisper(pick(self.world.spent, which))

    # --- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let time run until all is quiet, stop, and see that nothing is left."""
        if not hasattr(self, "world") or not self.world.sound:
            return  # a law is broken already: let that one speak
        world = self.world
        if not world.stopping and not world.left:
            world.drain(resume=True)
            self.wait_until(lambda: world.settled() or bool(world.left))
            world.stop(now=False)
        self.wait_until(lambda: bool(world.left))
        self.check_the_silence()

    def wait_until(self, quiet: Callable[[], bool]) -> None:
        for _ in range(PATIENCE):
            if quiet():
                return
            assert breathe(self.world), "nothing will ever happen again"
        raise AssertionError("it never comes to rest")

    def check_the_silence(self) -> None:
        world, jobs = self.world, self.world.core.jobs
        while timer := world.next_timer():
            world.fire(timer)
        world.stop(now=True)
        assert world.submit("too-late", "a", 1).state == "refused"
        assert len(world.left) == 1
        assert all(ticket.state == "ended" for ticket in world.tickets.values())
        assert jobs.count(*JobState) == 0
        assert sum(jobs.ended.values()) == len(world.tickets)
