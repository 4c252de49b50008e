"""What an engine's environment is made of: one TOML file for each engine, beside this module and where a user says."""

import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from asrd_protocol.codec import did_you_mean
from asrd_worker.environments.faults import Misasked

Release = tuple[int, ...]
"""Of Python: major and minor number."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run of the installer."""

    install: list[str]
    """Requirements as pip understands them."""
    deps: bool = True
    """Whether what they need comes along."""
    index: str = ""
    """A step with an index is for machines whose installer has none of its own, and is left out on others: there a
    mirror is believed to have the right files."""


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to make it."""

    disk_mb: int
    """About, when it is done."""
    download_mb: int
    """About, when nothing is in a cache."""
    steps: list[Step]
    discard: list[str] = []
    """Files of the packages that go away again if they cannot be loaded; patterns."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The environment of one engine."""

    engine: str
    about: str
    modules: list[str]
    """All of them have to be importable."""
    default: Variant
    cpu: Variant | None = None
    """For machines without a GPU, where that makes a difference."""
    shown: list[str] = []
    """Packages whose versions are told."""
    oldest: str = "3.11"
    """Release of Python."""
    below: str = ""
    """Release of Python that is too new; empty when none is known to be."""
    pool: dict[str, Any] = {}
    """Keys of a pool that has this engine, besides engine and interpreter."""

    def variant(self, *, cpu: bool) -> tuple[str, Variant]:
        """The way that is meant, and its name."""
        return ("cpu", self.cpu) if cpu and self.cpu else ("default", self.default)

    def fits(self, release: Release) -> bool:
        """Whether its packages exist for this Python."""
        return _release(self.oldest) <= release and (not self.below or release < _release(self.below))

    @property
    def pythons(self) -> str:
        """The range in words."""
        return f"Python {self.oldest} or newer" + (f", below {self.below}" if self.below else "")


def load(environ: Mapping[str, str] | None = None) -> dict[str, Recipe]:
    """The recipes by engine: those of the package, with those in the directory ``$ASRD_ENGINE_RECIPES`` over them.

    Raises:
        Misasked: a file of the user's cannot be read.
    """
    own = resources.files(__package__).joinpath("recipes")
    found = [msgspec.toml.decode(file.read_bytes(), type=Recipe) for file in own.iterdir() if _is_recipe(file.name)]
    given = (os.environ if environ is None else environ).get("ASRD_ENGINE_RECIPES")
    return {recipe.engine: recipe for recipe in (*found, *(_read(Path(given)) if given else ()))}


def find(recipes: Mapping[str, Recipe], engine: str) -> Recipe:
    """The recipe for an engine.

    Raises:
        Misasked: there is none; the nearest name is told.
    """
    if engine not in recipes:
        known = ", ".join(sorted(recipes))
        raise Misasked(f"there is no recipe for an engine {engine!r}{did_you_mean(engine, recipes)} (known: {known})")
    return recipes[engine]


def _read(directory: Path) -> Iterable[Recipe]:
    for path in sorted(path for path in directory.glob("*") if _is_recipe(path.name)):
        try:
            yield msgspec.toml.decode(path.read_bytes(), type=Recipe)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise Misasked(f"cannot read the recipe {path}: {error}") from None


def _is_recipe(name: str) -> bool:
    return name.endswith(".toml") and not name.startswith(".")


def _release(text: str) -> Release:
    return tuple(int(part) for part in text.split("."))
