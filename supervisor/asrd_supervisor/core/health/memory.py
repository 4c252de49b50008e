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

LOOKS = 10
"""Figures of GPU memory at a time: a worker that computes has more of it than one that waits."""

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
        self._vram_first: list[int] = []
        self._vram_last: deque[int] = deque(maxlen=LOOKS)
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

    def note_vram(self, used: int | None) -> None:
        """Now and then, mostly in the middle of a job: the least of the last is held to the most of the first."""
        self.vram = used
        if used is None:
            return
        if self._heard_longer:
            self._vram_first, self._heard_longer = [], False
            self._vram_last.clear()
        if len(self._vram_first) < LOOKS:
            self._vram_first.append(used)
            return
        self._vram_last.append(used)
        self._judge()

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
        if not policy.vram_growth_mb or len(self._vram_last) < LOOKS:
            return None
        measure = max(self._vram_first)
        grown = min(self._vram_last) - measure
        if grown <= policy.vram_growth_mb * MIB:
            return None
        numbers = {"baseline_mib": _mib(measure), "grown_mib": _mib(grown)}
        return Verdict("vram", {**numbers, "limit_mib": policy.vram_growth_mb})


def _mib(size: int) -> float:
    return round(size / MIB, 1)
