"""A pool at work: the core as it is, with workers that take as long as the test says, and a clock that jumps."""

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Any

from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.health.monitor import Monitor
from asrd_supervisor.core.policy import CanaryPolicy, Duration, GuardPolicy, PoolPolicy, RecyclePolicy
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot
from support.play import Play, pool

CLIP_S, TEXT = 0.5, "The quick brown fox"
LOAD_S = 3.0
FRESH = 300 << 20

Pace = Callable[[Seat, int, float], float]
"""How much longer a worker takes, by its name, the jobs that it has done, and the time."""


def sickbay(workers: int = 3, **more: Any) -> PoolPolicy:
    """A pool with the clip, with a spare seat, and with brakes that let a test see something."""
    usual = {"start_first": True, "canary": CanaryPolicy(), "recycle": brakes()}
    return pool(workers=workers, **{**usual, **more})


def brakes(**more: Any) -> RecyclePolicy:
    """No recycling but by diagnosis."""
    return RecyclePolicy(max_jobs=0, max_age=Duration(0), guards=GuardPolicy(**more))


class Clinic:
    """One pool named ``p``; jobs differ in size, and take in proportion to their work, with a little noise."""

    def __init__(self, policy: PoolPolicy, *, pace: Pace | None = None, noise: float = 0.02, seed: int = 7) -> None:
        self.play = Play(policy)
        self.pace: Pace = pace or (lambda seat, done, now: 1.0)
        self.share = 1.0
        """Cores that a worker gets."""
        self.look: Callable[[float], ev.HostSampled] | None = None
        """What the host says of itself while there are jobs, each five seconds."""
        self._looked_at = 0.0
        self.text = TEXT
        self.rss: Callable[[Seat, int], int] = lambda seat, done: FRESH
        self.clip_pace: Pace | None = None
        """The same for the clip; as for jobs, if None."""
        self.clips: list[tuple[Seat, int]] = []
        """Who was given it, and how often in a row."""
        self.done: dict[Seat, int] = {}
        self.delivered = 0
        self._noise = noise
        self._rng = random.Random(seed)
        self._agenda: list[tuple[float, int, ev.Event]] = []
        self._turn = count()
        self._jobs = count()
        self._perform(self.play.first)
        self.rest()

    # --- what a test looks at -----------------------------------------------------------------------------------------

    @property
    def slots(self) -> list[Slot]:
        """Of the pool."""
        return self.play.core.pools["p"].slots

    @property
    def monitor(self) -> Monitor:
        """What is known of the health of the pool."""
        return self.play.core.pools["p"].monitor

    @property
    def recycled(self) -> list[tuple[str, str]]:
        """Who was replaced, and why."""
        return [(told["seat"], told["reason"]) for told in self.play.topics("worker.recycled")]

    def topics(self, *wanted: str) -> list[str]:
        """What was announced of these, in order."""
        return [said.topic for said in self.play.said if said.topic in wanted]

    # --- what goes on -------------------------------------------------------------------------------------------------

    def work(self, jobs: int) -> None:
        """So many jobs, one after the other, until the last one has its result."""
        until = self.delivered + jobs
        for _ in range(jobs):
            self._perform(self.play.submit(f"job-{next(self._jobs)}", audio_s=5.0))
        while self.delivered < until:
            self._go_on()
            if self.look and self.play.now >= self._looked_at + 5.0:
                self._looked_at = self.play.now
                self.tell(self.look(self.play.now))

    def rest(self) -> None:
        """Until nothing happens by itself any more."""
        while self._agenda:
            self._go_on()

    def wait(self, seconds: float) -> None:
        """Time passes, and the host is looked at in the end."""
        until = self.play.now + seconds
        while self._agenda and self._agenda[0][0] <= until:
            self._go_on()
        self.play.now = until
        self.tell(ev.HostSampled())

    def tell(self, event: ev.Event) -> None:
        """Something happens from outside."""
        self._perform(self.play.tell(event))

    def _go_on(self) -> None:
        timer = min(self.play.due.items(), key=lambda item: item[1][0], default=None)
        if timer and (not self._agenda or timer[1][0] < self._agenda[0][0]):
            self._perform(self.play.ring(timer[0][1], timer[0][2], timer[0][0]))
            return
        at, _, event = heapq.heappop(self._agenda)
        self.play.now = max(self.play.now, at)
        if isinstance(event, ev.StepFinished):
            self.done[event.seat] = self.done.get(event.seat, 0) + 1
        self._perform(self.play.tell(event))

    def _later(self, delay: float, event: ev.Event) -> None:
        heapq.heappush(self._agenda, (self.play.now + delay, next(self._turn), event))

    def _perform(self, orders: list[do.Action]) -> None:
        for order in orders:
            match order:
                case do.Spawn(seat):
                    self._later(LOAD_S / 3, ev.WorkerGreeted(seat, 4711))
                case do.SendLoad(seat):
                    self._later(2 * LOAD_S / 3, ev.WorkerWarmed(seat, 1.0, 1.0, CLIP_S, TEXT, FRESH))
                case do.SendStep(seat, attempt):
                    self._transcribe(seat, attempt)
                case do.SendCanary(seat, attempt, runs):
                    self.clips.append((seat, runs))
                    took = CLIP_S * self._factor(seat, self.clip_pace or self.pace)
                    self._later(runs * took, ev.CanaryFinished(seat, attempt, (took,) * runs, self.text))
                case do.SendStop(seat) | do.Kill(seat):
                    self._later(0.1, ev.WorkerExited(seat, "exit 0"))
                case do.Deliver():
                    self.delivered += 1

    def _factor(self, seat: Seat, pace: Pace) -> float:
        return pace(seat, self.done.get(seat, 0), self.play.now) * self._rng.lognormvariate(0.0, self._noise)

    def _transcribe(self, seat: Seat, attempt: int) -> None:
        windows, steps = self._rng.randint(1, 4), self._rng.randint(20, 200)
        wall = (0.05 + 0.3 * windows + 0.005 * steps) * self._factor(seat, self.pace)
        cpu_s = wall * self.share
        work = Work(audio_s=5.0, windows=windows, beam_steps=steps, attempts=windows, cpu_s=cpu_s)
        rss = self.rss(seat, self.done.get(seat, 0) + 1)
        self._later(wall, ev.StepFinished(seat, attempt, Timings(transcribe=wall), work, "text", rss))
