"""Playing the pure core: events in, actions out, and time as an argument."""

import random
from typing import Any

import msgspec

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import CanaryPolicy, Duration, PoolPolicy, QueuePolicy, RecyclePolicy, RetryPolicy
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.supervisor import Policy, Supervisor

NEVER = RecyclePolicy(max_jobs=0, max_age=Duration(0))


def pool(name: str = "p", *, workers: int = 2, start_first: bool = False, **more: Any) -> PoolPolicy:
    """A pool that recycles nobody and gives nobody the clip, unless told otherwise."""
    quiet = {"recycle": NEVER, "canary": CanaryPolicy(enabled=False)}
    return PoolPolicy(**{"name": name, "workers": workers, "start_first": start_first, **quiet, **more})


def seat(name: str) -> Seat:
    """The seat of that name."""
    found = Seat.parse(name)
    assert found
    return found


class Play:
    """A supervisor core with a clock that is moved by hand."""

    def __init__(
        self,
        *pools: PoolPolicy,
        queue: QueuePolicy | None = None,
        retries: RetryPolicy | None = None,
        durable: bool = False,
        prompt: bool = True,
    ) -> None:
        """``prompt``: the disk is quick, and what it is told is not shown; what waits is in ``kept``."""
        pools = pools or (pool(),)
        if retries:
            pools = tuple(msgspec.structs.replace(one, retries=retries) for one in pools)
        if durable:
            pools = tuple(msgspec.structs.replace(one, durable=True) for one in pools)
        policy = Policy(pools=list(pools), default_pool=pools[0].name, queue=queue or QueuePolicy(), durable=durable)
        self.prompt = prompt
        self.kept: list[do.PersistWait] = []
        self.core = Supervisor(policy, random.Random(1))
        self.now = 0.0
        self.due: dict[tuple[str, int, str], tuple[float, ev.TimerFired]] = {}
        self.alarms: dict[tuple[str, str, int], tuple[float, ev.AlarmRang]] = {}
        self.said: list[do.Announce] = []
        self.first = self._sift(self.core.start(self.now))

    def tell(self, *events: ev.Event) -> list[do.Action]:
        """The orders that follow, without announcements and timers: those are in ``said`` and ``due``."""
        orders: list[do.Action] = []
        todo = list(events)
        while todo:
            for order in self._sift(self.core.handle(self.now, todo.pop(0))):
                if self.prompt and isinstance(order, do.PersistAttempt):
                    todo.insert(0, ev.AttemptPersisted(order.seat, order.attempt))
                elif self.prompt and isinstance(order, do.PersistWait):
                    self.kept.append(order)
                else:
                    orders.append(order)
        return orders

    def _sift(self, actions: list[do.Action]) -> list[do.Action]:
        orders = []
        for action in actions:
            match action:
                case do.SetTimer(pool, slot, kind, number, delay):
                    self.due[pool, slot, kind] = (self.now + delay, ev.TimerFired(pool, slot, kind, number))
                case do.SetAlarm(job, kind, number, delay):
                    self.alarms[job, kind, number] = (self.now + delay, ev.AlarmRang(job, kind, number))
                case do.Announce():
                    self.said.append(action)
                case _:
                    orders.append(action)
        return orders

    def left(self, slot: int, kind: str = "state", pool: str = "p") -> float:
        """Seconds until a timer rings."""
        return self.due[pool, slot, kind][0] - self.now

    def ring(self, slot: int, kind: str = "state", pool: str = "p") -> list[do.Action]:
        """Wait for a timer, and what follows when it rings."""
        self.now, fired = self.due.pop((pool, slot, kind))
        return self.tell(fired)

    def wake(self, job: str, kind: str = "retry") -> list[do.Action]:
        """Wait for an alarm of a job, and what follows when it rings."""
        self.now, rang = self.alarms.pop(self._next_alarm(job, kind))
        return self.tell(rang)

    def _next_alarm(self, job: str, kind: str) -> tuple[str, str, int]:
        """Of several chunks that wait, each has its own."""
        keys = [key for key in self.alarms if key[:2] == (job, kind)]
        return min(keys, key=lambda key: self.alarms[key][0])

    def waits(self, job: str, kind: str = "retry") -> float:
        """Seconds until an alarm of a job rings."""
        return self.alarms[self._next_alarm(job, kind)][0] - self.now

    def states(self, pool: str = "p") -> str:
        """The states of all slots."""
        return " ".join(slot.state for slot in self.core.pools[pool].slots)

    def topics(self, *wanted: str) -> list[dict[str, Any]]:
        """What was announced under these topics."""
        return [said.fields for said in self.said if said.topic in wanted]

    # --- what often happens -------------------------------------------------------------------------------------------

    def boot(self, *names: str) -> list[do.Action]:
        """These workers greet and are warm."""
        return [order for name in names for order in self.tell(greeted(name), ev.WorkerWarmed(seat(name)))]

    def submit(self, *jobs: str, size: int = 1, **more: Any) -> list[do.Action]:
        """These jobs are submitted and stored."""
        events = [(ev.JobSubmitted(job, None, size, **more), ev.JobPersisted(job)) for job in jobs]
        return [order for pair in events for order in self.tell(*pair)]

    def stored(self, name: str) -> list[do.Action]:
        """It is stored that this worker is going to try what it is meant to have."""
        return self.tell(ev.AttemptPersisted(seat(name), self.attempt(name)))

    def sent(self, orders: list[do.Action]) -> list[tuple[str, str]]:
        """Which job went to which worker."""
        return [(order.job, str(order.seat)) for order in orders if isinstance(order, do.SendStep)]

    def attempt(self, name: str) -> int:
        """The attempt that this worker has."""
        found = seat(name)
        return self.core.pools[found.pool].slots[found.slot].attempt

    def finish(self, name: str, body: str = "text") -> list[do.Action]:
        """The worker has a result."""
        done = ev.StepFinished(seat(name), self.attempt(name), Timings(transcribe=1.0), Work(audio_s=3.0), body)
        return self.tell(done)

    def fault(self, name: str, code: Code, *, leave: bool = False) -> list[do.Action]:
        """The worker has none."""
        return self.tell(ev.StepFaulted(seat(name), self.attempt(name), Fault.of(code, f"{code} happened"), leave))

    def exit(self, name: str, how: str = "exit 0", *, hopeless: bool = False) -> list[do.Action]:
        """The process is gone."""
        return self.tell(ev.WorkerExited(seat(name), how, hopeless, ("last line",)))


def greeted(name: str) -> ev.WorkerGreeted:
    """The worker speaks for the first time."""
    return ev.WorkerGreeted(seat(name), 4711)


def progressed(name: str, attempt: int, done: float, duration: float) -> ev.StepProgressed:
    """The worker has come so far."""
    return ev.StepProgressed(seat(name), attempt, done, duration)
