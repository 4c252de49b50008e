"""The client of asrd, a daemon for speech recognition.

>>> asrd.transcribe("talk.mp3").text                      # doctest: +SKIP
>>> job = asrd.submit("talk.mp3", word_timestamps=True)   # doctest: +SKIP
>>> for segment in job.segments(): ...                    # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asrd.aio import AsyncClient
    from asrd.errors import (
        AsrdError,
        AudioError,
        Cancelled,
        FaultError,
        JobFailed,
        JobLost,
        NoDaemon,
        OptionError,
        Overloaded,
        ProtocolError,
        Refused,
        TimedOut,
        UnknownJob,
    )
    from asrd.job import AsyncJob
    from asrd.remote import Remote
    from asrd.shortcuts import submit, transcribe
    from asrd.sync import Client, Job
    from asrd.track import Finished, JobProgress, Receipt, SoFar
    from asrd_protocol.faults import Fault
    from asrd_protocol.messages import Retries
    from asrd_protocol.model import Diarization, MissingStretch, Run, Segment, Transcript, Turn, Word

__all__ = [
    "AsrdError",
    "AsyncClient",
    "AsyncJob",
    "AudioError",
    "Cancelled",
    "Client",
    "Diarization",
    "Fault",
    "FaultError",
    "Finished",
    "Job",
    "JobFailed",
    "JobLost",
    "JobProgress",
    "MissingStretch",
    "NoDaemon",
    "OptionError",
    "Overloaded",
    "ProtocolError",
    "Receipt",
    "Refused",
    "Remote",
    "Retries",
    "Run",
    "Segment",
    "SoFar",
    "TimedOut",
    "Transcript",
    "Turn",
    "UnknownJob",
    "Word",
    "submit",
    "transcribe",
]

_HOMES = {
    "asrd.aio": ("AsyncClient",),
    "asrd.job": ("AsyncJob",),
    "asrd.remote": ("Remote",),
    "asrd.shortcuts": ("submit", "transcribe"),
    "asrd.sync": ("Client", "Job"),
    "asrd.track": ("Finished", "JobProgress", "Receipt", "SoFar"),
    "asrd_protocol.faults": ("Fault",),
    "asrd_protocol.messages": ("Retries",),
    "asrd_protocol.model": ("Diarization", "MissingStretch", "Run", "Segment", "Transcript", "Turn", "Word"),
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: the command would be slow to start otherwise."""
    if name not in __all__:
        raise AttributeError(f"module 'asrd' has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "asrd.errors")
    found: object = getattr(importlib.import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*globals(), *__all__])
