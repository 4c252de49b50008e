"""A transcript as the text of a txt, srt, vtt, tsv or json file, byte for byte as openai-whisper writes it.

Made for UTF-8 files and "\\n" line ends.
"""

import json
from collections.abc import Mapping

from asrd.cues import Cue, Layout, cues, milliseconds
from asrd_protocol.codec import did_you_mean
from asrd_protocol.model import Segment, Transcript

__all__ = ["FORMATS", "Layout", "UnknownFormat", "render"]

FORMATS: tuple[str, ...] = ("txt", "srt", "vtt", "tsv", "json")
"""The names that ``render`` knows; each is also the extension of the file."""

_PLAIN_LAYOUT = Layout()

_SEGMENT_KEYS = (
    "id",
    "seek",
    "start",
    "end",
    "text",
    "tokens",
    "temperature",
    "avg_logprob",
    "compression_ratio",
    "no_speech_prob",
)
_WORD_KEYS = ("word", "start", "end", "probability")


class UnknownFormat(ValueError):
    """A format that is none of ``FORMATS``; the message names the nearest one."""

    def __init__(self, fmt: str) -> None:
        super().__init__(f"unknown format {fmt!r}{did_you_mean(fmt.lower(), FORMATS)} (known: {', '.join(FORMATS)})")
        self.fmt = fmt


def render(
    transcript: Transcript, fmt: str, layout: Layout = _PLAIN_LAYOUT, extra: Mapping[str, object] | None = None
) -> str:
    """The whole file as text.

    ``layout`` matters to srt and vtt only. ``extra``, plain data, goes into json under the key ``asrd``.

    Raises:
        UnknownFormat: when ``fmt`` is none of ``FORMATS``.
    """
    match fmt:
        case "txt":
            return "".join(f"{segment.text.strip()}\n" for segment in transcript.segments)
        case "srt":
            return "".join(f"{n}\n{_srt_cue(cue)}" for n, cue in enumerate(cues(transcript.segments, layout), start=1))
        case "vtt":
            return "WEBVTT\n\n" + "".join(map(_vtt_cue, cues(transcript.segments, layout)))
        case "tsv":
            return "start\tend\ttext\n" + "".join(map(_tsv_row, transcript.segments))
        case "json":
            return _json(transcript, extra)
        case _:
            raise UnknownFormat(fmt)


def _srt_cue(cue: Cue) -> str:
    return f"{_srt_time(cue.start)} --> {_srt_time(cue.end)}\n{cue.text}\n\n"


def _vtt_cue(cue: Cue) -> str:
    return f"{_vtt_time(cue.start)} --> {_vtt_time(cue.end)}\n{cue.text}\n\n"


def _srt_time(ms: int) -> str:
    hours, minutes, seconds, rest = _split(ms)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{rest:03d}"


def _vtt_time(ms: int) -> str:
    hours, minutes, seconds, rest = _split(ms)
    shown_hours = f"{hours:02d}:" if hours else ""
    return f"{shown_hours}{minutes:02d}:{seconds:02d}.{rest:03d}"


def _split(ms: int) -> tuple[int, int, int, int]:
    """Hours, minutes, seconds and milliseconds. Subtitles know no time before 0: it becomes 0."""
    seconds, rest = divmod(max(ms, 0), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return hours, minutes, seconds, rest


def _tsv_row(segment: Segment) -> str:
    text = segment.text.strip().replace("\t", " ")
    return f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{text}\n"


def _json(transcript: Transcript, extra: Mapping[str, object] | None) -> str:
    """ASCII only and without a line end at the end of the file, like whisper's."""
    result: dict[str, object] = {
        # whisper's has the space in front that its tokens have; the one of a Transcript is stripped for people
        "text": "".join(segment.text for segment in transcript.segments),
        "segments": [_json_segment(segment) for segment in transcript.segments],
        "language": transcript.language,
    }
    if extra is not None:
        result["asrd"] = dict(extra)
    return json.dumps(result)


def _json_segment(segment: Segment) -> dict[str, object]:
    fields: dict[str, object] = {key: getattr(segment, key) for key in _SEGMENT_KEYS}
    if segment.words is not None:
        fields["words"] = [{key: getattr(word, key) for key in _WORD_KEYS} for word in segment.words]
    return fields
