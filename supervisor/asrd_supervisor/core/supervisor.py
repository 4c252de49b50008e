"""The whole of the daemon's decisions behind one entry: jobs and pools, each the sibling of the other.

A part answers an event with actions for the world and with events for its siblings. The events go round until none is
left; the actions come out in order.
"""

import random
from collections import deque

import msgspec

from asrd_protocol.exits import Exit
from asrd_protocol.messages import PoolStatus, Status
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.devices import Devices
from asrd_supervisor.core.jobs import Jobs
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.out import Out
from asrd_supervisor.core.plan import JobState
from asrd_supervisor.core.policy import PoolPolicy, QueuePolicy
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.core.slot import Slot


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the core decides by."""

    pools: list[PoolPolicy]
    default_pool: str
    queue: QueuePolicy = QueuePolicy()
    drain_timeout: float = 60.0
    durable: bool = False
    """Jobs that have not ended are kept for the next daemon instead of being ended by this one."""


class Supervisor:
    """The state of the daemon. Only :meth:`handle` changes it, and only the owner task calls it."""

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self._policy = policy
        self._devices = Devices(name for p in policy.pools for name in p.every_device)
        self.pools = {p.name: Pool(p, rng, self._devices) for p in policy.pools}
        self.jobs = Jobs(self.pools, policy.default_pool, policy.queue, rng)
        self._drain_timer = 0
        self._emptied: set[str] = set()
        self._leaving: do.Leave | None = None

    @property
    def durable(self) -> bool:
        """Whether jobs that have not ended are there for the next daemon."""
        return self._policy.durable

    def start(self, now: float) -> list[do.Action]:
        """The first actions: every pool takes its seats."""
        return [a for pool in self.pools.values() for a in pool.staffing.reconcile(now)]

    def handle(self, now: float, event: ev.Event) -> list[do.Action]:
        """Take one event in; everything that is to be done because of it."""
        actions: list[do.Action] = []
        todo: deque[ev.Event] = deque([event])
        while todo:
            for thing in self._route(now, todo.popleft()):
                if isinstance(thing, ev.Event):
                    todo.append(thing)
                else:
                    actions.append(thing)
            if not todo and (self._leaving or isinstance(event, ev.WorkerExited)):
                todo.extend(self._consider_leaving())
        actions += self._leave_if_empty()
        return actions

    def _route(self, now: float, event: ev.Event) -> Out:
        match event:
            case ev.WorkerEvent(seat):
                pool = self.pools.get(seat.pool)
                return pool.handle(now, event) if pool else []
            case ev.StepQueued(step) | ev.StepWithdrawn(step):
                return self.pools[step.pool].handle(now, event)
            case ev.TimerFired(pool="") | ev.StopRequested() | ev.PoolEmptied():
                return self._route_own(event)
            case ev.TimerFired() | ev.PoolClosed() | ev.PoolHeld():
                return self.pools[event.pool].handle(now, event)
            case ev.RestRequested() | ev.WakeRequested() | ev.RenewRequested():
                return self.pools[event.pool].handle(now, event)
            case ev.RecycleRequested():
                pools = [self.pools[event.pool]] if event.pool else list(self.pools.values())
                return [thing for pool in pools for thing in pool.handle(now, event)]
            case ev.HostSampled():
                self._devices.sampled(event.free)
                return [thing for pool in self.pools.values() for thing in pool.handle(now, event)]
            case _:
                return self.jobs.handle(now, event)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _route_own(self, event: ev.Event) -> Out:
        match event:
            case ev.PoolEmptied(pool):
                self._emptied.add(pool)
                return []
            case ev.StopRequested(now=False) if not self.jobs.closing:
                return self._begin_to_stop()
            case ev.StopRequested(now=True):
                return self._stop_now("told to stop at once")
            case ev.TimerFired(number=number) if number == self._drain_timer:
                return self._stop_now("the drain took too long")
            case _:
                return []

    def _begin_to_stop(self) -> Out:
        self.jobs.closing = True
        self._leaving = do.Leave(Exit.OK, "stopped")
        self._drain_timer += 1
        timer = do.SetTimer("", 0, "drain", self._drain_timer, self._policy.drain_timeout)
        held = [ev.PoolHeld(name) for name in self.pools] if self._policy.durable else []
        return [do.Announce("daemon.stopping", {"jobs": len(self.jobs.active)}), timer, *held]

    def _stop_now(self, why: str) -> Out:
        self.jobs.closing = True
        self._leaving = self._leaving or do.Leave(Exit.OK, "stopped")
        self._drain_timer += 1
        said = do.Announce("daemon.hurrying", {"jobs": len(self.jobs.active), "why": why})
        return [
            said,
            *self.jobs.give_up(durable=self._policy.durable),
            *(ev.PoolClosed(name, hurry=True) for name in self.pools),
        ]

    def _consider_leaving(self) -> list[ev.Event]:
        """Close the pools when the last job has ended, or when no pool will ever work."""
        open_pools = [name for name, pool in self.pools.items() if not pool.staffing.closing]
        if not open_pools:
            return []
        if self._leaving is None and all(pool.hopeless for pool in self.pools.values()):
            self.jobs.closing = True
            fault = next(iter(self.pools.values())).unavailable_fault()
            self._leaving = do.Leave(Exit.CONFIG, fault.message)
        if self._leaving and not self._unfinished():
            return [ev.PoolClosed(name, hurry=False) for name in open_pools]
        return []

    def _unfinished(self) -> int:
        """Jobs that have to end before the daemon may leave."""
        if self._policy.durable:
            return self.jobs.count(JobState.STORING, JobState.RUNNING)
        return len(self.jobs.active)

    def _leave_if_empty(self) -> list[do.Action]:
        if self._leaving is None or self._emptied != set(self.pools):
            return []
        leave, self._leaving = self._leaving, None
        self._emptied = set()
        kept = self.jobs.give_up(durable=True) if self._policy.durable else []
        return [*(action for action in kept if isinstance(action, do.Action)), leave]

    # --- what operators see -------------------------------------------------------------------------------------------

    def status(self) -> tuple[Status, str]:
        """One word and one sentence."""
        if self.jobs.closing or self.jobs.draining:
            return "draining", f"no new jobs are taken; {len(self.jobs.active)} are not done yet"
        states = {name: pool_status(pool) for name, pool in self.pools.items()}
        ready = sum(pool.able for pool in self.pools.values())
        total = sum(pool.policy.workers for pool in self.pools.values())
        resting = sum(word == "standby" for word, _ in states.values())
        count = f"{ready} of {total} workers are ready"
        if resting:
            count += f"; {_pools(resting)} until there is a job"
        troubled = {word: why for word, why in states.values() if word not in ("ready", "standby")}
        if not troubled:
            return "ready", count
        if any(word in ("ready", "degraded", "standby") for word, _ in states.values()):
            worst = next(word for word in ("unavailable", "starting", "degraded") if word in troubled)
            return "degraded", f"{count}; {troubled[worst]}"
        status: Status = "starting" if "starting" in troubled else "unavailable"
        return status, f"{count}; {troubled[status]}"


def _pools(resting: int) -> str:
    return "1 pool rests" if resting == 1 else f"{resting} pools rest"


def _in_trouble(slot: Slot) -> bool:
    """Its worker was lost, or is about to be; a successor that is not warm yet does not count."""
    beginning = slot.state in (State.STARTING, State.WARMING)
    lost = slot.state in (State.BACKOFF, State.FAILED, State.KILLING)
    return lost or slot.stopped or (beginning and bool(slot.last_fault))


def pool_status(pool: Pool) -> tuple[PoolStatus, str]:
    """One word and one sentence on one pool."""
    if pool.staffing.rest.asleep:
        return "standby", f"the workers of {pool.name!r} start when there is a job"
    if pool.unavailable:
        return "unavailable", pool.unavailable_fault().message
    troubled = [slot for slot in pool.slots if _in_trouble(slot)]
    if pool.able and not troubled and (fallback := pool.placement.fallback):
        said = f"{pool.name!r} has fallen back to {fallback}; `asrd reload {pool.name}` tries what it was meant to be"
        return "degraded", said
    if pool.able and not troubled:
        return "ready", f"{pool.able} of {pool.policy.workers} workers of {pool.name!r} are ready"
    if pool.staffing.rest.waking and not troubled:
        return "standby", f"the workers of {pool.name!r} are starting"
    reason = next(
        (slot.kill_reason or ("stopped by a signal" if slot.stopped else slot.last_fault) for slot in troubled), ""
    )
    if pool.able:
        return "degraded", f"a worker of {pool.name!r} was lost: {reason}"
    told = f" after: {reason}" if reason else ""
    return "starting", f"no worker of {pool.name!r} is warm yet{told}"
