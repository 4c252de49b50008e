"""The chain of a job: its steps in their order, each for the language of the text."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from asrd_protocol.codec import did_you_mean
from asrd_protocol.model import Segment, Word
from asrd_worker.text import fillers, numbers, variants
from asrd_worker.text.edits import Step, edited, edited_words
from asrd_worker.text.letters import primary
from asrd_worker.text.options import TextOptions, bad_option
from asrd_worker.text.punctuation import punctuation
from asrd_worker.text.spelling import spelled
from asrd_worker.text.terms import terms
from asrd_worker.text.width import width

NAMES = ("opencc", "width", "punctuation", "numbers", "fillers", "terms")

_Said = tuple[str, list[Word] | None]


class _Link(NamedTuple):
    """A step of the chain, as the job named it."""

    name: str
    steps_for: Callable[[str], Sequence[Step]]
    """What it does in a language."""
    languages: Collection[str] = ()
    """The languages it knows; none means that it asks for no language."""
    language: str = ""
    """The language that the job gave it; the text's otherwise."""
    trusting: bool = False
    """Whether it is done when nobody knows the language."""
    again: bool = False
    """Whether it is done until there is nothing left to do. Each time must leave less text."""


class Chain:
    """What happens to each segment of a job. It keeps nothing of a segment, so segments may come one at a time."""

    def __init__(self, links: Sequence[_Link]) -> None:
        self._links = links
        self._steps: dict[tuple[int, str], Sequence[Step]] = {}
        self._skipped: dict[str, None] = {}

    @classmethod
    def of(cls, options: TextOptions, language: str = "") -> "Chain":
        """The chain for a job, whose text is in a language if that is known; checked as far as can be.

        Raises:
            EngineFault: naming the option that is wrong, and what to do about it.
        """
        names = [name.partition(":")[0] for name in options.post]
        for needed in ("terms", "fillers"):
            if getattr(options, needed) and needed not in names:
                raise bad_option(needed, f"nothing uses it; add {needed!r} to post, where its turn is")
        links = [_link(name, options) for name in options.post]
        chain = cls([link if link.language else link._replace(language=primary(language)) for link in links])
        for index, link in enumerate(chain._links):
            if link.language:
                _check_language(link)
                chain._resolved(index, link, link.language)
        return chain

    @property
    def warnings(self) -> list[str]:
        """What was left undone in the segments so far."""
        return list(self._skipped)

    def apply(self, segment: Segment, heard: str = "") -> Segment:
        """The segment with its text and its words changed alike; ``heard`` is its language, if an engine has told it.

        All times, the tokens and what else the engine said of the segment stay. Its text may become empty.
        """
        if not self._links:
            return segment
        said = spelled(segment)
        for index, link in enumerate(self._links):
            for step in self._resolved(index, link, link.language or primary(heard)):
                said = _done(step, said, link.again)
        text, words = said
        return segment if (text, words) == (segment.text, segment.words) else replace(segment, text=text, words=words)

    def _resolved(self, index: int, link: _Link, language: str) -> Sequence[Step]:
        """The steps of a link, made once for each language; none for a language that it does not know."""
        if (index, language) not in self._steps:
            knows = not link.languages or language in link.languages or (link.trusting and not language)
            if not knows:
                what = f"the language {language!r}" if language else "a language that nobody has told"
                self._skipped[f"post: {link.name!r} was left out for {what}"] = None
            self._steps[index, language] = link.steps_for(language) if knows else ()
        return self._steps[index, language]


def _done(step: Step, said: _Said, again: bool) -> _Said:
    text, words = said
    while edits := step(text):
        words = words and edited_words(words, edits)
        text = edited(text, edits)
        if not again:
            break
    return text, words


def _check_language(link: _Link) -> None:
    if link.languages and link.language not in link.languages:
        known = ", ".join(link.languages)
        said = f"{link.name!r} does not know the language {link.language!r}, only {known}; leave it out"
        more = ", or give words of your own as fillers" if link.name.startswith("fillers") else ""
        raise bad_option("post", said + more)


def _link(given: str, options: TextOptions) -> _Link:
    """The link that a job means."""
    name, colon, detail = given.partition(":")
    match name:
        case "opencc":
            return _converting(given, detail)
        case "numbers":
            return _Link(given, lambda language: (numbers.numbers(language),), numbers.LANGUAGES, primary(detail))
        case "fillers":
            return _removing(given, primary(detail), options.fillers)
        case _ if name not in NAMES:
            raise bad_option("post", f"no step {given!r}{did_you_mean(name, NAMES)} (known: {', '.join(NAMES)})")
        case _ if colon:
            raise bad_option("post", f"{given!r}: the step {name!r} takes nothing after its name")
    return _plain(given, options)


def _converting(given: str, variant: str) -> _Link:
    convert = variants.variant(variant)
    return _Link(given, lambda _: (convert,), variants.languages(variant), trusting=True)


def _removing(given: str, language: str, more: Sequence[str]) -> _Link:
    """Words of the job's own are removed in any language."""
    fillers.check(more)
    known = () if more else fillers.LANGUAGES
    return _Link(given, lambda language: (fillers.fillers(language, more),), known, language, again=True)


def _plain(name: str, options: TextOptions) -> _Link:
    """A step that is the same for all languages."""
    steps: Sequence[Step]
    match name:
        case "width":
            steps = (width,)
        case "punctuation":
            steps = punctuation()
        case _:
            steps = (terms(options.terms),)
    return _Link(name, lambda _: steps)
