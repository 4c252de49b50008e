"""The GPUs that workers compute on. The driver is asked on a thread of its own, for it may never answer."""

from collections.abc import Callable, Collection, Mapping

from asrd_supervisor.probes.doubts import Doubts
from asrd_supervisor.probes.errand import Errand, Late
from asrd_supervisor.probes.nvml import Nvml, Reading

TIMEOUT_S = 2.0
"""Seconds for an answer. To open the library can take longer; the next sample has it then."""

PATIENCE = 3
"""Samples without an answer before that is said."""


class Gpus:
    """Asks NVML, but only when there is a GPU to ask about: else pynvml is not even imported. To be used from one
    thread."""

    def __init__(
        self,
        timeout: float = TIMEOUT_S,
        read: Callable[[Mapping[int, str]], Reading] | None = None,
        always: Collection[str] = (),
    ) -> None:
        """``always``: devices that are asked about even when no worker is there."""
        self._timeout = timeout
        self._always = always
        self._read = read
        self._errand: Errand[Mapping[int, str], Reading] | None = None
        self._doubts = Doubts()

    def read(self, workers: Mapping[int, str]) -> Reading:
        """What is known of these processes and their devices; nothing if the driver takes too long, or is broken."""
        on_gpus = {pid: device for pid, device in workers.items() if device.startswith("cuda")}
        if not on_gpus and not self._always:
            return Reading()
        if self._errand is None:
            self._errand = Errand(self._read or Nvml(always=self._always).read, "nvml")
        try:
            reading = self._errand.send(on_gpus, self._timeout)
        except Late:
            self._doubts.unknown("cuda", "all", "the driver does not answer", PATIENCE)
        except Exception as error:
            self._doubts.unknown("cuda", "all", f"{type(error).__name__}: {error}")
        else:
            self._doubts.known("cuda", "all")
            return reading
        return Reading()
