"""Times of words by a CTC model of its own, as whisperX finds them, one window at a time."""

from pathlib import Path
from typing import Any

import msgspec
import nltk
import torch
import torchaudio
import transformers
import whisperx.alignment
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from whisperx.alignment import LANGUAGES_WITHOUT_SPACES, align, load_align_model

from asrd_protocol.model import Word
from asrd_worker.engines.base import LoadError
from asrd_worker.engines.loading import first_line
from asrd_worker.engines.word_times import Heard, timed
from asrd_worker.models.check import proven
from asrd_worker.models.resolve import cached, installed
from asrd_worker.pcm import Samples

_TITLES = ("mr", "mrs", "ms", "dr", "prof", "st", "mme", "mlle", "sr", "sra", "jr")
"""Their full stop ends no sentence."""


class Sentence(msgspec.Struct, frozen=True):
    """One sentence, with the times of its words."""

    start: float
    end: float
    text: str
    words: list[Word]


class Aligner:
    """An alignment model on a device, for one language."""

    def __init__(self, model: Any, metadata: dict[str, Any], language: str, device: str) -> None:
        self._model = model
        self._metadata = {**metadata, "language": language}
        self._device = device
        self._space = "" if language in LANGUAGES_WITHOUT_SPACES else " "

    @classmethod
    def load(cls, name: str, language: str, *, device: str, offline: bool, cache: str | None) -> "Aligner":
        """A model by its directory or by its name.

        Raises:
            LoadError: it is not here, or damaged.
        """
        where = _place(name, offline, cache)
        try:
            model, metadata = load_align_model(
                language, device, model_name=where, model_dir=cache, model_cache_only=offline
            )
        except (ValueError, OSError) as error:
            cause = error.__context__ or error  # whisperX raises something of its own over what went wrong
            raise LoadError(f"cannot load the alignment model {name}: {first_line(cause)}") from None
        whisperx.alignment.nltk_load = _splitter
        transformers.utils.logging.disable_progress_bar()
        return cls(model, metadata, language, device)

    def speaking(self, language: str) -> "Aligner":
        """The same model for another language."""
        return Aligner(self._model, self._metadata, language, self._device)

    def align(self, text: str, start: float, end: float, samples: Samples, method: str) -> list[Sentence]:
        """The sentences of a text that is spoken between start and end; times in seconds.

        Text that the model cannot find in the audio is one sentence, its words spread over the whole time.
        """
        given = [{"text": text, "start": start, "end": end}]
        found = align(given, self._model, self._metadata, samples, self._device, interpolate_method=method)["segments"]
        sentences = [self._sentence(part) for part in found]
        if any(part.words == [] for part in sentences) or not _same(text, sentences):
            heard = [Heard(word=self._space + word) for word in self._split(text)]
            return [Sentence(start, end, text, timed(heard, start, end))]
        return sentences

    def _sentence(self, part: dict[str, Any]) -> Sentence:
        start, end = float(part["start"]), float(part["end"])
        heard = [
            Heard(
                word=self._space + word["word"],
                start=_plain(word.get("start")),
                end=_plain(word.get("end")),
                score=_plain(word.get("score")),
            )
            for word in part["words"]
        ]
        return Sentence(start, end, self._space + part["text"].strip(), timed(heard, start, end))

    def _split(self, text: str) -> list[str]:
        return text.split() if self._space else [letter for letter in text if letter.strip()]


def _place(name: str, offline: bool, cache: str | None) -> str:
    """A directory, or a name that the library finds without a network if it must; verified where that can be done.

    Raises:
        LoadError: it would have to be downloaded, there is no such directory, or a file of it is damaged.
    """
    if Path(name).is_dir():
        return str(proven(Path(name)))
    if name.startswith(("/", "./", "../", "~")):
        raise LoadError(f"there is no directory {name} with an alignment model")
    if name in torchaudio.pipelines.__all__:
        file = Path(torch.hub.get_dir()) / "checkpoints" / torchaudio.pipelines.__dict__[name]._path
        if offline and not file.is_file():
            raise LoadError(f"the alignment model {name} is not on this machine, and the pool is offline ({file})")
        return name
    pulled = installed(name)
    return str(pulled) if pulled else cached(name, None, cache)


def _splitter(resource: str) -> Any:
    """The splitter of sentences of a language; where its data is not installed, one that knows a few titles only."""
    try:
        return nltk.data.load(resource)
    except LookupError:
        known = PunktParameters()
        known.abbrev_types = set(_TITLES)
        return PunktSentenceTokenizer(known)


def _same(text: str, sentences: list[Sentence]) -> bool:
    """Whether nothing got lost on the way."""
    return "".join(text.split()) == "".join("".join(part.text for part in sentences).split())


def _plain(value: Any) -> float | None:
    """A float of Python's own."""
    return None if value is None else float(value)
