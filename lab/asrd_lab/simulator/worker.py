"""One simulated worker: how long it takes, what it hears, how fat it gets, and what is wrong with it."""

import math
import random

import msgspec

from asrd_protocol.model import Work
from asrd_supervisor.core.health.cost import Costs
from asrd_supervisor.core.seats import Seat

NOISE = 0.07
"""Standard deviation of the logarithm of what a job takes beside what its work says."""

TAIL = 0.03
"""Share of jobs that take ``TAIL_FACTORS`` times as long, nobody knows why."""

TAIL_FACTORS = (1.3, 2.0)

OFFSET = 0.05
"""Standard deviation of the logarithm of how fast workers are among each other."""

CLIP = Work(audio_s=6.0, windows=1, beam_steps=24, attempts=1, segments=1)
TEXT = "and so even during your first walk to the village"

MIB = 1 << 20
FRESH_RSS = 230 * MIB
KEPT_PER_S = MIB // 2
"""Bytes that a worker keeps for each second of the longest audio it has heard."""

RSS_NOISE = MIB


class Sickness(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with a worker, from a certain job of it on."""

    onset: tuple[int, int] = (90, 130)
    """The job is drawn from here."""
    factor: float = 1.0
    """It takes so many times as long,"""
    creep: float = 0.0
    """and by so much longer with each job."""
    leak: int = 0
    """Bytes that it loses with each job."""
    mute: bool = False
    """It hears nothing any more, and is quick about it."""
    everybody: bool = False
    """All workers have it, each by its own age."""


class Worker:
    """One process that sits somewhere."""

    def __init__(self, seat: Seat, costs: Costs, rng: random.Random, sickness: Sickness | None) -> None:
        self.seat = seat
        self.onset = rng.randint(*sickness.onset) if sickness else None
        """Its first sick job, by number from 0."""
        self.jobs = 0
        self.gone = False
        self._sickness = sickness or Sickness()
        self._costs = costs
        self._rng = rng
        self._offset = math.exp(rng.gauss(0, OFFSET))
        self._longest = 0.0
        self._fat = 0

    @property
    def sick_jobs(self) -> int:
        """How many jobs it has done since it is sick; negative before."""
        return -1 if self.onset is None else self.jobs - self.onset

    @property
    def mute(self) -> bool:
        """It hears nothing."""
        return self._sickness.mute and self.sick_jobs >= 0

    def do(self, work: Work, host: float, lost: float) -> tuple[float, Work]:
        """One job on a host that slow: how long it takes, and the work as it is counted."""
        counted = self._heard(work)
        wall = self._wall(counted, host)
        self.jobs += 1
        self._longest = max(self._longest, work.audio_s)
        self._fat += self._sickness.leak if self.sick_jobs > 0 else 0
        return wall, msgspec.structs.replace(counted, cpu_s=wall / lost)

    def clip(self, host: float, runs: int) -> tuple[tuple[float, ...], str]:
        """The built-in clip, so many times: how long each time took, and what was heard."""
        return tuple(self._wall(self._heard(CLIP), host) for _ in range(runs)), "" if self.mute else TEXT

    @property
    def rss(self) -> int:
        """Bytes, now."""
        kept = FRESH_RSS + int(KEPT_PER_S * self._longest) + self._fat
        return kept + int(self._rng.gauss(0, RSS_NOISE))

    def _heard(self, work: Work) -> Work:
        return msgspec.structs.replace(work, beam_steps=work.windows, sample_steps=0) if self.mute else work

    def _wall(self, work: Work, host: float) -> float:
        factor = math.exp(self._rng.gauss(0, NOISE)) * self._offset * host
        if self._rng.random() < TAIL:
            factor *= self._rng.uniform(*TAIL_FACTORS)
        if self.sick_jobs >= 0:
            factor *= self._sickness.factor * (1 + self._sickness.creep * self.sick_jobs)
        return self._costs.predict(work) * factor
