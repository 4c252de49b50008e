"""Chinese variants by OpenCC: simplified, traditional, Taiwan, Hong Kong, new Japanese forms.

OpenCC converts by phrases, so a whole text is converted at once and then laid beside the old one. Where both have one
length they go character by character; elsewhere the text is cut where both sides of the cut convert on their own.
"""

import importlib
import re
from collections.abc import Callable
from functools import cache

from asrd_protocol.codec import did_you_mean
from asrd_worker.text.edits import Edit, Step
from asrd_worker.text.options import bad_option, missing

VARIANTS = (
    *("s2t", "s2tw", "s2twp", "s2hk", "s2hkp", "t2s", "t2tw", "t2hk", "t2jp"),
    *("tw2s", "tw2sp", "tw2t", "hk2s", "hk2sp", "hk2t", "jp2t"),
)
"""What OpenCC has on board. A name is never passed on unchecked: it would be opened as a file."""

_RUN = re.compile(r"\w+|\W+")
Convert = Callable[[str], str]


def languages(name: str) -> tuple[str, ...]:
    """The languages of the texts that a conversion is for. Any other's characters would be spoilt."""
    return ("zh", "ja") if "jp" in name else ("zh",)


def variant(name: str) -> Step:
    """The step that converts to a variant, such as ``s2t``.

    Raises:
        EngineFault: there is no such variant, or OpenCC is not installed.
    """
    if name not in VARIANTS:
        said = f"'opencc:{name}' is no conversion" if name else "'opencc' needs a conversion"
        raise bad_option("post", f"{said}{did_you_mean(name, VARIANTS)} (known: {', '.join(VARIANTS)})")
    convert = _converter(name)
    return lambda text: _differences(text, convert)


@cache
def _converter(name: str) -> Convert:
    """Kept for the life of the process: the dictionaries take 40 ms and some 20 MB to load."""
    try:
        module = importlib.import_module("opencc")
    except ImportError:
        raise missing(f"opencc:{name}", "opencc") from None
    convert: Convert = module.OpenCC(name).convert
    return convert


def _differences(text: str, convert: Convert) -> list[Edit]:
    whole = convert(text)
    runs = _RUN.findall(text)
    if "".join(convert(run) for run in runs) != whole:
        runs = [text]
    edits, at = [], 0
    for run in runs:
        edits += _of_run(run, at, convert)
        at += len(run)
    return edits


def _of_run(run: str, at: int, convert: Convert) -> list[Edit]:
    """Halves that convert on their own are taken apart, until there is one character beside one, or a phrase."""
    new = convert(run)
    if new == run:
        return []
    if len(new) == len(run):
        return [Edit(at + i, at + i + 1, b) for i, (a, b) in enumerate(zip(run, new, strict=True)) if a != b]
    middle = len(run) // 2
    for cut in sorted(range(1, len(run)), key=lambda cut: abs(cut - middle)):
        if convert(run[:cut]) + convert(run[cut:]) == new:
            return _of_run(run[:cut], at, convert) + _of_run(run[cut:], at + cut, convert)
    return [Edit(at, at + len(run), new)]
