"""Merge the JSON files of the benchmarks, given as arguments, into one Markdown page on standard output."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from figures import Result
from machine import Machine

HEAD = """# Results

Written by `make bench`; what each benchmark does and why is in [README.md](README.md). Compare ratios, not absolute
figures: the systems of a table ran in turns, round by round, on the same machine. A range in brackets is the smallest
and the largest round.
"""


def page(results: list[Result]) -> str:
    """The whole page."""
    machines: list[Machine] = []
    for result in results:
        if not any(_same(result.machine, m) for m in machines):
            machines.append(result.machine)
    parts = [HEAD, *(_machine(m) for m in machines), *(_section(r, name_machine=len(machines) > 1) for r in results)]
    return "\n".join(parts)


def _same(one: Machine, other: Machine) -> bool:
    return msgspec.structs.replace(one, load=[]) == msgspec.structs.replace(other, load=[])


def _machine(machine: Machine) -> str:
    software = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return "\n".join(
        [
            f"- Machine: {machine.cores} cores, {machine.cpu}, {machine.memory_gb:g} GB; {machine.system}",
            f"- Software: {machine.python}, {software}",
            "",
        ]
    )


def _section(result: Result, *, name_machine: bool) -> str:
    where = f" on {result.machine.cores} cores, {result.machine.cpu}" if name_machine else ""
    quick = " **Quick run: a check, not a measurement.**" if result.quick else ""
    load = " ".join(f"{x:g}" for x in result.machine.load)
    settings = "; ".join(f"{name}: {_plain(value)}" for name, value in result.settings.items())
    return "\n".join(
        [
            f"## {result.title}",
            "",
            f"{result.started}{where}, load before the run {load}.{quick}",
            "",
            f"Settings: {settings}.",
            "",
            result.markdown(),
            "",
        ]
    )


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{k}={_plain(v)}" for k, v in value.items())
    return str(value)


def main(paths: list[str]) -> None:
    """Print the page for the files given."""
    if not paths:
        sys.exit("usage: report.py FILE.json... > RESULTS.md")
    print(page([msgspec.json.decode(Path(path).read_bytes(), type=Result) for path in paths]).rstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
