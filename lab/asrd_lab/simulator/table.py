"""The table: how often the core raises false alarms, and how soon it finds what is wrong."""

from collections.abc import Sequence
from statistics import median, quantiles

import msgspec

from asrd_lab.simulator.outcome import Outcome
from asrd_lab.simulator.scenario import SCENARIOS, Scenario
from asrd_lab.simulator.vectors import Vectors
from asrd_lab.simulator.world import World

COLUMNS = [
    "scenario",
    "workers",
    "lives",
    "jobs",
    "false alarms",
    "replaced needlessly",
    "experiments",
    "found",
    "delay, jobs",
    "p90",
]
"""Of the table as text."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario, played in many pools."""

    scenario: str
    title: str
    workers: int
    pools: int
    lives: int
    """Workers that ever sat."""
    jobs: int
    alarms: int
    """Lives that were suspected, or replaced for a diagnosis, while nothing was wrong with them."""
    needless: int
    """Those of them that were replaced."""
    experiments: int
    """Healthy lives that were replaced to find out why all workers are slow."""
    sought: int
    """Sick workers, or pools with a common slow-down."""
    found: int
    """Those of them that were replaced for a diagnosis, or whose slow-down was blamed on what was its cause."""
    delay_median: float | None = None
    """Jobs that a sick worker did until its replacement was decided on; of those that were found."""
    delay_p90: float | None = None

    @property
    def alarm_percent(self) -> float:
        """Of the lives."""
        return 100 * self.alarms / self.lives

    @property
    def found_percent(self) -> float:
        """Of what was sought."""
        return 100 * self.found / self.sought if self.sought else 0.0


def table(
    seed: int, pools: int, scenarios: Sequence[Scenario] = SCENARIOS, vectors: Vectors | None = None
) -> list[Row]:
    """Plays every scenario in so many pools; the same seed gives the same table."""
    drawn = vectors or Vectors.load()
    return [row(scenario, play(scenario, seed, pools, drawn)) for scenario in scenarios]


def play(scenario: Scenario, seed: int, pools: int, vectors: Vectors) -> list[Outcome]:
    """One scenario in so many pools."""
    return [World(scenario, vectors, f"{seed} {scenario.name} {pool}").play() for pool in range(pools)]


def row(scenario: Scenario, outcomes: Sequence[Outcome]) -> Row:
    """What came of a scenario."""
    lives = [life for outcome in outcomes for life in outcome.lives.values()]
    common = scenario.until == "verdict"
    sick = [] if common else [life for life in lives if life.onset is not None and life.jobs > life.onset]
    delays = [delay for life in sick if (delay := life.delay) is not None]
    cause = "workers" if scenario.sickness else "host"
    return Row(
        scenario=scenario.name,
        title=scenario.title,
        workers=scenario.workers,
        pools=len(outcomes),
        lives=len(lives),
        jobs=sum(outcome.jobs for outcome in outcomes),
        alarms=sum(life.false_alarm for life in lives),
        needless=sum(life.needless for life in lives),
        experiments=sum(life.experiment for life in lives),
        sought=len(outcomes) if common else len(sick),
        found=sum(outcome.verdict == cause for outcome in outcomes) if common else len(delays),
        delay_median=median(delays) if delays else None,
        delay_p90=_p90(delays),
    )


def _p90(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=10, method="inclusive")[-1]


def text(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(row: Row) -> list[str]:
    """One line of it, under ``COLUMNS``."""
    found = f"{row.found_percent:.0f} % of {row.sought}" if row.sought else ""
    delays = ["" if value is None else f"{value:.0f}" for value in (row.delay_median, row.delay_p90)]
    played = [row.title, row.workers, row.lives, row.jobs]
    said = [f"{row.alarm_percent:.1f} %", row.needless, row.experiments]
    return [str(cell) for cell in (*played, *said, found, *delays)]
