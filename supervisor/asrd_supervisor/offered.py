"""Whether a pool can do what a job asks, by what its workers offer: so it is refused before it waits for its turn.

Only what is plain from names is looked at here; the values of options are the engine's own affair.
"""

from collections.abc import Iterator, Mapping

from asrd_protocol import link
from asrd_protocol import messages as msg
from asrd_protocol.codec import did_you_mean
from asrd_protocol.faults import Code, Fault


def objection(submit: msg.Submit, offers: link.Offers) -> Fault | None:
    """Why the workers of a pool would refuse the job; None when that is not known before they have it."""
    said = next(_unknown(submit.options, offers.options), None)
    said = said or _foreign(submit.options, offers.languages) or _unaligned(submit.options, offers.aligned)
    if not said and submit.diarize and (contradiction := submit.diarize.contradiction()):
        said = f"option diarize: {contradiction}"
    return Fault.of(Code.BAD_OPTION, said) if said else None


def _unknown(options: Mapping[str, object], known: list[str]) -> Iterator[str]:
    """The options, and those within one, that an engine does not have, each with the nearest one that it has."""
    for name, value in options.items() if known else ():
        inner = [one.removeprefix(f"{name}.") for one in known if one.startswith(f"{name}.")]
        if name not in known:
            yield f"unknown option {name!r}{did_you_mean(name, [one for one in known if '.' not in one])}"
        elif inner and isinstance(value, dict):
            yield from (
                f"unknown option {key!r} in {name}{did_you_mean(key, inner)}" for key in value if key not in inner
            )


def _foreign(options: Mapping[str, object], languages: list[str]) -> str | None:
    language = options.get("language")
    if not isinstance(language, str) or not languages or language in languages:
        return None
    return f"option language: {language!r} is no language code of the model{did_you_mean(language, languages)}"


def _unaligned(options: Mapping[str, object], aligned: list[str] | None) -> str | None:
    """Which language it is may turn out later."""
    language = options.get("language")
    if options.get("align") is not True or aligned is None or (aligned and language is None) or language in aligned:
        return None
    which = f" for {language!r} (it has some for {', '.join(aligned)})" if aligned else ""
    return f"option align: the pool has no alignment model{which}; set options.align_models there, or leave align out"
