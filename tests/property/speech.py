"""What workers say when they should not."""

from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import WHOLE
from property.records import Process


def may_cut(process: Process) -> bool:
    """It has the whole of a recording in hand."""
    return process.sent and process.part is not None and process.part.index == WHOLE


def nonsense(process: Process, kind: int) -> ev.WorkerEvent | None:
    """What no healthy worker says; None where it would be in order."""
    seat, attempt = process.seat, process.attempt
    other = attempt + (1 if process.sent or process.clip else 0)
    events: list[ev.WorkerEvent | None] = [
        ev.WorkerBroke(seat, "garbage"),
        ev.WorkerGreeted(seat, 1000 + seat.generation) if process.greeted_at is not None else None,
        ev.WorkerWarmed(seat) if process.warm or process.greeted_at is None else None,
        ev.StepProgressed(seat, other, 0.0, 100.0),
        ev.SegmentDecoded(seat, other, 0, 1.0, "nonsense"),
        ev.StepFinished(seat, other, Timings(), Work(), "nonsense"),
        ev.StepFaulted(seat, other, Fault.of(Code.ENGINE_ERROR, "nonsense"), leave=True),
        ev.CanaryFinished(seat, attempt + bool(process.clip), (1.0,), "nonsense"),
        ev.StepFinished(seat, attempt, Timings(), Work(), "nonsense") if process.clip else None,
        ev.StepSplit(seat, attempt, ((0.0, 1.0),), "nonsense") if not may_cut(process) else None,
    ]
    return events[kind]


def last_words(process: Process, kind: int) -> ev.WorkerEvent:
    """What a worker may have said just before its end was known."""
    seat, attempt = process.seat, process.attempt
    events: list[ev.WorkerEvent] = [
        ev.WorkerGreeted(seat, 1000 + seat.generation),
        ev.WorkerWarmed(seat),
        ev.StepProgressed(seat, attempt, 0.0, 1.0),
        ev.SegmentDecoded(seat, attempt, 0, 1.0, process.job),
        ev.StepFinished(seat, attempt, Timings(), Work(), process.job),
        ev.StepFaulted(seat, attempt, Fault.of(Code.ENGINE_ERROR, "too late"), leave=True),
        ev.WorkerBroke(seat, "garbage"),
        ev.CanaryFinished(seat, attempt, (1.0,), "too late"),
        ev.StepSplit(seat, attempt, ((0.0, 1.0),), process.job),
    ]
    return events[kind]
