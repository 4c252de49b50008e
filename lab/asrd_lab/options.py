"""The command line of the lab."""

import argparse
import time
from pathlib import Path
from typing import Any

import msgspec

from asrd_lab.errors import LabError
from asrd_lab.plan import EXPERIMENTS, LEAST_JOBS, Plan, injected, recording
from asrd_lab.store import read_plan
from asrd_protocol.codec import did_you_mean
from asrd_protocol.exits import Exit

_ABOUT = """Find out whether a model degrades on this machine, with your own recordings, and which recycle policy fits.

E1 a fresh worker for each job; E2 clips of about 1, 3 and 10 segments; E3 the bare model in one process;
E4 the same clip again and again; pool and recycled: a whole pool that keeps its workers, and one that does not.
Memory is read before and after the jobs. DIR/report.html and DIR/report.json are rewritten as the run goes on;
Ctrl-C stops it, --resume goes on.
"""


def parser() -> argparse.ArgumentParser:
    """What may be given. Nothing has a default here: what was given can be told from what was not."""
    made = argparse.ArgumentParser(
        prog="asrd lab", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = made.add_argument
    add("audio", nargs="*", type=Path, metavar="AUDIO", help="recordings; some of more than one sentence are best")
    add("--engine", help="faster-whisper (default), or scripted, which needs no recordings")
    add("--inject", metavar="WHAT", help="make the scripted engine sick: leak=5MB,slow=1%%/job")
    add("--seconds", type=float, metavar="S", help="work of a job of the scripted engine (default 0.25)")
    add("--model", help="model name or directory (default tiny.en)")
    add("--device", choices=["auto", "cpu", "cuda"])
    add("--compute-type", metavar="TYPE", help="as in CTranslate2: int8, float16, ...")
    add("--workers", metavar="N", help="workers of the pools, or auto (default)")
    add("--threads", type=int, metavar="N", help="threads of each worker (default: cores / workers)")
    add("--jobs", type=int, metavar="N", help=f"jobs of each experiment (default 60, at least {LEAST_JOBS})")
    add("--experiments", metavar="LIST", help=f"which of them, with commas (default {','.join(EXPERIMENTS)})")
    add("--seed", type=int, metavar="N", help="of the order of the clips")
    add("--report", type=Path, metavar="DIR", help="where to write (default ./asrd-lab-DATE)")
    add("--resume", type=Path, metavar="DIR", help="go on with what is missing there")
    add("--json", action="store_true", help="print the findings as JSON at the end")
    add("-q", "--quiet", action="store_true", help="show no progress")
    add(
        "--simulate",
        action="store_true",
        help="play pools from recorded work through the detector; no daemon is started",
    )
    add("--pools", type=int, metavar="N", help="how many pools to simulate")
    return made


def check_simulation(options: argparse.Namespace) -> None:
    """Nothing is recorded and no daemon is started, so most options mean nothing.

    Raises:
        LabError: there is one of them, or no pool to simulate.
    """
    if options.audio or options.resume or options.report or options.engine:
        raise LabError("--simulate plays recorded work: only --seed, --pools and --json go with it", Exit.USAGE)
    if options.pools is not None and options.pools < 1:
        raise LabError(f"--pools: expected at least 1, got {options.pools}", Exit.USAGE)


def place_and_plan(options: argparse.Namespace) -> tuple[Path, Plan]:
    """Where to write, and what to do.

    Raises:
        LabError: the options do not fit together, or a recording cannot be read.
    """
    given = _given(options)
    if options.workers not in (None, "auto") and not (options.workers.isdecimal() and int(options.workers) > 0):
        raise LabError(f"--workers: expected a number from 1, or auto, got {options.workers}", Exit.USAGE)
    if options.resume:
        if options.report:
            raise LabError("--resume DIR says where to write already; leave --report out", Exit.USAGE)
        before = read_plan(options.resume)
        if before is None:
            raise LabError(f"{options.resume} has no run of the lab to go on with", Exit.USAGE)
        given.setdefault("audio", [recording(Path(one.path)) for one in before.audio])
        return options.resume, msgspec.structs.replace(before, **given)
    plan = Plan(audio=given.pop("audio", []), **given)
    if not plan.model and not plan.scripted:
        plan = msgspec.structs.replace(plan, model="tiny.en")
    _check(plan)
    return options.report or _new_directory(), plan


def _new_directory() -> Path:
    """One that is not there yet, named by the time."""
    name = f"asrd-lab-{time.strftime('%Y-%m-%d-%H%M%S')}"
    names = (name, *(f"{name}-{i}" for i in range(2, 1_000)))
    return next(path for path in map(Path, names) if not path.exists())


def _given(options: argparse.Namespace) -> dict[str, Any]:
    names = ("engine", "model", "device", "compute_type", "workers", "threads", "jobs", "seed", "seconds")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.model and Path(options.model).is_dir():
        given["model"] = str(Path(options.model).resolve())  # a run may be gone on with from elsewhere
    if options.audio:
        given["audio"] = [recording(path) for path in options.audio]
    if options.experiments is not None:
        given["experiments"] = _experiments(options.experiments)
    if options.inject is not None:
        given["inject"] = injected(options.inject)
    return given


def _experiments(text: str) -> tuple[str, ...]:
    wanted = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in EXPERIMENTS:
            hint = did_you_mean(name, EXPERIMENTS)
            known = ", ".join(sorted(EXPERIMENTS))
            raise LabError(f"--experiments: there is no {name!r}{hint} (there are {known})", Exit.USAGE)
    if not wanted:
        raise LabError("--experiments: name one at least", Exit.USAGE)
    return tuple(name for name in EXPERIMENTS if name in wanted)


def _check(plan: Plan) -> None:
    if plan.jobs < LEAST_JOBS:
        raise LabError(
            f"--jobs {plan.jobs}: fewer than {LEAST_JOBS} jobs of an experiment cannot tell a trend from chance",
            Exit.USAGE,
        )
    if plan.threads < 0:
        raise LabError(f"--threads {plan.threads}: expected a number that is not negative", Exit.USAGE)
    if not 0.001 <= plan.seconds <= 60:
        raise LabError(f"--seconds {plan.seconds:g}: expected between 0.001 and 60", Exit.USAGE)
    if plan.scripted and plan.audio:
        raise LabError("the scripted engine listens to nothing: leave the recordings out", Exit.USAGE)
    if plan.inject and not plan.scripted:
        raise LabError("--inject makes only the scripted engine sick: add --engine scripted", Exit.USAGE)
    if not plan.scripted and not plan.audio:
        raise LabError(
            "no recording was given; name one at least, or see a pretended model with --engine scripted", Exit.USAGE
        )
