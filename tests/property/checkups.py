"""What workers and their host do to the checks of health, as rules of a state machine."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from asrd_supervisor.core.health.inquiry import Inquiry
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.stages import WHOLE
from property.clients import WHICH, ClientMachine, pick
from property.labour import CLIP_S, TEXT_AGAIN, TEXT_ALMOST
from property.records import Process
from property.speech import may_cut
from property.tickets import Ticket

TEXTS = st.sampled_from([TEXT_AGAIN, TEXT_AGAIN, "", "thank you for watching", TEXT_ALMOST])


def facts(process: Process) -> dict[str, bool]:
    """What a rule may want to be so."""
    return {
        "greeted": process.greeted_at is not None,
        "warm": process.warm,
        "busy": bool(process.part) and process.sent,
        "meant": bool(process.part) and not process.sent,
        "clip": bool(process.clip),
        "whole": may_cut(process),
        "later": process.sent and process.part is not None and process.part.index != WHOLE,
        "killed": process.killed_at is not None,
        "cancelled": process.cancelled_at is not None,
    }


def by_worker(wanted: str, **draws: st.SearchStrategy) -> Callable:
    """A rule for one of the processes with these facts, e.g. ``"busy !killed"``."""
    needed = {word.lstrip("!"): not word.startswith("!") for word in wanted.split()}

    def fitting(self: ClientMachine) -> list[Process]:
        return [process for process in self.world.processes.values() if facts(process).items() >= needed.items()]

    def decorate(act: Callable) -> Callable:
        def run(self: ClientMachine, which: int, **drawn: object) -> None:
            act(self, pick(fitting(self), which), **drawn)

        run.__name__ = act.__name__
        return precondition(fitting)(rule(which=WHICH, **draws)(run))

    return decorate


class CheckupMachine(ClientMachine):
    """With the clip, the host, and workers that get slow, fat, or silly."""

    # --- the clip -----------------------------------------------------------------------------------------------------

    @by_worker("clip !killed", text=TEXTS, took=st.sampled_from([0.0, CLIP_S, 4.0]), after=st.sampled_from([0.0, 3.0]))
    def answer(self, process: Process, text: str, took: float, after: float) -> None:
        self.world.now += after
        if took != CLIP_S:
            self.world.slowed.add(process.seat.pool)
        self.world.answer(process, text, took)

    @by_worker("clip !killed", leave=st.booleans())
    def refuse_the_clip(self, process: Process, leave: bool) -> None:
        self.world.refuse_the_clip(process, leave=leave)

    @by_worker("clip", how=st.sampled_from(["SIGKILL", "exit 1"]))
    def die_of_the_clip(self, process: Process, how: str) -> None:
        self.world.exit(process, how)

    @by_worker("clip")
    def hang_in_the_clip(self, process: Process) -> None:
        process.stuck = True

    @by_worker("warm !killed", other=WHICH)
    def doubt(self, process: Process, other: int) -> None:
        """Somebody wants to know whether it got slow."""
        pool, world = process.seat.pool, self.world
        others = [one for one in world.staff(pool) if one.ready and one is not process]
        diagnosis = world.core.pools[pool].monitor.diagnosis
        if process.ready and others and world.pools[pool].canary.enabled and not diagnosis.inquiry:
            diagnosis.inquiry = Inquiry("worker", process.seat, pick(others, other).seat, world.now)
            world.sample()

    # --- the host -----------------------------------------------------------------------------------------------------

    @rule(
        pressure=st.sampled_from([None, 0.0, 30.0, 95.0]),
        memory=st.sampled_from([None, 0.0, 20.0]),
        slept=st.booleans(),
    )
    def look_at_the_host(self, pressure: float | None, memory: float | None, slept: bool) -> None:
        self.world.sample(cpu_pressure=pressure, memory_pressure=memory, slept=slept)

    @rule(count=st.integers(1, 3))
    def look_at_the_workers(self, count: int) -> None:
        for _ in range(count):
            self.world.sample()

    @by_worker("!killed")
    def freeze(self, process: Process) -> None:
        process.frozen = process.stuck = True
        self.world.sample()

    @by_worker("!killed")
    def thaw(self, process: Process) -> None:
        process.frozen = process.stuck = False

    # --- workers that are not well ------------------------------------------------------------------------------------

    @by_worker("warm !killed", rss=st.sampled_from([900, 1500, 2500]))
    def fatten(self, process: Process, rss: int) -> None:
        process.rss = max(rss, process.rss)

    @by_worker("warm !killed", reason=st.sampled_from(["slow", "lockstep", "leak"]))
    def find(self, process: Process, reason: str) -> None:
        """It is found degraded: whatever the findings are, the brakes hold."""
        slot = self.world.slot(process.seat)
        if slot.ready and not slot.vitals.finding:
            slot.vitals.finding = Verdict(reason, {})
            process.found = True
            self.world.sample()

    @by_worker("warm !killed", slow=st.sampled_from([1.5, 3.0]))
    def slow_down(self, process: Process, slow: float) -> None:
        process.slow = slow
        self.world.slowed.add(process.seat.pool)

    @rule(factor=st.sampled_from([1.0, 2.0]))
    def be_a_slow_host(self, factor: float) -> None:
        self.world.host_factor = factor
        self.world.slowed |= set(self.names)

    @precondition(lambda self: self.diligent)
    @rule(which=WHICH, count=st.integers(10, 40))
    def toil(self, which: int, count: int) -> None:
        """Many jobs, and nothing goes wrong."""
        for _ in range(count):
            ticket = Ticket(self.name(), pick(self.scribes, which), 1, audio_s=3.0)
            self.world.submit(ticket)
            if ticket.state == "storing":
                self.world.store(ticket)
            self.world.write_all()
            self.go_on(1)
