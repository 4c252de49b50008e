"""Which engines there are, where they can run, and what is missing where they cannot."""

import sys
from collections.abc import Mapping
from typing import Literal

import msgspec

from asrd_worker import engines
from asrd_worker.environments import inside
from asrd_worker.environments.building import look
from asrd_worker.environments.faults import InstallFailed
from asrd_worker.environments.places import Places, Receipt
from asrd_worker.environments.recipe import Recipe

State = Literal["installed", "damaged", "here", "available"]


class Entry(msgspec.Struct, frozen=True):
    """One engine."""

    engine: str
    state: State
    """``installed``: in an environment of its own, which is ``damaged`` when it lacks something. ``here``: in that of
    asrd. ``available``: neither, but it can be installed."""
    about: str
    python: str
    """The interpreter that a pool has to name; empty when asrd's own is meant, or there is none."""
    release: str
    """Of that Python."""
    variant: str
    versions: dict[str, str]
    missing: dict[str, str]
    """By module, why it cannot be imported; of an engine that is only available, in asrd's own environment."""
    size: int | None
    """Bytes on the disk."""
    disk_mb: dict[str, int]
    """What an installation takes, about, by variant."""
    for_tests: bool = False
    """Whether it plays a script in place of a model."""


def entries(recipes: Mapping[str, Recipe], places: Places) -> list[Entry]:
    """All engines that are known, by name."""
    known = {name: _entry(recipe, places) for name, recipe in recipes.items()}
    rest = {name: _plain(name) for name in engines.names() if name not in known}
    return [entry for _, entry in sorted({**known, **rest}.items())]


def _entry(recipe: Recipe, places: Places) -> Entry:
    if receipt := places.receipt(recipe.engine):
        return _installed(recipe, places, receipt)
    found = inside.look(recipe.modules, recipe.shown)
    here = not found["missing"]
    return Entry(
        engine=recipe.engine,
        state="here" if here else "available",
        about=recipe.about,
        python="",
        release=found["python"] if here else "",
        variant="",
        versions=found["versions"] if here else {},
        missing=found["missing"],
        size=None,
        disk_mb=_disk(recipe),
    )


def _installed(recipe: Recipe, places: Places, receipt: Receipt) -> Entry:
    python = places.python(recipe.engine)
    try:
        found = look(recipe, python, really=False)
    except InstallFailed as error:
        found = {"python": receipt.python, "versions": receipt.versions, "missing": {"python": str(error)}}
    return Entry(
        engine=recipe.engine,
        state="damaged" if found["missing"] else "installed",
        about=recipe.about,
        python=str(python),
        release=found["python"],
        variant=receipt.variant,
        versions=found["versions"],
        missing=found["missing"],
        size=receipt.size,
        disk_mb=_disk(recipe),
    )


def _plain(name: str) -> Entry:
    """An engine that needs no environment of its own: a scripted one, or one that somebody else has written."""
    release, played = sys.version.split()[0], name in engines.FOR_TESTS
    about = "plays a script in place of a model, for tests" if played else "brought by another package"
    return Entry(name, "here", about, "", release, "", {}, {}, None, {}, for_tests=played)


def _disk(recipe: Recipe) -> dict[str, int]:
    cpu = {"cpu": recipe.cpu.disk_mb} if recipe.cpu else {}
    return {"default": recipe.default.disk_mb, **cpu}
