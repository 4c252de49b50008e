"""What is played: a pool, a host, and maybe a fault."""

from typing import Literal

import msgspec

from asrd_lab.simulator.weather import Weather
from asrd_lab.simulator.worker import MIB, Sickness

FEW_FALLBACKS = 0.03
MANY_FALLBACKS = 0.25


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    name: str
    title: str
    workers: int = 4
    jobs: int = 200
    """For each worker."""
    sickness: Sickness | None = None
    """Of one worker, drawn from those that the pool starts with, unless everybody has it."""
    weather: Weather = Weather()
    fallbacks: float = FEW_FALLBACKS
    """Share of jobs that the decoder falls back on, in the second half."""
    until: Literal["jobs", "found", "verdict"] = "jobs"
    """``found``: until the sick worker is replaced. ``verdict``: until the cause of a common slow-down is told."""

    def against(self, workers: int) -> "Scenario":
        """The same with so many workers."""
        return msgspec.structs.replace(self, name=f"{self.name}@{workers}", workers=workers)


BURSTS = Weather(bursts=True)
UNTOLD = Weather(bursts=True, told=False)
OF_ALL = Sickness(onset=(20, 20), creep=0.01, everybody=True)


def _sick(name: str, title: str, sickness: Sickness, weather: Weather = Weather()) -> Scenario:
    return Scenario(name=name, title=title, sickness=sickness, weather=weather, jobs=260, until="found")


def _common(name: str, title: str, weather: Weather = Weather(), sickness: Sickness | None = None) -> Scenario:
    return Scenario(name=name, title=title, sickness=sickness, weather=weather, jobs=300, until="verdict")


HEALTHY = (
    Scenario(name="healthy", title="nothing is wrong"),
    Scenario(name="bursts", title="the host is busy with something else now and then", weather=BURSTS),
    Scenario(name="bursts-untold", title="the same, and the kernel does not tell", weather=UNTOLD),
    Scenario(name="fallbacks", title="fallbacks rise from 3 % to 25 % of the jobs", fallbacks=MANY_FALLBACKS),
)
"""Whoever is suspected or replaced here is so by mistake."""

SLOW = (
    _sick("x1.3", "one worker is 1.3 times as slow", Sickness(factor=1.3)),
    _sick("x1.5", "one worker is 1.5 times as slow", Sickness(factor=1.5)),
    _sick("x2", "one worker is twice as slow", Sickness(factor=2.0)),
    _sick("x3", "one worker is three times as slow", Sickness(factor=3.0)),
    _sick("x2-bursts", "twice as slow on a host that is busy now and then", Sickness(factor=2.0), BURSTS),
    _sick("creep", "one worker gets slower by 1 % with each job", Sickness(creep=0.01)),
)
"""One worker is to be found by its slowness."""

OTHER = (
    _sick("mute", "one worker hears nothing, and is quick about it", Sickness(mute=True)),
    _sick("leak", "one worker keeps 8 MiB of each job", Sickness(onset=(0, 0), leak=8 * MIB)),
)
"""One worker is to be found by something else."""

COMMON = (
    _common("lockstep", "all workers get slower by 1 % with each job", sickness=OF_ALL),
    _common("host", "the host is busy with something else for ever", Weather(change=1.8)),
    _common("host-untold", "the host has a slower clock for ever", Weather(change=1.8, told=False)),
)
"""All workers are slow; the question is why."""

SCENARIOS = (*HEALTHY, *SLOW, *OTHER, *COMMON)
