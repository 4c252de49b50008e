"""A process that asks the driver as the daemon does. One question a line on stdin, one answer a line on stdout.

``{"ask": "nvml", "workers": {PID: DEVICE}}`` reads at once; ``"gpus"`` reads with a time limit, on a thread.
The answer has ``vram``, ``free``, ``throttled``, and ``said``: the reasons that were logged since the last question.
"""

import os
import sys

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from asrd_supervisor.probes.gpus import Gpus
from asrd_supervisor.probes.nvml import Nvml

PATIENCE = 3
"""Reads until a doubt that needs patience is said."""


def main() -> None:
    """Answer until stdin ends."""
    said: list[str] = []

    def keep(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        said.append(" ".join(str(event.get(key, "")) for key in ("event", "device", "figure", "reason")).strip())
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    asked = {"nvml": Nvml(retry_s=0.0, patience=PATIENCE).read, "gpus": Gpus(timeout=0.2).read}
    for line in sys.stdin:
        question = msgspec.json.decode(line)
        workers = {int(pid): device for pid, device in question["workers"].items()}
        reading = asked[question["ask"]](workers)
        answer = {**msgspec.to_builtins(reading, str_keys=True), "said": said, "imported": "pynvml" in sys.modules}
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()
        said.clear()
    os._exit(0)  # as the daemon: a thread may hang in the driver


if __name__ == "__main__":
    main()
