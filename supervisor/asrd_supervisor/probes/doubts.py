"""What cannot be known is said once, with the reason, and not again until it was known in between."""

import structlog

_log = structlog.get_logger("asrd")


class Doubts:
    """The figures of devices that are unknown now. To be used from one thread."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], int] = {}
        self._said: set[tuple[str, str]] = set()

    def unknown(self, device: str, figure: str, reason: str, patience: int = 1) -> None:
        """The figure could not be had; it is said when that was so this many times without a break."""
        key = (device, figure)
        self._times[key] = self._times.get(key, 0) + 1
        if self._times[key] >= patience and key not in self._said:
            self._said.add(key)
            so = "rules that need it are off"
            _log.warning("a figure is unknown", device=device, figure=figure, reason=reason, so=so)

    def known(self, device: str, figure: str) -> None:
        """Here it is."""
        key = (device, figure)
        self._times.pop(key, None)
        if key in self._said:
            self._said.discard(key)
            _log.info("a figure is known again", device=device, figure=figure)
