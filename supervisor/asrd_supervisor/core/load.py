"""How many workers compute on a device, on average over a time."""


class Load:
    """Shared by all pools of a device."""

    def __init__(self) -> None:
        self._busy: dict[str, int] = {}
        self._count = 0
        self._sum = 0.0
        self._at = 0.0

    def note(self, now: float, pool: str, busy: int) -> None:
        """So many workers of a pool compute from now on."""
        if self._busy.get(pool, 0) != busy:
            self._sum, self._at = self.total(now), now
            self._busy[pool] = busy
            self._count = sum(self._busy.values())

    def total(self, now: float) -> float:
        """Seconds that workers have computed, summed over them."""
        return self._sum + self._count * max(0.0, now - self._at)

    def companions(self, now: float, since: float, total: float) -> float:
        """Workers that computed beside one that began at ``since``, when the sum was ``total``."""
        return max(0.0, (self.total(now) - total) / (now - since) - 1) if now > since else 0.0
