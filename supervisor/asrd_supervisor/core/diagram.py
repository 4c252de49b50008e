"""``python -m asrd_supervisor.core.diagram`` prints docs/lifecycle.md, from the table of the life-cycle."""

import sys
from collections.abc import Iterator

from asrd_supervisor.core.lifecycle import TABLE, Cell, Input, State

_HEAD = """\
# The life of a worker

Every slot of a pool is in one of these states, and moves by this table and in no other way. Inputs of a worker that sat
there before, and timers that were set for another state, are dropped by number before they get here.

This page is written by `make docs` from the table in `supervisor/asrd_supervisor/core/lifecycle.py`.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "## States\n", *_sentences(State), "## Inputs\n", *_sentences(Input), *_diagram(), *_table()]
    return "\n".join(parts) + "\n"


def _sentences(kind: type[State] | type[Input] | type[Cell]) -> Iterator[str]:
    yield "| | |\n|---|---|"
    for word in kind:
        yield f"| `{word}` | {word.sentence} |"
    yield ""


def _diagram() -> Iterator[str]:
    """Moves between two states, all inputs that cause one on its arrow."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, what), cell in TABLE.items():
        if isinstance(cell, State) and cell is not state:
            arrows.setdefault((state, cell), []).append(str(what))
    yield "## Moves\n\n```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {State.VACANT}"
    for (state, target), inputs in arrows.items():
        yield f"    {state} --> {target}: {', '.join(inputs)}"
    yield "```\n"


def _table() -> Iterator[str]:
    yield "## The complete table\n"
    yield from _sentences(Cell)
    yield "| state | " + " | ".join(f"`{what}`" for what in Input) + " |"
    yield "|---" * (len(Input) + 1) + "|"
    for state in State:
        yield f"| **{state}** | " + " | ".join(_cell(TABLE[state, what]) for what in Input) + " |"


def _cell(cell: State | Cell) -> str:
    return f"**{cell}**" if isinstance(cell, State) else str(cell)


if __name__ == "__main__":
    sys.stdout.write(page())
