"""The alignment models of a pool, by language: each is loaded once, even if several languages share it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from asrd_worker.engines.whisper_checks import bad_option
from asrd_worker.engines.whisperx_options import WhisperXOptions, WhisperXSettings

if TYPE_CHECKING:
    from asrd_worker.engines.alignment import Aligner

_OTHERS = ""
"""Stands for all languages without a model of their own."""


class Aligners:
    """None, or as many as the settings name."""

    def __init__(self, by_language: "dict[str, Aligner]") -> None:
        self._by_language = by_language

    @classmethod
    def load(cls, settings: WhisperXSettings) -> "Aligners":
        """All that the settings name; without any, nothing is imported either.

        Raises:
            LoadError: one of them is not here.
        """
        given = dict(settings.align_models)
        if settings.align_model:
            given[_OTHERS] = settings.align_model
        if not given:
            return cls({})
        from asrd_worker.engines.alignment import Aligner

        loaded: dict[str, Aligner] = {}
        for language, name in given.items():
            if name not in loaded:
                loaded[name] = Aligner.load(
                    name,
                    language,
                    device=settings.torch_device,
                    offline=settings.offline,
                    cache=settings.download_root,
                )
        return cls({language: loaded[name].speaking(language) for language, name in given.items()})

    @property
    def languages(self) -> list[str] | None:
        """Those that have a model; None when there is one for all."""
        return None if _OTHERS in self._by_language else sorted(self._by_language)

    def __iter__(self) -> "Iterator[Aligner]":
        return iter(self._by_language.values())

    def choose(self, options: WhisperXOptions, language: str, *, translated: bool) -> "Aligner | None":
        """The model for a text; None when nobody wants one, or when words will do that are not aligned.

        Raises:
            EngineFault: the job asks for alignment, and there is no model for it.
        """
        if not (options.align or options.word_timestamps):
            return None
        if translated:
            if options.align:
                raise bad_option("align", "nobody says the words of a translation; leave align or the translation out")
            return None
        found = self._by_language.get(language)
        if found is None and _OTHERS in self._by_language:
            found = self._by_language[_OTHERS].speaking(language)
        if found is None and options.align:
            way_out = f"set options.align_models.{language} or leave align out"
            raise bad_option("align", f"there is no alignment model for {language!r} in this pool; {way_out}")
        return found
