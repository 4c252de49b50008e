"""What the journal of the simulated world has on jobs, and what it makes of what it is told."""

from dataclasses import dataclass, field

from asrd_protocol.faults import Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import SPEAKERS, WHOLE

Written = do.PersistAttempt | do.PersistWait | do.PersistPlan | do.PersistPart


@dataclass
class Row:
    """What the journal has on a step that is not the only one of its job."""

    attempts: int = 0
    deaths: int = 0
    running: bool = False
    given: bool = False
    """It has ended;"""
    failed: bool = False
    """without a result."""
    heard: float = 0.0
    worked: float = 0.0
    """Seconds that it took its worker."""

    def kept(self, index: int) -> ev.KeptStep:
        """As the next daemon is told."""
        timings, work = Timings(transcribe=self.worked), Work(audio_s=self.heard)
        return ev.KeptStep(index, self.attempts, self.deaths, self.given, self.failed, timings, work)


@dataclass
class Entry:
    """What the journal has on a job that has not ended, or has failed."""

    running: bool = False
    attempts: int = 0
    deaths: int = 0
    interrupted: int = 0
    cut: tuple[ev.Stretch, ...] = ()
    rows: dict[int, Row] = field(default_factory=dict)

    def recover(self) -> None:
        """The daemon has ended: what ran is not running any more."""
        self.interrupted += self.running
        self.running = False
        for row in self.rows.values():
            row.attempts -= row.running and row.attempts > 0
            row.running = False

    def kept(self) -> tuple[ev.KeptStep, ...]:
        """As the next daemon is told."""
        return tuple(row.kept(index) for index, row in self.rows.items())

    def renewed(self) -> "Entry":
        """It is to be tried again, with all its attempts: what has failed counts as not done."""
        rows = {
            index: Row() if row.failed else Row(given=row.given, heard=row.heard, worked=row.worked)
            for index, row in self.rows.items()
        }
        return Entry(cut=self.cut, rows=rows)


def store(entry: Entry, written: Written) -> None:
    """What the journal makes of it."""
    match written:
        case do.PersistPlan(chunks=chunks):
            entry.cut = chunks
            entry.rows = {index: row for index, row in entry.rows.items() if index in (WHOLE, SPEAKERS)}
        case do.PersistPart(_, step, body, timings, work):
            row = entry.rows.setdefault(step, Row())
            row.given, row.failed, row.running = True, isinstance(body, Fault), False
            row.heard, row.worked = work.audio_s, timings.transcribe
            entry.interrupted *= step == SPEAKERS
        case do.PersistAttempt(step=step) | do.PersistWait(step=step):
            begun = isinstance(written, do.PersistAttempt)
            entry.running = (begun or entry.running) if step != WHOLE else begun
            if step == WHOLE:
                entry.attempts, entry.deaths = written.attempts, written.deaths
                return
            row = entry.rows.setdefault(step, Row())
            row.attempts, row.deaths, row.running = written.attempts, written.deaths, begun
