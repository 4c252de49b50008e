"""Words as they are to be written: the longest term that stands at a place, once, from left to right.

A term in small letters is found in any case; one with a capital is found as it is given. Between its words there may
be any white space, and where it begins or ends with a letter it is no part of a longer word.
"""

import re
from collections.abc import Mapping, Sequence

from asrd_worker.text.edits import Edit, Step
from asrd_worker.text.letters import unspaced
from asrd_worker.text.options import PHRASE_MAX, TERMS_MAX, bad_option


def terms(written: Mapping[str, str]) -> Step:
    """The step that writes each term as it is to be written.

    Raises:
        EngineFault: there are none or too many, or one of them is empty or cannot be shown.
    """
    _check(written)
    heard = sorted(written, key=lambda term: (-len(" ".join(term.split())), term == term.lower()))
    folded = [(" ".join(term.casefold().split()), term) for term in heard]

    def write(text: str) -> list[Edit]:
        whole = " ".join(text.casefold().split())
        present = [term for key, term in folded if key in whole]
        return _edits(text, [(term, written[term].strip()) for term in present]) if present else []

    return write


def _edits(text: str, present: Sequence[tuple[str, str]]) -> list[Edit]:
    """The edits by the terms that may be in the text: a pattern of all terms would take a thousand times as long."""
    pattern = re.compile("|".join(f"({_pattern(term)})" for term, _ in present))
    found = ((match, present[(match.lastindex or 1) - 1][1]) for match in pattern.finditer(text))
    return [Edit(match.start(), match.end(), new) for match, new in found if match[0] != new]


def _check(written: Mapping[str, str]) -> None:
    if not written:
        raise bad_option("terms", "the step needs some, such as {'as red': 'asrd'}; or leave it out of post")
    if len(written) > TERMS_MAX:
        raise bad_option("terms", f"{len(written)} terms; a job may have {TERMS_MAX}: give those that occur in it")
    for term, new in written.items():
        if not term.strip() or not new.strip():
            said = "the step 'fillers' with the option fillers removes words"
            raise bad_option("terms", f"{term!r}: {new!r}: neither side may be empty; {said}")
        if len(term) > PHRASE_MAX:
            raise bad_option("terms", f"{term!r}: a term may have {PHRASE_MAX} characters")
        if not (" ".join(term.split()) + new).isprintable():
            raise bad_option("terms", f"{term!r}: {new!r}: a character that cannot be shown")


def _pattern(term: str) -> str:
    words = r"\s+".join(re.escape(word) for word in term.split())
    first, last = term.strip()[0], term.strip()[-1]
    before = r"(?<!\w)" if first.isalnum() and not unspaced(first) else ""
    after = r"(?!\w)" if last.isalnum() and not unspaced(last) else ""
    body = f"(?i:{words})" if term == term.lower() else words
    return f"{before}{body}{after}"
