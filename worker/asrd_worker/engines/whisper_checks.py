"""Checks of options that need the model, or more than a bound.

They stand before what the library would crash over or never end with: a token that the model does not have is an index
outside of CTranslate2's arrays, and a clip that starts long before the audio is walked through window by window.
"""

import math
from collections.abc import Iterable, Sequence

from faster_whisper import WhisperModel
from faster_whisper.tokenizer import _LANGUAGE_CODES

from asrd_protocol.codec import did_you_mean
from asrd_protocol.faults import Code, Fault
from asrd_worker.engines.base import EngineFault
from asrd_worker.engines.whisper_options import WhisperOptions

LANGUAGES = sorted(_LANGUAGE_CODES)
"""What ``language`` may be."""


def check(options: WhisperOptions, vocabulary: int) -> None:
    """Nothing, if a model with so many tokens can do what is asked.

    Raises:
        EngineFault: naming the option.
    """
    if options.language is not None and options.language not in LANGUAGES:
        hint = did_you_mean(options.language, LANGUAGES)
        raise bad_option("language", f"{options.language!r} is no language code of the model{hint}")
    if not isinstance(options.initial_prompt, str):
        _check_tokens("initial_prompt", options.initial_prompt or [], vocabulary)
    _check_tokens("suppress_tokens", options.suppress_tokens or [], vocabulary)
    _check_clips(options.clip_timestamps)


def vocabulary_of(model: WhisperModel) -> int:
    """How many tokens the model has. The last 1501 are time stamps; the tokenizer's file may leave them out."""
    return int(model.hf_tokenizer.token_to_id("<|notimestamps|>")) + 1 + 1501


def bad_option(name: str, said: str) -> EngineFault:
    """The fault of one option."""
    return EngineFault(Fault.of(Code.BAD_OPTION, f"option {name}: {said}"))


def _check_tokens(name: str, tokens: Iterable[int], vocabulary: int) -> None:
    for token in tokens:
        if token >= vocabulary:
            raise bad_option(name, f"the model has no token {token}; its tokens are 0 to {vocabulary - 1}")


def _check_clips(given: str | Sequence[float]) -> None:
    words = [word for word in given.split(",") if given] if isinstance(given, str) else given
    last = 0.0
    for word in words:
        at = _seconds(word)
        if at is None:
            raise bad_option("clip_timestamps", f"expected seconds such as '0,30,60,90', got {word!r}")
        if at < last:
            raise bad_option("clip_timestamps", f"{at:g} follows {last:g}; clips go from the start to the end")
        last = at


def _seconds(word: str | float) -> float | None:
    try:
        at = float(word)
    except ValueError:
        return None
    return at if 0 <= at < math.inf else None
