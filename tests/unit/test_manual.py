"""The reference of the configuration: current, complete, and true."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from asrd_supervisor import config, manual

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def _tables(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """A table and all tables in it."""
    yield kind
    for field in msgspec.structs.fields(kind):
        if (table := manual._table_of(field.type)) is not None:
            yield from _tables(table)


TABLES = list(_tables(config.Config))


def test_the_page_is_the_one_that_the_declarations_give() -> None:
    assert PAGE.read_text() == manual.manual(), "run `make docs`"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_has_a_row_with_a_description(table: type[msgspec.Struct]) -> None:
    sections = PAGE.read_text().split("\n## ")
    section = next(s for s in sections if f"\n\n{' '.join((table.__doc__ or '').split())}\n" in s)

    for field in msgspec.structs.fields(table):
        if manual._table_of(field.type) is None:
            row = re.search(rf"^\| `{field.name}` \| (.+?) \| (.*) \|$", section, re.MULTILINE)
            assert row, f"{table.__name__}.{field.name} is not on the page"
            assert len(row[2].split()) > 1, f"{table.__name__}.{field.name} is not described"


def test_the_tables_are_those_of_the_configuration() -> None:
    names = re.findall(r"^## `\[(.+)\]`$", PAGE.read_text(), re.MULTILINE)

    assert names == [
        *("pools.NAME", "pools.NAME.split", "pools.NAME.recycle", "pools.NAME.recycle.guards", "pools.NAME.drift"),
        "pools.NAME.canary",
        *("pools.NAME.deadlines", "pools.NAME.restarts", "pools.NAME.retries"),
        *("queue", "queue.per_user", "retries", "audio", "journal", "results", "access", "listen", "log"),
    ]


def test_the_example_is_a_configuration() -> None:
    example = re.search(r"```toml\n(.+?)```", PAGE.read_text(), re.DOTALL)
    assert example

    decoded = config.decode(tomllib.loads(example[1]))
    assert (list(decoded.pools), decoded.default_pool) == (["fast", "accurate"], "fast")


def test_every_default_on_the_page_is_what_the_key_takes() -> None:
    for section in PAGE.read_text().split("\n## ")[1:]:
        path = re.match(r"`\[(.+)\]`", section)
        table = path[1].replace("NAME", "default") if path else ""
        for key, value in re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section, re.MULTILINE):
            text = f"[{table}]\n{key} = {value}" if table else f"{key} = {value}"
            given = config.decode(tomllib.loads(text))
            pool = given.pools["default"]
            if "retries" in table and table != "retries":  # given or not, it comes to the same
                assert pool.retries == given.retries == config.Config().retries, text
            else:
                assert given == config.Config(), text
