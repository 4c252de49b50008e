"""Why a job has no result: a code with a blame.

The blame decides everything that follows: whether the step is tried again, whether the worker is replaced, which exit
code or HTTP status a caller sees. So the tables below are the only place that knows it.
"""

from enum import StrEnum
from typing import Any

import msgspec


class Blame(StrEnum):
    """Who has to change something before a repeat can succeed."""

    CALLER = "caller"
    """The question, its options or its audio are wrong: a repeat gives the same answer."""
    WORKER = "worker"
    """One worker process failed: another one may succeed."""
    HOST = "host"
    """The machine or the daemon has no room or no engine now: later may succeed."""
    US = "us"
    """A defect in asrd."""


class Severity(StrEnum):
    """How much an operator has to care."""

    INFO = "info"
    """Callers do that; nothing has to be done."""
    WARNING = "warning"
    """It heals by itself, or by a repeat; worth a look when it happens often."""
    ERROR = "error"
    """Somebody has to look."""


class Code(StrEnum):
    """Every fault that asrd reports, by the name that stands on the wire."""

    BAD_MESSAGE = "bad_message"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_MESSAGE = "unknown_message"
    TOO_MANY_FRAMES = "too_many_frames"
    FRAME_TOO_LARGE = "frame_too_large"
    UNKNOWN_POOL = "unknown_pool"
    UNKNOWN_JOB = "unknown_job"
    UNKNOWN_SEAT = "unknown_seat"
    ID_CONFLICT = "id_conflict"
    BAD_OPTION = "bad_option"
    BAD_AUDIO = "bad_audio"
    NO_AUDIO = "no_audio"
    NO_AUDIO_STREAM = "no_audio_stream"
    AUDIO_TOO_LONG = "audio_too_long"
    INPUT_MISSING = "input_missing"
    INPUT_CHANGED = "input_changed"
    NOT_ALLOWED = "not_allowed"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    POISON = "poison"
    WORKER_DIED = "worker_died"
    WORKER_HUNG = "worker_hung"
    ENGINE_ERROR = "engine_error"
    OUT_OF_MEMORY = "out_of_memory"
    OVERLOADED = "overloaded"
    QUOTA = "quota"
    INSUFFICIENT_STORAGE = "insufficient_storage"
    STORAGE_FAILED = "storage_failed"
    DRAINING = "draining"
    SHUTTING_DOWN = "shutting_down"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    MODEL_UNAVAILABLE = "model_unavailable"
    INTERNAL = "internal"


BLAME: dict[Code, Blame] = {
    Code.BAD_MESSAGE: Blame.CALLER,
    Code.UNSUPPORTED_VERSION: Blame.CALLER,
    Code.UNKNOWN_MESSAGE: Blame.CALLER,
    Code.TOO_MANY_FRAMES: Blame.CALLER,
    Code.FRAME_TOO_LARGE: Blame.CALLER,
    Code.UNKNOWN_POOL: Blame.CALLER,
    Code.UNKNOWN_JOB: Blame.CALLER,
    Code.UNKNOWN_SEAT: Blame.CALLER,
    Code.ID_CONFLICT: Blame.CALLER,
    Code.BAD_OPTION: Blame.CALLER,
    Code.BAD_AUDIO: Blame.CALLER,
    Code.NO_AUDIO: Blame.CALLER,
    Code.NO_AUDIO_STREAM: Blame.CALLER,
    Code.AUDIO_TOO_LONG: Blame.CALLER,
    Code.INPUT_MISSING: Blame.CALLER,
    Code.INPUT_CHANGED: Blame.CALLER,
    Code.NOT_ALLOWED: Blame.CALLER,
    Code.CANCELLED: Blame.CALLER,
    Code.DEADLINE: Blame.HOST,
    Code.POISON: Blame.CALLER,
    Code.WORKER_DIED: Blame.WORKER,
    Code.WORKER_HUNG: Blame.WORKER,
    Code.ENGINE_ERROR: Blame.WORKER,
    Code.OUT_OF_MEMORY: Blame.HOST,
    Code.OVERLOADED: Blame.HOST,
    Code.QUOTA: Blame.HOST,
    Code.INSUFFICIENT_STORAGE: Blame.HOST,
    Code.STORAGE_FAILED: Blame.HOST,
    Code.DRAINING: Blame.HOST,
    Code.SHUTTING_DOWN: Blame.HOST,
    Code.ENGINE_UNAVAILABLE: Blame.HOST,
    Code.MODEL_UNAVAILABLE: Blame.HOST,
    Code.INTERNAL: Blame.US,
}


_SEVERITY = {
    Blame.CALLER: Severity.INFO,
    Blame.WORKER: Severity.WARNING,
    Blame.HOST: Severity.WARNING,
    Blame.US: Severity.ERROR,
}
_GRAVE = (Code.POISON, Code.STORAGE_FAILED, Code.INSUFFICIENT_STORAGE, Code.ENGINE_UNAVAILABLE, Code.MODEL_UNAVAILABLE)


def severity_of(code: Code) -> Severity:
    """How much an operator has to care."""
    return Severity.ERROR if code in _GRAVE else _SEVERITY[BLAME[code]]


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fault as it stands on the wire, in a result and in the log."""

    code: Code
    blame: Blame
    message: str
    """One sentence that names the thing and, where there is one, the way out."""
    severity: Severity = Severity.INFO
    retry: bool = False
    """Whether the same question may succeed later."""
    retry_after: float | None = None
    """Seconds after which a repeat is worth while."""
    context: dict[str, Any] = {}
    """Evidence: seat, signal or exit code, last progress, tail of the worker's log with the stack of a hung one."""

    @classmethod
    def of(cls, code: Code, message: str, *, retry_after: float | None = None, **context: Any) -> "Fault":
        """A fault with the blame that belongs to its code; a repeat may help unless the caller is to blame."""
        blame = BLAME[code]
        return cls(
            code=code,
            blame=blame,
            message=message,
            severity=severity_of(code),
            retry=blame is not Blame.CALLER,
            retry_after=retry_after,
            context=context,
        )
