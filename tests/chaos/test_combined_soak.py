"""Everything at once: clients that insist, clients that misbehave, and a nemesis over all processes of the daemon.

A minute here; ``make soak`` takes an hour.
"""

import os
from pathlib import Path

import pytest

from support.nemesis import Rates
from support.soak import soak

SECONDS = float(os.environ.get("ASRD_SOAK_S", "60"))

RATES = Rates(kill_worker=3.0, stop_worker=8.0, kill_supervisor=12.0, stop_supervisor=20.0, hang_up=10.0, garbage=0.5)
"""Denser than in an hour, so that each kind of harm is done in a minute."""


@pytest.mark.timeout(SECONDS + 120)
def test_every_promise_is_kept_under_fire(tmp_path: Path) -> None:
    report = soak(SECONDS, 7, RATES, tmp_path / "history")
    print(report)  # noqa: T201  (shown when the test fails, and with -s)
    broken = "\n".join(report.violations)
    assert not broken, f"{broken}\nthe history is in {tmp_path / 'history'}"
    assert report.figures["blows"].keys() >= {"kill worker", "kill supervisor", "garbage"}, report
