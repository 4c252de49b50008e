"""What all pools know of the devices together: who is on them, how many compute, what is free."""

from collections import Counter
from collections.abc import Iterable, Mapping

from asrd_supervisor.core.load import Load
from asrd_supervisor.core.slot import Slot


class Device:
    """One device. Of what nobody has said anything yet, nothing is known."""

    def __init__(self) -> None:
        self.load = Load()
        self.free: int | None = None
        """Bytes, as the host was last asked; None when it did not say."""
        self.residents: dict[str, int] = {}
        """Workers that are there, or load their model there, by pool."""


class Devices:
    """Every device that a pool may use, by its name."""

    def __init__(self, names: Iterable[str]) -> None:
        self._known = {name: Device() for name in names}

    def __getitem__(self, name: str) -> Device:
        return self._known[name]

    def sampled(self, free: Mapping[str, int]) -> None:
        """The host has spoken; what it does not mention any more is unknown."""
        for name, device in self._known.items():
            device.free = free.get(name)

    def note(self, now: float, pool: str, names: Iterable[str], there: Iterable[Slot], busy: Iterable[Slot]) -> None:
        """Of a pool that may use these devices, these workers are on them from now on, and those compute."""
        residents, computing = Counter(slot.device for slot in there), Counter(slot.device for slot in busy)
        for name in names:
            self._known[name].residents[pool] = residents[name]
            self._known[name].load.note(now, pool, computing[name])
