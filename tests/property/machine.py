"""Everything that can happen to the core, as the rules of a state machine.

Mutants of the core that the laws have caught, and that a change of the laws should still catch:

    order     an emptied flow forgets its tag; turns cost nothing or are not counted; lanes without weights; a lane
              saves up; those that come back stand in line, or the oldest first; users share the name of a client
    suspects  two at once; suspected one death too late; a recovered one blocks the line; a suspect costs the seat
              its good name; one that was not sent excuses it
    attempts  sent before it is stored; sent to a killed worker, or though it was cancelled; an unsent step counts as
              tried, or may be spoken of; its time runs from the assignment; its worker is killed for a slow disk
    waits     a wait is not stored; waiting jobs take no room or cannot be cancelled; stale retry alarms wake; delays
              doubled, or one step ahead; the last reason of a cancel counts; the deadline runs from the disk on
    stalls    any word is progress, or none is; the alarm rings once, or is never stale; no patience with long audio
              or slow models
    the end   a durable stop works the queue off, waits for all, or turns the queue away; what waits is not kept; a
              given-up or interrupted try counts; no quarantine after many interruptions, and poison told as failure
    figures   one job too many for a user; quotas that are never given back; a pace that never forgets
    standby   it rests while a step waits, or keeps somebody; a wake-up that forgets failed seats; a wake-up for nobody;
              what cannot be loaded is not taken back, or costs the seat its good name, or is loaded by the next one
    steps     a chunk before the cut is stored, or all of them at once; no next one when one is begun; a merge before
              all is stored; who fails to tell speakers apart fails the job, or has it wait for ever; all chunks are
              spared; what has failed goes on unstored; the daemon does not wait for what is being stored
    courses   a cancelled job goes on, or its next tries are begun, or one of its steps only is let go, or it ends while
              somebody has one; one alarm wakes all; deaths of one step count for all; a try that the end gives up
              counts; the next daemon does again what was done; a cut that was not stored is worked on; anything may be
              cut; the work of who tells speakers apart counts; jobs with several steps keep their place
    the clip  an answer of a stale attempt is heard, or ends nothing; it is given while the pool is held, or after jobs,
              or never to the idle; asked once instead of often, or again and again; its deadline forgets how often
    health    a budget off by one, or never used up; no cool-down; the young are found degraded, too; a finding that the
              next generation inherits; a question that outlives whom it was put to; nonsense is overheard; no spare
              before a recycle; stopped workers are killed too soon, or never, and fat ones never
"""

from collections.abc import Callable
from math import isclose

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from asrd_protocol.faults import Code
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import JobState
from property.checkups import by_worker
from property.clients import WHICH, pick
from property.life import breathe, fail_to_load
from property.long_audio import LongAudioMachine
from property.records import Process
from property.speech import last_words, nonsense
from property.tickets import Ticket

PATIENCE = 4_000
"""Things that may happen until a world that nobody disturbs comes to rest."""

CODES = st.sampled_from([Code.ENGINE_ERROR, Code.OUT_OF_MEMORY, Code.INTERNAL, Code.BAD_AUDIO, Code.CANCELLED])
LONG = st.sampled_from([9.0, 90.0, 1.0])
LATE = st.sampled_from([0.0, 1.0, 3.0])


class CoreMachine(LongAudioMachine):
    """With workers, the clock and the end."""

    # --- all goes well ------------------------------------------------------------------------------------------------

    @rule(which=WHICH, count=st.integers(1, 6))
    def work(self, which: int, count: int) -> None:
        for _ in range(count):
            self.submit(which, 1)
            self.go_on(4)

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

    @by_worker("busy !killed", count=st.integers(1, 8), duration=LONG)
    def say_the_same_again(self, process: Process, count: int, duration: float) -> None:
        """It speaks, and comes no further."""
        for _ in range(count):
            if process.killed_at is None:
                self.world.progress(process, process.done, process.told_duration or duration)
                self.world.now += 2.0
                for timer in self.world.due_timers()[:1]:
                    self.world.fire(timer)

    @by_worker("busy !killed", done=st.sampled_from([1.0, 2.0, 0.0]), after=LATE)
    def segment(self, process: Process, done: float, after: float) -> None:
        self.world.now += after
        self.world.segment(process, done)

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

    @rule(which=WHICH, count=st.integers(1, 8), spared=st.booleans())
    def war(self, which: int, count: int, spared: bool) -> None:
        """Workers die of their steps, one after the other or all at once, and time is not lost in between."""
        for _ in range(count):
            self.go_on(2)
            if not spared:
                self.crowd(which, 3)
            self.world.write_all()
            if victims := [one for one in self.world.processes.values() if one.sent and one.killed_at is None]:
                for victim in [pick(victims, which)] if spared else victims:
                    self.world.exit(victim, "SIGSEGV")
            self.go_on(0 if spared else 8)

    @by_worker("meant", count=st.integers(1, 6))
    def wait_for_the_disk(self, process: Process, count: int) -> None:
        """Time passes, and the journal does not speak."""
        for _ in range(count):
            self.ring()

    @by_worker("meant !killed", kind=st.integers(3, 6))
    def speak_too_soon(self, process: Process, kind: int) -> None:
        self.babble(process, kind)

    @by_worker("meant")
    def cancel_before_it_has_its_step(self, process: Process) -> None:
        self.world.cancel(process.part.ticket)  # type: ignore[union-attr]

    @by_worker("meant")
    def die_before_it_has_its_step(self, process: Process) -> None:
        self.world.exit(process, "SIGKILL")

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

    @by_worker("!killed", kind=st.integers(0, 9))
    def talk_nonsense(self, process: Process, kind: int) -> None:
        self.babble(process, kind)

    def babble(self, process: Process, kind: int) -> None:
        if event := nonsense(process, kind):
            self.world.babble(process, event)
            assert process.killed_at is not None

    @by_worker("killed", kind=st.integers(0, 8))
    def speak_after_the_kill(self, process: Process, kind: int) -> None:
        event = last_words(process, kind)
        if not isinstance(event, ev.WorkerGreeted) or process.greeted_at is not None:
            self.world.whisper(event)

    @precondition(lambda self: self.world.gone)
    @rule(which=WHICH, kind=st.integers(0, 9))
    def speak_from_the_grave(self, which: int, kind: int) -> None:
        process = pick(self.world.gone, which)
        last = ev.WorkerExited(process.seat, "SIGKILL", hopeless=True)
        self.world.whisper(last if kind == 9 else last_words(process, kind))

    # --- the clock ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.timers)
    @rule()
    def ring_the_next(self) -> None:
        self.ring()

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

    @precondition(lambda self: self.world.stale_timers())
    @rule(which=WHICH)
    def ring_again(self, which: int) -> None:
        self.world.whisper(pick(self.world.stale_timers(), which))

    # --- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let time run until all is quiet, stop, and see that nothing is left."""
        if not hasattr(self, "world") or not self.world.sound:
            return  # a law is broken already: let that one speak
        world = self.world
        self.leave()
        if world.policy.durable:
            world.broken_models.clear()
            world.restart()
            self.leave()
            assert not world.journal, "a job was accepted and has no end"
        self.check_the_silence()

    def leave(self) -> None:
        """All that can be done is done, and the daemon ends."""
        world = self.world
        if not world.stopping and not world.left:
            world.drain(resume=True)
            self.wait_until(lambda: world.settled() or bool(world.left))
            world.stop(now=False)
        self.wait_until(lambda: bool(world.left))

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
        late = Ticket("too-late", "a", 1)
        world.submit(late)
        assert late.state == "refused" and len(world.left) == 1
        assert all(ticket.phase in ("ended", "refused") for ticket in world.tickets.values())
        assert jobs.count(*JobState) == 0
        assert sum(jobs.ended.values()) == world.ended
        quotas = jobs._entrance.quotas  # nobody's share of the queue is taken any more
        assert not quotas._users and (quotas._all.jobs, quotas._all.size) == (0, 0)
        assert isclose(quotas._all.audio_s, 0.0, abs_tol=1e-6)
