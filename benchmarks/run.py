"""Run all benchmarks one after the other; ``make bench`` is this.

The figures are printed. With ``--results FILE`` they are written there too, as the Markdown page that is committed as
``benchmarks/RESULTS.md``, and with ``--json DIRECTORY`` as one JSON file for each benchmark.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from figures import Result
from report import page

HERE = Path(__file__).parent
BENCHMARKS = ("dispatch", "asr", "batched", "long_audio", "recycling", "durability", "recovery", "faults", "detector")


def measure(name: str, directory: Path, *, quick: bool) -> Result | None:
    """Run one benchmark in a process of its own; None when it failed."""
    print(f"\n=== {name} ===", flush=True)
    file = directory / f"{name}.json"
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(file), *(["--quick"] if quick else [])]
    if subprocess.run(command, check=False).returncode != 0:
        return None
    return msgspec.json.decode(file.read_bytes(), type=Result)


def main() -> int:
    """0 when all benchmarks ran; a missed aim is a figure, no failure."""
    parser = argparse.ArgumentParser(description="Run all benchmarks.")
    parser.add_argument("--quick", action="store_true", help="fewer jobs: a check that it works, not a measurement")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the Markdown page there")
    parser.add_argument("--json", type=Path, metavar="DIRECTORY", help="keep the JSON files there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asrd-bench-") as scratch:
        directory = given.json or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        found = [measure(name, directory, quick=given.quick) for name in BENCHMARKS]
    results = [result for result in found if result is not None]
    if given.results is not None and len(results) == len(BENCHMARKS):
        given.results.write_text(page(results))
    return 0 if len(results) == len(BENCHMARKS) else 1


if __name__ == "__main__":
    sys.exit(main())
