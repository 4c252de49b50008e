"""docs/lifecycle.md is what the table says."""

from pathlib import Path

from asrd_supervisor.core.diagram import page
from asrd_supervisor.core.lifecycle import Input, State

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current() -> None:
    assert (DOCS / "lifecycle.md").read_text() == page(), "run `make docs`"


def test_the_page_has_every_word_and_its_sentence() -> None:
    for word in (*State, *Input):
        assert f"| `{word}` | {word.sentence} |" in page()
        assert word.sentence.endswith(".")
