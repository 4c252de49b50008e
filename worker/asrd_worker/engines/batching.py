"""Several windows of one audio at once, by faster-whisper's batched pipeline, with the meaning that a job has anyway.

The pipeline decodes each window once, at the first temperature, and keeps whatever comes out. Here a window that looks
bad is decoded again at higher temperatures, and one without speech is left out, by the same thresholds as when windows
are decoded one after the other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from faster_whisper import BatchedInferencePipeline
from faster_whisper.transcribe import get_compression_ratio

from asrd_worker.counters import Counters
from asrd_worker.engines.ladder import Ladder
from asrd_worker.engines.sentences import split
from asrd_worker.engines.whisper_options import WhisperOptions
from asrd_worker.failures import ran_out


class _Decoded(NamedTuple):
    """What one window gave. ``output`` is what the pipeline goes on with."""

    output: dict[str, Any]
    compression_ratio: float
    temperature: float


class Batches(BatchedInferencePipeline):  # type: ignore[misc]  # the library has no types
    """The pipeline for one job: it remembers where speech ended, and a job that is cancelled does not clear that."""

    def __init__(self, model: Any, ladder: Ladder, counters: Counters, asked: WhisperOptions) -> None:
        super().__init__(model)
        self._ladder = ladder
        self._counters = counters
        self._asked = asked
        self._rows: list[_Decoded] = []
        self.temperatures: dict[int, float] = {}
        """Of the windows that are done, by their ``seek``."""

    def forward(self, features: Any, tokenizer: Any, chunks_metadata: list[Any], options: Any) -> list[Any]:
        """The segments of each window; in smaller batches, from where it was, when so many do not fit into memory.

        Raises:
            RuntimeError: not even one fits, or something else went wrong.
            MemoryError: the same.
        """
        found: list[Any] = []
        while len(found) < len(features):
            size = self._ladder.size
            some = slice(len(found), len(found) + size)
            rows = len(features[some])
            try:
                segments = super().forward(features[some], tokenizer, chunks_metadata[some], options)
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error) or not self._ladder.halve(rows):
                    raise
                continue
            self._ladder.fitted(rows)
            self._counters.batch(rows, size)
            self._remember(chunks_metadata[some])
            found += [self._heard(window, tokenizer, options) for window in segments]
        return found

    def generate_segment_batched(self, features: Any, tokenizer: Any, options: Any) -> tuple[Any, list[Any]]:
        """What is decoded for each window, with those again that look bad."""
        encoded, outputs = super().generate_segment_batched(features, tokenizer, options)
        self._rows = [
            self._again(row, _Decoded(output, _ratio(tokenizer, output["tokens"]), 0.0), tokenizer, options)
            for row, output in zip(features, outputs, strict=True)
        ]
        return encoded, [row.output for row in self._rows]

    def _again(self, features: Any, first: _Decoded, tokenizer: Any, options: Any) -> _Decoded:
        """The window at higher temperatures, if it has to be; the best of all when none is good."""
        higher = _temperatures(self._asked)[1:]
        if not higher or not _bad(first, options):
            return first
        encoded = self.model.encode(features)
        result, avg_logprob, temperature, ratio = self.model.generate_with_fallback(
            encoded,
            self._prompt(encoded, tokenizer, options),
            tokenizer,
            replace(options, temperatures=higher, max_initial_timestamp=self._asked.max_initial_timestamp),
        )
        tokens = result.sequences_ids[0]
        output = {"avg_logprob": avg_logprob, "no_speech_prob": result.no_speech_prob, "tokens": tokens}
        second = _Decoded(output, ratio, temperature)
        if not _bad(second, options):
            return second
        return max(second, first, key=lambda row: (not _repetitive(row, options), row.output["avg_logprob"]))

    def _prompt(self, encoded: Any, tokenizer: Any, options: Any) -> list[int]:
        """As the pipeline has it for this window."""
        before = options.initial_prompt
        prompt: list[int] = self.model.get_prompt(
            tokenizer,
            previous_tokens=[] if before is None else tokenizer.encode(before),
            without_timestamps=options.without_timestamps,
            hotwords=options.hotwords,
        )
        if options.multilingual:
            heard = self.model.model.detect_language(encoded)[0][0][0]
            prompt[prompt.index(tokenizer.language)] = tokenizer.tokenizer.token_to_id(heard)
        return prompt

    def _remember(self, windows: Sequence[Any]) -> None:
        for window, row in zip(windows, self._rows, strict=True):
            self.temperatures[int(window["offset"] * self.model.frames_per_second)] = row.temperature

    def _heard(self, window: list[Any], tokenizer: Any, options: Any) -> list[Any]:
        """The segments of a window that have text; none if it has no speech."""
        silent, least = options.no_speech_threshold, options.log_prob_threshold
        return [
            segment
            for whole in window
            if silent is None
            or whole["no_speech_prob"] <= silent
            or (least is not None and whole["avg_logprob"] > least)
            for segment in split(whole, tokenizer.decode)
            if segment["text"].strip()
        ]


def _temperatures(options: WhisperOptions) -> list[float]:
    return options.temperature if isinstance(options.temperature, list) else [options.temperature]


def _ratio(tokenizer: Any, tokens: list[int]) -> float:
    return float(get_compression_ratio(tokenizer.decode(tokens).strip()))


def _repetitive(row: _Decoded, options: Any) -> bool:
    most = options.compression_ratio_threshold
    return most is not None and row.compression_ratio > most


def _bad(row: _Decoded, options: Any) -> bool:
    """Whether a window is to be tried again, as the library decides it: what is silent is improbable, too."""
    least, silent = options.log_prob_threshold, options.no_speech_threshold
    if least is not None and row.output["avg_logprob"] < least:
        return silent is None or row.output["no_speech_prob"] <= silent
    return _repetitive(row, options)
