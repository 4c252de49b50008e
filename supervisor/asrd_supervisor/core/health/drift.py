"""Whether a worker got slower for the same work than it was when it was young, and than its siblings are now.

A job is compared with what its work should have taken, never with another job: a longer clip is no slower worker. What
remains is compared with what remains for the siblings, because the host slows all of them down. What remains then must
last: see :mod:`asrd_supervisor.core.health.cusum`. A common slow-down of all workers is watched in the same way, once
a round.
"""

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from asrd_protocol.model import Work
from asrd_supervisor.core.health.cost import SHORTEST_S, Costs, Profile
from asrd_supervisor.core.health.cusum import Cusum, Mood
from asrd_supervisor.core.policy import DriftPolicy

FIRST = 5
"""Jobs that tell how fast a worker is now."""

BASE = 8
"""Jobs of a young worker that it is held to later on."""

RECENT = 2
"""Jobs of a sibling that tell how the host is. More of them lag behind, and the lag looks like degradation."""

YOUNG = range(2, 21)
"""Jobs of a worker, by number, that the cost model is fitted on. The first one warms caches."""

EDGE = 8
"""Rounds within which a slow-down of all workers is abrupt: more than half of it came in them."""

KINDS = 32
"""Cost models of a pool that are kept."""


class Kind(NamedTuple):
    """Jobs that can be compared."""

    options: str
    """What the engine calls them."""
    companions: int
    """Workers that computed on the same GPU meanwhile. On a CPU each worker has cores of its own, and it is 0."""


class Track:
    """The pace of one worker. Ratios are logarithms of measured by predicted time."""

    def __init__(self, policy: DriftPolicy, costs: dict[Kind, Costs] | None = None) -> None:
        self.costs = dict(costs or {})
        """As they were when the worker started: what is learned later may hide its own drift."""
        self.sum = Cusum(math.log(policy.ratio) / 2, policy.threshold, policy.min_jobs)
        self.ratios: deque[float] = deque(maxlen=FIRST)
        self.relative: deque[float] = deque(maxlen=FIRST)
        """Less those of the siblings."""
        self.own_base: float | None = None
        """How it was while it was young."""
        self.last_base: float | None = None
        """The same, compared with the siblings of the time."""
        self.base: float | None = None
        """The same as ``last_base``, unless that holds no more."""
        self.judged = 0
        self.cleared = 0
        """Alarms that were not confirmed."""
        self.rebase()

    def rebase(self) -> None:
        """What it is compared with has changed: see anew how it is, for longer, because the host may be changing."""
        self._needed = BASE if self.last_base is None else 2 * FIRST
        self._first: list[tuple[float, float]] = []
        self.base = None
        self.sum.reset()

    def ratio(self, kind: Kind, work: Work, wall: float, fitted: Costs | None) -> float | None:
        """Of one job; None as long as nobody knows what it should take."""
        costs = self.costs.get(kind) or fitted
        if costs is None or wall < SHORTEST_S:
            return None
        self.costs[kind] = costs
        if len(self.costs) > KINDS:
            del self.costs[next(iter(self.costs))]
        return math.log(wall / costs.predict(work))

    def add(self, ratio: float, common: float, *, known: bool = True) -> None:
        """One more job, and how the siblings are; ``known``: all of them have told."""
        self.judged += 1
        self.ratios.append(ratio)
        self.relative.append(ratio - common)
        if self.base is not None:
            self.sum.add(ratio - common - self.base, self.judged)
            return
        if not known:
            return
        self._first.append((ratio, ratio - common))
        if len(self._first) == self._needed:
            if self.own_base is None:
                self.own_base = median(own for own, _ in self._first)
            self.base = self.last_base = median(relative for _, relative in self._first)

    @property
    def recent(self) -> float | None:
        """How it is now; None before its first job."""
        return median(list(self.ratios)[-RECENT:]) if self.ratios else None

    @property
    def mood(self) -> Mood | None:
        """None before anything can be said."""
        return self.sum.mood if self.base is not None else None

    @property
    def slowdown(self) -> float | None:
        """Its last jobs, as a multiple of its first ones for the same work."""
        return None if self.own_base is None else math.exp(median(self.ratios) - self.own_base)


class Drift:
    """The pace of a pool: its cost models, and what its workers have in common."""

    def __init__(self, policy: DriftPolicy) -> None:
        self._policy = policy
        self._profiles: dict[Kind, Profile] = {}
        self.common = Cusum(math.log(policy.ratio) / 2, policy.threshold, policy.min_jobs)
        self.slow_rounds = 0
        """For how many rounds all workers have been slow."""
        self.abrupt = False
        """It came from one round to the next: to all workers at the same time, whatever their age."""
        self._levels: deque[float] = deque([0.0], maxlen=EDGE)
        self._rounds = 0
        self._in_round = 0

    def track(self) -> Track:
        """For a worker that starts now."""
        return Track(self._policy, self.kinds)

    def note(self, track: Track, siblings: Sequence[Track], job: int, kind: Kind, work: Work, wall: float) -> None:
        """A worker has done its ``job``-th job, and its computation took ``wall`` seconds."""
        profile = self._profile(kind)
        if job in YOUNG or profile.costs is None:  # of a kind that nobody knows, old workers can tell too
            profile.learn(work, wall)
        ratio = track.ratio(kind, work, wall, profile.costs) if job > 1 else None
        if ratio is None:
            return
        now = [recent for sibling in siblings if (recent := sibling.recent) is not None]
        known = all(len(sibling.ratios) >= RECENT for sibling in siblings)
        track.add(ratio, median(now) if now else 0.0, known=known)
        self._note_round([track, *siblings])

    def forget(self, tracks: Sequence[Track]) -> None:
        """What was summed up is the host's doing."""
        self.common.reset()
        for track in tracks:
            track.sum.reset()

    def accept(self, tracks: Sequence[Track]) -> None:
        """What the workers have in common is the new normal."""
        self.common.reset()
        for track in tracks:
            track.own_base = None
            track.rebase()

    def _profile(self, kind: Kind) -> Profile:
        profile = self._profiles.pop(kind, None) or Profile()
        self._profiles[kind] = profile  # the last one used is the last one dropped
        if len(self._profiles) > KINDS:
            del self._profiles[next(iter(self._profiles))]
        return profile

    def _note_round(self, tracks: Sequence[Track]) -> None:
        """One value for as many jobs as there are workers: with more, each of them would count several times."""
        since = [t.recent - t.own_base for t in tracks if t.recent is not None and t.own_base is not None]
        self._in_round += 1
        if not since or self._in_round < len(since):
            return
        self._in_round = 0
        self._rounds += 1
        level = median(since)
        self.common.add(level, self._rounds)
        self.slow_rounds = self.slow_rounds + 1 if self.common.mood == "degraded" else 0
        if self.slow_rounds == 1:
            self.abrupt = self._levels[0] < level / 2
        self._levels.append(level)

    @property
    def kinds(self) -> dict[Kind, Costs]:
        """The cost models that are fitted."""
        return {kind: profile.costs for kind, profile in self._profiles.items() if profile.costs}


def common_slowdown(tracks: Sequence[Track]) -> float:
    """How much slower the workers are than they were, as a multiple; 1.0 as long as nobody knows."""
    known = [slowdown for track in tracks if (slowdown := track.slowdown) is not None]
    return median(known) if known else 1.0
