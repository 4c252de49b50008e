"""The step that finds out who speaks when."""

import time

import msgspec

from asrd_protocol import link
from asrd_protocol.model import Timings
from asrd_worker.blob import Files
from asrd_worker.engines.base import Diarizer, Listening, Voices
from asrd_worker.line import Line
from asrd_worker.memory import rss_bytes

_json = msgspec.json.Encoder().encode


class Diarizing:
    """With one engine, on one line."""

    def __init__(self, engine: Diarizer, line: Line, max_audio_s: float) -> None:
        self._engine = engine
        self._line = line
        self._max_audio_s = max_audio_s

    def run(self, step: link.RunSpeakers, files: Files) -> None:
        """Read the recording, and listen to it."""
        start = time.perf_counter()
        heard = self._engine.read(step.audio, files.body, self._max_audio_s, lambda s: self._moved(step.attempt, s))
        read = time.perf_counter()
        self._line.say(link.StepProgress(step.attempt, 0.0, heard.duration))
        voices = self._listen(self._engine.diarize(heard, step.wanted), step.attempt)
        timings = Timings(decode=round(read - start, 6), diarize=round(time.perf_counter() - read, 6))
        done = link.StepDone(step.attempt, timings, voices.work, "", rss_bytes())
        self._line.say(done, _json(voices.diarization))

    def _moved(self, attempt: int, seconds: float) -> None:
        self._line.say(link.StepProgress(attempt, 0.0, seconds))
        self._line.heed_cancel(attempt)

    def _listen(self, listening: Listening, attempt: int) -> Voices:
        """Tell how far it is; a cancel is heard meanwhile.

        The engine speaks only where it lives, but while a service computes, or speakers are compared, of no more audio.
        For the daemon progress is a larger figure, so each word counts for a millisecond at least.
        """
        done = 0.0
        try:
            while True:
                try:
                    done = max(done + 0.001, next(listening))
                except StopIteration as end:
                    voices: Voices = end.value
                    return voices
                self._line.say(link.StepProgress(attempt, done, 0.0))
                self._line.heed_cancel(attempt)
        finally:
            listening.close()
