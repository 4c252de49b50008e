"""What all messages have in common, and the one answer that every question may get."""

from typing import Annotated

import msgspec
from msgspec import Meta

from asrd_protocol import VERSION
from asrd_protocol.faults import Fault

# (?!\n): in Python's expressions a dollar matches before a last line feed too.
JobId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}(?!\n)$")]
PoolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}(?!\n)$")]
Ref = Annotated[str, Meta(max_length=64)]
Seconds = Annotated[float, Meta(ge=0, le=604_800)]


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=_snake, tag_field="type", forbid_unknown_fields=True):
    """The base of everything on the two sockets."""

    v: int = VERSION
    ref: Ref = ""


class Answer(Message, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=False):
    """The base of what the daemon says. A client ignores fields that it does not know."""


class Refused(Answer, frozen=True, kw_only=True):
    """The question is not answered, and nothing was changed by it."""

    fault: Fault
    job: str | None = None
