"""How the simulated world goes on when nobody disturbs it: workers do what they shall, and time passes."""

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import WHOLE
from property.deeds import LivelyWorld as World
from property.records import Process
from property.tickets import Ticket

PACE = 0.25
"""Seconds that everything takes a healthy worker."""

LATEST = 1.5
"""Seconds that the next one to act waits at most."""

LOOKS = 2.0
"""Seconds from one look at the host to the next, while there is something to be seen."""


def breathe(world: World) -> bool:
    """The next thing that happens by itself; False when nothing will ever happen again."""
    odd = [process for process in world.processes.values() if process.frozen or process.seen_frozen]
    frozen = any(process.killed_at is None for process in odd)
    if frozen and world.now >= world.looked_at + LOOKS:
        world.sample()
        return True
    actor = next_actor(world)
    if (world.adopting or world.writing or world.answers) and not (world.slow and actor):
        world.write_all()
        return True
    timer = world.next_timer()
    late = isinstance(actor, Process) and actor.acted_at + LATEST < world.now  # many timers must not keep it waiting
    if actor and (late or timer is None or world.timers[timer][0] > world.now + PACE):
        world.now += PACE
        act(world, actor)
    elif timer:
        world.fire(timer)
    elif frozen:
        world.now += LOOKS
    else:
        return False
    return True


def next_actor(world: World) -> Process | Ticket | None:
    """The disk first, when it is quick; then the worker that has waited longest."""
    storing = next((ticket for ticket in world.tickets.values() if ticket.state == "storing"), None)
    able = [process for process in world.processes.values() if can_act(process)]
    eager = min(able, key=lambda process: (process.acted_at, process.seat), default=None)
    return (eager or storing) if world.slow else (storing or eager)


def can_act(process: Process) -> bool:
    """Whether there is something that the worker will do by itself: a stuck one only dies, and only of SIGKILL."""
    if process.doomed:
        return True
    if process.stuck or (process.greeted_at is not None and not process.loading):
        return False
    free = process.warm and not process.sent and not process.clip
    waits = free and process.stopped_at is None and process.killed_at is None
    return not waits


def act(world: World, actor: Process | Ticket) -> None:
    """What it does."""
    if isinstance(actor, Ticket):
        world.store(actor)
        return
    actor.acted_at = world.now
    if actor.killed_at is not None:
        world.exit(actor, "SIGKILL" if actor.doomed else "SIGABRT")
    elif actor.greeted_at is None:
        world.greet(actor)
    elif not actor.warm and actor.seat.pool in world.broken_models:
        fail_to_load(world, actor)
    elif not actor.warm:
        world.warm(actor)
    elif actor.clip:
        world.answer(actor)
    elif actor.sent and actor.cancelled_at is not None:
        world.fault(actor, Code.CANCELLED, leave=False)
    elif actor.sent and not actor.told_duration and actor.attempt % 2:
        world.progress(actor, 0.0, 1.0 + actor.attempt % 9)
    elif actor.part and actor.part.index == WHOLE and actor.part.ticket.cut:
        world.split(actor, (2.0,) * actor.part.ticket.cut)
    elif actor.sent:
        world.finish(actor)
    else:
        world.exit(actor)


def fail_to_load(world: World, process: Process) -> None:
    """The worker says what is wrong with its model, and by its exit code that another start cannot help."""
    world.post(ev.LoadFaulted(process.seat, Fault.of(Code.MODEL_UNAVAILABLE, "model.bin is missing")))
    world.exit(process, "exit 78", hopeless=True)
