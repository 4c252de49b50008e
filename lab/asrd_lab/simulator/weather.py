"""What the host does to all workers alike. Times are counted in rounds: what a job takes on average."""

import math
import random

import msgspec

DRIFT = 0.1
"""Standard deviation of the logarithm of how fast the host is, when nothing happens to it."""

DRIFT_ROUNDS = 60.0
"""After so many rounds it has forgotten how fast it was."""

BURST = 2.0
"""How much slower everything is while somebody else uses the host."""

CALM_ROUNDS = (40.0, 120.0)
BURST_ROUNDS = (5.0, 30.0)

USUAL_PRESSURE = 15.0
HIGH_PRESSURE = 85.0
MEMORY_S = 10.0
"""What the kernel calls avg10."""


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to happen to a host."""

    bursts: bool = False
    """Now and then somebody else uses it for a while."""
    change: float = 1.0
    """From ``change_round`` on everything takes so many times as long."""
    change_round: float = 80.0
    told: bool = True
    """The workers wait for a core, so that the kernel tells of it. Otherwise the clock of the cores is slower."""


class Host:
    """One host. It can only be asked about later and later moments."""

    def __init__(self, weather: Weather, round_s: float, rng: random.Random) -> None:
        self._weather = weather
        self._round_s = round_s
        self._rng = rng
        self._at = 0.0
        self._drift = 0.0
        self._pressure = USUAL_PRESSURE
        self._burst = self._next_burst(0.0)

    def slowness(self, now: float) -> float:
        """How many times as long everything takes."""
        self._advance(now)
        return math.exp(self._drift) * self.held_up(now)

    def held_up(self, now: float) -> float:
        """The part of it that others cause."""
        changed = now >= self._weather.change_round * self._round_s
        return (self._weather.change if changed else 1.0) * (BURST if self._bursts(now) else 1.0)

    def lost(self, now: float) -> float:
        """The part of it that is time without a core."""
        return self.held_up(now) if self._weather.told else 1.0

    def pressure(self, now: float) -> float:
        """Percent of the last ten seconds in which somebody waited for a core."""
        self._advance(now)
        return max(0.0, self._pressure + self._rng.gauss(0, 3))

    def _advance(self, now: float) -> None:
        """The drift is an Ornstein-Uhlenbeck process, the pressure a decaying mean."""
        passed, self._at = now - self._at, now
        kept = math.exp(-passed / (DRIFT_ROUNDS * self._round_s))
        self._drift = kept * self._drift + DRIFT * math.sqrt(1 - kept * kept) * self._rng.gauss(0, 1)
        target = HIGH_PRESSURE if self._weather.told and self.held_up(now) > 1 else USUAL_PRESSURE
        self._pressure += (target - self._pressure) * (1 - math.exp(-passed / MEMORY_S))

    def _bursts(self, now: float) -> bool:
        if not self._weather.bursts:
            return False
        while now >= self._burst[1]:
            self._burst = self._next_burst(self._burst[1])
        return now >= self._burst[0]

    def _next_burst(self, after: float) -> tuple[float, float]:
        start = after + self._rng.uniform(*CALM_ROUNDS) * self._round_s
        return start, start + BURST * self._rng.uniform(*BURST_ROUNDS) * self._round_s
