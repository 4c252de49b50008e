"""Whether a worker keeps memory that it should have given back.

Resident memory after a job is compared with that after the warm-up. A worker that has heard longer audio than ever
before may keep more: what it kept then is its new measure. What grows on, job by job, is a leak; what grew once and
stays is a cache.
"""

from collections import deque

from asrd_supervisor.core.health.trend import mann_kendall, theil_sen
from asrd_supervisor.core.policy import RecyclePolicy
from asrd_supervisor.core.recycle import Verdict

WINDOW = 20
"""Jobs that the slope is taken over."""

CERTAIN = 0.01
"""Probability that memory without a trend looks as if it grew."""

MIB = 1 << 20


class Memory:
    """The memory of one worker, in bytes. What is 0 or None is not known."""

    def __init__(self, policy: RecyclePolicy, baseline: int = 0) -> None:
        self._policy = policy
        self.baseline = baseline
        """After the warm-up."""
        self.last = baseline
        self.verdict: Verdict | None = None
        """Whether the worker shall go for it."""
        self.pss: int | None = None
        self.vram: int | None = None
        self._measure = baseline
        self._longest = 0.0
        self._series: deque[int] = deque(maxlen=WINDOW)
        self._vram_measure: int | None = None
        self._vram_grown: deque[int] = deque(maxlen=3)
        self._heard_longer = False

    def note(self, rss: int, audio_s: float) -> None:
        """After a job."""
        if not rss:
            return
        self.last = rss
        if audio_s > self._longest:
            self._longest, self._heard_longer = audio_s, True
            self._measure = max(self._measure, rss)
            self._series.clear()
        self._series.append(rss)
        self._judge()

    def note_vram(self, used: int | None) -> None:
        """Now and then. The first figure, and each one after longer audio than ever, is what later ones are held to."""
        self.vram = used
        if used is None:
            return
        if self._vram_measure is None or self._heard_longer:
            self._vram_measure, self._heard_longer = max(used, self._vram_measure or 0), False
            self._vram_grown.clear()
        self._vram_grown.append(used - self._vram_measure)
        self._judge()

    @property
    def misfit(self) -> bool:
        """The limit is less than a fresh worker needs: the next one would be no better."""
        return 0 < self._policy.max_rss < self.baseline

    @property
    def slope(self) -> float | None:
        """Bytes a job, if the memory grows for certain; 0.0 if it does not, None as long as nobody knows."""
        if len(self._series) < WINDOW:
            return None
        series = list(self._series)
        return max(0.0, theil_sen(series)) if mann_kendall(series) < CERTAIN else 0.0

    def _judge(self) -> None:
        policy = self._policy
        self.verdict = self._too_fat(policy) or self._leaking(policy) or self._vram_leaking(policy)

    def _too_fat(self, policy: RecyclePolicy) -> Verdict | None:
        if not policy.max_rss or self.last <= policy.max_rss or self.misfit:
            return None
        return Verdict("rss", {"rss_mib": _mib(self.last), "limit_mib": _mib(policy.max_rss)})

    def _leaking(self, policy: RecyclePolicy) -> Verdict | None:
        grown = min(self._series, default=0) - self._measure  # the least: a trim may have been before any of them
        if not policy.rss_growth or grown <= max(policy.rss_growth, self.baseline // 2) or not self.slope:
            return None
        numbers = {"baseline_mib": _mib(self.baseline), "rss_mib": _mib(self.last), "grown_mib": _mib(grown)}
        return Verdict("leak", {**numbers, "mib_per_job": round(self.slope / MIB, 2)})

    def _vram_leaking(self, policy: RecyclePolicy) -> Verdict | None:
        grown = min(self._vram_grown, default=0)
        full = len(self._vram_grown) == self._vram_grown.maxlen
        if not policy.vram_growth_mb or not full or grown <= policy.vram_growth_mb * MIB:
            return None
        assert self._vram_measure is not None
        numbers = {"baseline_mib": _mib(self._vram_measure), "grown_mib": _mib(grown)}
        return Verdict("vram", {**numbers, "limit_mib": policy.vram_growth_mb})


def _mib(size: int) -> float:
    return round(size / MIB, 1)
