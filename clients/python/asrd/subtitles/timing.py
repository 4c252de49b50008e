"""When cues are shown: as long as they are spoken, longer where that helps the reader, never over one another."""

from collections.abc import Sequence

from asrd.subtitles.cue import milliseconds
from asrd.subtitles.layout import Layout

Span = tuple[int, int]
"""Start and end in milliseconds."""

_SEEN_MS = 100
"""What no cue should be shown shorter, and for which the next one may be late."""

_LATE_MS = 1000
"""The most that a cue is late for that."""


def shown(spoken: Sequence[Span], layout: Layout) -> list[Span]:
    """When each cue is shown, from when it is spoken.

    Each lasts a millisecond at least, and the next one does not start before it ends. It lasts
    ``min_subtitle_duration`` unless the next one is due, and never longer than ``max_subtitle_duration``.
    """
    if not spoken:
        return []
    starts = _starts(spoken)
    nexts: list[int | None] = [*starts[1:], None]
    return [(start, _end(start, end, due, layout)) for start, (_, end), due in zip(starts, spoken, nexts, strict=True)]


def _starts(spoken: Sequence[Span]) -> list[int]:
    """Starts that rise: cues whose words have no time follow each other at once."""
    starts = [spoken[0][0]]
    for start, _ in spoken[1:]:
        seen = min(starts[-1] + _SEEN_MS, start + _LATE_MS)
        starts.append(max(start, seen, starts[-1] + 1))
    return starts


def _end(start: int, spoken_end: int, due: int | None, layout: Layout) -> int:
    """The end of one cue; ``due`` is the start of the next."""
    wanted = start + milliseconds(layout.min_subtitle_duration)
    end = max(spoken_end, wanted)
    if due is not None:
        latest = max(due - milliseconds(layout.min_gap), min(due, wanted))
        end = latest if latest - end < milliseconds(layout.bridge) else end
    if layout.max_subtitle_duration:
        end = min(end, start + milliseconds(layout.max_subtitle_duration))
    return max(end, start + 1)
