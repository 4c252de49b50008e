"""What the simulated world writes down: processes, lines of steps, the journal, and how long things took."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isclose

from asrd_supervisor.core.seats import Seat
from property.fairness import Shares
from property.tickets import Part, Ticket

TimerKey = tuple[str, int, str]
WEIGHT = {"high": 16, "normal": 4, "low": 1}


@dataclass
class Process:
    """A worker as the operating system, the link and the worker itself know it."""

    seat: Seat
    spawned_at: float
    greeted_at: float | None = None
    loading: bool = False
    edition: int | str | None = "untold"
    """Which settings it was told to load."""
    warm: bool = False
    attempt: int = 0
    segments: int = 0
    part: Part | None = None
    """What is meant for it; it knows of it when it was sent."""
    sent: bool = False
    started_at: float = 0.0
    due: float = 0.0
    """When its step must have ended."""
    moved_at: float = 0.0
    done: float = 0.0
    told_duration: float = 0.0
    suspect: bool = False
    unwanted: bool = False
    """Its step is not wanted any more; it may not have heard of that."""
    cancelled_at: float | None = None
    jobs_done: int = 0
    retired: bool = False
    stopped_at: float | None = None
    killed_at: float | None = None
    doomed: bool = False
    """It got a SIGKILL; a SIGABRT alone may be survived."""
    asked: bool = False
    """It was killed because somebody wanted so: no fault of its own."""
    sent_home: bool = False
    """It was killed while it started, because its pool rests: no death."""
    timed_out: bool = False
    guilty: bool = False
    stuck: bool = False
    acted_at: float = 0.0
    clip: int = 0
    """How often it shall transcribe the built-in clip now."""
    clip_s: float = 0.0
    """Seconds that it took in the beginning; after its fifth job it is measured anew, once."""
    measured: bool = False
    clip_after: int = 0
    """Jobs that it had done when it last did."""
    clip_at: float = 0.0
    refused: bool = False
    """It could not transcribe it."""
    wrong: bool = False
    """It answered with another text than at its start."""
    found: bool = False
    """It was found degraded, whoever did."""
    spared: bool = False
    """It shall go for its memory, and needs no more steps."""
    rss: int = 0
    """After its last job."""
    frozen: bool = False
    """It is stopped by a signal."""
    seen_frozen: bool = False
    """The host has said so before."""
    slow: float = 1.0
    """How much longer everything takes it."""

    @property
    def ready(self) -> bool:
        """Warm, and there to stay."""
        return self.warm and not self.retired and self.stopped_at is None and self.killed_at is None

    @property
    def idle(self) -> bool:
        """Ready, with nothing to do."""
        return self.ready and not self.part and not self.clip

    @property
    def job(self) -> str:
        """Of which it has a step; or none."""
        return self.part.job if self.part else ""


@dataclass
class Experience:
    """How long the steps of a pool took; nothing is forgotten, but the past counts for less."""

    steps: list[tuple[float, float]] = field(default_factory=list)
    files: list[tuple[float, float]] = field(default_factory=list)

    def learn(self, took: float, audio_s: float, part: Part) -> None:
        """A step was done."""
        self.steps.append((took, audio_s))
        self.learn_length(audio_s, part)

    def remember(self, took: float, audio_s: float) -> None:
        """A step was done in another daemon."""
        if audio_s > 0:
            self.steps.append((took, audio_s))

    def learn_length(self, audio_s: float, part: Part) -> None:
        """A file was opened."""
        if part.audio_s is None:
            self.files.append((audio_s, part.size))

    def rate(self, otherwise: float) -> float:
        """Seconds of work for a second of audio."""
        return _ratio(self.steps) if self.steps else otherwise

    def length(self, what: Part | Ticket) -> float:
        """Seconds of audio, as far as anybody can know."""
        if what.audio_s is not None:
            return what.audio_s
        return what.size * (_ratio(self.files) if self.files else 1 / 16_000)

    def work(self, part: Part) -> float:
        """Seconds that a worker should need."""
        return self.length(part) * self.rate(0.1)


def _ratio(pairs: list[tuple[float, float]]) -> float:
    weighted = [(0.9**age * over, 0.9**age * under) for age, (over, under) in enumerate(reversed(pairs))]
    return sum(over for over, _ in weighted) / sum(under for _, under in weighted)


class Line:
    """The steps that wait for the workers of one pool."""

    def __init__(self) -> None:
        self.front: list[Part] = []
        """Those that had their turn before, the last one first."""
        self.flows: dict[tuple[str, tuple[str, str]], list[Part]] = {}
        self.coming: list[tuple[Part, bool, float]] = []
        """They are here as soon as the pool hears of them: each in front or not, and what it will cost."""
        self._costs: dict[Part, float] = {}
        self._lanes = Shares()
        self._clients = {lane: Shares() for lane in WEIGHT}

    def __iter__(self) -> Iterator[Part]:
        yield from self.front
        yield from (part for flow in self.flows.values() for part in flow)
        yield from (part for part, _, _ in self.coming)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def settle(self, last: Part | None = None) -> None:
        """Those that come are there, up to the last one that is known to be."""
        while self.coming:
            part, front, cost = self.coming.pop(0)
            self._join(part, cost, front=front)
            if part is last:
                return

    def comes(self, part: Part) -> bool:
        """It is on its way."""
        return any(one is part for one, _, _ in self.coming)

    def _join(self, part: Part, cost: float, *, front: bool) -> None:
        if front:
            self.front.insert(0, part)
            return
        cost = max(cost, 1e-3)
        self._costs[part] = cost
        self.flows.setdefault((part.lane, part.who), []).append(part)
        self._lanes.comes(part.lane, cost / WEIGHT[part.lane])
        self._clients[part.lane].comes(part.who, cost)

    def take(self, part: Part) -> None:
        """One has its turn: it is judged whether the others can bear it."""
        if part in self.front:
            self.front.remove(part)
            return
        cost = self._costs[part]
        self._leave_flow(part)
        self._lanes.gets(part.lane, cost / WEIGHT[part.lane])
        self._clients[part.lane].gets(part.who, cost)

    def give_back(self, part: Part) -> None:
        """It has turned out to be several steps, each of which pays for its turn."""
        if cost := self._costs.pop(part, 0.0):
            self._lanes.gives_back(part.lane, cost / WEIGHT[part.lane])
            self._clients[part.lane].gives_back(part.who, cost)

    def alike(self, part: Part, other: Part) -> bool:
        """They cost the same, but for the drift of sums."""
        return isclose(self._costs[part], self._costs[other])

    def smaller(self, part: Part, other: Part) -> bool:
        """It costs less."""
        return self._costs[part] < self._costs[other]

    def leave(self, part: Part) -> None:
        """One goes, if it is here."""
        self.coming = [one for one in self.coming if one[0] is not part]
        if part in self.front:
            self.front.remove(part)
        elif part in self.flows.get((part.lane, part.who), []):
            self._leave_flow(part)

    def _leave_flow(self, part: Part) -> None:
        self.flows[part.lane, part.who].remove(part)
        self._lanes.goes(part.lane)
        self._clients[part.lane].goes(part.who)
