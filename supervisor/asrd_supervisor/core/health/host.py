"""What the host does to its workers: who is held up by it is not to blame."""

from statistics import median

from asrd_supervisor.core.events import HostSampled

LEARNING = 6
"""Samples with work going on that tell what is usual."""

PACE, RELUCTANT = 0.02, 0.002
"""How fast the usual follows; and how fast while it is far away, or a long disturbance would become usual."""

HALF = 0.5

PRESSED = 40.0
"""Points of CPU pressure above the usual at which jobs are not judged by their time."""

PRESSED_MEMORY = 5.0
"""Percent of memory pressure."""


class Host:
    """The host as one pool feels it."""

    def __init__(self, *devices: str) -> None:
        self._devices = frozenset(devices)
        self._first: list[float] = []
        self.usual: float | None = None
        """CPU pressure while the pool works, in percent; None before it is known."""
        self.pressure: float | None = None
        self._throttled = 0.0
        """Share of the samples in which a device was throttled: at its power limit, many a GPU always is."""
        self.disturbed_at = float("-inf")
        self.disturbed_by = ""

    def note(self, now: float, sample: HostSampled, *, working: bool) -> None:
        """One sample; ``working``: the pool has jobs."""
        self.pressure = sample.cpu_pressure
        self._throttled += PACE * (self._is_throttled(sample) - self._throttled)
        self.disturbed_by = self._disturbance(sample)
        if self.disturbed_by:
            self.disturbed_at = now
        if working and sample.cpu_pressure is not None:
            self._learn(sample.cpu_pressure)

    def _disturbance(self, sample: HostSampled) -> str:
        pressure = sample.cpu_pressure
        if pressure is not None and self.usual is not None and pressure > self.usual + PRESSED:
            return "cpu"
        if (sample.memory_pressure or 0.0) > PRESSED_MEMORY:
            return "memory"
        if self._is_throttled(sample) and self._throttled < HALF:
            return "throttled"
        return "slept" if sample.slept else ""

    def _is_throttled(self, sample: HostSampled) -> bool:
        return not self._devices.isdisjoint(sample.throttled)

    def _learn(self, pressure: float) -> None:
        if self.usual is not None:
            self.usual += (RELUCTANT if self.disturbed_by else PACE) * (pressure - self.usual)
            return
        self._first.append(pressure)
        if len(self._first) == LEARNING:
            self.usual = median(self._first)

    def disturbed_since(self, moment: float) -> bool:
        """Whether a job that began then can be judged by its time."""
        return bool(self.disturbed_by) or self.disturbed_at >= moment
