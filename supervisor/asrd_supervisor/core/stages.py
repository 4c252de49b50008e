"""Which place a step has in its job. Every job has the first one; the others are there when they are needed."""

from typing import Final

WHOLE: Final = 0
"""Transcribes the recording, or cuts it into chunks."""

SPEAKERS: Final = 1
"""Finds out who speaks when, in a pool of its own, beside the others."""

MERGE: Final = 2
"""Makes one transcript of what all others have given."""

FIRST_CHUNK: Final = 3
"""Transcribes a stretch of a recording that was cut; the next stretches have the numbers after it."""
