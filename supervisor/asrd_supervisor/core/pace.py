"""How long the work of a pool takes, learned from the steps that it has done.

Everything that is said to a client about time (``eta_s``, ``retry_after``) and every share of the queue is a prediction
from here. The length of a media file is known only after a worker has opened it; until then it is guessed from its
bytes, by the files that came before.
"""

FIRST_BYTES_PER_S = 16_000.0
"""Of a media file nobody has seen the like of: about that of MP3 at 128 kbit/s, or of 8-bit telephony."""

FIRST_RATE = 0.1
"""Seconds of work for a second of audio before anything was measured."""

MEMORY = 0.9
"""What is left of the weight of all earlier steps when one more is learned from."""


class Pace:
    """Ratios of decayed sums: a long step counts for more than a short one, and the past fades."""

    def __init__(self) -> None:
        self._work = self._heard = 0.0
        self._bytes = self._lasted = 0.0

    @property
    def learned(self) -> bool:
        """Whether any step was done."""
        return self._heard > 0

    @property
    def rate(self) -> float:
        """Seconds of work for a second of audio."""
        return self._work / self._heard if self.learned else FIRST_RATE

    def length(self, size: int, audio_s: float | None) -> float:
        """Seconds of audio: what is known, or a guess from the bytes."""
        if audio_s is not None:
            return audio_s
        return size * self._lasted / self._bytes if self._bytes else size / FIRST_BYTES_PER_S

    def work(self, size: int, audio_s: float | None) -> float:
        """Seconds that a worker will need."""
        return self.length(size, audio_s) * self.rate

    def learn(self, took: float, audio_s: float, size: int, *, media: bool) -> None:
        """A step took so long for so much audio; ``media``: so many bytes of a media file held it."""
        if audio_s <= 0:
            return
        self._work = MEMORY * self._work + took
        self._heard = MEMORY * self._heard + audio_s
        self.learn_length(audio_s, size, media=media)

    def learn_length(self, audio_s: float, size: int, *, media: bool) -> None:
        """So many bytes held so much audio; ``media``: as a media file."""
        if media and size:
            self._bytes = MEMORY * self._bytes + size
            self._lasted = MEMORY * self._lasted + audio_s
