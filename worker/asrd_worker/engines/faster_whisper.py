"""faster-whisper: the default engine."""

from typing import Any, cast

import ctranslate2
import faster_whisper.transcribe
import msgspec
from faster_whisper import WhisperModel
from faster_whisper.vad import VadOptions

from asrd_protocol.model import Segment, Word
from asrd_worker import clip
from asrd_worker.audio import Decoded
from asrd_worker.counters import CountedModel, Counters
from asrd_worker.engines.base import LoadError, Outline, Transcriber, Transcription
from asrd_worker.engines.whisper_checks import bad_option, check
from asrd_worker.engines.whisper_options import SYNONYMS, WhisperOptions, kind_of
from asrd_worker.failures import out_of_memory
from asrd_worker.models import resolve

_GREEDY: dict[str, Any] = {
    "language": "en",
    "temperature": 0.0,
    "beam_size": 1,
    "condition_on_previous_text": False,
    "vad_filter": False,
}
"""How the built-in clip is transcribed: nothing of it is left to chance."""


class WhisperSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool may set."""

    model: str = "tiny.en"
    device: str = "cpu"
    device_index: int = 0
    compute_type: str = "int8"
    threads: int = 1
    offline: bool = True
    revision: str | None = None
    """Commit of the hub's repository."""
    download_root: str | None = None
    """Cache directory of the hub's client."""


class FasterWhisper(Transcriber):
    """``faster_whisper.WhisperModel`` with its work counted."""

    Settings = WhisperSettings
    Options = WhisperOptions
    synonyms = SYNONYMS

    def load(self) -> None:
        """Load the model into memory or onto the device."""
        settings = self.settings
        directory = resolve(
            settings.model, offline=settings.offline, revision=settings.revision, root=settings.download_root
        )
        try:
            self._model = WhisperModel(
                str(directory),
                device=settings.device,
                device_index=settings.device_index,
                compute_type=settings.compute_type,
                cpu_threads=settings.threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise _load_error(error, settings) from None
        self._vocabulary = _vocabulary(self._model)
        self._clip = clip.samples()
        self._counters = Counters()
        self._model.model = cast(Any, CountedModel(self._model.model, self._counters))
        module = cast(Any, faster_whisper.transcribe)
        module.get_speech_timestamps = self._counters.timing_vad(module.get_speech_timestamps)

    def warm_up(self) -> None:
        """Transcribe the built-in clip: some libraries are missed at the first inference only."""
        try:
            self.canary()
        except RuntimeError as error:
            raise _load_error(error, self.settings) from None

    def canary(self) -> str:
        """The text of the built-in clip. What it counts is forgotten when the next job begins."""
        segments, _ = self._model.transcribe(self._clip, **_GREEDY)
        return "".join(segment.text for segment in segments).strip()

    def transcribe(self, heard: Decoded, options: WhisperOptions) -> Transcription:
        """Decode the samples, a segment at a time."""
        check(options, self._vocabulary)
        self._counters.reset()
        try:
            count = 0
            self.heard = ""
            segments, info = self._model.transcribe(heard.samples, **_keywords(options))
            self.heard = info.language
            for count, segment in enumerate(segments, start=1):
                yield _segment(count - 1, segment)
        except ValueError as error:
            if "max_new_tokens" not in str(error):
                raise
            raise bad_option(
                "max_new_tokens", "with the prompt these are more tokens than the model has room for"
            ) from error
        return Outline(
            language=info.language,
            language_probability=round(float(info.language_probability), 6),
            duration_after_vad=round(float(info.duration_after_vad), 3) if options.vad_filter else None,
            vad_s=self._counters.vad_s,
            work=self._counters.work(heard.duration, count, kind_of(options)),
            warnings=self._warnings(options),
        )

    def _warnings(self, options: WhisperOptions) -> list[str]:
        """What the model could not do as asked."""
        if self._model.model.is_multilingual:
            return []
        found = []
        if options.language not in (None, "en"):
            found.append(f"the model knows English only; language {options.language!r} was ignored")
        if options.task == "translate":
            found.append("the model knows English only; it transcribed instead of translating")
        if options.multilingual:
            found.append("the model knows English only; multilingual was ignored")
        return found


def _vocabulary(model: WhisperModel) -> int:
    """How many tokens the model has. The last 1501 are time stamps; the tokenizer's file may leave them out."""
    return int(model.hf_tokenizer.token_to_id("<|notimestamps|>")) + 1 + 1501


def _keywords(options: WhisperOptions) -> dict[str, Any]:
    keywords = {field: getattr(options, field) for field in options.__struct_fields__}
    keywords["vad_parameters"] = VadOptions(**msgspec.structs.asdict(options.vad_parameters))
    return keywords


def _segment(index: int, segment: Any) -> Segment:
    """With ids from 0, as in whisper; the library counts from 1."""
    words = None
    if segment.words is not None:
        words = [
            Word(start=float(w.start), end=float(w.end), word=w.word, probability=float(w.probability))
            for w in segment.words
        ]
    return Segment(
        id=index,
        seek=int(segment.seek),
        start=float(segment.start),
        end=float(segment.end),
        text=segment.text,
        tokens=[int(token) for token in segment.tokens],
        temperature=None if segment.temperature is None else float(segment.temperature),
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(segment.compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        words=words,
    )


def _load_error(error: Exception, settings: WhisperSettings) -> Exception:
    """Memory may be free again later; nothing else of this mends itself."""
    said = str(error)
    if out_of_memory(said):
        return error
    hint = ""
    if "libcublas" in said:
        hint = "; pip install 'nvidia-cublas-cu12>=12.4,<13'"
    elif "driver version" in said or "no CUDA" in said:
        hint = f"; CTranslate2 sees {ctranslate2.get_cuda_device_count()} GPU(s), use device = 'cpu'"
    return LoadError(f"cannot load {settings.model} on {settings.device} as {settings.compute_type}: {said}{hint}")
