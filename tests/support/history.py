"""What clients saw of a daemon.

Each client is a process of the history: it notes a question before it sends it (``invoke``) and what came of it:

    ok      there was an answer, and this is it
    fail    the question was refused, and nothing has happened
    info    nobody knows: there was no answer in time, or nobody waited for it

Whether it can be the truth of a daemon that keeps its promises is asked when all is over: ``support.promises``.
"""

import hashlib
import threading
import time
from pathlib import Path
from typing import Literal, TextIO

import msgspec

Phase = Literal["invoke", "ok", "fail", "info"]


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One line of the history."""

    at: float
    """Monotonic, seconds."""
    process: str
    phase: Phase
    act: str
    """The question; ``ran``, ``listed``: seen from outside; everything without a job: done by the nemesis."""
    job: str = ""
    answer: str = ""
    code: str = ""
    text: str = ""
    """Of a submit: what the job is to say. Of an end: what it said."""
    digest: str = ""
    """Of an end: all of its bytes."""
    attempts: int = 0
    doomed: bool = False
    """Of a submit: it kills whoever runs it."""


class History:
    """Append-only; may be written by many threads."""

    def __init__(self, file: Path | None = None) -> None:
        """``file``: a line of JSON for each entry, for whoever wants to see how it came to that."""
        self.entries: list[Entry] = []
        self._lock = threading.Lock()
        self._file: TextIO | None = file.open("w") if file else None

    def note(
        self,
        process: str,
        phase: Phase,
        act: str,
        job: str = "",
        *,
        answer: str = "",
        code: str = "",
        text: str = "",
        digest: str = "",
        attempts: int = 0,
        doomed: bool = False,
    ) -> None:
        """Add a line; in the order of the calls."""
        with self._lock:
            entry = Entry(
                at=time.monotonic(),
                process=process,
                phase=phase,
                act=act,
                job=job,
                answer=answer,
                code=code,
                text=text,
                digest=digest,
                attempts=attempts,
                doomed=doomed,
            )
            self.entries.append(entry)
            if self._file:
                self._file.write(msgspec.json.encode(entry).decode() + "\n")

    def close(self) -> None:
        """No more lines."""
        if self._file:
            self._file.close()


def digest_of(*parts: bytes) -> str:
    """A fingerprint of an answer."""
    known = hashlib.sha256()
    for part in parts:
        known.update(len(part).to_bytes(8, "big") + part)
    return known.hexdigest()[:24]
