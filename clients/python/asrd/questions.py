"""The questions of a client: where each goes, which may be asked twice, and how it is written."""

import uuid
from enum import StrEnum
from typing import TypeAlias

from asrd.errors import OptionError
from asrd_protocol import messages as m
from asrd_protocol.codec import MAX_HEADER, encode

Question: TypeAlias = m.JobQuestion | m.ControlQuestion

JobAsking = m.Submit | m.Cancel | m.Fetch | m.Wait | m.Release | m.Retry

Once = m.Recycle | m.Unload | m.Load | m.Reload | m.SetPool | m.Drain | m.Stop
"""Not to be asked again of a daemon that may have done it already, or that is another one."""


class Channel(StrEnum):
    """The two sockets of a daemon that a client talks to."""

    JOBS = "jobs"
    CONTROL = "control"

    @classmethod
    def of(cls, question: Question) -> "Channel":
        """Where a question goes."""
        return cls.JOBS if isinstance(question, JobAsking) else cls.CONTROL


def new_id() -> str:
    """An id that nobody else makes up."""
    return uuid.uuid4().hex


def encoded(question: Question) -> bytes:
    """The header of a question.

    Raises:
        OptionError: when an option is of a type that no message can carry, or all of them are too large.
    """
    try:
        header = encode(question)
    except (TypeError, OverflowError, ValueError, RecursionError) as error:
        raise OptionError(f"an option cannot be sent: {error}") from None
    if len(header) > MAX_HEADER:
        raise OptionError(f"the options take {len(header)} bytes, a message has room for {MAX_HEADER}")
    return header
