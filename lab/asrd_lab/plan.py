"""What a run of the lab shall do. It is kept with the rows, so that an interrupted run can be gone on with."""

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from asrd_lab.errors import LabError
from asrd_protocol.exits import Exit

EXPERIMENTS = ("e3", "e4", "e2", "e1", "pool", "recycled")
"""In the order in which they are run."""

LEAST_JOBS = 20
"""Jobs of an experiment below which no trend can be told from chance."""

SEGMENTS = (1, 3, 10)
"""About so many segments have the clips of E2."""

RECYCLE_AFTER = 5
"""A worker of the pool that recycles does this share of the jobs of one that does not."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was given."""

    path: str
    sha256: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what the rows are."""

    audio: list[Recording]
    engine: str = "faster-whisper"
    model: str = ""
    device: str = "auto"
    compute_type: str = "default"
    workers: str = "auto"
    threads: int = 0
    jobs: int = 60
    experiments: tuple[str, ...] = EXPERIMENTS
    seed: int = 1
    seconds: float = 0.25
    """Of a job of the scripted engine."""
    inject: dict[str, float] = {}
    """Settings of the scripted engine that make it sick."""

    @property
    def scripted(self) -> bool:
        """Nothing is listened to."""
        return self.engine == "scripted"

    def max_jobs(self, workers: int) -> int:
        """After how many jobs the pool that recycles does so."""
        return max(2, self.jobs // workers // RECYCLE_AFTER)


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    """What one job gets."""

    name: str
    path: str = ""
    """Empty for the scripted engine."""
    segments: int = 0
    """About so many are asked for; 0 where it does not matter."""
    options: dict[str, Any] = {}


def recording(path: Path) -> Recording:
    """A file that was given, known by its content.

    Raises:
        LabError: it cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not path.stat().st_size:
            raise LabError(f"{path} is empty")
    except FileNotFoundError:
        raise LabError(f"there is no file {path}") from None
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}") from None
    return Recording(path=str(path.resolve()), sha256=digest)


def playlist(clips: Sequence[Clip], jobs: int, seed: int) -> list[Clip]:
    """Which clip each job gets: all of them in every round, in an order that is shuffled anew."""
    rng = random.Random(seed)
    found: list[Clip] = []
    while len(found) < jobs:
        found += rng.sample(list(clips), len(clips))
    return found[:jobs]


_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_MIB = 1 << 20


def injected(text: str) -> dict[str, float]:
    """``leak=5MB,slow=1%/job`` as settings of the scripted engine.

    Raises:
        LabError: it says something else.
    """
    settings: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        value = value.removesuffix("/job")
        if name == "leak" and (found := re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]i?B|B)", value)):
            settings["leak_mb_per_job"] = float(found[1]) * _UNITS[found[2]] / _MIB
        elif name == "slow" and (found := re.fullmatch(r"(\d+(?:\.\d+)?)%", value)):
            settings["slow_per_job"] = float(found[1]) / 100
        else:
            raise LabError(f"--inject {part}: expected leak=5MB or slow=1%/job, or both with a comma", Exit.USAGE)
    return settings


def refuse_change(before: Plan, now: Plan, directory: Path) -> None:
    """Rows of two different plans cannot be judged together.

    Raises:
        LabError: naming what has changed.
    """
    for field in Plan.__struct_fields__:
        was, wanted = getattr(before, field), getattr(now, field)
        if was == wanted:
            continue
        option = "the audio" if field == "audio" else f"--{field.replace('_', '-')}"
        change = "" if field == "audio" else f" was {_shown(was)} and is now {_shown(wanted)}"
        said = change or " is not the same as before"
        way_out = "give what was given then, or another --report"
        raise LabError(f"{directory} has the rows of another run: {option}{said}; {way_out}", Exit.USAGE)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(one) for one in value)
    return repr(value)
