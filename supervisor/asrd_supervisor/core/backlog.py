"""The steps of one pool that wait for a worker: lanes by priority, fair between clients, measured in seconds of work.

Fair queueing on two levels, in the manner of start-time fair queueing (Goyal, Vin and Cheng, 1996). A flow is what one
client has in one lane; it has a tag, which grows by the predicted seconds of each step that is taken from it, and the
flow with the smallest tag is next. Lanes do the same among each other with weights, so that a low one is slow but never
starves. A flow that was empty starts at its lane's clock, or where it has ended itself, whichever is later. The clock
runs as in generalized processor sharing, by what each of the clients present has got on average: nobody saves up for
later, and neither a client with one step at a time nor a stream of new ones can keep an old one waiting for ever.

A step that comes back from a worker has had its turn and paid for it, so it goes in front of all.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator

from asrd_supervisor.core.events import StepRef
from asrd_supervisor.core.stages import FIRST_CHUNK

WEIGHTS = {"high": 16.0, "normal": 4.0, "low": 1.0}
"""Parts of the work while all lanes have some."""

LEAST = 1e-3
"""Seconds that any step costs at least, so that turns change even among steps that take no time."""

MANY = 64
"""Clients of a lane up to which the work ahead of a step is added up; beyond, it is estimated."""

Key = tuple[str, int]


class _Flow:
    """What one client has in one lane, in the order in which it came. But a chunk goes before what is larger: else a
    client with many recordings would have all of them cut before the first one is done."""

    def __init__(self, tag: float) -> None:
        self.tag = tag
        self.steps: OrderedDict[Key, tuple[StepRef, float, float]] = OrderedDict()
        self.chunks: OrderedDict[Key, float] = OrderedDict()
        self.queued = 0.0
        self.pushed = 0.0
        self.taken = 0.0

    @property
    def first(self) -> Key:
        first = next(iter(self.steps))
        chunk = min(self.chunks, key=lambda key: self.steps[key][0].since, default=first)
        return chunk if self.chunks.get(chunk, math.inf) < self.steps[first][1] else first

    def push(self, key: Key, step: StepRef, cost: float) -> None:
        self.steps[key] = (step, cost, self.pushed)
        self.queued += cost
        if step.index >= FIRST_CHUNK:
            self.chunks[key] = cost
        else:
            self.pushed += cost

    def before(self, key: Key) -> float:
        """Work in front of a step, or of one that would come last."""
        if key not in self.steps:
            return self.queued
        return max(0.0, self.steps[key][2] - self.taken)

    def pop(self, key: Key) -> float:
        first = next(iter(self.steps)) == key
        _, cost, _ = self.steps.pop(key)
        self.queued -= cost
        if self.chunks.pop(key, None) is None and first:
            self.taken += cost
        return cost


class _Lane:
    """The flows of one priority."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.tag = 0.0
        self.clock = 0.0
        self.flows: dict[str, _Flow] = {}
        self.queued = 0.0
        self.ended: dict[str, float] = {}
        """Tags of flows that are empty, as far as the clock has not passed them."""
        self.owed: dict[str, float] = {}
        """Tags of flows that are empty and were given something back; the clock may have passed them."""

    def enter(self, client: str) -> _Flow:
        if client not in self.flows:
            ended = self.ended.pop(client, 0.0)
            self.flows[client] = _Flow(max(ended, self.owed.pop(client, self.clock)))
        return self.flows[client]

    def give_back(self, client: str, cost: float) -> None:
        flow = self.flows.get(client)
        paid = flow.tag if flow else self.ended.pop(client, self.clock)
        self.clock -= cost / (len(self.flows) + (0 if flow else 1))
        if flow:
            flow.tag = max(self.clock, paid - cost)
        else:
            self.owed[client] = max(self.clock, paid - cost)
            self.owed = dict(list(self.owed.items())[-MANY:])  # of those that ask for nothing more

    def leave(self, client: str) -> None:
        flow = self.flows.pop(client)
        if not self.flows:  # everybody has got what there was: the next ones are all alike
            self.owed = {}
            self.clock = max(self.clock, flow.tag, *self.ended.values())
            self.queued = 0.0  # sums of floats drift
        self.ended = {name: tag for name, tag in self.ended.items() if tag > self.clock}
        if flow.tag > self.clock:
            self.ended[client] = flow.tag


class Backlog:
    """Who is next, and how much waits."""

    def __init__(self) -> None:
        self._lanes = {name: _Lane(weight) for name, weight in WEIGHTS.items()}
        self._again: OrderedDict[Key, tuple[StepRef, float]] = OrderedDict()
        self._places: dict[Key, tuple[_Lane, str]] = {}
        self._clock = 0.0

    def __len__(self) -> int:
        return len(self._again) + len(self._places)

    def __iter__(self) -> Iterator[StepRef]:
        yield from (step for step, _ in self._again.values())
        for lane in self._lanes.values():
            for flow in lane.flows.values():
                yield from (step for step, _, _ in flow.steps.values())

    @property
    def work(self) -> float:
        """Predicted seconds of everything that waits."""
        return sum(cost for _, cost in self._again.values()) + sum(lane.queued for lane in self._lanes.values())

    # --- in and out ---------------------------------------------------------------------------------------------------

    def push(self, step: StepRef, cost: float, *, again: bool = False) -> None:
        """Take a step in that will cost so many seconds of work; ``again``: it had its turn before."""
        key = (step.job, step.index)
        if again:
            self._again[key] = (step, cost)
            self._again.move_to_end(key, last=False)
            return
        lane = self._lanes[step.lane]
        if not lane.flows:
            lane.tag = max(lane.tag, self._clock)
        cost = max(cost, LEAST)
        lane.enter(step.client).push(key, step, cost)
        lane.queued += cost
        self._places[key] = (lane, step.client)

    def candidates(self) -> Iterator[StepRef]:
        """Who may be next, in order: those that came back, then the one whose turn it is."""
        yield from (step for step, _ in self._again.values())
        lanes = [lane for lane in self._lanes.values() if lane.flows]
        if lanes:
            lane = min(lanes, key=lambda lane: lane.tag)
            flow = min(lane.flows.values(), key=lambda flow: flow.tag)
            yield flow.steps[flow.first][0]

    def take(self, step: StepRef) -> float:
        """A candidate has found its worker: its client and its lane have had a turn, and have paid so much for it."""
        key = (step.job, step.index)
        if self._again.pop(key, None):
            return 0.0
        lane, client = self._places[key]
        flow = lane.flows[client]
        cost = flow.steps[key][1]
        self._clock = lane.tag
        lane.clock = max(flow.tag, lane.clock + cost / len(lane.flows))
        flow.tag += cost
        lane.tag += cost / lane.weight
        self._drop(key)
        return cost

    def give_back(self, step: StepRef, paid: float) -> None:
        """A step has turned out to be several, and each of them pays for its turn. That is no credit: its client is
        where it would be now, had it not paid."""
        lane = self._lanes[step.lane]
        lane.tag = max(self._clock, lane.tag - paid / lane.weight)
        lane.give_back(step.client, paid)

    def remove(self, job: str, index: int) -> bool:
        """Let a step go that nobody wants any more; False when it is not here."""
        key = (job, index)
        if self._again.pop(key, None):
            return True
        if key not in self._places:
            return False
        self._drop(key)
        return True

    def clear(self) -> list[StepRef]:
        """Let all go."""
        steps = list(self)
        for step in steps:
            self.remove(step.job, step.index)
        return steps

    def _drop(self, key: Key) -> None:
        lane, client = self._places.pop(key)
        flow = lane.flows[client]
        lane.queued = max(0.0, lane.queued - flow.pop(key))
        if not flow.steps:
            lane.leave(client)

    # --- how long it will take ----------------------------------------------------------------------------------------

    def ahead_of(self, step: StepRef, cost: float) -> float:
        """Predicted seconds of work that will be done before a step that waits here, or comes now and costs so much."""
        lane = self._lanes[step.lane]
        flow = lane.flows.get(step.client)
        own = flow.before((step.job, step.index)) if flow else 0.0
        if len(lane.flows) <= MANY:
            rivals = sum(min(other.queued, own + cost) for other in lane.flows.values() if other is not flow)
        else:  # this is asked for each job that comes
            rivals = min(lane.queued - (flow.queued if flow else 0.0), (len(lane.flows) - 1) * (own + cost))
        reach = (own + cost + rivals) / lane.weight
        others = sum(min(one.queued, reach * one.weight) for one in self._lanes.values() if one is not lane)
        return own + rivals + others + sum(cost for _, cost in self._again.values())
