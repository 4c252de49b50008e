"""What the built-in clip tells of a worker: it is always the same work, and its text is known.

A worker can return nonsense, and faster than ever. Only a transcript that is known beforehand shows it.
"""

from asrd_supervisor.core.policy import CanaryPolicy
from asrd_supervisor.core.recycle import Verdict

EARLY = 5
"""The job after which the clip is timed in the company of working siblings. Its time at the start was taken while the
whole pool, or a worker that was being replaced, was in the way."""

WORTH_IT = 50
"""Workers that may do fewer jobs than this are not timed again early: it would cost them a share of their life."""

TOLERANCE = 0.2
"""Word error rate against the first text that a healthy worker may show."""

COMPARED = 200
"""Words at most: a worker could say any number of them, and the comparison takes their square."""


class Canary:
    """The clip as one worker transcribes it."""

    def __init__(self, now: float = 0.0, took: float = 0.0, text: str = "") -> None:
        self.first_took = took
        """Seconds; 0 where it is not known."""
        self.first_text = text
        self.took = took
        self.text = text
        self.ran_at = now
        self._ran_after = 0
        self._early = False

    def due(self, now: float, jobs_done: int, limit: int, idle_s: float, policy: CanaryPolicy) -> int:
        """How often it is time for the clip; mostly 0."""
        if not policy.enabled:
            return 0
        if not self._early and jobs_done >= EARLY and (not limit or limit >= WORTH_IT):
            return 2
        if jobs_done - self._ran_after >= policy.every_jobs:
            return 1
        return int(idle_s >= policy.idle and now - self.ran_at >= policy.idle)

    def note(self, now: float, jobs_done: int, took: float, text: str, *, measure: bool) -> None:
        """It was transcribed again; ``measure``: this may be the time that later ones are held to."""
        if not self.first_took and not self.first_text:
            self.first_took, self.first_text = took, text
        if measure and not self._early and jobs_done >= EARLY:
            self._early = True
            self.first_took = took
        self.took, self.text = took, text
        self.ran_at, self._ran_after = now, jobs_done

    @property
    def ratio(self) -> float | None:
        """The last time as a multiple of the first one."""
        return self.took / self.first_took if self.first_took else None

    def verdict(self) -> Verdict | None:
        """Whether its text has changed."""
        return unlike(self.first_text, self.text)


def unlike(expected: str, got: str) -> Verdict | None:
    """Whether a healthy worker would not have heard that."""
    errors = word_error_rate(expected, got)
    if errors <= TOLERANCE:
        return None
    return Verdict("quality", {"wer": round(errors, 2), "expected": expected[:200], "got": got[:200]})


def word_error_rate(expected: str, got: str) -> float:
    """Insertions, deletions and substitutions of words, per expected word; case and punctuation do not count."""
    want, have = _words(expected), _words(got)
    if not want:
        return float(len(have))
    row = list(range(len(have) + 1))
    for i, word in enumerate(want, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(have, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1] / len(want)


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "'" else " " for c in text.casefold()).split()[:COMPARED]
