"""``python -P -m asrd_lab``: what ``asrd lab`` runs."""

import contextlib
import functools
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec

from asrd.cli import verdict
from asrd.cli.verdict import complain
from asrd_lab import clips as made_of
from asrd_lab import report
from asrd_lab.alone import Alone
from asrd_lab.clips import Clips
from asrd_lab.daemon import Pool, resolved
from asrd_lab.errors import LabError
from asrd_lab.experiments import Bench, Watcher, run
from asrd_lab.findings import Findings
from asrd_lab.options import check_simulation, parser, place_and_plan
from asrd_lab.plan import Plan
from asrd_lab.show import Silent, display
from asrd_lab.store import Store
from asrd_protocol.exits import Exit

REPORT_EVERY_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run it; the result is the exit code. Whatever is wrong is one sentence on stderr."""
    signal.signal(signal.SIGTERM, _leave)
    options = parser().parse_args(arguments)
    try:
        if options.simulate:
            check_simulation(options)
            return _simulate(options.seed or 1, options.pools, as_json=options.json)
        directory, plan = place_and_plan(options)
        found = _run(directory, plan, display(quiet=options.quiet or options.json))
        _tell(found, directory, as_json=options.json)
    except LabError as error:
        complain(str(error))
        return error.code
    except BaseException as error:
        return verdict.report(error)
    return Exit.OK


def _run(directory: Path, plan: Plan, shown: Silent) -> Findings:
    pool = resolved(
        Pool(
            engine=plan.engine,
            model=plan.model,
            device=plan.device,
            compute_type=plan.compute_type,
            workers=plan.workers if plan.workers == "auto" else _number(plan.workers),
            threads=plan.threads,
            options=dict(plan.inject),
        )
    )
    store = Store(directory, plan)
    with contextlib.closing(store):
        try:
            with shown:
                clips = _clips(plan, pool, store)
                bench = Bench(plan, pool, clips, store, _Recorder(shown, store, plan, pool))
                for experiment in plan.experiments:
                    run(bench, experiment)
        except BaseException as error:
            _leave_something(store, plan, pool, error)
            raise
        return report.write(store, plan, pool)


def _number(workers: str) -> int:
    try:
        return int(workers)
    except ValueError:
        raise LabError(f"--workers: expected a number or 'auto', got {workers!r}", Exit.USAGE) from None


def _clips(plan: Plan, pool: Pool, store: Store) -> Clips:
    if plan.scripted:
        return made_of.scripted(plan.seconds)
    if earlier := made_of.saved(store):
        return earlier
    settings = {name: getattr(pool, name) for name in ("model", "device", "compute_type", "threads")}
    with Alone(plan.engine, settings, store.directory / "bare.log") as alone:
        return made_of.made(plan, store, alone)


class _Recorder:
    """Shows how far it is, and writes the reports now and then."""

    def __init__(self, shown: Watcher, store: Store, plan: Plan, pool: Pool) -> None:
        self._shown = shown
        self._last = time.monotonic()
        self._write = functools.partial(report.write, store, plan, pool)

    def begins(self, experiment: str, done: int, wanted: int) -> None:
        """Passes it on."""
        self._shown.begins(experiment, done, wanted)

    def moved(self, experiment: str, said: str) -> None:
        """Passes it on, and writes if that is due."""
        self._shown.moved(experiment, said)
        if time.monotonic() - self._last >= REPORT_EVERY_S:
            self._write()
            self._last = time.monotonic()


def _leave_something(store: Store, plan: Plan, pool: Pool, error: BaseException) -> None:
    """The report so far and how to go on; nothing at all when it could not even begin."""
    if not store.rows and isinstance(error, Exception):
        store.discard()
        return
    with contextlib.suppress(LabError):
        report.write(store, plan, pool)
    missing = sum(len(store.missing(name, plan.jobs)) for name in plan.experiments)
    done = plan.jobs * len(plan.experiments) - missing
    complain(
        f"stopped after {done} of {done + missing} jobs; the report so far is {store.directory / 'report.html'}; "
        f"go on with: asrd lab --resume {store.directory}"
    )


def _tell(found: Findings, directory: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        return
    sys.stdout.write("\n".join(found.verdict) + "\n")
    if found.advice:
        sys.stdout.write(f"\n{found.advice.toml}")
    sys.stdout.write(f"\n{directory / 'report.html'}\n")


def _simulate(seed: int, pools: int | None, *, as_json: bool) -> int:
    """The detector against recorded work, without processes."""
    try:
        from asrd_lab.simulator.table import table, text
    except ImportError:
        raise LabError("the simulator is not installed", Exit.UNAVAILABLE) from None
    rows = table(seed, pools or 60)
    sys.stdout.write(msgspec.json.encode(rows).decode() if as_json else text(rows))
    sys.stdout.write("\n")
    return Exit.OK


def _leave(number: int, frame: FrameType | None) -> None:
    """Leaves as Ctrl-C does: daemons are stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
