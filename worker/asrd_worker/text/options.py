"""The options of a job that are about its text. Every engine has them: they are taken out before it sees its own."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from asrd_protocol import mistakes
from asrd_protocol.faults import Code, Fault
from asrd_worker.engines.base import EngineFault

TERMS_MAX = 1_000
FILLERS_MAX = 200
STEPS_MAX = 16
PHRASE_MAX = 100

Phrase = Annotated[str, Meta(max_length=PHRASE_MAX)]


class TextOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done to the text, in which order, and with what."""

    post: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=STEPS_MAX)] = []
    """Steps, such as ``["opencc:s2t", "punctuation", "fillers:de", "terms"]``."""
    terms: dict[str, Phrase] = {}
    """For the step ``terms``: what is heard, and how it is written."""
    fillers: list[Phrase] = []
    """For the step ``fillers``: words to be removed besides those of the language."""


def take(given: dict[str, Any]) -> tuple[TextOptions, dict[str, Any]]:
    """The options on text of all options of a job, checked one by one, and the rest.

    Raises:
        EngineFault: naming the option that is wrong.
    """
    ours = {name: given[name] for name in TextOptions.__struct_fields__ if name in given}
    rest = {name: value for name, value in given.items() if name not in ours}
    try:
        return msgspec.convert(ours, TextOptions), rest
    except msgspec.ValidationError as error:
        mistake = mistakes.find(error, ours, TextOptions)
        raise bad_option(mistake.path, f"{mistake.said}{mistake.hint}") from None


def bad_option(name: str, said: str) -> EngineFault:
    """The fault of one option."""
    return EngineFault(Fault.of(Code.BAD_OPTION, f"option {name}: {said}"))


def missing(step: str, package: str) -> EngineFault:
    """The fault of a step whose package is not there."""
    return bad_option("post", f"{step!r} needs the package {package}, which is not installed; pip install 'asrd[text]'")
