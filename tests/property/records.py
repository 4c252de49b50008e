"""What the simulated world writes down: processes, jobs and their lines, the journal, and how long things took."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from asrd_protocol.messages import Retries
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import RetryPolicy
from asrd_supervisor.core.seats import Seat
from property.fairness import Shares

TimerKey = tuple[str, int, str]
WEIGHT = {"high": 16, "normal": 4, "low": 1}
ACTIVE = ("storing", "queued", "running", "waiting")


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
    job: str = ""
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
        return self.ready and not self.job and not self.clip


@dataclass
class Ticket:
    """A job as the client that submitted it knows it."""

    job: str
    pool: str
    size: int
    owner: str = "ann"
    client: str = "ann"
    lane: str = "normal"
    audio_s: float | None = None
    deadline: float | None = None
    retries: Retries | None = None
    state: str = "new"
    """new, storing, queued, running, waiting, ended; or refused; or kept for the next daemon."""
    end: str = ""
    length: float = 0.0
    submitted_at: float = 0.0
    attempts: int = 0
    deaths: int = 0
    interrupted: int = 0
    avoid: str = ""
    unwanted: str = ""
    """Why nobody wants it any more."""
    delay: tuple[float, float] = (0.0, 0.0)
    """Between which bounds it has to wait for its next try."""

    @property
    def active(self) -> bool:
        """It was not refused and has not ended."""
        return self.state in ACTIVE

    @property
    def who(self) -> tuple[str, str]:
        """With whom it shares its turns: a name is a name among the clients of one user."""
        return self.owner, self.client

    def event(self) -> ev.JobSubmitted:
        """The submit."""
        return ev.JobSubmitted(
            self.job,
            self.pool,
            self.size,
            owner=self.owner,
            client=self.client,
            lane=self.lane,
            audio_s=self.audio_s,
            deadline=self.deadline,
            retries=self.retries,
        )

    def tries(self, policy: RetryPolicy) -> int:
        """How often it may be tried in all. What the daemon's own end has cost is no fault of the job."""
        wanted = self.retries.attempts if self.retries else None
        return (wanted or policy.attempts) + self.interrupted

    def pause(self, policy: RetryPolicy) -> tuple[float, float]:
        """Between which bounds it has to wait after so many tries."""
        asked = {"backoff": policy.backoff, "delay": policy.delay, "max": policy.delay_max, "jitter": policy.jitter}
        if wanted := self.retries:
            given = {
                "backoff": wanted.backoff,
                "delay": wanted.delay,
                "max": wanted.delay_max,
                "jitter": wanted.jitter,
            }
            asked |= {name: value for name, value in given.items() if value is not None}
        growth = GROWTH[asked["backoff"]][self.attempts - 1]
        least = min(asked["max"], asked["delay"] * growth)
        return least, least * (1 + asked["jitter"])


GROWTH: dict[object, list[int]] = {
    "fixed": [1] * 20,
    "linear": list(range(1, 21)),
    "exponential": [2**n for n in range(20)],
    "fibonacci": [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765, 10946],
}


@dataclass
class Entry:
    """What the journal has on a job that has not ended."""

    running: bool = False
    attempts: int = 0
    deaths: int = 0
    interrupted: int = 0


@dataclass
class Experience:
    """How long the steps of a pool took; nothing is forgotten, but the past counts for less."""

    steps: list[tuple[float, float]] = field(default_factory=list)
    files: list[tuple[float, float]] = field(default_factory=list)

    def learn(self, took: float, audio_s: float, ticket: Ticket) -> None:
        """A step was done."""
        self.steps.append((took, audio_s))
        if ticket.audio_s is None:
            self.files.append((audio_s, ticket.size))

    def rate(self, otherwise: float) -> float:
        """Seconds of work for a second of audio."""
        return _ratio(self.steps) if self.steps else otherwise

    def length(self, ticket: Ticket) -> float:
        """Seconds of audio, as far as anybody can know."""
        if ticket.audio_s is not None:
            return ticket.audio_s
        return ticket.size * (_ratio(self.files) if self.files else 1 / 16_000)

    def work(self, ticket: Ticket) -> float:
        """Seconds that a worker should need."""
        return self.length(ticket) * self.rate(0.1)


def _ratio(pairs: list[tuple[float, float]]) -> float:
    weighted = [(0.9**age * over, 0.9**age * under) for age, (over, under) in enumerate(reversed(pairs))]
    return sum(over for over, _ in weighted) / sum(under for _, under in weighted)


class Line:
    """The jobs that wait for the workers of one pool."""

    def __init__(self) -> None:
        self.front: list[Ticket] = []
        """Those that had their turn before, the last one first."""
        self.flows: dict[tuple[str, tuple[str, str]], list[Ticket]] = {}
        self.returning: Ticket | None = None
        """It has just lost its worker, and is in front as soon as its pool hears of it."""
        self._costs: dict[str, float] = {}
        self._lanes = Shares()
        self._clients = {lane: Shares() for lane in WEIGHT}

    def __iter__(self) -> Iterator[Ticket]:
        yield from self.front
        yield from (ticket for flow in self.flows.values() for ticket in flow)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def join(self, ticket: Ticket, cost: float, *, front: bool) -> None:
        """One comes."""
        if front:
            self.front.insert(0, ticket)
            return
        cost = max(cost, 1e-3)
        self._costs[ticket.job] = cost
        self.flows.setdefault((ticket.lane, ticket.who), []).append(ticket)
        self._lanes.comes(ticket.lane, cost / WEIGHT[ticket.lane])
        self._clients[ticket.lane].comes(ticket.who, cost)

    def settle(self) -> None:
        """The one that returns is back."""
        if self.returning:
            self.front.insert(0, self.returning)
            self.returning = None

    def take(self, ticket: Ticket) -> None:
        """One has its turn: it is judged whether the others can bear it."""
        waited = ticket in self
        if waited and ticket not in self.front:
            cost = self._costs[ticket.job]
            self._leave_flow(ticket)
            self._lanes.gets(ticket.lane, cost / WEIGHT[ticket.lane])
            self._clients[ticket.lane].gets(ticket.who, cost)
        else:
            self.leave(ticket)

    def leave(self, ticket: Ticket) -> None:
        """One goes, if it is here."""
        if ticket is self.returning:
            self.returning = None
        elif ticket in self.front:
            self.front.remove(ticket)
        elif ticket in self:
            self._leave_flow(ticket)

    def _leave_flow(self, ticket: Ticket) -> None:
        self.flows[ticket.lane, ticket.who].remove(ticket)
        self._lanes.goes(ticket.lane)
        self._clients[ticket.lane].goes(ticket.who)
