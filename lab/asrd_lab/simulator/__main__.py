"""``python -m asrd_lab.simulator --pools 60``: the table of false alarms and delays, in Markdown."""

import argparse
import sys

from asrd_lab.simulator.scenario import SCENARIOS, Scenario
from asrd_lab.simulator.table import table, text


def main() -> None:
    """Play what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m asrd_lab.simulator", description=__doc__)
    parser.add_argument("--pools", type=int, default=60, help="pools a scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, help="workers a pool, instead of 4")
    parser.add_argument("--only", nargs="+", choices=[scenario.name for scenario in SCENARIOS], default=[])
    asked = parser.parse_args()
    scenarios = [_sized(one, asked.workers) for one in SCENARIOS if not asked.only or one.name in asked.only]
    sys.stdout.write(text(table(asked.seed, asked.pools, scenarios)) + "\n")


def _sized(scenario: Scenario, workers: int | None) -> Scenario:
    return scenario.against(workers) if workers else scenario


if __name__ == "__main__":
    main()
