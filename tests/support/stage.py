"""A daemon whose scripted workers take orders: one file is obeyed once, by whoever comes to it first."""

import contextlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.daemon import Daemon, running
from support.wait import eventually

Script = list[dict[str, Any]]

ONE: dict[str, Any] = {"do": "speak", "text": " one"}
TWO: dict[str, Any] = {"do": "speak", "text": " two"}

QUICK = """
[pools.default.deadlines]
start = "8s"
warm_up = "6s"
busy_floor = "1500ms"
busy_factor = 1.0
stop = "1s"
kill = "300ms"
cancel = "3s"
"""
"""Deadlines that a test can wait for, and that a worker meets on a busy machine."""

UNHURRIED = QUICK.replace('"1500ms"', '"30s"')
"""The same for jobs that take their time."""

PATIENT = """
[pools.default.restarts]
intensity = 100
period = "1s"
delay_max = "100ms"
"""
"""A pool that has seen so many deaths that one more does not matter."""


_PYTHON = """#!/bin/sh
if mv "$ASRD_TEST_ORDERS/start" "$ASRD_TEST_ORDERS/start.$$" 2>/dev/null; then . "$ASRD_TEST_ORDERS/start.$$"; fi
exec {python} "$@"
"""
"""The interpreter of the workers. The order ``start`` is shell, and is obeyed before there is any Python."""


class Stage:
    """A daemon and the directory of its orders."""

    def __init__(self, daemon: Daemon, orders: Path) -> None:
        self.daemon = daemon
        self._orders = orders
        self._deaths: Counter[str] = Counter()

    def order(self, name: str, script: Script | str) -> None:
        """Leave an order; it appears whole."""
        draft = self._orders / f"{name}.draft"
        draft.write_text(script if isinstance(script, str) else json.dumps(script))
        draft.rename(self._orders / name)

    def obeyed(self, name: str) -> bool:
        """Whether somebody has taken the order."""
        return not (self._orders / name).exists()

    def deaths(self) -> Counter[str]:
        """Deaths since the last call of :meth:`rest`, by reason."""
        return Counter(self.daemon.ask("stats")["deaths"]) - self._deaths

    def rest(self) -> "Stage":
        """Wait until all is well and nothing is under way; count deaths from here, and forget orders."""
        eventually(self._settled, 20)
        for left in self._orders.iterdir():
            if left.name != "python":
                left.unlink()
        self._deaths = Counter(self.daemon.ask("stats")["deaths"])
        return self

    def _settled(self) -> bool:
        stats = self.daemon.ask("stats")
        wanted = stats["workers"]["total"]
        states = [worker["state"] for worker in self.daemon.workers()]
        return stats["workers"]["ready"] == wanted and states == ["idle"] * wanted

    def tells(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of the log with this event and these fields, as soon as there is one."""
        return eventually(
            lambda: [line for line in self._lines() if {"event": event, **fields}.items() <= line.items()]
        )

    def _lines(self) -> list[dict[str, Any]]:
        whole = self.daemon.log.read_text().split("\n")[:-1]
        return [json.loads(line) for line in whole if line.startswith("{")]


@contextlib.contextmanager
def staged(config: str = QUICK + PATIENT, *, workers: int = 2) -> Iterator[Stage]:
    """A stage with warm workers; ``config`` is TOML and follows the table of the pool's options."""
    orders = Path(tempfile.mkdtemp(prefix="asrd-orders-"))
    python = orders / "python"
    python.write_text(_PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    pool = f"""
[pools.default]
engine = "scripted"
model = ""
workers = {workers}
python = "{python}"
env = {{ ASRD_TEST_ORDERS = "{orders}" }}
[pools.default.options]
orders = "{orders}"
at_load = [{{do = "obey", order = "load"}}]
at_warm_up = [{{do = "obey", order = "warm-up"}}]
at_exit = [{{do = "obey", order = "exit"}}]
"""
    try:
        with running(config=pool + config) as daemon:
            yield Stage(daemon.ready(), orders)
    finally:
        shutil.rmtree(orders)
