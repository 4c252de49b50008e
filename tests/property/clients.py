"""What clients, operators and the disk can do to the core, as rules of a state machine."""

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asrd_protocol.faults import Code
from asrd_protocol.messages import Retries
from asrd_supervisor.core.supervisor import Policy
from property.life import breathe
from property.outcomes import StrictWorld
from property.policies import policies
from property.tickets import ACTIVE, Ticket

WHICH = st.integers(0, 11)
LANES = st.sampled_from(["high", "normal", "normal", "low"])
LENGTHS = st.sampled_from([None, None, 1.0, 6.0, 25.0])
RETRIES = st.sampled_from(
    [
        None,
        None,
        None,
        Retries(attempts=1),
        Retries(attempts=5, backoff="fibonacci", delay=1.0, delay_max=4.0, jitter=0.0),
        Retries(backoff="linear", delay=0.5),
    ]
)

T = TypeVar("T")


def pick(things: Sequence[T], which: int) -> T:
    """The newest for 0."""
    return things[-1 - which % len(things)]


class ClientMachine(RuleBasedStateMachine):
    """Each rule is one thing that the world can do; the world judges what the core makes of it."""

    @initialize(
        policy=policies(),
        seed=st.integers(0, 3),
        stop_after=st.sampled_from([0, 10, 30, 60, 200]),
        head_start=st.integers(0, 12),
        prompt=st.booleans(),
        diligent=st.sampled_from([False, False, False, False, True]),
    )
    def begin(self, policy: Policy, seed: int, stop_after: int, head_start: int, prompt: bool, diligent: bool) -> None:
        self.prompt, self.diligent = prompt, diligent
        self.world = StrictWorld(policy, seed)
        self.world.slow = not prompt
        self.names = [pool.name for pool in policy.pools]
        self.scribes = [pool.name for pool in policy.pools if not pool.diarizes]
        self.stop_after = stop_after
        self.jobs = 0
        self.go_on(head_start)

    def tickets(self, *states: str) -> list[Ticket]:
        """The jobs in one of these states."""
        return [ticket for ticket in self.world.tickets.values() if ticket.state in states]

    @invariant()
    def disk(self) -> None:
        """The journal is quick in most worlds; in the others it takes what time it likes."""
        if hasattr(self, "world") and self.prompt and self.world.sound:
            self.world.write_all()

    # --- clients and operators ----------------------------------------------------------------------------------------

    def name(self) -> str:
        """The next job's."""
        self.jobs += 1
        return f"job-{self.jobs}"

    @rule(which=WHICH, size=st.sampled_from([1, 10, 40, 101]))
    def submit(self, which: int, size: int) -> None:
        pool = [*self.scribes, *self.scribes, *self.names, "nowhere"][
            which % (2 * len(self.scribes) + len(self.names) + 1)
        ]
        self.world.submit(Ticket(self.name(), pool, size, cut=(0, 0, 0, 3)[which % 4]))

    @rule(
        which=WHICH,
        owner=st.sampled_from(["ann", "bob"]),
        client=st.sampled_from(["one", "two", "three"]),
        lane=LANES,
        audio_s=LENGTHS,
        deadline=st.sampled_from([None, None, 3.0, 12.0]),
        retries=RETRIES,
        diarize=st.sampled_from([False, False, True]),
        diarize_pool=st.sampled_from([None, None, None, None, "s", "s", "a", "nowhere"]),
        report=st.booleans(),
        cut=st.sampled_from([0, 2, 3, 5]),
    )
    def submit_with_wishes(self, which: int, **wishes: object) -> None:
        ticket = Ticket(self.name(), pick(self.scribes, which), 5, **wishes)  # type: ignore[arg-type]
        self.world.submit(ticket)
        if ticket.state == "storing" and which % 4:
            self.world.store(ticket)

    @precondition(lambda self: self.tickets(*ACTIVE))
    @rule(which=WHICH)
    def submit_the_same(self, which: int) -> None:
        ticket = pick(self.tickets(*ACTIVE), which)
        self.world.submit(Ticket(ticket.job, ticket.pool, ticket.size))

    @precondition(lambda self: self.tickets("storing"))
    @rule(which=WHICH)
    def have_no_room(self, which: int) -> None:
        self.world.fail_to_store(pick(self.tickets("storing"), which))

    @precondition(lambda self: self.world.writing)
    @rule(which=WHICH, tell=st.booleans())
    def write(self, which: int, tell: bool) -> None:
        self.world.write(pick(self.world.writing, which))
        while tell and self.world.answers:
            self.world.tell(self.world.answers[0])

    @precondition(lambda self: self.world.answers)
    @rule(which=WHICH)
    def hear_of_what_is_stored(self, which: int) -> None:
        self.world.tell(pick(self.world.answers, which))

    @precondition(lambda self: self.world.adopting)
    @rule(which=WHICH)
    def adopt(self, which: int) -> None:
        self.world.adopt(pick(self.world.adopting, which))

    @precondition(lambda self: self.world.adopting)
    @rule(which=WHICH)
    def have_no_room_for_samples(self, which: int) -> None:
        self.world.fail_to_adopt(pick(self.world.adopting, which))

    @precondition(lambda self: self.revivable())
    @rule(which=WHICH)
    def revive(self, which: int) -> None:
        self.world.revive(pick(self.revivable(), which))

    def revivable(self) -> list[Ticket]:
        """What has failed, while there is somebody to try it again."""
        failed = [ticket for ticket in self.tickets("ended") if ticket.end not in ("completed", Code.CANCELLED)]
        return [] if self.world.core.jobs.closing else failed

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

    @rule(which=WHICH, order=st.sampled_from(["unload", "load", "change", "change"]))
    def command(self, which: int, order: str) -> None:
        pool = pick(self.names, which)
        match order:
            case "unload":
                self.world.unload(pool)
            case "load":
                self.world.load(pool)
            case _:
                self.world.change(pool)

    @rule(resume=st.sampled_from([True, True, False]))
    def drain(self, resume: bool) -> None:
        self.world.drain(resume=resume)

    @precondition(lambda self: self.world.now > self.stop_after)
    @rule(now=st.booleans(), last=st.integers(0, 3))
    def stop(self, now: bool, last: int) -> None:
        """Jobs arrive to the last, and the disk is slow."""
        self.crowd(0, last)
        self.submit(0, 1)
        self.world.stop(now=now)

    @precondition(lambda self: self.world.policy.durable)
    @rule(count=st.sampled_from([1, 1, 6]), pause=st.integers(4, 12))
    def kill_the_daemon(self, count: int, pause: int) -> None:
        """What is not stored is lost, and nothing else is."""
        self.world.restart()
        for _ in range(count - 1):
            self.go_on(pause)
            self.world.restart()

    # --- all goes well ------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 40))
    def go_on(self, count: int) -> None:
        for _ in range(count):
            breathe(self.world)

    @rule(which=WHICH, count=st.integers(2, 6), client=st.sampled_from(["one", "two"]), lane=LANES)
    def crowd(self, which: int, count: int, client: str = "one", lane: str = "normal") -> None:
        for _ in range(count):
            ticket = Ticket(self.name(), pick(self.scribes, which), 1, client=client, lane=lane, audio_s=4.0)
            ticket.cut, ticket.report = (0, 0, 2)[which % 3], which > 6
            self.world.submit(ticket)
            for stored in self.tickets("storing")[-1:]:
                self.world.store(stored)
