"""How often the daemon takes a healthy worker for a degraded one, and how soon it finds a degraded one.

Nothing is transcribed here: pools of simulated workers live through the scenarios of ``asrd_lab.simulator`` in virtual
time, in the hands of the real core. A round is one pool of each scenario.
"""

from asrd_lab.simulator.scenario import HEALTHY, SCENARIOS, SLOW, Scenario
from asrd_lab.simulator.table import COLUMNS, Row, cells, play, row
from asrd_lab.simulator.vectors import Vectors
from figures import Aim, Table, command_line

SEED = 1
SIZES = (1, 2, 3, 8)
OF_ANY_SIZE = [*HEALTHY, *(scenario for scenario in SLOW if scenario.name == "x2")]
FEWER = 4
"""Pools of other sizes are so many times fewer."""

QUIET = ("healthy", "bursts", "fallbacks")
DELAYS = {"x1.5": 20.0, "x2": 8.0, "creep": 60.0}
CAUSES = ("lockstep", "host", "host-untold")

NOTE = (
    "`false alarms`: lives of workers that were suspected of being slow, or replaced for a diagnosis, while nothing "
    "was wrong with them. `experiments`: healthy workers that were replaced because all were slow, to see whether that "
    "helps; once an hour at most. `found`: sick workers that were replaced, or pools whose slow-down was blamed on "
    "what caused it. `delay`: jobs of the sick worker until its replacement was decided on."
)


def measure(scenarios: list[Scenario], pools: int, vectors: Vectors) -> dict[str, Row]:
    """Play all of them, each in so many pools."""
    rows = {}
    for scenario in scenarios:
        rows[scenario.name] = row(scenario, play(scenario, SEED, pools, vectors))
        print(" | ".join(cells(rows[scenario.name])), flush=True)
    return rows


def aims(rows: dict[str, Row], others: dict[str, Row]) -> list[Aim]:
    """What is promised of it."""
    quiet = [*(rows[name] for name in QUIET), *(one for one in others.values() if one.workers > 1 and not one.sought)]
    alarms = 100 * sum(one.alarms for one in quiet) / sum(one.lives for one in quiet)
    needless = sum(one.needless for one in (*rows.values(), *others.values()))
    found = [
        Aim(
            text=f"jobs until nine of ten are found, {rows[name].title}",
            measured=rows[name].delay_p90 or float("inf"),
            bound=bound,
            at_most=True,
        )
        for name, bound in DELAYS.items()
    ]
    causes = [
        Aim(text=f"percent of right verdicts, {rows[name].title}", measured=rows[name].found_percent, bound=90.0)
        for name in CAUSES
    ]
    return [
        Aim(text="percent of healthy lives with a false alarm", measured=alarms, bound=0.5, at_most=True),
        Aim(text="healthy workers replaced for a diagnosis", measured=needless, bound=0.0, at_most=True),
        *found,
        *causes,
    ]


def main() -> None:
    """Play, and print what came of it."""
    run = command_line(__doc__ or "", rounds=60, quick_rounds=3)
    vectors = Vectors.load()
    rows = measure(list(SCENARIOS), run.rounds, vectors)
    sized = [scenario.against(size) for size in SIZES for scenario in OF_ANY_SIZE]
    others = measure(sized, max(1, run.rounds // FEWER), vectors)
    tables = [
        Table(title="Pools of four", columns=COLUMNS, rows=[cells(one) for one in rows.values()], note=NOTE),
        Table(title="Pools of other sizes", columns=COLUMNS, rows=[cells(one) for one in others.values()]),
    ]
    settings = {"pools of four": run.rounds, "other pools": max(1, run.rounds // FEWER), "seed": SEED}
    run.finish("Detector", settings, tables, aims(rows, others), [list(rows.values()), list(others.values())])


if __name__ == "__main__":
    main()
