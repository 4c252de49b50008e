"""The whole life of the daemon's core, played against a simulated world that behaves as badly as it can."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from property.machine import CoreMachine

DEEP = os.environ.get("ASRD_HYPOTHESIS") == "deep"

TestCore = pytest.mark.timeout(0 if DEEP else 300)(CoreMachine.TestCase)
TestCore.settings = settings(
    max_examples=10_000 if DEEP else 500,
    stateful_step_count=60,
    deadline=None,
    derandomize=not DEEP,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
