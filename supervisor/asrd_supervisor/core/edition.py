"""What the workers of a pool are to load. It may change while the pool runs; each worker keeps what it has loaded."""

from typing import Any

import msgspec

MEMORY = "memory"
"""The reason when workers are replaced by others that take less."""


class Edition(msgspec.Struct, frozen=True):
    """The engine's settings, as they were at one time."""

    number: int = 0
    reason: str = "changed"
    """Why it came: ``changed``; ``reload`` when the same is to be read again; ``memory`` when it is to take less."""
    settings: dict[str, Any] = {}
    """What operators have set since the daemon started, over the configuration."""
    load: Any = None
    """The message for the workers; it is carried and never opened. None for that of the configuration."""


class Editions:
    """The edition that is wanted, and the last one that a worker was warm with."""

    def __init__(self) -> None:
        self.wanted = Edition()
        self._untried: Edition | None = self.wanted
        """That of the configuration, until a worker has died while it loaded it."""
        self.proven: Edition | None = None
        self.fault = ""
        """Why the last change was taken back; empty when it was not."""
        self._count = 0

    def renew(self, reason: str, settings: dict[str, Any] | None, load: Any) -> Edition:
        """Another edition is wanted; without settings the present one, read again."""
        self._count += 1
        if settings is None:
            settings, load = self.wanted.settings, self.wanted.load
        self.wanted, self.fault = Edition(self._count, reason, settings, load), ""
        if reason == MEMORY:
            self.proven = self.wanted  # there is no way back to what did not fit
        return self.wanted

    def warmed(self, edition: Edition | None) -> None:
        """A worker is warm with it. The first that works will do to go back to, also if another is wanted by then."""
        if edition is not None and edition.number == self.wanted.number:
            self.proven = self.wanted
        elif self.proven is None:
            self.proven = edition

    def failed(self, edition: Edition) -> None:
        """A worker has died while it loaded it."""
        if self._untried and edition.number == self._untried.number:
            self._untried = None

    def take_back(self, fault: str) -> bool:
        """Go back to the one that was good, or may be; False when there is none, or it is the wanted one itself."""
        back = self.proven or self._untried
        if back is None or back.number == self.wanted.number:
            return False
        self.wanted, self.fault = back, fault
        return True
