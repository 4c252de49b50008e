"""``PROTOCOL.md``, taken apart into sections and tables."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "protocol" / "PROTOCOL.md").read_text(encoding="utf-8")

Row = dict[str, str]


def headings() -> list[tuple[int, str, int]]:
    """Level, text and position of every heading."""
    bare = re.sub(r"^```.*?^```$", lambda m: " " * len(m.group()), TEXT, flags=re.S | re.M)
    return [(len(m[1]), m[2], m.start()) for m in re.finditer(r"^(#+) (.+)$", bare, flags=re.M)]


def section(heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    found = headings()
    (place,) = [i for i, (_, text, _) in enumerate(found) if text == heading]
    level, _, start = found[place]
    end = next((position for other, _, position in found[place + 1 :] if other <= level), len(TEXT))
    return TEXT[start:end]


def tables(text: str) -> Iterator[list[Row]]:
    """The tables in a piece of text."""
    for block in re.findall(r"(?:^\|.*\n)+", text + "\n", flags=re.M):
        head, _, *rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines()]
        yield [dict(zip(head, row, strict=True)) for row in rows]


def fields(heading: str) -> dict[str, Row]:
    """The rows of the field table below a heading, by the field's name."""
    rows = [row for table in tables(section(heading)) for row in table if "Default" in row]
    return {row["Field"].strip("`"): row for row in rows}
