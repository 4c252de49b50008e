"""What msgspec found wrong in something that a person wrote: where, what was expected, and what was meant."""

import re
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from asrd_protocol.codec import did_you_mean


class Mistake(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    keys: list[str]
    """Where it stands; the last one is the unknown key, if that is the mistake."""
    said: str
    """What was expected and what was found; empty when the key is unknown."""
    hint: str
    """``; did you mean 'beam_size'?``, or nothing."""

    @property
    def path(self) -> str:
        """The keys as people write them: ``recycle.max_jobs``."""
        return ".".join(self.keys)


def find(error: msgspec.ValidationError, data: Any, kind: Any) -> Mistake:
    """The mistake behind an error that ``msgspec.convert(data, kind)`` raised."""
    said, _, place = str(error).partition(" - at `$")
    keys = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", place)
    for key in keys:
        kind = _field_type(kind, key)
        data = data.get(key) if isinstance(data, dict) else None
    if unknown := re.search(r"unknown field `(.+)`", said, re.DOTALL):
        table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        known = [field.name for field in msgspec.structs.fields(kind)] if table else []
        return Mistake([*keys, unknown[1]], "", did_you_mean(unknown[1], known))
    said = said.split(", got ")[0].replace("`object`", "a table")
    hint = ""
    if said.startswith("Invalid enum value"):
        known = list(dict.fromkeys(_choices(kind)))
        said = ("Expected a number or " if _takes_numbers(kind) else "Expected one of ") + str(known)[1:-1]
        hint = did_you_mean(data, known) if isinstance(data, str) else ""
    return Mistake(keys, f"{said[:1].lower()}{said[1:]}, got {shown(data)}", hint)


def shown(found: Any) -> str:
    """A value as a message names it: not longer than a line."""
    text = repr(found)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _choices(kind: Any) -> list[str]:
    """The words that a field takes."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _takes_numbers(kind: Any) -> bool:
    if isinstance(kind, type):
        return issubclass(kind, int | float)
    return any(_takes_numbers(part) for part in get_args(kind))


def _field_type(kind: Any, key: str) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return None
    found = next((f.type for f in msgspec.structs.fields(kind) if f.name == key), None)
    if type(None) in get_args(found):  # a table that need not be given
        return get_args(found)[0]
    return get_args(found)[0] if get_origin(found) is Annotated else found
