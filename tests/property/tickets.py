"""What the simulated world writes down of jobs and their steps, and what shall become of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from asrd_protocol.messages import Retries
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import RetryPolicy
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE

ACTIVE = ("storing", "queued", "running", "waiting")


@dataclass(eq=False)
class Part:
    """A step of a job."""

    ticket: "Ticket"
    index: int
    pool: str
    stretch: ev.Stretch | None = None
    """Of a chunk."""
    state: str = "held"
    """held, queued, running, waiting, storing, ended."""
    attempts: int = 0
    deaths: int = 0
    avoid: str = ""
    failed: bool = False
    """It has no result, and the job goes on without."""
    heard: float = 0.0
    """Seconds of audio that count for the job, when it has ended."""
    delay: tuple[float, float] = (0.0, 0.0)
    """Between which bounds it has to wait for its next try."""
    alarm: int = 0

    @property
    def job(self) -> str:
        """Whose step it is."""
        return self.ticket.job

    @property
    def name(self) -> tuple[str, int]:
        """What nobody else is called."""
        return self.ticket.job, self.index

    @property
    def _opens(self) -> bool:
        """It reads what the client has sent."""
        return self.index in (WHOLE, SPEAKERS)

    @property
    def size(self) -> int:
        """Bytes to be read."""
        return self.ticket.size if self._opens else 0

    @property
    def audio_s(self) -> float | None:
        """Seconds of audio, if they are known."""
        if self._opens:
            return self.ticket.audio_s
        return self.stretch[1] - self.stretch[0] if self.stretch else 0.0

    @property
    def lane(self) -> str:
        """Of its job."""
        return self.ticket.lane

    @property
    def who(self) -> tuple[str, str]:
        """With whom it shares its turns: a name is a name among the clients of one user."""
        return self.ticket.owner, self.ticket.client

    @property
    def last(self) -> bool:
        """What it gives is what the job gives."""
        return self.index == MERGE or MERGE not in self.ticket.parts

    @property
    def spared(self) -> bool:
        """The job can do without."""
        return self.index == SPEAKERS or (self.index >= FIRST_CHUNK and self.ticket.report)

    @property
    def divided(self) -> bool:
        """It gave no text, but chunks."""
        return self.index == WHOLE and bool(self.ticket.chunks)

    @property
    def live(self) -> bool:
        """Somebody has it in hand; what is queued and not wanted is on its way out."""
        return self.state in ("running", "storing") or (self.state == "queued" and not self.ticket.unwanted)

    def pause(self, policy: RetryPolicy) -> tuple[float, float]:
        """Between which bounds it has to wait after so many tries."""
        asked = {"backoff": policy.backoff, "delay": policy.delay, "max": policy.delay_max, "jitter": policy.jitter}
        if wanted := self.ticket.retries:
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


@dataclass(eq=False)
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
    diarize: bool = False
    diarize_pool: str | None = None
    report: bool = False
    """A stretch that cannot be transcribed is left out."""
    cut: int = 0
    """Into so many chunks a healthy worker cuts it."""
    phase: str = "new"
    """new, storing, active, ended; or refused; or kept for the next daemon."""
    end: str = ""
    length: float = 0.0
    submitted_at: float = 0.0
    interrupted: int = 0
    unwanted: str = ""
    """Why nobody wants it any more."""
    parts: dict[int, Part] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """Its phase; and while that is ``active``, what its steps make of it."""
        if self.phase != "active":
            return self.phase
        states = {part.state for part in self.parts.values()}
        if states & {"running", "storing"}:
            return "running"
        return "queued" if "queued" in states else "waiting"

    @property
    def active(self) -> bool:
        """It was not refused and has not ended."""
        return self.phase in ("storing", "active")

    @property
    def whole(self) -> Part:
        """Its first step."""
        return self.parts[WHOLE]

    @property
    def chunks(self) -> list[Part]:
        """In the order of the audio."""
        return [part for index, part in sorted(self.parts.items()) if index >= FIRST_CHUNK]

    @property
    def live(self) -> bool:
        """Somebody has one of its steps in hand."""
        return any(part.live for part in self.parts.values())

    @property
    def barren(self) -> bool:
        """It was cut, and none of its chunks gives anything."""
        return bool(self.chunks) and all(part.failed for part in self.chunks)

    @property
    def tried(self) -> int:
        """Tries as clients are told: one, and one for each repetition of any step."""
        begun = [part.attempts for part in self.parts.values() if part.attempts]
        return 1 + sum(begun) - len(begun)

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
            diarize=self.diarize,
            diarize_pool=self.diarize_pool,
            report_missing=self.report,
        )

    def tries(self, policy: RetryPolicy) -> int:
        """How often a step may be tried in all. What the daemon's own end has cost is no fault of the job."""
        wanted = self.retries.attempts if self.retries else None
        return (wanted or policy.attempts) + self.interrupted

    # --- its steps ----------------------------------------------------------------------------------------------------

    def begin(self, listeners: str | None) -> None:
        """What it consists of when it comes; ``listeners``: the pool that tells speakers apart."""
        self.parts = {WHOLE: Part(self, WHOLE, self.pool)}
        if self.diarize and listeners:
            self.parts |= {SPEAKERS: Part(self, SPEAKERS, listeners), MERGE: Part(self, MERGE, self.pool)}

    def divide(self, stretches: tuple[ev.Stretch, ...]) -> None:
        """It is cut: each stretch is a step, and so is what makes one of them."""
        for number, stretch in enumerate(stretches):
            self.parts[FIRST_CHUNK + number] = Part(self, FIRST_CHUNK + number, self.pool, stretch)
        self.parts.setdefault(MERGE, Part(self, MERGE, self.pool))

    def unite(self) -> None:
        """The cut could not be stored."""
        self.parts = {index: part for index, part in self.parts.items() if index in (WHOLE, SPEAKERS)}
        if SPEAKERS in self.parts:
            self.parts[MERGE] = Part(self, MERGE, self.pool)

    def due(self) -> Iterator[Part]:
        """The steps whose turn has come, and that nobody has in hand yet.

        Whatever reads the audio comes at once; of the chunks one is queued at a time, and none before the cut is
        stored; the merge when everything else is stored.
        """
        yield from (part for part in self.parts.values() if part.index in (WHOLE, SPEAKERS) and part.state == "held")
        chunks = self.chunks
        if self.whole.state == "ended" and not any(part.state == "queued" for part in chunks):
            yield from [part for part in chunks if part.state == "held"][:1]
        others = [part.state for part in self.parts.values() if part.index != MERGE]
        if MERGE in self.parts and self.parts[MERGE].state == "held" and set(others) == {"ended"}:
            yield self.parts[MERGE]
